package clock_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/clock"
)

// asked is a module that notes when it was asked, and a source of names.
type asked struct {
	module
	mu      sync.Mutex
	started time.Time
	at      []time.Duration
	names   []time.Duration
	source  string
	broken  error
}

func (a *asked) sign(ctx context.Context) (time.Time, error) {
	a.mu.Lock()
	a.at = append(a.at, time.Since(a.started))
	a.mu.Unlock()
	return a.module.sign(ctx)
}

func (a *asked) name() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names = append(a.names, time.Since(a.started))
	return a.source, a.broken
}

// questions answers when the module and the source were asked.
func (a *asked) questions() (at, names []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.at), slices.Clone(a.names)
}

// kept is a clock that is kept, with its module.
func kept(t *testing.T, a *asked) (c *clock.Clock, ended chan error, stop func()) {
	t.Helper()
	a.started = time.Now()
	c, err := clock.New(context.Background(), a.sign)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	go func() { ended <- c.Keep(ctx, a.name) }()
	return c, ended, cancel
}

// TestKeepsTheSchedule: 1 and 5 minutes after the start, then hourly, and the
// source each time and at once.
func TestKeepsTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{source: "tsc"}
		c, ended, stop := kept(t, a)
		synctest.Wait()
		if s := c.Status(); s != (clock.Status{Source: "tsc"}) {
			t.Errorf("at once: %+v", s)
		}
		time.Sleep(4 * time.Hour)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("told to stop: %v", err)
		}
		want := []time.Duration{0, time.Minute, 5 * time.Minute, 65 * time.Minute, 125 * time.Minute, 185 * time.Minute}
		at, names := a.questions()
		for i, list := range [][]time.Duration{at, names} {
			// The source is also asked when the next pause begins.
			seen := map[time.Duration]bool{}
			for _, at := range list {
				seen[at] = true
			}
			for _, at := range want {
				if !seen[at] {
					t.Errorf("list %d: not at %v: %v", i, at, list)
				}
			}
			if len(seen) != len(want) {
				t.Errorf("list %d: %v, want %v", i, list, want)
			}
		}
	})
}

func TestKeepFindsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tests := []struct {
			name   string
			after  time.Duration // the fault begins
			change func(*asked)
			found  time.Duration // at the latest
		}{
			{"a step at once", time.Second, func(a *asked) { a.offset += 3 * time.Second }, time.Minute},
			{"a step later", 3 * time.Minute, func(a *asked) { a.offset += 5 * time.Second }, 5 * time.Minute},
			{"a step after that", 6 * time.Minute, func(a *asked) { a.offset -= 5 * time.Second }, 65 * time.Minute},
		}
		for _, tt := range tests {
			a := &asked{source: "tsc"}
			c, ended, stop := kept(t, a)
			time.Sleep(tt.after)
			a.set(func(*module) { tt.change(a) })
			time.Sleep(tt.found - tt.after - time.Nanosecond)
			synctest.Wait()
			select {
			case err := <-ended:
				t.Errorf("%s: before its time: %v", tt.name, err)
			default:
			}
			time.Sleep(time.Nanosecond)
			err := <-ended
			if _, ok := errors.AsType[*clock.Disagreement](err); !ok {
				t.Errorf("%s: %v, want a *Disagreement", tt.name, err)
			}
			if s := c.Status(); s.Offset != 0 {
				t.Errorf("%s: a refused timestamp left %+v", tt.name, s)
			}
			stop()
		}
	})
}

// TestKeepStopsWithItsSource: a source that the kernel gave up is found out
// before the next comparison, whatever that would say.
func TestKeepStopsWithItsSource(t *testing.T) {
	broken := errors.New("jiffies")
	for name, after := range map[string]time.Duration{"at once": 0, "later": 30 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &asked{source: "tsc"}
				if after == 0 {
					a.broken = broken
				}
				_, ended, stop := kept(t, a)
				defer stop()
				time.Sleep(after)
				a.mu.Lock()
				a.broken = broken
				compared := len(a.at)
				a.mu.Unlock()
				if err := <-ended; !errors.Is(err, broken) {
					t.Errorf("%v, want the source's error", err)
				}
				if at, _ := a.questions(); len(at) != compared {
					t.Error("compared with another source")
				}
			})
		})
	}
}

// TestKeepAsksAgain: a module that is busy is asked every minute, and one that
// stays so for 90 minutes ends it.
func TestKeepAsksAgain(t *testing.T) {
	busy := errors.New("busy")
	t.Run("for a while", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &asked{source: "tsc"}
			c, ended, stop := kept(t, a)
			a.set(func(m *module) { m.err = busy })
			time.Sleep(30*time.Minute + time.Second)
			at, _ := a.questions()
			if s := c.Status(); s.Compared || s.Age != 30*time.Minute+time.Second || len(at) != 31 {
				t.Errorf("%+v after %d questions", s, len(at))
			}
			a.set(func(m *module) { m.err = nil; m.offset = -time.Second })
			time.Sleep(time.Minute)
			if s := c.Status(); !s.Compared || s.Age != time.Second || s.Offset != -time.Second {
				t.Errorf("after a comparison: %+v", s)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("for too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &asked{source: "tsc"}
			_, ended, stop := kept(t, a)
			defer stop()
			a.set(func(m *module) { m.err = busy })
			err := <-ended
			if !errors.Is(err, clock.ErrTooLong) || !errors.Is(err, busy) {
				t.Errorf("%v, want ErrTooLong", err)
			}
			if got := time.Since(a.started); got <= 90*time.Minute || got > 92*time.Minute {
				t.Errorf("after %v", got)
			}
		})
	})
	t.Run("until it is told to stop", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a := &asked{source: "tsc"}
			_, ended, stop := kept(t, a)
			a.set(func(m *module) { m.before, m.err = time.Second, context.Canceled })
			time.Sleep(time.Minute + time.Second/2)
			stop() // in the middle of a question
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	})
}

// TestKeepWithoutASource: where no machine is the enclave's own.
func TestKeepWithoutASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &module{offset: time.Hour}
		c := start(t, m)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := c.Keep(ctx, nil); err != nil {
			t.Error(err)
		}
		if s := c.Status(); s != (clock.Status{Compared: true, Age: time.Minute}) {
			t.Errorf("%+v", s)
		}
	})
}
