package vsockdev_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/vhost/vsockdev"
)

// TestStreams echoes streams of many sizes, cut at random places, that either
// side has opened: every byte comes back, and then the end.
func TestStreams(t *testing.T) {
	w := newWorld(t)
	w.listen(t, vsock.HostCID, 7, mirror)
	w.listen(t, 2, 8, mirror)
	g := boot(t, w.path, nil)
	g.listen(9, echo)
	for i, n := range []int{0, 1, 43, 44, 4051, 4052, 4053, 65536, 256 << 10, 256<<10 + 1, 1 << 20, 8 << 20} {
		seed := uint64(i)
		b := random(seed, n)
		for cid, port := range map[uint64]uint32{3: 7, 2: 8} {
			s, err := g.dial(cid, port)
			if err != nil {
				t.Fatal(err)
			}
			s.pieces = []int{txSize, 1000}[i%2]
			if err := through(s, seed, b); err != nil {
				t.Errorf("guest to context id %d, %d bytes: %v", cid, n, err)
			}
			s.wait()
		}
		c, err := w.device.Dial(background(t), 9)
		if err != nil {
			t.Fatal(err)
		}
		if err := through(c, seed, b); err != nil {
			t.Errorf("host to guest, %d bytes: %v", n, err)
		}
		c.Close()
	}
	w.settled(t)
	if c := w.device.Counts(); c != (vsockdev.Counts{}) {
		t.Errorf("good streams left %+v", c)
	}
}

// TestManyStreams has two hundred at once.
func TestManyStreams(t *testing.T) {
	const each = 100
	w := newWorld(t)
	w.listen(t, vsock.HostCID, 7, mirror)
	g := boot(t, w.path, nil)
	g.listen(9, echo)
	ctx := background(t)
	var group sync.WaitGroup
	for i := range uint64(each) {
		b := random(i, int(i)*1000)
		group.Go(func() {
			s, err := g.dial(3, 7)
			if err == nil {
				err = through(s, i, b)
			}
			if err != nil {
				t.Errorf("guest to host %d: %v", i, err)
			}
		})
		group.Go(func() {
			c, err := w.device.Dial(ctx, 9)
			if err == nil {
				defer c.Close()
				err = through(c, i, b)
			}
			if err != nil {
				t.Errorf("host to guest %d: %v", i, err)
			}
		})
	}
	group.Wait()
	w.settled(t)
	if c := w.device.Counts(); c != (vsockdev.Counts{}) {
		t.Errorf("good streams left %+v", c)
	}
}

// TestHalfClose ends one direction and uses the other.
func TestHalfClose(t *testing.T) {
	question, answer := random(1, 700<<10), random(2, 900<<10)
	w := newWorld(t)
	// Both answer only when they have the whole question.
	w.listen(t, vsock.HostCID, 7, func(c net.Conn) {
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, question) {
			t.Errorf("the host got %d bytes, %v", len(got), err)
		}
		if _, err := c.Write(answer); err != nil {
			t.Errorf("the host can't answer: %v", err)
		}
	})
	g := boot(t, w.path, nil)
	g.listen(9, func(s *stream) {
		if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, question) {
			t.Errorf("the guest got %d bytes, %v", len(got), err)
		}
		if _, err := s.Write(answer); err != nil {
			t.Errorf("the guest can't answer: %v", err)
		}
		s.Close()
	})
	s, err := g.dial(3, 7)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.device.Dial(background(t), 9)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, c := range map[string]io.ReadWriter{"guest": s, "host": c} {
		if _, err := c.Write(question); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := closeWrite(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, answer) {
			t.Errorf("the %s got %d bytes of the answer, %v", name, len(got), err)
		}
	}
}

// TestNothingIsLostAtTheEnd lets the guest send and go at once, in each way
// there is, while the host doesn't read yet.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	for name, leave := range map[string]func(*stream){
		"half-close":            func(s *stream) { _ = s.CloseWrite() },
		"close":                 func(s *stream) { s.shut(3) },
		"close, then reset":     func(s *stream) { s.shut(3); s.abort() },
		"reset without a close": func(s *stream) { s.abort() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			left := make(chan struct{})
			got := make(chan []byte, 1)
			w.listen(t, vsock.HostCID, 7, func(c net.Conn) {
				<-left
				b, _ := io.ReadAll(c)
				got <- b
			})
			g := boot(t, w.path, nil)
			s, err := g.dial(3, 7)
			if err != nil {
				t.Fatal(err)
			}
			b := random(3, 256<<10) // all that the device allows ahead
			if _, err := s.Write(b); err != nil {
				t.Fatal(err)
			}
			leave(s)
			// A new stream shows that the device has seen the end of the old one.
			if _, err := g.dial(3, 8); err == nil {
				t.Fatal("somebody listens on port 8")
			}
			close(left)
			if got := <-got; !bytes.Equal(got, b) {
				t.Errorf("the host got %d of %d bytes", len(got), len(b))
			}
			w.settled(t)
		})
	}
}

// TestHostLeaves lets the host send and go while the guest still sends.
func TestHostLeaves(t *testing.T) {
	b := random(4, 300<<10)
	w := newWorld(t)
	w.listen(t, vsock.HostCID, 7, func(c net.Conn) { _, _ = c.Write(b) })
	g := boot(t, w.path, nil)
	s, err := g.dial(3, 7)
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error)
	go func() {
		for {
			if _, err := s.Write(b); err != nil {
				wrote <- err
				return
			}
		}
	}()
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, b) {
		t.Errorf("the guest got %d of %d bytes, %v", len(got), len(b), err)
	}
	if err := <-wrote; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the guest's writing ended with %v", err)
	}
	w.settled(t)
}

// TestHostTurnsDeaf lets the host receive no more while it still sends.
func TestHostTurnsDeaf(t *testing.T) {
	b := random(7, 300<<10)
	w := newWorld(t)
	goOn := make(chan struct{})
	w.listen(t, vsock.HostCID, 7, func(c net.Conn) {
		_ = c.(interface{ CloseRead() error }).CloseRead()
		_, _ = io.Copy(io.Discard, c) // a full socket wakes nobody
		<-goOn
		_, _ = c.Write(b)
	})
	g := boot(t, w.path, nil)
	s, err := g.dial(3, 7)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = s.Write(b)
	}
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the guest's writing ended with %v", err)
	}
	close(goOn)
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, b) {
		t.Errorf("the guest got %d of %d bytes, %v", len(got), len(b), err)
	}
	w.settled(t)
}

// TestGuestTurnsDeaf lets the guest receive no more while it still sends.
func TestGuestTurnsDeaf(t *testing.T) {
	b := random(5, 300<<10)
	w := newWorld(t)
	got, wrote := make(chan []byte, 1), make(chan error, 1)
	w.listen(t, vsock.HostCID, 7, func(c net.Conn) {
		go func() {
			for {
				if _, err := c.Write(b); err != nil {
					wrote <- err
					return
				}
			}
		}()
		b, _ := io.ReadAll(c)
		got <- b
	})
	g := boot(t, w.path, nil)
	s, err := g.dial(3, 7)
	if err != nil {
		t.Fatal(err)
	}
	s.shut(1)
	if err := <-wrote; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the host's writing ended with %v", err)
	}
	if _, err := s.Write(b); err != nil {
		t.Errorf("the guest can't send: %v", err)
	}
	_ = s.CloseWrite()
	if got := <-got; !bytes.Equal(got, b) {
		t.Errorf("the host got %d of %d bytes", len(got), len(b))
	}
	s.wait()
	w.settled(t)
}

// TestSlowReaders stops reading on one stream each way and uses others.
func TestSlowReaders(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	sum := make(chan int64, 1)
	w.listen(t, vsock.HostCID, 6, func(c net.Conn) { // reads late
		<-release
		n, _ := io.Copy(io.Discard, c)
		sum <- n
	})
	w.listen(t, vsock.HostCID, 7, mirror)
	g := boot(t, w.path, nil)
	g.listen(8, func(s *stream) { // reads late
		<-release
		echo(s)
	})
	g.listen(9, echo)
	b := random(6, 4<<20)
	slow, err := g.dial(3, 6)
	if err != nil {
		t.Fatal(err)
	}
	sluggish, err := w.device.Dial(background(t), 8)
	if err != nil {
		t.Fatal(err)
	}
	defer sluggish.Close()
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := slow.Write(b); err != nil {
			t.Errorf("to the slow host: %v", err)
		}
		_ = slow.CloseWrite()
	})
	group.Go(func() {
		if err := through(sluggish, 6, b); err != nil {
			t.Errorf("through the slow guest: %v", err)
		}
	})
	for i := range uint64(4) {
		s, err := g.dial(3, 7)
		if err != nil {
			t.Fatal(err)
		}
		if err := through(s, i, b[:1<<20]); err != nil {
			t.Errorf("beside slow streams: %v", err)
		}
		c, err := w.device.Dial(background(t), 9)
		if err != nil {
			t.Fatal(err)
		}
		if err := through(c, i, b[:1<<20]); err != nil {
			t.Errorf("beside slow streams: %v", err)
		}
		c.Close()
	}
	close(release)
	if n := <-sum; n != int64(len(b)) {
		t.Errorf("the slow host got %d of %d bytes", n, len(b))
	}
	group.Wait()
}

// TestNobodyListens on either side.
func TestNobodyListens(t *testing.T) {
	w := newWorld(t)
	g := boot(t, w.path, nil)
	if _, err := g.dial(3, 1); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("guest to host: %v", err)
	}
	if _, err := g.dial(4, 1); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("guest to another machine: %v", err)
	}
	if _, err := w.device.Dial(background(t), 1); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("host to guest: %v", err)
	}
	w.settled(t)
}

func TestDialWaitsForAGuest(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.device.Dial(ctx, 9); !errors.Is(err, context.Canceled) {
		t.Errorf("without a guest: %v", err)
	}
	dialled := make(chan error)
	go func() {
		c, err := w.device.Dial(background(t), 9)
		if err == nil {
			err = through(c, 1, []byte("waited"))
			c.Close()
		}
		dialled <- err
	}()
	inbox := make(chan packet, 1)
	g := boot(t, w.path, inbox)
	// The guest asks again for what came before anybody listened.
	first := <-inbox
	if first.op != request || first.source != 3 || first.destination != guestCID || first.destinationPort != 9 || first.allocated != 256<<10 {
		t.Fatalf("the guest got %+v, want a request", first)
	}
	g.kill()
	if err := <-dialled; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the guest ended: %v", err)
	}
}

// TestDialGivesUp: a guest that doesn't answer is told when the host no longer
// waits.
func TestDialGivesUp(t *testing.T) {
	w := newWorld(t)
	inbox := make(chan packet, 1)
	boot(t, w.path, inbox)
	ctx, cancel := context.WithCancel(t.Context())
	dialled := make(chan error)
	go func() {
		_, err := w.device.Dial(ctx, 9)
		dialled <- err
	}()
	first := <-inbox
	cancel()
	if err := <-dialled; !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want Canceled", err)
	}
	if p := <-inbox; p.op != reset || p.sourcePort != first.sourcePort {
		t.Errorf("the guest got %+v, want a reset", p)
	}
	w.settled(t)
}

// TestGuestsComeAndGo reboots a guest and kills it. All its connections end,
// and the next guest finds a device as new.
func TestGuestsComeAndGo(t *testing.T) {
	w := newWorld(t)
	hosts := make(chan net.Conn, 10)
	ended := make(chan struct{}, 10)
	w.listen(t, vsock.HostCID, 7, func(c net.Conn) {
		hosts <- c
		_, _ = io.Copy(io.Discard, c)
		ended <- struct{}{}
	})
	for _, end := range []func(g *guest) error{
		func(g *guest) error { g.front.Hang(); return nil },
		func(g *guest) error {
			g.halt()
			_, err := g.rx.Stop()
			return err
		},
	} {
		g := boot(t, w.path, nil)
		g.listen(9, func(s *stream) { s.wait() })
		if _, err := g.dial(3, 7); err != nil {
			t.Fatal(err)
		}
		<-hosts
		c, err := w.device.Dial(background(t), 9)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(g); err != nil {
			t.Fatal(err)
		}
		<-ended
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("the host read %d bytes of an ended guest, %v", n, err)
		}
		c.Close()
		w.settled(t)
		g.kill()
	}
}

func TestForward(t *testing.T) {
	w := newWorld(t)
	parent := vsock.Unix(w.dir, vsock.HostCID)
	l, err := vsock.Unix(w.dir, guestCID).Listen(5000)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.device.Forward(ctx, l, 5000) }()
	closed := func(when string) {
		t.Helper()
		c, err := parent.Dial(background(t), guestCID, 5000)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %d bytes, %v; want the end", when, n, err)
		}
	}
	closed("without a guest")
	g := boot(t, w.path, nil)
	if _, err := g.dial(3, 1); err == nil { // the guest runs from here on
		t.Fatal("somebody listens")
	}
	closed("refused")
	g.listen(5000, echo)
	for i := range uint64(3) {
		c, err := parent.Dial(background(t), guestCID, 5000)
		if err != nil {
			t.Fatal(err)
		}
		if err := through(c, i, random(i, 1<<20)); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("forwarding ended with %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is left open: %v", err)
	}
	if err := w.device.Forward(t.Context(), l, 5000); !errors.Is(err, net.ErrClosed) {
		t.Errorf("forwarding from a closed listener: %v", err)
	}
}
