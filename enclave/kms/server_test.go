package kms_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Tests run in synctest's bubbles: pauses cost nothing there, time is exact, and
// the machine's clock begins with the year 2000. All connections are pipes.

// now is the enclave's clock. It is so far ahead of the machine's that whatever
// reads that one fails.
func now() time.Time { return time.Now().AddDate(31, 0, 0) }

// pipes is a listener without a network.
type pipes struct {
	waiting chan net.Conn
	ended   chan struct{}
	end     sync.Once
}

// Accept answers the other end of a connection that was dialled.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.waiting:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

// Close ends the listener.
func (p *pipes) Close() error {
	p.end.Do(func() { close(p.ended) })
	return nil
}

// Addr answers an address that the certificate of httptest is for.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.waiting <- far:
		return near, nil
	case <-p.ended:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve starts a TLS server whose client dials it through pipes.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	listener := &pipes{waiting: make(chan net.Conn), ended: make(chan struct{})}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = listener
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.Client().Transport.(*http.Transport).DialContext = listener.dial
	return s
}
