package relay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/relay"
)

// halves is a connection that can be closed by halves.
type halves interface {
	net.Conn
	CloseWrite() error
}

// world is a relay between TCP and a vsock port with nothing behind it yet.
type world struct {
	t       *testing.T
	address string
	enclave net.Listener
	stop    context.CancelFunc
	ended   chan error
}

func newWorld(t *testing.T, c relay.Config) *world {
	t.Helper()
	dir := t.TempDir()
	enclave, err := vsock.Unix(dir, vsock.EnclaveCID).Listen(vsock.PortAttested)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			return vsock.Unix(dir, vsock.HostCID).Dial(ctx, vsock.EnclaveCID, vsock.PortAttested)
		}
	}
	c.Log = slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	w := &world{t: t, address: listener.Addr().String(), enclave: enclave, stop: stop, ended: make(chan error, 1)}
	go func() { w.ended <- relay.Serve(ctx, listener, c) }()
	t.Cleanup(func() {
		stop()
		enclave.Close()
		if err := <-w.ended; err != nil {
			t.Errorf("the relay ended with %v", err)
		}
	})
	return w
}

// dial is the side of a client.
func (w *world) dial() halves {
	w.t.Helper()
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c.(halves)
}

// accept is the side of the enclave.
func (w *world) accept() halves {
	w.t.Helper()
	c, err := w.enclave.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c.(halves)
}

// join answers both ends of one relayed connection.
func (w *world) join() (near, far halves) {
	w.t.Helper()
	near = w.dial()
	return near, w.accept()
}

// TestBytes sends random bytes in random pieces both ways at once, over several
// connections, so that buffers are used again while others are at work.
func TestBytes(t *testing.T) {
	w := newWorld(t, relay.Config{})
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		near, far := w.join()
		for side, ends := range [][2]halves{{near, far}, {far, near}} {
			random := rand.New(rand.NewPCG(seed, uint64(side)))
			sent := make([]byte, random.IntN(1<<20))
			for i := range sent {
				sent[i] = byte(random.Uint32())
			}
			wg.Go(func() {
				for rest := sent; len(rest) > 0; {
					n := min(len(rest), 1+random.IntN(200<<10))
					if _, err := ends[0].Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				if err := ends[0].CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if got, err := io.ReadAll(ends[1]); err != nil || !bytes.Equal(got, sent) {
					t.Errorf("connection %d side %d: %d bytes of %d came, %v", seed, side, len(got), len(sent), err)
				}
			})
		}
	}
	wg.Wait()
}

// TestHalfClose ends one direction; the other one stays open.
func TestHalfClose(t *testing.T) {
	w := newWorld(t, relay.Config{})
	for name, swap := range map[string]bool{"client first": false, "enclave first": true} {
		t.Run(name, func(t *testing.T) {
			one, other := w.join()
			if swap {
				one, other = other, one
			}
			if _, err := one.Write([]byte("question")); err != nil {
				t.Fatal(err)
			}
			if err := one.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(other); err != nil || string(got) != "question" {
				t.Fatalf("got %q, %v", got, err)
			}
			for range 3 {
				if _, err := other.Write([]byte("answer")); err != nil {
					t.Fatal(err)
				}
			}
			other.Close()
			if got, err := io.ReadAll(one); err != nil || string(got) != "answeransweranswer" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestOneSideGoes closes one side entirely while the other one only listens.
func TestOneSideGoes(t *testing.T) {
	w := newWorld(t, relay.Config{})
	for name, swap := range map[string]bool{"client": false, "enclave": true} {
		t.Run(name, func(t *testing.T) {
			one, other := w.join()
			if swap {
				one, other = other, one
			}
			one.Close()
			if n, err := other.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("read %d bytes, %v", n, err)
			}
		})
	}
}

func TestEnclaveAway(t *testing.T) {
	var up atomic.Bool
	dir := t.TempDir()
	w := newWorld(t, relay.Config{Dial: func(ctx context.Context) (net.Conn, error) {
		if !up.Load() {
			return nil, errors.New("nobody there")
		}
		return vsock.Unix(dir, vsock.HostCID).Dial(ctx, 77, vsock.PortAttested)
	}})
	if n, err := w.dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("without an enclave: %d bytes, %v", n, err)
	}
	// The next client finds it, when it has come.
	enclave, err := vsock.Unix(dir, 77).Listen(vsock.PortAttested)
	if err != nil {
		t.Fatal(err)
	}
	w.enclave.Close()
	w.enclave = enclave
	up.Store(true)
	near, far := w.join()
	carries(t, near, far)
	enclave.Close()
}

// carries demands that a byte comes through.
func carries(t *testing.T, near, far net.Conn) {
	t.Helper()
	if _, err := near.Write([]byte{42}); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := io.ReadFull(far, b[:]); err != nil || b[0] != 42 {
		t.Fatalf("got %v, %v", b, err)
	}
}

// echo makes the enclave's side send back what comes.
func (w *world) echo() {
	go func() {
		for {
			c, err := w.enclave.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// echoes says whether a byte comes back on a new connection, which it answers.
func (w *world) echoes() (net.Conn, bool) {
	w.t.Helper()
	c := w.dial()
	var b [1]byte
	_, wrote := c.Write([]byte{42})
	_, read := io.ReadFull(c, b[:])
	return c, wrote == nil && read == nil && b[0] == 42
}

func TestMaxConnections(t *testing.T) {
	w := newWorld(t, relay.Config{MaxConnections: 2})
	w.echo()
	first, ok1 := w.echoes()
	_, ok2 := w.echoes()
	if !ok1 || !ok2 {
		t.Fatal("the connections within the limit don't work")
	}
	if _, ok := w.echoes(); ok {
		t.Error("a third connection works")
	}
	first.Close()
	for range 1000 { // the relay takes a moment to notice
		if _, ok := w.echoes(); ok {
			return
		}
	}
	t.Error("the place of a closed connection isn't free")
}

func TestContextEnds(t *testing.T) {
	w := newWorld(t, relay.Config{})
	near, far := w.join()
	carries(t, near, far)
	w.stop()
	for _, end := range []net.Conn{near, far} {
		if n, err := end.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
	if err := <-w.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	w.ended <- nil
	if c, err := net.Dial("tcp", w.address); err == nil {
		c.Close()
		t.Error("the listener is still open")
	}
}

// troubled is a listener whose first accepts fail.
type troubled struct {
	net.Listener
	failures []error
}

func (l *troubled) Accept() (net.Conn, error) {
	if len(l.failures) > 0 {
		err := l.failures[0]
		l.failures = l.failures[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	final := errors.New("the network is gone")
	passing := []error{syscall.EMFILE, &net.OpError{Op: "accept", Err: syscall.ECONNABORTED}, syscall.ENOBUFS}
	listen := func(failures ...error) *troubled {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return &troubled{l, failures}
	}
	l := listen(append(passing, final)...)
	if err := relay.Each(t.Context(), l, admission.New(admission.Config{Permits: 1}), nil); !errors.Is(err, final) {
		t.Errorf("got %v", err)
	}
	if _, err := l.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is open: %v", err)
	}
	l = listen(passing...)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- relay.Each(ctx, l, admission.New(admission.Config{Permits: 1}), func(context.Context, net.Conn) { close(served) })
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-served
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a connection is open after its handler: %d, %v", n, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}
