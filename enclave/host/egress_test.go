package host_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/host"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/egress"
)

// way starts the parent's egress, which lets the listed hosts be reached.
func way(t *testing.T, allow ...string) vsock.Transport {
	t.Helper()
	sockets := t.TempDir()
	l, err := vsock.Unix(sockets, vsock.HostCID).Listen(vsock.PortEgress)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = egress.Serve(ctx, l, egress.Config{Allow: allow, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() { stop(); <-ended })
	return vsock.Unix(sockets, vsock.EnclaveCID)
}

// TestEgress speaks HTTPS through the parent to a host that both lists name.
func TestEgress(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	defer s.Close()
	address := s.Listener.Addr().String()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	e := host.NewEgress(way(t, address), []string{address})
	client := &http.Client{Transport: &http.Transport{DialContext: e.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestEgressRefuses: the bundle's list decides, whatever the parent would let
// through, and the other way round.
func TestEgressRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address := l.Addr().String()
	list := []string{"kms.example:443"}
	open := host.NewEgress(way(t, address), list)
	list[0] = address // the list is the caller's no more
	for _, a := range []string{address, "kms.example:80", "KMS.example:443", "kms.example", "kms.example:443\nCONNECT x:1", ""} {
		if conn, err := open.DialContext(t.Context(), "tcp", a); conn != nil || err == nil {
			t.Errorf("%q was dialled", a)
		}
	}
	closed := host.NewEgress(way(t), []string{address})
	conn, err := closed.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the parent let through what it doesn't list")
	}
	nobody := host.NewEgress(vsock.Unix(t.TempDir(), vsock.EnclaveCID), []string{address})
	if _, err := nobody.DialContext(t.Context(), "tcp", address); err == nil {
		t.Error("dialled through nobody")
	}
}

// TestEgressLine: one line goes to the parent, and a deadline for it binds the
// line alone.
func TestEgressLine(t *testing.T) {
	sockets := t.TempDir()
	l, err := vsock.Unix(sockets, vsock.HostCID).Listen(vsock.PortEgress)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := host.NewEgress(vsock.Unix(sockets, vsock.EnclaveCID), []string{"kms.example:443"}).DialContext(ctx, "tcp", "kms.example:443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if line, err := bufio.NewReader(far).ReadString('\n'); err != nil || line != "CONNECT kms.example:443\n" {
		t.Errorf("%q, %v", line, err)
	}
	over, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	if _, err := host.NewEgress(vsock.Unix(sockets, vsock.EnclaveCID), []string{"kms.example:443"}).DialContext(over, "tcp", "kms.example:443"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
}
