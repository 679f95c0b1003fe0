package nsm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/attestation/nsm"
)

// slow is a device that takes its time, whatever the context says, as the
// driver does, and counts.
type slow struct {
	takes           time.Duration
	running, served atomic.Int32
	together        atomic.Int32
}

func (s *slow) Exchange(context.Context, []byte) ([]byte, error) {
	if n := s.running.Add(1); n > s.together.Load() {
		s.together.Store(n)
	}
	time.Sleep(s.takes)
	s.running.Add(-1)
	s.served.Add(1)
	return []byte("\x67LockPCR"), nil
}

// TestOneAtATime checks that many callers share the module one by one and that
// all are served.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 50
		device := &slow{takes: time.Second}
		c := nsm.NewClient(device)
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				if err := c.Lock(t.Context(), 16); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if device.together.Load() != 1 || device.served.Load() != callers {
			t.Errorf("%d exchanges, %d of them at once; want %d and 1", device.served.Load(), device.together.Load(), callers)
		}
	})
}

// TestWaitingEnds checks that a caller who waits for the permit leaves when its
// context ends, without an exchange.
func TestWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := &slow{takes: time.Minute}
		c := nsm.NewClient(device)
		var group sync.WaitGroup
		group.Go(func() {
			if err := c.Lock(t.Context(), 16); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := c.Lock(ctx, 17); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		if waited := time.Since(began); waited != time.Second {
			t.Errorf("left after %v of the fake clock, want 1s", waited)
		}
		group.Wait()
		if device.served.Load() != 1 {
			t.Errorf("%d exchanges, want 1", device.served.Load())
		}
	})
}

// TestAbandonedExchange checks that a caller leaves in the midst of an
// exchange, and that the next exchange still waits for the end of that one.
func TestAbandonedExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := &slow{takes: time.Minute}
		c := nsm.NewClient(device)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if err := c.Lock(ctx, 16); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want Canceled", err)
		}
		if device.running.Load() != 1 {
			t.Error("the abandoned exchange isn't running")
		}
		if err := c.Lock(t.Context(), 16); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 2*time.Minute || device.together.Load() != 1 {
			t.Errorf("two exchanges in %v of the fake clock, %d at once; want 2m0s and 1", took, device.together.Load())
		}
	})
}

// TestDeadDevice checks that a call without a deadline ends all the same.
func TestDeadDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := nsm.NewClient(&slow{takes: 2 * nsm.Wait})
		if err := c.Lock(t.Context(), 16); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want DeadlineExceeded", err)
		}
		time.Sleep(2 * nsm.Wait) // until the device is done
	})
}

// TestEndedContext checks that nothing begins when the context has ended, and
// that the permit is free afterwards.
func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &script{response: []byte("\x67LockPCR")}
	c := nsm.NewClient(s)
	for range 50 { // the permit is free, so both ways out are open
		if err := c.Lock(ctx, 16); !errors.Is(err, context.Canceled) || s.calls != 0 {
			t.Fatalf("%v after %d exchanges, want Canceled and none", err, s.calls)
		}
	}
	live, leave := context.WithTimeout(t.Context(), time.Minute)
	defer leave()
	if err := c.Lock(live, 16); err != nil {
		t.Fatal(err)
	}
}

// TestDeviceErrors checks that errors of the device arrive as they are, and
// the driver's word for an oversized request as the module's too.
func TestDeviceErrors(t *testing.T) {
	failure := errors.New("broken")
	for given, want := range map[error][]error{
		failure:          {failure},
		syscall.ENODATA:  {syscall.ENODATA},
		syscall.EMSGSIZE: {syscall.EMSGSIZE, nsm.InputTooLarge},
	} {
		for _, o := range operations() {
			s := &script{err: fmt.Errorf("device: %w", given), response: unhex(t, o.response)}
			_, err := o.call(t.Context(), nsm.NewClient(s))
			for _, w := range want {
				if !errors.Is(err, w) {
					t.Errorf("%s: %v, want %v", o.name, err, w)
				}
			}
			if typed, ok := errors.AsType[nsm.Error](err); ok != (len(want) == 2) {
				t.Errorf("%s, %v: typed %q", o.name, given, typed)
			}
		}
	}
}
