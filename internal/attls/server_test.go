package attls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/test/rig"
)

// clientTLS is the TLS of an honest client.
func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: []string{attls.Protocol}}
}

// accepted is what became of a connection at the server.
type accepted struct {
	conn net.Conn
	info credentials.AuthInfo
	err  error
}

// accept runs the server's side on a connection.
func accept(server credentials.TransportCredentials, conn net.Conn) <-chan accepted {
	done := make(chan accepted, 1)
	go func() {
		conn, info, err := server.ServerHandshake(conn)
		done <- accepted{conn, info, err}
	}()
	return done
}

// closed checks that nobody holds the other end any more.
func closed(t *testing.T, name string, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("%s: %v", name, err)
	}
}

// TestBothSides runs the real client against the real server.
func TestBothSides(t *testing.T) {
	r := rig.New(t, rig.Config{})
	server := attls.NewServer(r.Certificate, time.Now, r.Evidence, time.Minute)
	for range 3 {
		near, far := net.Pipe()
		done := accept(server, far)
		conn, peer, err := attls.Dial(t.Context(), near, r.Client(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		at := <-done
		if at.err != nil || at.info.(attls.AuthInfo).Peer != nil || at.info.AuthType() != "attls" {
			t.Fatalf("%v, %v", at.info, at.err)
		}
		if peer.Bundle.Deployment != rig.Deployment {
			t.Errorf("deployment %s", peer.Bundle.Deployment)
		}
		go func() { _, _ = conn.Write([]byte("PRI")) }()
		b := make([]byte, 3)
		if _, err := io.ReadFull(at.conn, b); err != nil || string(b) != "PRI" {
			t.Errorf("the server heard %q, %v", b, err)
		}
		go at.conn.Close()
		closed(t, "after the server closed", near)
	}
}

// TestLargestBundle sends the largest bundle that there is, beside a document.
func TestLargestBundle(t *testing.T) {
	r := rig.New(t, rig.Config{Bundle: fill(t)})
	if len(r.Raw) < limits.Bundle-(16<<10) {
		t.Fatalf("only %d bytes", len(r.Raw))
	}
	server := attls.NewServer(r.Certificate, time.Now, r.Evidence, time.Minute)
	near, far := net.Pipe()
	done := accept(server, far)
	conn, peer, err := attls.Dial(t.Context(), near, r.Client(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if at := <-done; at.err != nil {
		t.Fatal(at.err)
	}
	conn.Close()
	if len(peer.Evidence) > limits.Evidence+4 {
		t.Errorf("a message of %d bytes", len(peer.Evidence))
	}
}

// fill adds datasets until a bundle is nearly as large as it may be.
func fill(t *testing.T) func(*bundle.Bundle) {
	return func(b *bundle.Bundle) {
		size := func() int {
			raw, err := b.Encode()
			if err != nil {
				t.Fatal(err)
			}
			return len(raw)
		}
		add := func(i int) {
			d := b.Datasets[0]
			d.Contract.Dataset = fmt.Sprintf("dataset-%03d", i)
			d.Contract.Fields = slices.Clone(d.Contract.Fields)
			for j := range d.Contract.Fields {
				d.Contract.Fields[j].Description = strings.Repeat("x", contract.MaxDescription)
			}
			b.Datasets = append(b.Datasets, d)
		}
		start := size()
		add(0)
		each := size() - start
		for i := range (limits.Bundle-start)/each - 1 {
			add(i + 1)
		}
	}
}

// TestHostileClients: nobody who doesn't keep to the protocol makes the module
// work or gets a byte of evidence.
func TestHostileClients(t *testing.T) {
	r := rig.New(t, rig.Config{})
	var asked atomic.Int32
	server := attls.NewServer(r.Certificate, time.Now, func(context.Context, []byte, [32]byte) (attls.Evidence, error) {
		asked.Add(1)
		return attls.Evidence{}, errors.New("not to be reached")
	}, time.Minute)
	over := func(change func(*tls.Config), send func(*tls.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			config := clientTLS()
			change(config)
			c := tls.Client(conn, config)
			if c.Handshake() == nil {
				send(c)
			}
		}
	}
	same := func(*tls.Config) {}
	say := func(b ...byte) func(*tls.Conn) { return func(c *tls.Conn) { _, _ = c.Write(b) } }
	request, err := attls.EncodeRequest(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for name, client := range map[string]func(net.Conn){
		"closes": func(net.Conn) {},
		"garbage": func(conn net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, _ = conn.Write(make([]byte, 64))
		},
		"HTTP": func(conn net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, _ = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		},
		"TLS 1.2":              over(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, say(request...)),
		"another protocol":     over(func(c *tls.Config) { c.NextProtos = []string{"h2"} }, say(request...)),
		"no protocol":          over(func(c *tls.Config) { c.NextProtos = nil }, say(request...)),
		"no request":           over(same, func(*tls.Conn) {}),
		"HTTP/2 at once":       over(same, say([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")...)),
		"half a length":        over(same, say(0, 0)),
		"half a request":       over(same, say(request[:20]...)),
		"a length of 4 GiB":    over(same, say(0xff, 0xff, 0xff, 0xff)),
		"one byte too long":    over(same, say(binary.BigEndian.AppendUint32(nil, limits.EvidenceRequest+1)...)),
		"an empty request":     over(same, say(0, 0, 0, 0)),
		"a short nonce":        over(same, say(frame(t, map[int]any{1: 1, 2: make([]byte, 31)})...)),
		"version 2":            over(same, say(frame(t, map[int]any{1: 2, 2: make([]byte, 32)})...)),
		"not CBOR":             over(same, say(0, 0, 0, 3, 0xff, 0xff, 0xff)),
		"a request and a half": over(same, say(append([]byte{0, 0, 0, byte(len(request) - 3)}, append(slices.Clone(request[4:]), 0)...)...)),
	} {
		near, far := net.Pipe()
		done := accept(server, far)
		client(near)
		near.Close()
		if at := <-done; at.err == nil || at.conn != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the module was asked %d times", n)
	}
	// After all of them, an honest client is served.
	near, far := net.Pipe()
	done := accept(attls.NewServer(r.Certificate, time.Now, r.Evidence, time.Minute), far)
	if _, _, err := attls.Dial(t.Context(), near, r.Client(t, nil)); err != nil {
		t.Error(err)
	}
	if at := <-done; at.err != nil {
		t.Error(at.err)
	}
}

// TestNoResumption: a client that remembers sessions has none to come back to.
func TestNoResumption(t *testing.T) {
	r := rig.New(t, rig.Config{})
	server := attls.NewServer(r.Certificate, time.Now, r.Evidence, time.Minute)
	config := clientTLS()
	config.ClientSessionCache, config.ServerName = tls.NewLRUClientSessionCache(8), "enclave"
	request, err := attls.EncodeRequest(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		near, far := net.Pipe()
		done := accept(server, far)
		c := tls.Client(near, config)
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := attls.ReadFrame(c, limits.Evidence); err != nil {
			t.Fatal(err)
		}
		if s := c.ConnectionState(); s.DidResume || s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != attls.Protocol {
			t.Errorf("resumed %t, version %x, protocol %q", s.DidResume, s.Version, s.NegotiatedProtocol)
		}
		at := <-done
		if at.err != nil {
			t.Fatal(at.err)
		}
		go at.conn.Close()
		_, _ = io.Copy(io.Discard, c)
	}
	if _, ok := config.ClientSessionCache.Get("enclave"); ok {
		t.Error("the server gave a session ticket")
	}
}

// TestStalledClients: whoever stops at some place is closed after the timeout.
func TestStalledClients(t *testing.T) {
	certificate := rig.Certificate(t)
	handshake := func(send ...byte) func(net.Conn) {
		return func(conn net.Conn) {
			c := tls.Client(conn, clientTLS())
			_ = c.Handshake()
			_, _ = c.Write(send)
		}
	}
	request, err := attls.EncodeRequest(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	evidence := func(context.Context, []byte, [32]byte) (attls.Evidence, error) {
		return attls.Evidence{Document: make([]byte, 100), Bundle: make([]byte, 1<<20)}, nil
	}
	for name, client := range map[string]func(net.Conn){
		"before the handshake":     func(net.Conn) {},
		"in the handshake":         func(conn net.Conn) { _, _ = conn.Write([]byte{0x16, 3, 1, 1, 0}) },
		"before the request":       handshake(),
		"in the request":           handshake(request[:10]...),
		"before it reads anything": handshake(request...),
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			started := time.Now()
			done := accept(attls.NewServer(certificate, time.Now, evidence, time.Minute), far)
			go client(near)
			at := <-done
			if took := time.Since(started); !errors.Is(at.err, context.DeadlineExceeded) || took != time.Minute {
				t.Errorf("%s: %v after %v", name, at.err, took)
			}
			near.Close()
		})
	}
}

// TestModuleFails: a module that fails, hangs or answers nonsense costs the
// exchange and nothing else.
func TestModuleFails(t *testing.T) {
	certificate := rig.Certificate(t)
	config := rig.New(t, rig.Config{}).Client(t, nil)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		attest attls.Attest
		want   error
	}{
		"fails": {func(context.Context, []byte, [32]byte) (attls.Evidence, error) { return attls.Evidence{}, broken }, broken},
		"hangs": {func(ctx context.Context, _ []byte, _ [32]byte) (attls.Evidence, error) {
			<-ctx.Done()
			return attls.Evidence{}, ctx.Err()
		}, context.DeadlineExceeded},
		"nothing": {func(context.Context, []byte, [32]byte) (attls.Evidence, error) { return attls.Evidence{}, nil }, attls.ErrMessage},
		"too much": {func(context.Context, []byte, [32]byte) (attls.Evidence, error) {
			return attls.Evidence{Document: []byte{1}, Bundle: make([]byte, limits.Bundle+1)}, nil
		}, attls.ErrMessage},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			done := accept(attls.NewServer(certificate, time.Now, c.attest, time.Second), far)
			if _, _, err := attls.Dial(t.Context(), near, config); !errors.Is(err, attls.ErrExchange) {
				t.Errorf("%s: the client: %v", name, err)
			}
			if at := <-done; !errors.Is(at.err, c.want) {
				t.Errorf("%s: the server: %v", name, at.err)
			}
		})
	}
}

// TestPermits: strangers neither queue without bound nor reach the module more
// than a few at a time, and what they held is given back.
func TestPermits(t *testing.T) {
	certificate := rig.Certificate(t)
	var inside, most atomic.Int32
	synctest.Test(t, func(t *testing.T) {
		server := attls.NewServer(certificate, time.Now, func(ctx context.Context, _ []byte, _ [32]byte) (attls.Evidence, error) {
			most.Store(max(most.Load(), inside.Add(1)))
			defer inside.Add(-1)
			<-ctx.Done()
			return attls.Evidence{}, ctx.Err()
		}, time.Minute)
		request, err := attls.EncodeRequest(make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			var all []<-chan accepted
			var ends []net.Conn
			for range limits.Exchanges {
				near, far := net.Pipe()
				all, ends = append(all, accept(server, far)), append(ends, near)
				go func() { _, _ = tls.Client(near, clientTLS()).Write(request) }()
			}
			synctest.Wait()
			near, far := net.Pipe()
			if at := <-accept(server, far); !errors.Is(at.err, attls.ErrBusy) {
				t.Errorf("round %d: one more: %v", round, at.err)
			}
			closed(t, "turned away", near)
			for _, done := range all {
				if at := <-done; !errors.Is(at.err, context.DeadlineExceeded) {
					t.Errorf("round %d: %v", round, at.err)
				}
			}
			for _, c := range ends {
				c.Close()
			}
		}
	})
	if n := most.Load(); n != limits.Attesting {
		t.Errorf("%d at the module at once, not %d", n, limits.Attesting)
	}
}

// TestWrongCertificate: a server without a usable key serves nobody.
func TestWrongCertificate(t *testing.T) {
	for name, c := range map[string]tls.Certificate{
		"none": {}, "not a certificate": {Certificate: [][]byte{{1, 2, 3}}},
	} {
		near, far := net.Pipe()
		if at := <-accept(attls.NewServer(c, time.Now, nil, time.Minute), far); at.err == nil {
			t.Errorf("%s: accepted", name)
		}
		closed(t, name, near)
	}
}

// TestMany runs many exchanges at the same time.
func TestMany(t *testing.T) {
	r := rig.New(t, rig.Config{})
	server := attls.NewServer(r.Certificate, time.Now, r.Evidence, time.Minute)
	config := r.Client(t, nil)
	config.OnRefusal = func(err error) { t.Errorf("refused: %v", err) }
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			near, far := net.Pipe()
			done := accept(server, far)
			if _, _, err := attls.Dial(t.Context(), near, config); err != nil {
				t.Errorf("%v (%s)", err, class(err))
			}
			if at := <-done; at.err != nil {
				t.Error(at.err)
			}
		})
	}
	all.Wait()
}

// TestSPKI: the server tells the module the key that it uses.
func TestSPKI(t *testing.T) {
	r := rig.New(t, rig.Config{})
	leaf, err := x509.ParseCertificate(r.Certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	want := spki(t, r.Certificate)
	server := attls.NewServer(r.Certificate, time.Now, func(ctx context.Context, nonce []byte, got [32]byte) (attls.Evidence, error) {
		if got != want || len(nonce) != attls.NonceSize {
			t.Errorf("asked for another key than that of %s", leaf.Subject)
		}
		got[0]++ // an enclave that binds another key than it uses is found out
		return r.Evidence(ctx, nonce, got)
	}, time.Minute)
	near, far := net.Pipe()
	done := accept(server, far)
	if _, _, err := attls.Dial(t.Context(), near, r.Client(t, nil)); class(err) != attestation.Binding {
		t.Errorf("%v", err)
	}
	<-done
}
