package server_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/test/rig"
)

// clientTLS is the TLS of an honest client that judges nothing.
func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{attls.Protocol}}
}

// request is a well-formed challenge.
func request(t *testing.T) []byte {
	t.Helper()
	body, err := canonical.Marshal(map[int]any{1: 1, 2: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// skip reads one message of the exchange.
func skip(r io.Reader) {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err == nil {
		_, _ = io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint32(n[:])))
	}
}

// TestStrangers: whatever strangers say on the port, before, in and after the
// exchange, the next analyst is served.
func TestStrangers(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	secured := func(change func(*tls.Config), talk func(*tls.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			config := clientTLS()
			change(config)
			if c := tls.Client(conn, config); c.Handshake() == nil {
				talk(c)
			}
		}
	}
	same := func(*tls.Config) {}
	after := func(b ...byte) func(*tls.Conn) {
		return func(c *tls.Conn) {
			_, _ = c.Write(request(t))
			skip(c)
			_, _ = c.Write(b)
			if len(b) > 0 {
				_, _ = io.Copy(io.Discard, c)
			}
		}
	}
	preface := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	for name, stranger := range map[string]func(net.Conn){
		"nothing":          func(net.Conn) {},
		"garbage":          func(conn net.Conn) { _, _ = conn.Write(make([]byte, 1<<10)) },
		"TLS 1.2":          secured(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, after()),
		"h2 over TLS":      secured(func(c *tls.Config) { c.NextProtos = []string{"h2"} }, func(c *tls.Conn) { _, _ = c.Write(preface) }),
		"no exchange":      secured(same, func(c *tls.Conn) { _, _ = c.Write(preface) }),
		"a long request":   secured(same, func(c *tls.Conn) { _, _ = c.Write([]byte{0xff, 0xff, 0xff, 0xff}) }),
		"nothing after":    secured(same, after()),
		"garbage after":    secured(same, after(make([]byte, 100)...)),
		"HTTP/1.1 after":   secured(same, after([]byte("GET / HTTP/1.1\r\nHost: enclave\r\n\r\n")...)),
		"a frame too long": secured(same, after(slices.Concat(preface, []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}, []byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1})...)),
	} {
		conn, err := e.dial(t.Context(), "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		stranger(conn)
		conn.Close()
	}
	plain, err := grpc.NewClient("passthrough:///enclave", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(e.dial))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := e.ask(t, plain, text, e.bearer(t)); status.Code(err) != codes.Unavailable {
		t.Errorf("gRPC without TLS: %v", err)
	}
	if n := e.querier.calls.Load(); n != 0 {
		t.Errorf("%d queries ran for strangers", n)
	}
	if _, err := e.ask(t, e.connect(t, e.Client(t, nil)), text, e.bearer(t)); err != nil {
		t.Errorf("after all of them: %v", err)
	}
}

// TestStop: an enclave that ends waits for nobody, in whatever state their
// connections are.
func TestStop(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	silent, err := e.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	half, err := e.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if err := tls.Client(half, clientTLS()).Handshake(); err != nil {
		t.Fatal(err)
	}
	conn := e.connect(t, e.Client(t, nil))
	if _, err := e.ask(t, conn, text, e.bearer(t)); err != nil {
		t.Fatal(err)
	}
	e.stop()
	<-e.ended
	for name, c := range map[string]net.Conn{"silent": silent, "half": half} {
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e.ask(t, conn, text, e.bearer(t)); status.Code(err) != codes.Unavailable {
		t.Errorf("after the end: %v", err)
	}
}

// TestTokenStaysHome: an analyst's token never gets to an enclave that isn't
// the one of the policy, whichever part is another.
func TestTokenStaysHome(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	for name, c := range map[string]struct {
		wanted rig.Config
		class  attestation.Class
	}{
		"another root":   {rig.Config{}, attestation.UntrustedRoot},
		"another image":  {rig.Config{Root: e.Root, Label: "another"}, attestation.PolicyMismatch},
		"another bundle": {rig.Config{Root: e.Root, Bundle: func(b *bundle.Bundle) { b.Limits.QueryTimeout = 1 }}, attestation.PolicyMismatch},
	} {
		refused := make(chan error, 16)
		config := rig.New(t, c.wanted).Client(t, nil)
		config.OnRefusal = func(err error) { refused <- err }
		if _, err := e.ask(t, e.connect(t, config), text, e.bearer(t)); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		if verdict, ok := errors.AsType[*attestation.Error](<-refused); !ok || verdict.Class != c.class {
			t.Errorf("%s: refused as %v", name, verdict)
		}
	}
	if n := e.querier.calls.Load(); n != 0 {
		t.Errorf("%d queries ran", n)
	}
}
