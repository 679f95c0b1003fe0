package sidecar_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/attls"
)

// TestAge holds that a connection that is old or has rested gets no new calls,
// and that an old one stays for the calls that it has.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, newPipes())
		c := w.client(t)
		ok := func(verified int32) {
			t.Helper()
			if _, err := c.Execute(w.in(t.Context()), "q"); err != nil || w.verified.Load() != verified {
				t.Errorf("%v, verified %d times, not %d", err, w.verified.Load(), verified)
			}
		}
		ok(1)
		time.Sleep(time.Minute)
		ok(1)
		time.Sleep(3 * time.Minute)
		ok(2)
		stream, err := c.Client.DoExchange(w.in(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		exchange := func() {
			t.Helper()
			if err := stream.Send(&flight.FlightData{}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		exchange()
		for range 10 {
			ok(2)
			time.Sleep(time.Minute)
		}
		ok(3)
		exchange()
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		ok(3)
	})
}

// TestDownTogether has many clients wait for an enclave that doesn't answer:
// one attempt serves all of them, and the next caller makes another.
func TestDownTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, newPipes())
		w.kill()
		silent, err := w.net.listen()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		w.address = silent.Addr().String()
		c := w.client(t)
		var running sync.WaitGroup
		ask := func() {
			running.Go(func() {
				_, err := c.Execute(w.in(t.Context()), "q")
				if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "nobody listens") {
					t.Error(err)
				}
			})
		}
		for range 16 {
			ask()
		}
		synctest.Wait()
		silent.Close()
		running.Wait()
		if n := w.refused.Load(); n != 1 {
			t.Errorf("%d attempts for those who came together", n)
		}
		time.Sleep(time.Second)
		ask()
		running.Wait()
		if n := w.refused.Load(); n != 2 {
			t.Errorf("%d attempts after another call", n)
		}
	})
}

// TestGiveUp has the client that made the proxy dial go away: whoever waits
// behind it is served all the same.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, newPipes())
		config := w.Client(t, nil)
		hold := make(chan struct{})
		config.OnPeer = func(*attls.Peer) error { <-hold; return nil }
		w.trusts(config)
		c := w.client(t)
		first, leave := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if _, err := c.Execute(w.in(first), "q"); status.Code(err) != codes.Canceled {
				t.Error(err)
			}
		})
		synctest.Wait()
		running.Go(func() {
			if _, err := c.Execute(w.in(t.Context()), "q"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		close(hold)
		running.Wait()
		if w.service.calls.Load() != 1 {
			t.Errorf("%d calls", w.service.calls.Load())
		}
	})
}
