package relay_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/parent/relay"
)

// pipes joins two pipes and answers their outer ends, and a channel that is
// closed when the joining has ended.
func pipes(ctx context.Context, idle time.Duration) (a, b net.Conn, ended chan struct{}) {
	a, near := net.Pipe()
	b, far := net.Pipe()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		relay.NewCopier(idle).Join(ctx, near, far, nil)
	}()
	return a, b, ended
}

// isOver says whether a channel is closed once everybody has done all they can.
func isOver(ended chan struct{}) bool {
	synctest.Wait()
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

// TestIdle ends a pair only when both directions have been silent.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ended := pipes(t.Context(), time.Minute)
		defer a.Close()
		defer b.Close()
		// One direction is busy, the other one silent.
		for range 10 {
			time.Sleep(50 * time.Second)
			go func() { _, _ = a.Write([]byte{1}) }()
			if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		if isOver(ended) {
			t.Fatal("it ended before the time was up")
		}
		time.Sleep(2 * time.Second)
		if !isOver(ended) {
			t.Fatal("nobody sends, and it goes on")
		}
		if _, err := a.Read(make([]byte, 1)); err == nil {
			t.Error("an end is still open")
		}
	})
}

// TestStalledReader ends a pair whose one side takes nothing: the sender isn't
// silent, but nothing moves.
func TestStalledReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ended := pipes(t.Context(), time.Minute)
		defer b.Close()
		wrote := make(chan error, 1)
		go func() {
			_, err := a.Write(make([]byte, 1<<20))
			wrote <- err
		}()
		time.Sleep(59 * time.Second)
		if isOver(ended) {
			t.Fatal("it ended before the time was up")
		}
		time.Sleep(2 * time.Minute)
		if !isOver(ended) {
			t.Fatal("nothing moves, and it goes on")
		}
		if err := <-wrote; err == nil {
			t.Error("the sender thinks that all was taken")
		}
	})
}

// TestStalledReaderThatSends takes nothing either, and keeps the other
// direction busy.
func TestStalledReaderThatSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ended := pipes(t.Context(), time.Minute)
		defer b.Close()
		go func() { _, _ = a.Write(make([]byte, 1<<20)) }()
		go func() { _, _ = io.Copy(io.Discard, a) }()
		for range 10 {
			time.Sleep(20 * time.Second)
			if _, err := b.Write([]byte{1}); err != nil {
				break
			}
		}
		if !isOver(ended) {
			t.Error("nothing moves in one direction, and it goes on")
			a.Close()
		}
	})
}

func TestJoinEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b, ended := pipes(ctx, time.Hour)
		if isOver(ended) {
			t.Fatal("it ended by itself")
		}
		cancel()
		if !isOver(ended) {
			t.Fatal("it goes on")
		}
		for _, end := range []net.Conn{a, b} {
			if _, err := end.Read(make([]byte, 1)); err == nil {
				t.Error("an end is still open")
			}
		}
	})
}

// TestWholeClose passes an end on to a connection that can't be closed by
// halves.
func TestWholeClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ended := pipes(t.Context(), time.Hour)
		go func() {
			_, _ = a.Write([]byte("last words"))
			a.Close()
		}()
		if got, err := io.ReadAll(b); err != nil || string(got) != "last words" {
			t.Errorf("got %q, %v", got, err)
		}
		b.Close()
		if !isOver(ended) {
			t.Error("it goes on")
		}
	})
}

// TestOldDeadlines joins connections that somebody has given little time before.
func TestOldDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, near := net.Pipe()
		b, far := net.Pipe()
		for _, c := range []net.Conn{near, far} {
			if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			relay.NewCopier(time.Minute).Join(t.Context(), near, far, nil)
		}()
		time.Sleep(30 * time.Second)
		for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
			go func() { _, _ = way[0].Write([]byte{7}) }()
			if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(59 * time.Second)
		if isOver(ended) {
			t.Error("it ended before the time was up")
		}
		a.Close()
		b.Close()
		if !isOver(ended) {
			t.Error("it goes on")
		}
	})
}

// TestSlowReader takes a little at a time, never as slowly as nothing at all:
// each piece has the whole time.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b, ended := pipes(t.Context(), time.Minute)
		defer a.Close()
		defer b.Close()
		go func() {
			for {
				if _, err := a.Write(make([]byte, 10)); err != nil {
					return
				}
			}
		}()
		for range 20 {
			time.Sleep(50 * time.Second)
			if _, err := io.ReadFull(b, make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
		if isOver(ended) {
			t.Error("a reader that takes something is taken for a dead one")
		}
	})
}
