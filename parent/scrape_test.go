package parent_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/cloisterhq/cloister/internal/vsock"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/test/exposition"
)

// canary stands in everything that the parent carries and must stand in nothing
// that it shows.
const canary = "canary-91c4"

// page answers a page of the admin listener.
func (w *world) page(path string) (int, string) {
	w.t.Helper()
	resp, err := http.Get("http://" + w.config.AdminAddr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// scrape answers the metrics, which must parse and hold no canary.
func (w *world) scrape() exposition.Scrape {
	w.t.Helper()
	code, text := w.page("/metrics")
	s, err := exposition.Parse(text)
	if err != nil || code != http.StatusOK {
		w.t.Fatalf("%d: %v\n%s", code, err, text)
	}
	if strings.Contains(text, canary) {
		w.t.Errorf("the metrics hold what was carried:\n%s", text)
	}
	return s
}

// series is one that a scrape must come to show.
type series struct {
	want   float64
	name   string
	labels []string
}

// comes waits for all of them.
func (w *world) comes(all ...series) {
	w.t.Helper()
	for _, c := range all {
		var got float64
		var ok bool
		for range 400 {
			if got, ok = w.scrape().Value(c.name, c.labels...); ok && got == c.want {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		if !ok || got != c.want {
			w.t.Errorf("%s %v: %v (%v), want %v", c.name, c.labels, got, ok, c.want)
		}
	}
}

// outside is a host that sends back what comes, and an enclave with both ports.
func (w *world) outside() string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	echo(w.t, l, err)
	enclave := vsock.Unix(w.sockets, vsock.EnclaveCID)
	attested, err := enclave.Listen(vsock.PortAttested)
	echo(w.t, attested, err)
	taker, err := enclave.Listen(vsock.PortIngest)
	if err != nil {
		w.t.Fatal(err)
	}
	server := grpc.NewServer()
	cloisterv1.RegisterIntakeServer(server, intake{})
	go func() { _ = server.Serve(taker) }()
	w.t.Cleanup(server.Stop)
	return l.Addr().String()
}

// TestScrape uses every service and demands that each of them is counted, under
// fixed labels, and that nothing that was carried can be read anywhere.
func TestScrape(t *testing.T) {
	w := newWorld(t)
	w.config.AdminAddr = freeAddress(t)
	w.config.Log = slog.New(slog.NewJSONHandler(w.log, nil))
	allowed := w.outside()
	w.config.EgressAllow = []string{allowed}
	stop := w.up()
	if code, text := w.page("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d %s", code, text)
	}
	w.use(allowed)
	w.comes(
		series{1, "cloister_enclave_ready", nil},
		series{1, "cloister_enclave_phase", []string{"phase", "ready"}},
		series{1, "cloister_gateway_submits_total", []string{"answer", "receipted"}},
		series{1, "cloister_gateway_envelopes_total", []string{"event", "stored"}},
		series{1, "cloister_gateway_envelopes_total", []string{"event", "receipted"}},
		series{0, "cloister_gateway_pending", nil},
		series{1, "cloister_relay_connections_total", []string{"outcome", "carried"}},
		series{0, "cloister_relay_open", nil},
		series{float64(len(canary)), "cloister_relay_bytes_total", []string{"direction", "in"}},
		series{float64(len(canary)), "cloister_relay_bytes_total", []string{"direction", "out"}},
		series{1, "cloister_egress_connections_total", []string{"host", allowed, "outcome", "carried"}},
		series{float64(len(canary)), "cloister_egress_bytes_total", []string{"host", allowed, "direction", "out"}},
		series{float64(len(canary)), "cloister_egress_bytes_total", []string{"host", allowed, "direction", "in"}},
		series{0, "cloister_egress_open", []string{"host", allowed}},
		series{1, "cloister_egress_refused_total", []string{"reason", "host"}},
		series{1, "cloister_egress_refused_total", []string{"reason", "line"}},
		series{1, "cloister_host_requests_total", []string{"what", "bundle", "outcome", "answered"}},
		series{1, "cloister_host_requests_total", []string{"what", "credentials", "outcome", "answered"}},
		series{1, "cloister_host_heartbeats_total", nil},
		series{2, "cloister_objects_operations_total", []string{"operation", "put", "outcome", "ok"}},
		series{0, "cloister_admission_refused_total", []string{"pool", "relay_connections"}},
	)
	if code, text := w.page("/readyz"); code != http.StatusOK || text != "ready\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	if err := stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	w.released()
	w.quiet()
}

// use carries the canary through everything that carries.
func (w *world) use(allowed string) {
	t := w.t
	if _, err := said(w.dial(vsock.EnclaveCID, vsock.PortHeartbeat), "\xb7"); err != nil {
		t.Error(err)
	}
	for _, line := range []string{"CONNECT " + canary + ".example.org:443\n", "GET /" + canary + " HTTP/1.1\n"} {
		c := w.dial(vsock.EnclaveCID, vsock.PortEgress)
		_, _ = c.Write([]byte(line))
		_, _ = io.Copy(io.Discard, c)
	}
	out := w.dial(vsock.EnclaveCID, vsock.PortEgress)
	if _, err := out.Write([]byte("CONNECT " + allowed + "\n")); err != nil {
		t.Fatal(err)
	}
	relayed, err := net.Dial("tcp", w.config.AttestedAddr)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"egress": out, "relay": relayed} {
		if got, err := said(c, canary); err != nil || got != canary {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		c.Close()
	}
	host := cloisterv1.NewHostClient(connect(t, func(ctx context.Context) (net.Conn, error) {
		return vsock.Unix(w.sockets, vsock.EnclaveCID).Dial(ctx, vsock.HostCID, vsock.PortHost)
	}))
	if _, err := host.Bundle(t.Context(), &cloisterv1.BundleRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := host.Credentials(t.Context(), &cloisterv1.CredentialsRequest{}); err != nil {
		t.Error(err)
	}
	gateway := cloisterv1.NewGatewayClient(connect(t, func(context.Context) (net.Conn, error) { return net.Dial("tcp", w.config.GatewayAddr) }))
	if resp, err := gateway.Submit(t.Context(), &cloisterv1.SubmitRequest{Envelope: []byte(canary)}); err != nil || string(resp.GetReceipt()) != "receipt" {
		t.Errorf("gateway: %v, %v", resp, err)
	}
}

// quiet demands that the log is JSON and holds nothing of what was carried, and
// no address of a client's.
func (w *world) quiet() {
	w.t.Helper()
	messages := map[string]bool{}
	for line := range strings.Lines(w.log.String()) {
		var event struct{ Msg, Level string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			w.t.Errorf("%v: %s", err, line)
		}
		messages[event.Msg] = true
		if strings.Contains(line, canary) || strings.Contains(line, "remote") {
			w.t.Errorf("the log says too much: %s", line)
		}
	}
	for _, m := range []string{
		"gateway: stored", "gateway: forwarded", "gateway: receipted", "gateway: the enclave is ready", "relay: closed", "egress: refused",
		"host: the bundle was handed over", "host: the enclave has booted",
	} {
		if !messages[m] {
			w.t.Errorf("no event %q", m)
		}
	}
}

// TestNotReady: without an enclave the parent lives and isn't ready.
func TestNotReady(t *testing.T) {
	w := newWorld(t)
	w.config.AdminAddr = freeAddress(t)
	w.up()
	if code, text := w.page("/readyz"); code != http.StatusServiceUnavailable || text != "unreachable\n" {
		t.Errorf("readyz: %d %q", code, text)
	}
	if code, _ := w.page("/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	w.comes(series{1, "cloister_enclave_phase", []string{"phase", "unreachable"}}, series{0, "cloister_enclave_ready", nil})
}
