package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// pipes is a network without a kernel, whose waits a fake clock can see.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipe // guarded by mu
}

func newPipes() *pipes { return &pipes{listeners: map[string]*pipe{}} }

func (p *pipes) listen() (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &pipe{name: strings.Repeat("p", len(p.listeners)+1), conns: make(chan net.Conn), closed: make(chan struct{})}
	l.Close = sync.OnceValue(func() error { close(l.closed); return nil })
	p.listeners[l.name] = l
	return pipeListener{l}, nil
}

func (p *pipes) dial(ctx context.Context, address string) (net.Conn, error) {
	p.mu.Lock()
	l := p.listeners[address]
	p.mu.Unlock()
	near, far := duplex()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.closed:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipe struct {
	name   string
	conns  chan net.Conn
	closed chan struct{}
	Close  func() error
}

type pipeListener struct{ *pipe }

// Accept answers the next connection.
func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listener.
func (l pipeListener) Close() error { return l.pipe.Close() }

// Addr answers the name to dial.
func (l pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: l.name, Net: "pipe"} }

// duplex answers the two ends of a connection. Unlike net.Pipe it buffers, as
// HTTP/2 expects: both of its sides begin by writing.
func duplex() (near, far net.Conn) {
	a, b := newHalf(), newHalf()
	return &end{in: a, out: b}, &end{in: b, out: a}
}

// half is one direction of a connection.
type half struct {
	mu     sync.Mutex
	more   *sync.Cond
	buffer bytes.Buffer // guarded by mu
	closed bool         // guarded by mu
}

func newHalf() *half {
	h := &half{}
	h.more = sync.NewCond(&h.mu)
	return h
}

func (h *half) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.more.Broadcast()
}

type end struct{ in, out *half }

// Read waits for bytes or the end.
func (e *end) Read(p []byte) (int, error) {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	for e.in.buffer.Len() == 0 && !e.in.closed {
		e.in.more.Wait()
	}
	if e.in.buffer.Len() == 0 {
		return 0, io.EOF
	}
	return e.in.buffer.Read(p)
}

// Write never waits.
func (e *end) Write(p []byte) (int, error) {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	if e.out.closed {
		return 0, io.ErrClosedPipe
	}
	defer e.out.more.Broadcast()
	return e.out.buffer.Write(p)
}

// Close ends both directions.
func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

// LocalAddr and RemoteAddr name nothing.
func (*end) LocalAddr() net.Addr { return &net.UnixAddr{Name: "p", Net: "pipe"} }

// RemoteAddr names nothing.
func (e *end) RemoteAddr() net.Addr { return e.LocalAddr() }

// SetDeadline has no effect: nobody here waits forever.
func (*end) SetDeadline(time.Time) error { return nil }

// SetReadDeadline has no effect.
func (*end) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline has no effect.
func (*end) SetWriteDeadline(time.Time) error { return nil }
