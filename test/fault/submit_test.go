package fault_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/client"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/test/fleet"
)

// file is one submission by the command.
type file struct {
	path              string
	numbers           []int64
	records, rejected int
}

// submitted is what `cloister submit -o json` prints, as far as it matters.
type submitted struct {
	Sent, Accepted, Rejected, Pending, Repeated int
	Receipts                                    []struct {
		Envelope string
		Manifest uint64
	}
}

// producer submits files with the command, again and again until each of them
// has all its receipts, while everything around it dies.
type producer struct {
	*crash
	random *rand.Rand
	open   []*file // not complete
	done   []*file

	mu      sync.Mutex
	running *exec.Cmd
}

// run works until ctx ends.
func (p *producer) run(ctx context.Context) {
	for ctx.Err() == nil {
		switch {
		case len(p.open) == 0 || len(p.open) < 5 && p.random.IntN(3) == 0:
			p.open = append(p.open, p.draw())
			p.submit(ctx, p.open[len(p.open)-1], "300ms")
		case len(p.done) > 0 && p.random.IntN(8) == 0: // counts nothing
			p.submit(ctx, p.done[p.random.IntN(len(p.done))], "300ms")
		case p.random.IntN(4) == 0:
			p.command(ctx, "receipts", "--wait", "100ms")
		default:
			p.submit(ctx, p.open[p.random.IntN(len(p.open))], "1s")
		}
	}
}

func (p *producer) draw() *file {
	numbers, records := p.model.draw(p.random, 1+p.random.IntN(10))
	text, rejected := csv(records)
	path := filepath.Join(p.dir, fmt.Sprintf("%d.csv", numbers[0]))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Error(err)
	}
	return &file{path: path, numbers: numbers, records: len(records), rejected: rejected}
}

// submit runs the command on a file and says whether the file is complete.
func (p *producer) submit(ctx context.Context, f *file, wait string) bool {
	key := []string{"kms", "kms", "intake"}[p.random.IntN(3)]
	code, out, errs := p.command(ctx, "submit", "--dataset", "crash", "--key", key, "--wait", wait, "-o", "json", f.path)
	if out == "" {
		if code != 3 && code >= 0 {
			p.t.Errorf("submit: exit code %d: %s", code, errs)
		}
		return false
	}
	var s submitted
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		p.t.Errorf("submit: %v\n%s", err, out)
		return false
	}
	if s.Pending > 0 {
		return false
	}
	if s.Accepted+s.Repeated != f.records || s.Rejected != f.rejected || code > 1 {
		p.t.Errorf("submit: %+v with exit code %d; want %d accepted and %d rejected", s, code, f.records, f.rejected)
	}
	for _, r := range s.Receipts {
		p.note(r.Envelope, r.Manifest)
	}
	p.model.settle(f.numbers)
	for i, other := range p.open {
		if other == f {
			p.open = append(p.open[:i], p.open[i+1:]...)
			p.done = append(p.done, f)
			break
		}
	}
	return true
}

// command runs the client, which may be killed; then its exit code is -1.
func (p *producer) command(ctx context.Context, args ...string) (code int, out, errs string) {
	cmd := p.fleet.Command(ctx, args...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		if ctx.Err() == nil {
			p.t.Error(err)
		}
		return -1, "", ""
	}
	p.mu.Lock()
	p.running = cmd
	p.mu.Unlock()
	_ = cmd.Wait()
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// kill kills the command that runs.
func (p *producer) kill() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return false
	}
	return p.running.Process.Kill() == nil
}

// finish completes everything, now that nothing dies any more.
func (p *producer) finish(ctx context.Context) {
	for len(p.open) > 0 {
		f := p.open[0]
		if !fleet.Eventually(func() bool { return p.submit(ctx, f, "5s") || p.t.Failed() }) || p.t.Failed() {
			p.t.Fatalf("%s never completes", f.path)
		}
	}
}

// handler hands sealed batches to the gateway once each, as a producer does
// that believes in 'pending'.
type handler struct {
	*crash
	random  *rand.Rand
	client  *client.Client
	gateway cloisterv1.GatewayClient
	handed  int
	pending map[[32]byte][]int64
}

// run works until ctx ends.
func (h *handler) run(ctx context.Context) {
	var sealer *client.Sealer
	for ctx.Err() == nil {
		if sealer == nil {
			var err error
			if sealer, err = h.sealer(ctx); err != nil {
				sealer = nil
				rest(ctx, 20*time.Millisecond)
				continue
			}
			defer sealer.Close()
		}
		numbers, records := h.model.draw(h.random, 2)
		sealed, err := sealer.Seal(uint64(h.handed), records)
		if err != nil {
			h.t.Error(err)
			return
		}
		h.handed++
		h.model.doubt(numbers)
		resp, err := h.gateway.Submit(ctx, &cloisterv1.SubmitRequest{Envelope: sealed.Envelope})
		switch {
		case err != nil:
			if status.Code(err) != codes.Unavailable && ctx.Err() == nil {
				h.t.Errorf("the gateway: %v", err)
			}
		case resp.GetState() == cloisterv1.SubmitResponse_STATE_RECEIPTED:
			h.model.settle(numbers)
		case resp.GetState() == cloisterv1.SubmitResponse_STATE_PENDING:
			h.pending[sealed.Digest] = numbers
		default:
			h.t.Errorf("batch %d: refused: %s", h.handed-1, resp.GetRefusal())
		}
		rest(ctx, time.Duration(h.random.IntN(50))*time.Millisecond)
	}
}

// sealer seals under the bundle that the deployment was made with.
func (h *handler) sealer(ctx context.Context) (*client.Sealer, error) {
	return h.client.NewSealer(ctx, h.bundle, "crash", "handed")
}

// finish waits until all that is pending is in the answers without anybody
// asking for it, and then for its receipts.
func (h *handler) finish(ctx context.Context) {
	var all []int64
	for _, numbers := range h.pending {
		all = append(all, numbers...)
	}
	if !fleet.Eventually(func() bool { return h.model.shown(h.ask(), all) }) {
		h.t.Errorf("pending batches don't arrive by themselves")
	}
	for digest, numbers := range h.pending {
		if !fleet.Eventually(func() bool {
			resp, err := h.gateway.Receipt(ctx, &cloisterv1.ReceiptRequest{Digest: digest[:]})
			if err == nil && resp.GetState() == cloisterv1.SubmitResponse_STATE_REFUSED {
				h.t.Errorf("a pending batch was refused: %s", resp.GetRefusal())
			}
			return err == nil && resp.GetState() != cloisterv1.SubmitResponse_STATE_PENDING
		}) {
			h.t.Errorf("a pending batch got no receipt")
			continue
		}
		h.model.settle(numbers)
	}
}

// rest sleeps unless ctx ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
