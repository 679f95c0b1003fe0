package counters_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/counters"
)

// all are the events, in their order.
var all = []counters.Event{
	counters.EnvelopeAccepted, counters.EnvelopeRefused, counters.QueryAnswered, counters.QueryRefused,
	counters.KMSGranted, counters.KMSDenied, counters.KMSUnavailable, counters.KeyringHit,
}

// run runs the counters until the test's end.
func run(t *testing.T, c *counters.Counters) {
	ctx, stop := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { stop(); loop.Wait() })
	synctest.Wait()
}

func TestAllowlist(t *testing.T) {
	if n := len(counters.Published{}); n != len(all) {
		t.Errorf("%d events are shown, and this test knows %d", n, len(all))
	}
	c := counters.New()
	for _, e := range []counters.Event{-1, counters.Event(len(all)), 1 << 40} {
		c.Count(e) // is nothing that is counted
	}
}

// TestCoarse: what is shown is a multiple of Step, at most Step away from the
// truth, and never changes between two intervals.
func TestCoarse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := counters.New()
		run(t, c)
		truth := uint64(0)
		for minute := range 200 {
			before := c.Published()
			for range minute % 7 {
				truth++
				for _, e := range all {
					c.Count(e)
				}
				time.Sleep(counters.Interval / 10)
				if c.Published() != before {
					t.Fatalf("minute %d: the picture changes within an interval", minute)
				}
			}
			time.Sleep(counters.Interval - time.Duration(minute%7)*counters.Interval/10)
			synctest.Wait()
			for i, shown := range c.Published() {
				if shown%counters.Step != 0 || shown >= truth+counters.Step || shown+counters.Step <= truth || shown < before[i] {
					t.Fatalf("minute %d, event %d: %d is shown for %d", minute, i, shown, truth)
				}
			}
		}
	})
}

// TestSecretPhase: how many events the next change is away differs from boot to
// boot and from counter to counter.
func TestSecretPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[uint64]bool{}
		for range 20 {
			c := counters.New()
			ctx, stop := context.WithCancel(t.Context())
			go c.Run(ctx)
			for range counters.Step / 2 {
				for _, e := range all {
					c.Count(e)
				}
			}
			time.Sleep(counters.Interval)
			synctest.Wait()
			for _, shown := range c.Published() {
				seen[shown] = true
			}
			stop()
			synctest.Wait()
		}
		// 160 counters with five events each show 0 or Step, about half of them each.
		if !seen[0] || !seen[counters.Step] || len(seen) != 2 {
			t.Errorf("shown: %v", seen)
		}
	})
}
