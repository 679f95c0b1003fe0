package state_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/cloisterhq/cloister/enclave/state"
)

// TestFaultsThatSettle go wrong once and are found out by reading back.
func TestFaultsThatSettle(t *testing.T) {
	for name, f := range map[string]fault{"before": before, "after": after, "mute": mute, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.once(f)
				s := open(t, m)
				m.once(f)
				add(t, s, 0)
				add(t, s, 1)
				shows(t, s, 2)
				shows(t, open(t, m), 2)
			})
		})
	}
}

// TestUnsettled doesn't know whether a manifest is durable. Nothing else comes
// after it until that is known, and then it counts once.
func TestUnsettled(t *testing.T) {
	for name, f := range map[string]fault{"before": before, "mute": mute, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := chain(t, 1)
				s := open(t, m)
				m.inject(f)
				for range 2 {
					if _, err := s.Append(t.Context(), acceptance(1)); !errors.Is(err, state.ErrUnsettled) || !errors.Is(err, errStore) {
						t.Fatalf("got %v", err)
					}
				}
				m.inject(none)
				puts := m.puts
				if _, err := s.Append(t.Context(), acceptance(2)); !errors.Is(err, state.ErrUnsettled) {
					t.Errorf("another one: %v", err)
				}
				changed := acceptance(1)
				changed.Time++
				if _, err := s.Append(t.Context(), changed); !errors.Is(err, state.ErrUnsettled) {
					t.Errorf("almost the same one: %v", err)
				}
				if m.puts != puts {
					t.Error("something was written for them")
				}
				shows(t, s, 1)
				add(t, s, 1)
				add(t, s, 2)
				shows(t, s, 3)
				shows(t, open(t, m), 3)
			})
		})
	}
}

// TestDeathWhileUnsettled restarts without knowing. The state is one of two,
// and goes on from there.
func TestDeathWhileUnsettled(t *testing.T) {
	for f, want := range map[fault]int{mute: 1, silent: 2} {
		synctest.Test(t, func(t *testing.T) {
			m := chain(t, 1)
			m.inject(f)
			if _, err := open(t, m).Append(t.Context(), acceptance(1)); !errors.Is(err, state.ErrUnsettled) {
				t.Fatalf("got %v", err)
			}
			m.inject(none)
			s := open(t, m)
			shows(t, s, want)
			for n := want; n < 4; n++ {
				add(t, s, n)
			}
			shows(t, open(t, m), 4)
		})
	}
}

func TestUnsettledGenesis(t *testing.T) {
	for f, opened := range map[fault]int{mute: 0, silent: 1} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			m.inject(f)
			if _, err := state.Open(t.Context(), config(m)); !errors.Is(err, state.ErrUnsettled) {
				t.Fatalf("got %v", err)
			}
			m.inject(none)
			if len(m.objects) != opened {
				t.Fatalf("%d objects", len(m.objects))
			}
			s := open(t, m)
			add(t, s, 0)
			shows(t, open(t, m), 1)
		})
	}
}

// TestForkWhileUnsettled finds another writer's manifest where ours may be.
func TestForkWhileUnsettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 1)
		s := open(t, m)
		m.inject(mute)
		if _, err := s.Append(t.Context(), acceptance(1)); !errors.Is(err, state.ErrUnsettled) {
			t.Fatalf("got %v", err)
		}
		m.inject(none)
		add(t, open(t, m), 7)
		for range 2 {
			if _, err := s.Append(t.Context(), acceptance(1)); !errors.Is(err, state.ErrFork) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// TestContext heeds an end before writing, and none after it has begun.
func TestContext(t *testing.T) {
	m := chain(t, 1)
	s := open(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	puts := m.puts
	if _, err := s.Append(ctx, acceptance(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if m.puts != puts {
		t.Error("it wrote")
	}
	add(t, s, 2) // another one: nothing was left behind
	ctx, cancel = context.WithCancel(t.Context())
	m.fault = func(string) fault {
		cancel()
		return none
	}
	if number, err := s.Append(ctx, acceptance(3)); err != nil || number != 3 {
		t.Errorf("number %d, %v", number, err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m.fault = func(string) fault {
			cancel()
			m.fault = nil
			return before
		}
		if number, err := s.Append(ctx, acceptance(4)); err != nil || number != 4 {
			t.Errorf("a second attempt: number %d, %v", number, err)
		}
	})
}

// TestWhateverHappens appends under random faults and restarts, beside a model
// that is a list. What was answered as durable stays, in its place; what wasn't
// is there once or not at all.
func TestWhateverHappens(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 3))
				m := newMemory()
				s := open(t, m)
				m.fault = func(string) fault { return []fault{none, none, none, before, after, mute, silent}[random.IntN(7)] }
				var model []state.Acceptance
				open1 := -1 // what may be durable
				next := 0
				restart := func() {
					m.mu.Lock()
					m.quiet = false
					m.mu.Unlock()
					s = open(t, m)
					all := s.Accepted()
					if open1 >= 0 && len(all) == len(model)+1 && all[len(model)] == acceptance(open1) {
						model = append(model, all[len(model)])
					}
					if len(all) != len(model) {
						t.Fatalf("%d acceptances, want %d", len(all), len(model))
					}
					for i := range all {
						if all[i] != model[i] {
							t.Fatalf("acceptance %d is another one", i)
						}
					}
					open1 = -1
				}
				for range 60 {
					if random.IntN(6) == 0 {
						restart()
						continue
					}
					n := next
					if open1 >= 0 {
						n = open1
					}
					switch number, err := s.Append(t.Context(), acceptance(n)); {
					case err == nil:
						model = append(model, acceptance(n))
						if number != uint64(len(model)) {
							t.Fatalf("number %d, want %d", number, len(model))
						}
						open1, next = -1, n+1
					case errors.Is(err, state.ErrUnsettled):
						open1 = n
					case errors.Is(err, state.ErrAccepted): // it was durable when we died
						next = n + 1
					default:
						t.Fatal(err)
					}
				}
				restart()
			})
		})
	}
}
