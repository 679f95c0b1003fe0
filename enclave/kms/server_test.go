package kms_test

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
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
	a, b := net.Pipe()
	near, far := newBuffered(a), newBuffered(b)
	err := net.ErrClosed
	select {
	case p.waiting <- far:
		return near, nil
	case <-p.ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	near.Close()
	far.Close()
	return nil, err
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
	t.Cleanup(func() {
		s.Close()
		time.Sleep(time.Minute) // for what closes late; a bubble must be empty at its end
		synctest.Wait()
	})
	s.Client().Transport.(*http.Transport).DialContext = listener.dial
	return s
}

// buffered is an end of a pipe whose writes never wait for the other end, as
// with a network: both ends may say goodbye at the same time.
type buffered struct {
	net.Conn
	mu     sync.Mutex
	closed bool
	queue  chan []byte
}

func newBuffered(c net.Conn) *buffered {
	b := &buffered{Conn: c, queue: make(chan []byte, 1<<10)}
	go b.drain()
	return b
}

// drain carries what was written to the other end, also after Close, if that
// end still reads.
func (b *buffered) drain() {
	for part := range b.queue {
		if _, err := b.Conn.Write(part); err != nil {
			break
		}
	}
	b.Conn.Close()
}

// Write queues a copy.
func (b *buffered) Write(part []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, net.ErrClosed
	}
	select {
	case b.queue <- bytes.Clone(part):
		return len(part), nil
	default:
		return 0, io.ErrShortWrite // a test that writes this much needs a longer queue
	}
}

// Close ends the queue and gives the other end a second to read it.
func (b *buffered) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return net.ErrClosed
	}
	b.closed = true
	close(b.queue)
	return b.Conn.SetWriteDeadline(time.Now().Add(time.Second))
}

// SetDeadline is for reads: writes don't wait.
func (b *buffered) SetDeadline(t time.Time) error { return b.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (b *buffered) SetWriteDeadline(time.Time) error { return nil }
