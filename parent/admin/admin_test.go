package admin_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/cloisterhq/cloister/parent/admin"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/test/exposition"
)

func TestCheck(t *testing.T) {
	for _, good := range []string{"127.0.0.1:7480", "127.8.9.1:1", "[::1]:80", "127.0.0.1:0", "[::ffff:127.0.0.1]:80"} {
		if err := admin.Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", ":7480", "0.0.0.0:7480", "10.0.3.7:7480", "[::]:7480", "localhost:7480", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "example.org:80"} {
		if err := admin.Check(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// up serves an enclave in the phase that the pointer holds.
func up(t *testing.T, phase *atomic.Value, r *metrics.Registry) (url string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- admin.Serve(ctx, l, admin.Config{
			Registry: r, Log: slog.New(slog.DiscardHandler),
			Phase: func() (string, bool) { p := phase.Load().(string); return p, p == "ready" },
		})
	}()
	return "http://" + l.Addr().String(), func() error { cancel(); return <-ended }
}

// get answers the status, type and text of a page.
func get(t *testing.T, method, url string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(b)
}

func TestPages(t *testing.T) {
	var phase atomic.Value
	r := metrics.NewRegistry()
	r.Counter("a_total", "A.").Add(3)
	url, stop := up(t, &phase, r)
	for _, c := range []struct {
		method, page, phase string
		code                int
		text                string
	}{
		{"GET", "/healthz", "failed", 200, "ok\n"},
		{"GET", "/readyz", "ready", 200, "ready\n"},
		{"GET", "/readyz", "waiting for keys", 503, "waiting for keys\n"},
		{"GET", "/readyz", "unreachable", 503, "unreachable\n"},
		{"HEAD", "/readyz", "failed", 503, ""},
		{"POST", "/readyz", "ready", 405, "Method Not Allowed\n"},
		{"DELETE", "/metrics", "ready", 405, "Method Not Allowed\n"},
		{"GET", "/", "ready", 404, "404 page not found\n"},
		{"GET", "/debug/pprof/", "ready", 404, "404 page not found\n"},
		{"GET", "/debug/vars", "ready", 404, "404 page not found\n"},
	} {
		phase.Store(c.phase)
		if code, _, text := get(t, c.method, url+c.page); code != c.code || text != c.text {
			t.Errorf("%s %s, %s: %d %q", c.method, c.page, c.phase, code, text)
		}
	}
	code, kind, text := get(t, "GET", url+"/metrics")
	s, err := exposition.Parse(text)
	if err != nil || code != 200 || kind != metrics.ContentType {
		t.Fatalf("%d %q: %v", code, kind, err)
	}
	if v, ok := s.Value("a_total"); !ok || v != 3 {
		t.Errorf("a_total: %v", v)
	}
	if v, ok := s.Value("cloister_admission_inside", "pool", "admin_connections"); !ok || v < 1 {
		t.Errorf("its own connections: %v", v)
	}
	if err := stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	err = admin.Serve(t.Context(), l, admin.Config{Registry: metrics.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
}
