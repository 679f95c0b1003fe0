package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/sim/stack"
)

// tampered seals one record as a producer would, flips a bit, and hands it in.
func (d *demo) tampered(ctx context.Context) error {
	config, err := client.Load(d.layout.Context())
	if err != nil {
		return err
	}
	c, err := client.New(config)
	if err != nil {
		return err
	}
	peer, err := c.Verify(ctx)
	if err != nil {
		return err
	}
	sealer, err := c.NewSealer(ctx, peer.Bundle, dataset, "tampered")
	if err != nil {
		return err
	}
	defer sealer.Close()
	sealed, err := sealer.Seal(0, []columns.Record{{columns.Int("id", 1), columns.Int("age", 60)}})
	if err != nil {
		return err
	}
	sealed.Envelope[len(sealed.Envelope)-100] ^= 1
	gateway, err := c.Gateway()
	if err != nil {
		return err
	}
	defer gateway.Close()
	resp, err := gateway.Submit(ctx, sealed.Envelope)
	if err != nil {
		return err
	}
	if resp.GetState() != cloisterv1.SubmitResponse_STATE_REFUSED {
		return errors.New("the changed batch wasn't refused")
	}
	d.sayf("one bit of a sealed batch flipped: the enclave refuses it, %q", resp.GetRefusal())
	return nil
}

// otherImage starts an enclave that measures otherwise.
func (d *demo) otherImage(ctx context.Context) error {
	return d.impostor(ctx, stack.Options{ImageLabel: "another image"})
}

// otherBundle makes the parent hand over a bundle with a lower floor.
func (d *demo) otherBundle(ctx context.Context) error {
	raw, err := os.ReadFile(d.layout.Bundle())
	if err != nil {
		return err
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return err
	}
	for i := range b.Datasets {
		b.Datasets[i].Contract.Floor = contract.MinFloor
	}
	if raw, err = b.Encode(); err != nil {
		return err
	}
	path := filepath.Join(d.dir, "other-bundle.cbor")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return err
	}
	return d.impostor(ctx, stack.Options{ServeBundle: path})
}

// impostor starts an enclave that nobody's policy names, shows what KMS says
// to it and what clients say.
func (d *demo) impostor(ctx context.Context, o stack.Options) error {
	if _, err := d.start(ctx, o, "refused by KMS"); err != nil {
		return err
	}
	event, err := d.lastRefusal()
	if err != nil {
		return err
	}
	d.sayf("KMS: %s for an attested call by this enclave: %s", event.Name, event.Code)
	_, err = d.cloister(ctx, 1, "verify")
	return err
}

// kmsEvent is what the demo reads of KMS's log.
type kmsEvent struct {
	Name       string `json:"eventName"`
	Code       string `json:"errorCode"`
	Additional *struct {
		Recipient map[string]string `json:"recipient"`
	} `json:"additionalEventData"`
}

// lastRefusal answers the newest entry of KMS's log, which must be a denied
// call with an attestation document.
func (d *demo) lastRefusal() (*kmsEvent, error) {
	f, err := os.Open(d.layout.Events())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	last := &kmsEvent{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		last = &kmsEvent{}
		if err := json.Unmarshal(lines.Bytes(), last); err != nil {
			return nil, fmt.Errorf("KMS's log: %w", err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if last.Code != "AccessDeniedException" || last.Additional == nil || len(last.Additional.Recipient) == 0 {
		return nil, fmt.Errorf("KMS's last word is %s %q, not a denied attested call", last.Name, last.Code)
	}
	return last, nil
}

// crash kills the enclave and the parent and asks the first query again.
func (d *demo) crash(ctx context.Context) error {
	if _, err := d.start(ctx, stack.Options{}, "ready"); err != nil {
		return err
	}
	for _, role := range []string{d.role(), stack.Parent} {
		pid := d.layout.PID(role)
		if pid == 0 {
			return fmt.Errorf("the %s doesn't run", role)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		next, err := d.reborn(ctx, role, pid)
		if err != nil {
			return err
		}
		d.sayf("kill -9 %d (%s); started again as process %d", pid, role, next)
		out, err := d.cloister(ctx, 0, "query", bySex, "-o", "table")
		if err != nil {
			return err
		}
		if out != d.answer {
			return errors.New("the answer isn't the one from before")
		}
	}
	d.sayf("%d rows, the same as before", strings.Count(d.answer, "\n")-2)
	return nil
}

// reborn waits until a role runs as another process than before.
func (d *demo) reborn(ctx context.Context, role string, old int) (int, error) {
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if pid := d.layout.PID(role); pid != 0 && pid != old {
			return pid, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return 0, fmt.Errorf("the %s wasn't started again", role)
}
