package admission_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
)

// reason answers why somebody wasn't let in, "" when the error is another.
func reason(err error) string {
	if full, ok := errors.AsType[*admission.Full](err); ok {
		return full.Reason
	}
	return ""
}

// take is one request of a script, and what becomes of it.
type take struct {
	key    string
	weight int64
	want   string // the reason, "" when it gets in
}

// TestTry: each bound lets in what is just below it and nothing above.
func TestTry(t *testing.T) {
	many := func(n int, s take) []take { return slices.Repeat([]take{s}, n) }
	for name, c := range map[string]struct {
		config admission.Config
		script []take
	}{
		"the zero pool": {admission.Config{}, []take{{want: admission.ReasonPermits}}},
		"permits":       {admission.Config{Permits: 3}, append(many(3, take{}), take{want: admission.ReasonPermits})},
		"weight": {admission.Config{Permits: 9, Weight: 10}, []take{
			{weight: 4}, {weight: 7, want: admission.ReasonWeight}, {weight: 6}, {weight: 1, want: admission.ReasonWeight}, {weight: 0},
		}},
		"too heavy alone":  {admission.Config{Permits: 9, Weight: 10}, []take{{weight: 11, want: admission.ReasonWeight}, {weight: 10}}},
		"a huge weight":    {admission.Config{Permits: 9, Weight: 10}, []take{{weight: 1}, {weight: 1<<63 - 1, want: admission.ReasonWeight}}},
		"a negative one":   {admission.Config{Permits: 9, Weight: 10}, []take{{weight: -1 << 63}, {weight: 10}, {weight: 1, want: admission.ReasonWeight}}},
		"no weight":        {admission.Config{Permits: 2}, []take{{weight: 1<<63 - 1}, {weight: 1}}},
		"one key":          {admission.Config{Permits: 9, PerKey: 2}, []take{{key: "a"}, {key: "a"}, {key: "a", want: admission.ReasonKey}, {key: "b"}}},
		"nobody's key":     {admission.Config{Permits: 3, PerKey: 1}, []take{{}, {}, {}, {want: admission.ReasonPermits}}},
		"Try never queues": {admission.Config{Permits: 1, Queue: 5}, []take{{}, {want: admission.ReasonPermits}}},
	} {
		p := admission.New(c.config)
		refused := uint64(0)
		for i, s := range c.script {
			_, err := p.Try(s.key, s.weight)
			if got := reason(err); got != s.want || (err == nil) != (s.want == "") {
				t.Errorf("%s: request %d: %v, want %q", name, i, err, s.want)
			}
			if s.want != "" {
				refused++
			}
		}
		if l := p.Load(); l.Refused != refused || l.Inside != len(c.script)-int(refused) || l.Waiting != 0 {
			t.Errorf("%s: load %+v", name, l)
		}
	}
}

func TestRelease(t *testing.T) {
	p := admission.New(admission.Config{Permits: 1, Weight: 5, PerKey: 1, Retry: 3 * time.Second})
	for round := range 3 {
		permit, err := p.Try("a", 5)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		_, err = p.Try("b", 0)
		if full, ok := errors.AsType[*admission.Full](err); !ok || full.Retry != 3*time.Second {
			t.Errorf("round %d: %v", round, err)
		}
		permit.Release()
		permit.Release() // counts once
	}
	if l := p.Load(); l.Inside != 0 || l.Weight != 0 || l.Refused != 3 {
		t.Errorf("load %+v", l)
	}
}

// arrival is somebody who wants in and may have to wait.
type arrival struct {
	name   string
	done   chan struct{}
	permit *admission.Permit
	err    error
}

// arrive asks for a place and answers when the asking can't go on by itself.
func arrive(ctx context.Context, p *admission.Pool, name, key string, weight int64) *arrival {
	a := &arrival{name: name, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.permit, a.err = p.Acquire(ctx, key, weight)
	}()
	synctest.Wait()
	return a
}

// got says whether it is inside.
func (a *arrival) got() bool {
	select {
	case <-a.done:
		return a.err == nil
	default:
		return false
	}
}

// names answers those of the arrivals who are inside.
func names(all []*arrival) (in []string) {
	for _, a := range all {
		if a.got() {
			in = append(in, a.name)
		}
	}
	return in
}

// TestOrder: the queue is in the order of arrival. The heavy aren't overtaken
// by the light, and who is over the bound of a key holds nobody back.
func TestOrder(t *testing.T) {
	type who struct {
		key    string
		weight int64
	}
	for name, c := range map[string]struct {
		config  admission.Config
		holders []who
		waiters []who
		// inside are those who are let in as the holders leave one by one.
		inside []string
	}{
		"arrival": {
			admission.Config{Permits: 2, Queue: 9},
			[]who{{}, {}}, []who{{}, {}, {}},
			[]string{"[]", "[0]", "[0 1]"},
		},
		"the heavy": {
			admission.Config{Permits: 9, Weight: 10, Queue: 9},
			[]who{{"", 5}, {"", 5}}, []who{{"", 8}, {"", 1}},
			[]string{"[]", "[]", "[0 1]"},
		},
		"a key": {
			admission.Config{Permits: 3, PerKey: 1, Queue: 9},
			[]who{{"a", 0}, {"b", 0}, {"c", 0}}, []who{{"c", 0}, {"a", 0}, {"b", 0}},
			[]string{"[]", "[1]", "[1 2]", "[0 1 2]"},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := admission.New(c.config)
			var holders, waiters []*arrival
			for i, h := range c.holders {
				holders = append(holders, arrive(t.Context(), p, fmt.Sprint(i), h.key, h.weight))
			}
			for i, w := range c.waiters {
				waiters = append(waiters, arrive(t.Context(), p, fmt.Sprint(i), w.key, w.weight))
			}
			for i, want := range c.inside {
				if got := fmt.Sprint(names(waiters)); got != want {
					t.Errorf("%s: after %d left: %s, want %s", name, i, got, want)
				}
				if i < len(holders) {
					holders[i].permit.Release()
					synctest.Wait()
				}
			}
			for range waiters { // each of them makes room for the others
				for _, w := range waiters {
					if w.got() {
						w.permit.Release()
					}
				}
				synctest.Wait()
			}
			if got := names(waiters); len(got) != len(waiters) {
				t.Errorf("%s: only %v got in", name, got)
			}
			if l := p.Load(); l != (admission.Load{}) {
				t.Errorf("%s: load %+v at the end", name, l)
			}
		})
	}
}

// TestQueue: the queue is bounded, as a whole and for one key, and so is the
// wait.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := admission.New(admission.Config{Permits: 1, Weight: 10, Queue: 3, QueuePerKey: 2, Wait: time.Minute, Retry: time.Second})
		holder, err := p.Try("", 1)
		if err != nil {
			t.Fatal(err)
		}
		first, second := arrive(t.Context(), p, "first", "a", 0), arrive(t.Context(), p, "second", "a", 0)
		third := arrive(t.Context(), p, "third", "a", 0)
		if reason(third.err) != admission.ReasonPermits {
			t.Errorf("a third of one key: %v", third.err)
		}
		other := arrive(t.Context(), p, "other", "b", 0)
		late := arrive(t.Context(), p, "late", "c", 0)
		if reason(late.err) != admission.ReasonPermits {
			t.Errorf("a fourth: %v", late.err)
		}
		never := arrive(t.Context(), p, "never", "", 11)
		if reason(never.err) == "" {
			t.Errorf("heavier than the pool: %v", never.err)
		}
		if l := p.Load(); l.Waiting != 3 || l.Inside != 1 || l.Refused != 3 {
			t.Errorf("load %+v", l)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if n := p.Load().Waiting; n != 3 {
			t.Errorf("%d wait before their time is over", n)
		}
		holder.Release()
		synctest.Wait()
		if !first.got() {
			t.Errorf("the first isn't inside: %v", first.err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		for _, a := range []*arrival{second, other} {
			if reason(a.err) != admission.ReasonWait {
				t.Errorf("%s: %v", a.name, a.err)
			}
		}
		if l := p.Load(); l.Waiting != 0 || l.Inside != 1 {
			t.Errorf("load %+v", l)
		}
	})
}

// TestGone: who goes away leaves no place taken, and those behind move up.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := admission.New(admission.Config{Permits: 9, Weight: 10, Queue: 9})
		holder, err := p.Try("", 6)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		heavy := arrive(ctx, p, "heavy", "", 9)
		light := arrive(t.Context(), p, "light", "", 4)
		if heavy.got() || light.got() {
			t.Fatal("somebody is inside too early")
		}
		leave()
		synctest.Wait()
		if !errors.Is(heavy.err, context.Canceled) || !light.got() {
			t.Errorf("heavy %v, light %v", heavy.err, light.err)
		}
		if _, err := p.Acquire(ctx, "", 0); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		holder.Release()
		light.permit.Release()
		if l := p.Load(); l.Inside != 0 || l.Weight != 0 || l.Waiting != 0 {
			t.Errorf("load %+v", l)
		}
	})
}
