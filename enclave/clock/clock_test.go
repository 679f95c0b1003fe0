package clock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/clock"
)

// module is a source of signed time: the bubble's time, ahead by an offset,
// signed after one delay and answered after another.
type module struct {
	mu            sync.Mutex
	offset        time.Duration
	before, after time.Duration
	err           error
}

func (m *module) set(change func(*module)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *module) sign(context.Context) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	time.Sleep(m.before)
	at := time.Now().Add(m.offset)
	time.Sleep(m.after)
	return at, m.err
}

// truth is what the module would sign now.
func (m *module) truth() time.Time { return time.Now().Add(m.offset).Round(0) }

func start(t *testing.T, m *module) *clock.Clock {
	t.Helper()
	c, err := clock.New(context.Background(), m.sign)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// year makes the signed time of tests differ from the machine's.
const year = 365 * 24 * time.Hour

func TestNowIsSignedTimeAndWhatPassedSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &module{offset: 26 * year}
		c := start(t, m)
		for range 5 {
			if got := c.Now(); !got.Equal(m.truth()) {
				t.Fatalf("the clock says %v, signed time is %v", got, m.truth())
			}
			time.Sleep(17 * time.Minute)
		}
		if c.Now().Location() != time.UTC {
			t.Error("not in UTC")
		}
	})
}

// TestNowHasNoMonotonicReading runs on the machine's clock, since a bubble's
// has no such reading to carry over.
func TestNowHasNoMonotonicReading(t *testing.T) {
	c, err := clock.New(context.Background(), func(context.Context) (time.Time, error) { return time.Now(), nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Now(); strings.Contains(got.String(), "m=") || got != got.Round(0) {
		t.Errorf("%v would be compared by the machine's clock, not ours", got)
	}
}

func TestNowIsNeverBehindASlowModule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &module{before: 3 * time.Second, after: 4 * time.Second}
		c := start(t, m)
		if ahead := c.Now().Sub(m.truth()); ahead < 0 || ahead > m.before+m.after {
			t.Errorf("ahead by %v after a call of 7 s", ahead)
		}
	})
}

func TestRefresh(t *testing.T) {
	const hour = time.Hour
	// 2 s and 500 parts in a million: 1.8 s an hour.
	const hourly = 3800 * time.Millisecond
	tests := []struct {
		name    string
		elapsed time.Duration
		offset  time.Duration
		adopted bool
	}{
		{"no drift", hour, 0, true},
		{"ahead by the most", hour, hourly, true},
		{"ahead by more", hour, hourly + 1, false},
		{"behind by the most", hour, -hourly, true},
		{"behind by more", hour, -hourly - 1, false},
		{"at once, the most", 0, 2 * time.Second, true},
		{"at once, more", 0, 2*time.Second + 1, false},
		{"after a week", 7 * 24 * hour, 6 * time.Second, true},
		{"a frozen module", hour, -hour, false},
		{"a frozen machine", time.Second, hour, false},
		{"a machine at half speed", hour, hour, false},
		{"a module at half speed", hour, -hour / 2, false},
		{"stepped back by years", hour, -10 * year, false},
		{"stepped ahead by years", hour, 10 * year, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &module{offset: 26 * year}
				c := start(t, m)
				time.Sleep(tt.elapsed)
				before := c.Now()
				m.set(func(m *module) { m.offset += tt.offset })
				err := c.Refresh(context.Background())
				if tt.adopted {
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(hourly) // what was ahead has been caught up
					if got := c.Now(); !got.Equal(m.truth()) {
						t.Errorf("the clock says %v, signed time is %v", got, m.truth())
					}
					return
				}
				d, ok := errors.AsType[*clock.Disagreement](err)
				if !ok {
					t.Fatalf("%v, want a *Disagreement", err)
				}
				if d.Offset != tt.offset || d.Elapsed != tt.elapsed || d.Offset.Abs() <= d.Allowed {
					t.Errorf("%+v for an offset of %v after %v", *d, tt.offset, tt.elapsed)
				}
				if !strings.Contains(err.Error(), tt.offset.String()) {
					t.Errorf("%q doesn't say how far", err)
				}
				if got := c.Now(); !got.Equal(before) {
					t.Errorf("a refused timestamp moved the clock by %v", got.Sub(before))
				}
			})
		})
	}
}

func TestAClockAheadStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &module{offset: 26 * year}
		c := start(t, m)
		before := c.Now()
		m.set(func(m *module) { m.offset -= time.Second })
		if err := c.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second / 2)
		if got := c.Now(); !got.Equal(before) {
			t.Errorf("moved by %v before signed time has caught up", got.Sub(before))
		}
		time.Sleep(time.Second)
		if got := c.Now(); got.Sub(before) != time.Second/2 {
			t.Errorf("moved by %v after it has", got.Sub(before))
		}
	})
}

// TestSlowCallsAreNoDrift holds that the time a call takes is no disagreement,
// neither in the call that takes it nor in the next.
func TestSlowCallsAreNoDrift(t *testing.T) {
	for _, m := range []*module{{before: 25 * time.Second}, {after: 25 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			c := start(t, m)
			if err := c.Refresh(context.Background()); err != nil {
				t.Error(err)
			}
			m.set(func(m *module) { m.before, m.after = 0, 0 })
			if err := c.Refresh(context.Background()); err != nil {
				t.Error(err)
			}
			m.set(func(m *module) { m.offset = 3 * time.Second })
			if err := c.Refresh(context.Background()); err == nil {
				t.Error("after an exact timestamp 3 s at once are still allowed")
			}
		})
	}
}

func TestNoTimestamp(t *testing.T) {
	broken := errors.New("the device is gone")
	fixed := func(at time.Time, err error) func(context.Context) (time.Time, error) {
		return func(context.Context) (time.Time, error) { return at, err }
	}
	tests := []struct {
		name   string
		signed func(context.Context) (time.Time, error)
		also   error
	}{
		{"device error", fixed(time.Unix(1e9, 0), broken), broken},
		{"zero time", fixed(time.Time{}, nil), nil},
		{"the epoch", fixed(time.Unix(0, 0), nil), nil},
		{"before 1970", fixed(time.Unix(-1, 0), nil), nil},
		{"silent", func(ctx context.Context) (time.Time, error) {
			<-ctx.Done()
			return time.Time{}, ctx.Err()
		}, context.DeadlineExceeded},
		{"late", func(context.Context) (time.Time, error) {
			time.Sleep(31 * time.Second)
			return time.Now(), nil
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := clock.New(context.Background(), tt.signed)
				if c != nil || !errors.Is(err, clock.ErrTimestamp) {
					t.Fatalf("New: %v, want ErrTimestamp and no clock", err)
				}
				if tt.also != nil && !errors.Is(err, tt.also) {
					t.Errorf("%v hides %v", err, tt.also)
				}
				good := &module{}
				calls := 0
				c, err = clock.New(context.Background(), func(ctx context.Context) (time.Time, error) {
					if calls++; calls == 1 {
						return good.sign(ctx)
					}
					return tt.signed(ctx)
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Refresh(context.Background()); !errors.Is(err, clock.ErrTimestamp) {
					t.Errorf("Refresh: %v, want ErrTimestamp", err)
				}
				if got := c.Now(); !got.Equal(good.truth()) {
					t.Errorf("a timestamp that wasn't there moved the clock to %v", got)
				}
			})
		})
	}
}

func TestCancelledRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		first := true
		c, err := clock.New(ctx, func(ctx context.Context) (time.Time, error) {
			if first {
				first = false
				return time.Now(), nil
			}
			<-ctx.Done()
			return time.Time{}, ctx.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := c.Refresh(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
	})
}

// TestRandomHistories runs clocks through sleeps, drifts and refreshes and
// holds two properties: the clock never goes back, and right after an adopted
// timestamp it isn't behind and at most the adopted drift ahead.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			m := &module{offset: year}
			c := start(t, m)
			last := c.Now()
			for step := range 200 {
				time.Sleep(time.Duration(random.Int64N(int64(time.Hour))))
				shift := time.Duration(random.NormFloat64() * float64(2*time.Second))
				m.set(func(m *module) { m.offset += shift })
				err := c.Refresh(context.Background())
				now := c.Now()
				if now.Before(last) {
					t.Fatalf("seed %d, step %d: back by %v", seed, step, last.Sub(now))
				}
				if ahead := now.Sub(m.truth()); err == nil && (ahead < 0 || ahead > max(0, -shift)) {
					t.Fatalf("seed %d, step %d: ahead by %v after an adopted shift of %v", seed, step, ahead, shift)
				}
				if err != nil {
					m.set(func(m *module) { m.offset -= shift })
				}
				last = now
			}
		})
	}
}

// TestTogether lets many ask and refresh at once; an older timestamp that
// arrives late doesn't replace a newer one.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan struct{})
		calls := 0
		var mu sync.Mutex
		c, err := clock.New(context.Background(), func(context.Context) (time.Time, error) {
			mu.Lock()
			calls++
			mine := calls
			mu.Unlock()
			at := time.Now()
			if mine == 2 {
				<-late
				return at.Add(-year), nil // a disagreement, if it counted
			}
			return at, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		group.Go(func() {
			if err := c.Refresh(context.Background()); err != nil {
				t.Errorf("an outrun timestamp: %v", err)
			}
		})
		synctest.Wait()
		time.Sleep(time.Second)
		for range 8 {
			group.Go(func() {
				if err := c.Refresh(context.Background()); err != nil {
					t.Error(err)
				}
				last := c.Now()
				for range 100 {
					if now := c.Now(); now.Before(last) {
						t.Error("went back")
					} else {
						last = now
					}
				}
			})
		}
		synctest.Wait()
		close(late)
		group.Wait()
	})
}
