package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/test/genuine"
)

// TestReplayRefuses everything but the envelope that was accepted.
func TestReplayRefuses(t *testing.T) {
	w := newWorld(t)
	w.accepts(write(1).raw(t))
	w.accepts(write(2).raw(t))
	all := w.state.Accepted()
	right := w.inbox[all[0].Envelope]
	resealed := write(1)
	resealed.header.Salt[31] = 9
	for name, raw := range map[string][]byte{
		"another accepted one": w.inbox[all[1].Envelope],
		"the same resealed":    resealed.raw(t),
	} {
		w.start()
		if err := w.in.Replay(t.Context(), all[0], raw); !errors.Is(err, ingest.ErrReplay) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range map[string][]byte{
		"nothing": nil, "cut": right[:len(right)-1], "noise": bytes.Repeat([]byte{3}, 500), "changed": append(bytes.Clone(right[:len(right)-1]), right[len(right)-1]^1),
	} {
		w.start()
		if err := w.in.Replay(t.Context(), all[0], raw); !errors.Is(err, ingest.ErrReplay) || reason(err) != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(a *state.Acceptance){
		"content":  func(a *state.Acceptance) { a.Content[0]++ },
		"accepted": func(a *state.Acceptance) { a.Accepted-- },
		"rejected": func(a *state.Acceptance) { a.Rejected++ },
		"sequence": func(a *state.Acceptance) { a.Sequence++ },
		"stream":   func(a *state.Acceptance) { a.Stream = "t" },
		"producer": func(a *state.Acceptance) { a.Producer = "clinic-b" },
		"dataset":  func(a *state.Acceptance) { a.Dataset = "visits" },
		"contract": func(a *state.Acceptance) { a.Contract = "2.0.0" },
		"signer":   func(a *state.Acceptance) { a.Signer[0]++ },
	} {
		w.start()
		a := all[0]
		spoil(&a)
		if err := w.in.Replay(t.Context(), a, right); !errors.Is(err, ingest.ErrReplay) {
			t.Errorf("%s: %v", name, err)
		}
		if w.rows("colon") != "0 " {
			t.Errorf("%s: queries see %s", name, w.rows("colon"))
		}
	}
}

// TestReplayWaits for keys that aren't there, and changes nothing until then.
func TestReplayWaits(t *testing.T) {
	w := newWorld(t)
	w.accepts(write(1).raw(t))
	w.start()
	a := w.state.Accepted()[0]
	w.keys.err = errKMS
	if err := w.in.Replay(t.Context(), a, w.inbox[a.Envelope]); !errors.Is(err, errKMS) {
		t.Errorf("got %v", err)
	}
	w.keys.err = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.in.Replay(ctx, a, w.inbox[a.Envelope]); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if w.rows("colon") != "0 " {
		t.Errorf("queries see %s", w.rows("colon"))
	}
	if err := w.in.Replay(t.Context(), a, w.inbox[a.Envelope]); err != nil || w.rows("colon") != "1 0:100 1:101 2:102" {
		t.Errorf("%v; queries see %s", err, w.rows("colon"))
	}
}

// TestReplayWritesNothing: it only shows.
func TestReplayWritesNothing(t *testing.T) {
	w := newWorld(t)
	for n := range uint64(5) {
		w.accepts(write(n).raw(t))
	}
	seen, objects := w.rows("colon"), len(w.disk.objects)
	w.disk.inject(before)
	for range 3 {
		w.boot()
		if w.rows("colon") != seen || len(w.disk.objects) != objects {
			t.Errorf("queries see %s of %s; %d objects of %d", w.rows("colon"), seen, len(w.disk.objects), objects)
		}
	}
}

// TestUnsettled keeps the place of an envelope of which nobody knows whether it
// is durable: the next one of any producer settles it first.
func TestUnsettled(t *testing.T) {
	for name, f := range map[string]fault{"mute": mute, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				first, other := write(1).raw(t), write(2).raw(t)
				w.disk.inject(f)
				for range 2 {
					if _, err := w.accept(first); !errors.Is(err, state.ErrUnsettled) || reason(err) != "" {
						t.Fatalf("got %v", err)
					}
				}
				if _, err := w.accept(other); !errors.Is(err, state.ErrUnsettled) {
					t.Fatalf("the other one: %v", err)
				}
				if w.rows("colon") != "0 " {
					t.Errorf("queries see %s", w.rows("colon"))
				}
				w.disk.inject(none)
				w.accepts(other)
				w.accepts(first)
				want := "2 0:100 1:101 2:102 3:200 4:201 5:202" // in the order in which they came
				if got := w.rows("colon"); got != want {
					t.Errorf("queries see %s", got)
				}
				w.boot()
				if got := w.rows("colon"); got != want {
					t.Errorf("after a restart %s", got)
				}
			})
		})
	}
}

// TestConflictWhileUnsettled resolves what is held before it judges.
func TestConflictWhileUnsettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.disk.inject(silent)
		if _, err := w.accept(write(1).raw(t)); !errors.Is(err, state.ErrUnsettled) {
			t.Fatalf("got %v", err)
		}
		w.disk.inject(none)
		l := write(1)
		l.records[0][1].Int++
		if _, err := w.accept(l.raw(t)); reason(err) != ingest.ReasonConflict {
			t.Errorf("got %v", err)
		}
		if w.rows("colon") != "1 0:100 1:101 2:102" {
			t.Errorf("queries see %s", w.rows("colon"))
		}
	})
}

// TestWhateverHappens hands envelopes in again and again, also resealed and
// with other records, while the store fails, the keys fail and the enclave
// dies. Every batch with a receipt is in the tables once, no other is there
// twice, the order never changes, and receipts stay what they were.
func TestWhateverHappens(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				walk := &walk{world: w, random: rand.New(rand.NewPCG(seed, 5)), receipts: map[[32]byte][]byte{}, batches: map[uint64]bool{}}
				w.disk.fault = func(string) fault {
					return []fault{none, none, none, none, before, after, mute, silent}[walk.random.IntN(8)]
				}
				for range 60 {
					walk.step()
				}
				w.disk.inject(none)
				walk.check()
				for n := range uint64(6) { // and in the end all of them count
					if _, err := w.accept(write(n).raw(t)); err != nil && reason(err) != ingest.ReasonConflict {
						t.Errorf("envelope %d: %v", n, err)
					}
				}
				walk.check()
				if w.state.Head() != 6 {
					t.Errorf("head %d", w.state.Head())
				}
			})
		})
	}
}

// walk is a random walk and what it has seen.
type walk struct {
	*world
	random   *rand.Rand
	receipts map[[32]byte][]byte // by envelope
	batches  map[uint64]bool     // numbers that have a receipt since the last check
	order    []state.Acceptance
}

func (k *walk) step() {
	k.t.Helper()
	switch k.random.IntN(12) {
	case 0:
		k.check()
		return
	case 1:
		k.keys.err = []error{nil, errKMS}[k.random.IntN(2)]
		return
	}
	l := write(uint64(k.random.IntN(6)))
	switch k.random.IntN(4) {
	case 0: // resealed
		l.header.Salt[31] = byte(1 + k.random.IntN(2))
	case 1: // other records
		l.records[0][1].Int += 50
	}
	raw := l.raw(k.t)
	accepted, err := k.accept(raw)
	switch {
	case err == nil:
		d := sha256.Sum256(raw)
		if before, ok := k.receipts[d]; ok && !bytes.Equal(before, accepted.Receipt) {
			k.t.Fatal("one envelope has two receipts")
		}
		k.receipts[d] = accepted.Receipt
		k.batches[l.header.Sequence] = true
	case reason(err) != "" && reason(err) != ingest.ReasonConflict:
		k.t.Fatal(err)
	}
}

// check restarts and compares with all that was promised and shown before.
func (k *walk) check() {
	k.t.Helper()
	shown := k.values()
	k.boot()
	all := k.state.Accepted()
	if len(all) < len(k.order) || !slices.Equal(all[:len(k.order)], k.order) {
		k.t.Fatal("the acceptances aren't those of before")
	}
	k.order = all
	var want []int64
	for _, a := range all {
		if slices.Contains(want, int64(a.Sequence)*100+2) {
			k.t.Fatalf("number %d was accepted twice", a.Sequence)
		}
		delete(k.batches, a.Sequence)
		want = append(want, 0, int64(a.Sequence)*100+1, int64(a.Sequence)*100+2)
	}
	if len(k.batches) > 0 {
		k.t.Fatal("a batch has a receipt and wasn't accepted")
	}
	after := k.values()
	if len(after) != len(want) || len(shown) > len(after) || !slices.Equal(shown, after[:len(shown)]) {
		k.t.Fatalf("queries see %v and saw %v", after, shown)
	}
	for i := range want { // the first value of a batch may be one of two
		if i%3 != 0 && after[i] != want[i] {
			k.t.Fatalf("queries see %v", after)
		}
	}
}

// values answers what queries see in the measure column.
func (k *walk) values() (all []int64) {
	snapshot, _ := k.tables.Snapshot("colon")
	for _, row := range genuine.Rows(snapshot) {
		all = append(all, row.Values[1].Int)
	}
	return all
}
