package enclave_test

import (
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/host"
	"github.com/cloisterhq/cloister/parent/objects"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/test/rig"
)

// events are what an enclave did, in order.
type events struct {
	mu  sync.Mutex
	all []string
	// changed wakes who waits for an event.
	changed chan struct{}
}

func (e *events) note(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, what)
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// list answers what has happened.
func (e *events) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.all)
}

// await waits until something happened.
func (e *events) await(t *testing.T, what string) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for !slices.Contains(e.list(), what) {
		select {
		case <-e.changed:
		case <-timeout:
			t.Fatalf("%q didn't happen: %v", what, e.list())
		}
	}
}

// watched is a transport that notes what goes over it.
type watched struct {
	vsock.Transport
	events *events
}

// ports are the names of ports in events.
var ports = map[uint32]string{
	vsock.PortAttested: "queries", vsock.PortIngest: "records", vsock.PortHost: "host", vsock.PortHeartbeat: "heartbeat", vsock.PortEgress: "egress",
}

func (w watched) Listen(port uint32) (net.Listener, error) {
	l, err := w.Transport.Listen(port)
	w.events.note("listen " + ports[port])
	return l, err
}

func (w watched) Dial(ctx context.Context, cid, port uint32) (net.Conn, error) {
	w.events.note("dial " + ports[port])
	return w.Transport.Dial(ctx, cid, port)
}

// parent serves a bundle and answers the directory of sockets.
func parent(t *testing.T, raw []byte) string {
	t.Helper()
	dir, sockets := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"bundle": string(raw), "credentials": `{"access_key_id": "id", "secret_access_key": "secret"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store, err := objects.Open(filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := vsock.Unix(sockets, vsock.HostCID).Listen(vsock.PortHost)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := host.Serve(ctx, l, host.Config{
			Store: store, BundleFile: filepath.Join(dir, "bundle"), CredentialsFile: filepath.Join(dir, "credentials"), Log: slog.New(slog.DiscardHandler),
		}); err != nil {
			t.Errorf("the parent: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		store.Close()
	})
	return sockets
}

// module starts a module for a rig's image.
func module(t *testing.T, r *rig.Rig, debug bool) *nsmsim.Device {
	t.Helper()
	d, err := nsmsim.New(nsmsim.Config{Root: r.Root, Image: r.Image, Now: time.Now, Debug: debug})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// reachable is a rig whose bundle names roots for a KMS that nobody is.
func reachable(t *testing.T) *rig.Rig {
	t.Helper()
	root := rig.Certificate(t).Certificate[0]
	return rig.New(t, rig.Config{Bundle: func(b *bundle.Bundle) {
		b.KMS.Endpoint, b.KMS.CA = "https://127.0.0.1:1", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
		b.Egress = []string{"127.0.0.1:1"}
	}})
}

// TestOrderOfBoot: measured and verified, then listening, then the heartbeat,
// and only then anything that needs keys. A parent that doesn't answer the
// heartbeat changes nothing.
func TestOrderOfBoot(t *testing.T) {
	r := reachable(t)
	happened := &events{changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e, err := enclave.New(ctx, enclave.Config{
		Device: module(t, r, false), Transport: watched{vsock.Unix(parent(t, r.Raw), vsock.EnclaveCID), happened},
		Clocksource: func() (string, error) {
			happened.note("clock source")
			return "tsc", nil
		},
		Say: func(p enclave.Phrase) { happened.note(string(p)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := happened.list(); slices.ContainsFunc(got, func(s string) bool { return s != "dial host" && s != string(enclave.SayMeasured) }) {
		t.Errorf("before it serves: %v", got)
	}
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx) }()
	happened.await(t, string(enclave.SayNoHeartbeat))
	happened.await(t, "dial egress") // it asks KMS all the same
	happened.await(t, "clock source")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	got := happened.list()
	last := -1
	for _, what := range []string{string(enclave.SayMeasured), "listen records", "listen queries", "dial heartbeat"} {
		at := slices.Index(got, what)
		if at <= last {
			t.Errorf("%q isn't in its place: %v", what, got)
		}
		last = at
	}
	if n := strings.Count(strings.Join(got, "\n"), "dial heartbeat"); n != 1 {
		t.Errorf("%d heartbeats; Nitro takes one connection", n)
	}
	if slices.Index(got, "dial egress") < slices.Index(got, "listen queries") {
		t.Errorf("keys before evidence can be had: %v", got)
	}
}

// TestDebugModeComesFirst: an image that isn't measured gets no bundle.
func TestDebugModeComesFirst(t *testing.T) {
	r := reachable(t)
	happened := &events{changed: make(chan struct{}, 1)}
	e, err := enclave.New(t.Context(), enclave.Config{
		Device: module(t, r, true), Transport: watched{vsock.Unix(parent(t, r.Raw), vsock.EnclaveCID), happened},
	})
	if e != nil || !errors.Is(err, boot.ErrDebug) {
		t.Errorf("%v, want ErrDebug", err)
	}
	if got := happened.list(); len(got) != 0 {
		t.Errorf("it did %v before", got)
	}
}

// TestServeStopsWithItsClockSource: a kernel that gave up its clock source ends
// the enclave.
func TestServeStopsWithItsClockSource(t *testing.T) {
	r := reachable(t)
	e, err := enclave.New(t.Context(), enclave.Config{
		Device: module(t, r, false), Transport: vsock.Unix(parent(t, r.Raw), vsock.EnclaveCID),
		Clocksource: func() (string, error) { return "", boot.ErrClocksource },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serve(t.Context()); !errors.Is(err, boot.ErrClocksource) {
		t.Errorf("%v, want ErrClocksource", err)
	}
	if e, err := enclave.New(t.Context(), enclave.Config{}); e != nil || err == nil {
		t.Error("an enclave of nothing")
	}
}
