package server_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// hold is an acceptor that holds envelopes until release is closed and counts
// those that it holds.
type hold struct {
	mu      sync.Mutex
	inside  int
	most    int
	weight  int
	heavy   int
	release chan struct{}
}

// Accept takes one envelope.
func (h *hold) Accept(ctx context.Context, envelope []byte) (*ingest.Accepted, error) {
	h.add(1, len(envelope))
	defer h.add(-1, -len(envelope))
	select {
	case <-h.release:
		return &ingest.Accepted{Receipt: []byte("receipt")}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *hold) add(n, bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inside += n
	h.weight += bytes
	h.most, h.heavy = max(h.most, h.inside), max(h.heavy, h.weight)
}

func (h *hold) now() (inside, weight int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inside, h.weight
}

// accept hands envelopes in, all at once, and answers how to get their errors.
func accept(t *testing.T, client cloisterv1.IntakeClient, n, size int) []chan error {
	t.Helper()
	var all []chan error
	for range n {
		done := make(chan error, 1)
		all = append(all, done)
		go func() {
			_, err := client.Accept(t.Context(), &cloisterv1.AcceptRequest{Envelope: make([]byte, size)})
			done <- err
		}()
	}
	return all
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

// errRefused stands for an error that was looked at.
var errRefused = errors.New("refused")

// exhausted says whether an error tells its caller to come again.
func exhausted(err error) bool {
	_, hint := grpcform.Delay(err)
	return status.Code(err) == codes.ResourceExhausted && hint
}

// TestIntakeIsBounded: a number of envelopes is open at once, others wait, and
// more than that are told to come again; the intake still says how it is.
func TestIntakeIsBounded(t *testing.T) {
	client, paths := intake(t)
	h := &hold{release: make(chan struct{})}
	paths.Open(h, nil)
	const more = 5
	all := accept(t, client, limits.IntakeEnvelopes+more, 10)
	eventually(t, "the first to be open", func() bool { n, _ := h.now(); return n == limits.IntakeOpening })
	eventually(t, "those for whom there is no room", func() bool {
		refused := 0
		for _, done := range all {
			select {
			case err := <-done:
				if !errors.Is(err, errRefused) && !exhausted(err) {
					t.Errorf("before anybody is done: %v", err)
				}
				done <- errRefused
				refused++
			default:
			}
		}
		return refused == more
	})
	if health, err := client.Health(t.Context(), &cloisterv1.HealthRequest{}); err != nil || health.GetPhase() != "ready" {
		t.Errorf("health meanwhile: %v, %v", health, err)
	}
	close(h.release)
	good := 0
	for _, done := range all {
		if err := <-done; err == nil {
			good++
		} else if !errors.Is(err, errRefused) {
			t.Error(err)
		}
	}
	if good != limits.IntakeEnvelopes {
		t.Errorf("%d were taken, not %d", good, limits.IntakeEnvelopes)
	}
	if h.most != limits.IntakeOpening {
		t.Errorf("%d were open at once, not %d", h.most, limits.IntakeOpening)
	}
}

// TestIntakeBytes: the open envelopes weigh no more than so many bytes.
func TestIntakeBytes(t *testing.T) {
	client, paths := intake(t)
	h := &hold{release: make(chan struct{})}
	paths.Open(h, nil)
	const size = limits.Envelope - 1
	inside := accept(t, client, limits.IntakeOpening, size)
	fit := limits.IntakeBytes / size
	eventually(t, "those that fit", func() bool { n, _ := h.now(); return n == fit })
	close(h.release)
	for _, done := range inside {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if h.heavy > limits.IntakeBytes {
		t.Errorf("%d bytes were open at once", h.heavy)
	}
}

// TestFull: an acceptor and a querier without room are not failures.
func TestFull(t *testing.T) {
	client, paths := intake(t)
	full := &admission.Full{Reason: admission.ReasonWait, Retry: time.Second}
	paths.Open(acceptor(func(context.Context, []byte) (*ingest.Accepted, error) { return nil, full }), nil)
	if _, err := client.Accept(t.Context(), &cloisterv1.AcceptRequest{Envelope: []byte{1}}); !exhausted(err) {
		t.Errorf("an envelope: %v", err)
	}
	e := start(t)
	e.paths.Open(nil, e.querier)
	e.querier.answer = func(context.Context, string) (*answer.Answer, []byte, error) { return nil, nil, full }
	if _, err := e.ask(t, e.connect(t, e.Client(t, nil)), text, e.bearer(t)); !exhausted(err) {
		t.Errorf("a query: %v", err)
	}
}

// TestRequestsOfOne: one analyst has a number of requests at once, and others
// are served beside them.
func TestRequestsOfOne(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	release := make(chan struct{})
	e.querier.answer = func(ctx context.Context, text string) (*answer.Answer, []byte, error) {
		select {
		case <-release:
			return e.sign(count(text, 1))
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	conns := []*grpc.ClientConn{e.connect(t, e.Client(t, nil)), e.connect(t, e.Client(t, nil))}
	bearer := e.bearer(t)
	asked := make([]chan error, limits.AttestedRequestsPerPrincipal)
	for i := range asked {
		asked[i] = make(chan error, 1)
		go func() {
			_, err := e.ask(t, conns[i%2], text, bearer)
			for exhausted(err) { // the place of its first step may not be free again
				time.Sleep(5 * time.Millisecond)
				_, err = e.ask(t, conns[i%2], text, bearer)
			}
			asked[i] <- err
		}()
	}
	eventually(t, "all to run", func() bool { return int(e.querier.calls.Load()) >= len(asked) })
	eventually(t, "no more room", func() bool {
		_, err := e.ask(t, conns[0], text, bearer)
		return exhausted(err)
	})
	close(release)
	for _, done := range asked {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	eventually(t, "room again", func() bool { _, err := e.ask(t, conns[0], text, bearer); return err == nil })
}

// TestIntakeProbes: gRPC's health service follows the phase.
func TestIntakeProbes(t *testing.T) {
	conn, paths := dialIntake(t)
	probe := healthv1.NewHealthClient(conn)
	for _, step := range []struct {
		do   func()
		want healthv1.HealthCheckResponse_ServingStatus
	}{
		{func() {}, healthv1.HealthCheckResponse_NOT_SERVING},
		{func() { paths.Set(server.Replaying, "") }, healthv1.HealthCheckResponse_NOT_SERVING},
		{func() { paths.Open(nil, nil) }, healthv1.HealthCheckResponse_SERVING},
		{func() { paths.Shut("it doesn't fit") }, healthv1.HealthCheckResponse_NOT_SERVING},
	} {
		step.do()
		for _, service := range []string{"", "cloister.v1.Intake"} {
			r, err := probe.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
			if err != nil || r.GetStatus() != step.want {
				phase, _ := paths.Phase()
				t.Errorf("%s, %q: %v, %v", phase, service, r.GetStatus(), err)
			}
		}
	}
}

// TestCounters: the parent gets zeros, or what the counters publish and no more.
func TestCounters(t *testing.T) {
	client, paths := intake(t)
	zero := &cloisterv1.CountersResponse{}
	for name, show := range map[string]func(){"none": func() {}, "new ones": func() { paths.Show(counters.New()) }} {
		show()
		got, err := client.Counters(t.Context(), &cloisterv1.CountersRequest{})
		if err != nil || got.String() != zero.String() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	c := counters.New()
	paths.Show(c)
	for range 1000 { // exact numbers never travel
		c.Count(counters.QueryAnswered)
	}
	if got, err := client.Counters(t.Context(), &cloisterv1.CountersRequest{}); err != nil || got.GetQueriesAnswered() != 0 {
		t.Errorf("before the first picture: %v, %v", got, err)
	}
	if fields := (&cloisterv1.CountersResponse{}).ProtoReflect().Descriptor().Fields(); fields.Len() != len(counters.Published{}) {
		t.Errorf("%d fields for %d counters", fields.Len(), len(counters.Published{}))
	}
}
