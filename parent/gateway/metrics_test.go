package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/gateway"
	"github.com/cloisterhq/cloister/parent/metrics"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/test/exposition"
)

// measured gives the gateway a registry of its own and answers a scrape of it.
func (w *world) measured() func() exposition.Scrape {
	r := metrics.NewRegistry()
	w.config.Metrics = gateway.NewMetrics(r)
	w.config.Watch = 10 * time.Millisecond
	return func() exposition.Scrape {
		w.t.Helper()
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			w.t.Fatal(err)
		}
		s, err := exposition.Parse(b.String())
		if err != nil {
			w.t.Fatalf("%v\n%s", err, b.String())
		}
		if strings.Contains(b.String(), canary) {
			w.t.Errorf("the metrics hold content:\n%s", b.String())
		}
		return s
	}
}

// shows demands the value of a series.
func shows(t *testing.T, s exposition.Scrape, want float64, name string, labels ...string) {
	t.Helper()
	if got, ok := s.Value(name, labels...); !ok || got != want {
		t.Errorf("%s %v: %v (%v), want %v", name, labels, got, ok, want)
	}
}

// TestMetrics follows envelopes through everything that can become of them.
func TestMetrics(t *testing.T) {
	w := newWorld(t)
	scrape := w.measured()
	w.enclave.behave(func(_ context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
		if bytes.HasSuffix(got, []byte("bad")) {
			return nil, status.Error(codes.FailedPrecondition, "the producer isn't registered")
		}
		return give(got), nil
	})
	w.up()
	w.submit(envelope("early"), pending)
	s := scrape()
	shows(t, s, 1, "cloister_gateway_pending")
	if age, ok := s.Value("cloister_gateway_pending_oldest_seconds"); !ok || age <= 0 {
		t.Errorf("age %v", age)
	}
	shows(t, s, 1, "cloister_enclave_phase", "phase", "unreachable")
	shows(t, s, 0, "cloister_enclave_ready")

	w.enclave.start()
	w.becomes(envelope("early"), receipted)
	w.submit(envelope("good"), receipted)
	w.submit(envelope("bad"), refused)
	w.submit(envelope("good"), receipted) // from the store
	for _, raw := range [][]byte{nil, make([]byte, limits.Envelope+1)} {
		if _, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: raw}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%d bytes: %v", len(raw), err)
		}
	}
	w.eventually("the counters", func() bool {
		v, _ := scrape().Value("cloister_enclave_ready")
		return v == 1
	})
	s = scrape()
	for event, want := range map[string]float64{"stored": 3, "forwarded": 3, "receipted": 2, "refused": 1, "quarantined": 0, "lost": 0} {
		got, _ := s.Value("cloister_gateway_envelopes_total", "event", event)
		if event == "forwarded" && got > want {
			continue // one that went before the enclave was there
		}
		shows(t, s, want, "cloister_gateway_envelopes_total", "event", event)
	}
	for answer, want := range map[string]float64{"receipted": 2, "refused": 1, "pending": 1, "invalid": 2, "failed": 0} {
		shows(t, s, want, "cloister_gateway_submits_total", "answer", answer)
	}
	shows(t, s, float64(len(envelope("early"))+len(envelope("good"))+len(envelope("bad"))), "cloister_gateway_stored_bytes_total")
	shows(t, s, 2, "cloister_gateway_forward_seconds_count", "outcome", "receipted")
	shows(t, s, 1, "cloister_gateway_forward_seconds_count", "outcome", "refused")
	shows(t, s, 0, "cloister_gateway_pending")
	shows(t, s, 0, "cloister_gateway_pending_oldest_seconds")
	shows(t, s, 1, "cloister_enclave_phase", "phase", "ready")
	shows(t, s, 0, "cloister_enclave_phase", "phase", "unreachable")
}

// TestCoarsePicture: the enclave's counters are shown as it gives them.
func TestCoarsePicture(t *testing.T) {
	w := newWorld(t)
	scrape := w.measured()
	w.enclave.start()
	w.up()
	w.eventually("a picture", func() bool {
		v, _ := scrape().Value("cloister_enclave_keyring_hits_total")
		return v != 0
	})
	s := scrape()
	for i, c := range [][]string{
		{"cloister_enclave_envelopes_total", "outcome", "accepted"}, {"cloister_enclave_envelopes_total", "outcome", "refused"},
		{"cloister_enclave_queries_total", "outcome", "answered"}, {"cloister_enclave_queries_total", "outcome", "refused"},
		{"cloister_enclave_kms_calls_total", "outcome", "granted"}, {"cloister_enclave_kms_calls_total", "outcome", "denied"},
		{"cloister_enclave_kms_calls_total", "outcome", "unavailable"}, {"cloister_enclave_keyring_hits_total"},
	} {
		shows(t, s, float64(10*(i+1)), c[0], c[1:]...)
	}
}

// TestQuarantineAndLossCount: what an operator must look at is counted.
func TestQuarantineAndLossCount(t *testing.T) {
	w := newWorld(t)
	scrape := w.measured()
	killer, lost := envelope("killer"), envelope("lost")
	w.up()
	w.submit(lost, pending)
	if err := w.store.Delete(t.Context(), "inbox/"+hexOf(lost)); err != nil {
		t.Fatal(err)
	}
	w.enclave.behave(func(ctx context.Context, got []byte) (*cloisterv1.AcceptResponse, error) {
		if bytes.Equal(got, killer) {
			go func() { w.enclave.kill(); w.enclave.start() }()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return give(got), nil
	})
	w.enclave.start()
	if _, err := w.client.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: killer}); err != nil {
		t.Fatal(err)
	}
	w.eventually("both to be noticed", func() bool {
		s := scrape()
		quarantined, _ := s.Value("cloister_gateway_envelopes_total", "event", "quarantined")
		gone, _ := s.Value("cloister_gateway_envelopes_total", "event", "lost")
		return quarantined == 1 && gone == 1
	})
}

// TestProbes: gRPC's health service says what the enclave's phase is.
func TestProbes(t *testing.T) {
	w := newWorld(t)
	w.config.Watch = 5 * time.Millisecond
	w.config.Standing = &gateway.Standing{}
	if w.config.Standing.Phase() != "unreachable" || w.config.Standing.Ready() {
		t.Error("an enclave that wasn't asked is something")
	}
	w.enclave.set("replaying")
	w.up()
	conn := w.dial()
	defer conn.Close()
	probe := healthv1.NewHealthClient(conn)
	is := func(want healthv1.HealthCheckResponse_ServingStatus, phase string) {
		t.Helper()
		w.eventually(phase, func() bool { return w.config.Standing.Phase() == phase })
		for _, service := range []string{"", "cloister.v1.Gateway"} {
			w.eventually("the probe of "+service, func() bool {
				r, err := probe.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
				return err == nil && r.GetStatus() == want
			})
		}
	}
	is(healthv1.HealthCheckResponse_NOT_SERVING, "unreachable")
	watch, err := probe.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	w.enclave.start()
	is(healthv1.HealthCheckResponse_NOT_SERVING, "replaying")
	w.enclave.set("ready")
	is(healthv1.HealthCheckResponse_SERVING, "ready")
	w.enclave.set(canary) // not a phase, and shown nowhere
	is(healthv1.HealthCheckResponse_NOT_SERVING, "other")
	w.enclave.kill()
	is(healthv1.HealthCheckResponse_NOT_SERVING, "unreachable")
	seen := map[healthv1.HealthCheckResponse_ServingStatus]bool{}
	for range 3 {
		r, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		seen[r.GetStatus()] = true
	}
	if !seen[healthv1.HealthCheckResponse_SERVING] || !seen[healthv1.HealthCheckResponse_NOT_SERVING] {
		t.Errorf("the watch saw %v", seen)
	}
	if _, err := probe.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "another"}); status.Code(err) != codes.NotFound {
		t.Errorf("another service: %v", err)
	}
}

// TestEvents: each step of an envelope is one event, with constant words, the
// beginning of its digest and its size.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	var log locked
	w.enclave.start()
	w.up()
	w.down()
	w.config.Watch = 10 * time.Millisecond
	store, config := w.store, w.config
	config.Store, config.Log = store, slog.New(slog.NewJSONHandler(&log, nil))
	w.serve(config)
	e := envelope("a")
	w.submit(e, receipted)
	var found []string
	for line := range strings.Lines(log.String()) {
		var event struct {
			Msg, Digest, Outcome string
			Size                 int
			Duration             *int64
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if event.Digest == "" {
			continue
		}
		if event.Digest != hexOf(e)[:16] {
			t.Errorf("digest %q", event.Digest)
		}
		if event.Msg != "gateway: receipted" && event.Size != len(e) {
			t.Errorf("%s: size %d", event.Msg, event.Size)
		}
		if event.Msg == "gateway: forwarded" && (event.Outcome != "receipted" || event.Duration == nil) {
			t.Errorf("forwarded: %s", line)
		}
		found = append(found, event.Msg)
	}
	if got := strings.Join(found, ", "); got != "gateway: stored, gateway: forwarded, gateway: receipted" {
		t.Errorf("events: %s", got)
	}
}
