package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
)

func TestAccept(t *testing.T) {
	w := newWorld(t)
	raw, key := write(7).seal(t)
	r, report := w.verified(w.accepts(raw), raw, key)
	if r.Dataset != "colon" || r.Producer != "clinic-a" || r.Stream != "s" || r.Sequence != 7 || r.Manifest != 1 || r.Repeat || r.Time != w.now.UnixMilli() {
		t.Errorf("receipt %+v", r)
	}
	if report.Accepted != 3 || report.Rejected != 0 || len(report.Rejections) != 0 {
		t.Errorf("report %+v", report)
	}
	if got := w.rows("colon"); got != "1 0:700 1:701 2:702" {
		t.Errorf("queries see %s", got)
	}
	for i, k := range w.keys.given {
		if k.Len() != 0 {
			t.Errorf("data key %d of %d wasn't wiped", i, len(w.keys.given))
		}
	}
}

// TestRejections go into the report, the rest of the batch is accepted.
func TestRejections(t *testing.T) {
	w := newWorld(t)
	l := write(1)
	l.records[1] = columns.Record{columns.Int("id", 1), columns.Int("x", -1), columns.Int("y", 1)}
	raw, key := l.seal(t)
	_, report := w.verified(w.accepts(raw), raw, key)
	if report.Accepted != 2 || report.Rejected != 1 || len(report.Rejections) != 2 {
		t.Fatalf("report %+v", report)
	}
	for i, want := range []string{"1 y unknown", "1 x minimum"} {
		if x := report.Rejections[i]; fmt.Sprint(x.Record, " ", x.Field, " ", x.Rule) != want {
			t.Errorf("rejection %d: %+v", i, x)
		}
	}
	if got := w.rows("colon"); got != "1 0:100 1:102" {
		t.Errorf("queries see %s", got)
	}
	a := w.state.Accepted()[0]
	if a.Accepted != 2 || a.Rejected != 1 {
		t.Errorf("acceptance %+v", a)
	}
	// A batch of nothing good is accepted too: its number is used up.
	l = write(2)
	l.records = []columns.Record{{}}
	raw, key = l.seal(t)
	if _, report := w.verified(w.accepts(raw), raw, key); report.Accepted != 0 || report.Rejected != 1 {
		t.Errorf("report %+v", report)
	}
	w.boot()
	if got := w.rows("colon"); got != "2 0:100 1:102" {
		t.Errorf("after a restart queries see %s", got)
	}
}

// TestSameEnvelope gets the same bytes, however often and in whichever life.
func TestSameEnvelope(t *testing.T) {
	w := newWorld(t)
	raw := write(1).raw(t)
	first := w.accepts(raw)
	w.accepts(write(2).raw(t))
	for life := range 4 {
		for range 2 {
			if again := w.accepts(raw); !bytes.Equal(again.Receipt, first.Receipt) || !bytes.Equal(again.Report, first.Report) {
				t.Errorf("life %d: other bytes", life)
			}
		}
		if w.rows("colon") != "2 0:100 1:101 2:102 3:200 4:201 5:202" || w.state.Head() != 2 {
			t.Errorf("life %d: %s, head %d", life, w.rows("colon"), w.state.Head())
		}
		w.boot()
	}
}

// TestRepeat seals the same records anew, as a producer does who has lost its
// envelopes. They count nothing.
func TestRepeat(t *testing.T) {
	w := newWorld(t)
	raw := write(1).raw(t)
	w.accepts(raw)
	time1 := w.now.UnixMilli()
	w.now = w.now.Add(time.Minute)
	for i, change := range []func(l *letter){
		func(l *letter) { l.header.Salt[31] = 9 },
		func(l *letter) { l.header.Wrap.Blob, l.dek = []byte{2}, 2 },
	} {
		l := write(1)
		change(&l)
		again, key := l.seal(t)
		for range 2 {
			r, report := w.verified(w.accepts(again), again, key)
			if !r.Repeat || r.Manifest != 1 || r.Time != time1 || report.Accepted != 3 {
				t.Errorf("change %d: %+v, %+v", i, r, report)
			}
			w.boot()
		}
	}
	if w.rows("colon") != "1 0:100 1:101 2:102" || w.state.Head() != 1 {
		t.Errorf("%s, head %d", w.rows("colon"), w.state.Head())
	}
	if r, _ := w.verified(w.accepts(raw), raw, second(write(1).seal(t))); r.Repeat {
		t.Error("the first envelope is now a repeat")
	}
}

func second[A, B any](_ A, b B) B { return b }

func TestConflict(t *testing.T) {
	w := newWorld(t)
	w.accepts(write(1).raw(t))
	for name, change := range map[string]func(l *letter){
		"another value":  func(l *letter) { l.records[0][1].Int++ },
		"a record more":  func(l *letter) { l.records = append(l.records, l.records[0]) },
		"another order":  func(l *letter) { l.records[0], l.records[1] = l.records[1], l.records[0] },
		"a record fewer": func(l *letter) { l.records = l.records[1:] },
	} {
		l := write(1)
		change(&l)
		for range 2 {
			if accepted, err := w.accept(l.raw(t)); reason(err) != ingest.ReasonConflict || accepted != nil {
				t.Errorf("%s: %v", name, err)
			}
			w.boot()
		}
	}
	if w.rows("colon") != "1 0:100 1:101 2:102" {
		t.Errorf("queries see %s", w.rows("colon"))
	}
}

// TestConflictOfVersions has a producer resend, after a change of the contract,
// what was judged by the old one. The judgement stands.
func TestConflictOfVersions(t *testing.T) {
	w := newWorld(t)
	w.accepts(write(1).raw(t))
	w.bundle.Datasets[0].Contract.Version = "1.1.0"
	w.start()
	l := write(1)
	l.header.Contract = "1.1.0"
	if _, err := w.accept(l.raw(t)); reason(err) != ingest.ReasonConflict {
		t.Errorf("got %v", err)
	}
}

// TestSlots with the same number don't get into each other's way when stream,
// producer or dataset differ.
func TestSlots(t *testing.T) {
	w := newWorld(t)
	for i, change := range []func(l *letter){
		func(*letter) {},
		func(l *letter) { l.header.Stream = "t" },
		func(l *letter) { l.header.Dataset, l.header.Wrap.Key = "visits", keyVisits },
		func(l *letter) {
			l.header.Dataset, l.header.Wrap.Key, l.header.Producer, l.signer = "visits", keyVisits, "clinic-b", "clinic-b"
		},
	} {
		l := write(1)
		change(&l)
		raw, key := l.seal(t)
		if r, _ := w.verified(w.accepts(raw), raw, key); r.Repeat || r.Manifest != uint64(i)+1 {
			t.Errorf("slot %d: %+v", i, r)
		}
	}
	if w.rows("colon") != "2 0:100 0:100 1:101 1:101 2:102 2:102" || w.rows("visits") != "2 0:100 0:100 1:101 1:101 2:102 2:102" {
		t.Errorf("colon %s, visits %s", w.rows("colon"), w.rows("visits"))
	}
}

// TestKeysFail leaves nothing, refuses nothing, and is over when the keys are
// back.
func TestKeysFail(t *testing.T) {
	w := newWorld(t)
	raw := write(1).raw(t)
	w.keys.err = errKMS
	if _, err := w.accept(raw); !errors.Is(err, errKMS) || reason(err) != "" {
		t.Errorf("got %v", err)
	}
	if w.state.Head() != 0 {
		t.Error("something was accepted")
	}
	w.keys.err = nil
	w.accepts(raw)
}

func TestContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	raw := write(1).raw(t)
	if _, err := w.in.Accept(ctx, raw); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if w.state.Head() != 0 || w.rows("colon") != "0 " {
		t.Error("something was kept")
	}
	w.accepts(raw)
}

func TestConcurrentAccepts(t *testing.T) {
	w := newWorld(t)
	const each, envelopes = 3, 20
	sealed := make([][]byte, envelopes)
	for i := range sealed {
		sealed[i] = write(uint64(i)).raw(t)
		w.inbox[sha256.Sum256(sealed[i])] = sealed[i]
	}
	var wg sync.WaitGroup
	receipts := make([][each][]byte, envelopes)
	for i, raw := range sealed {
		for j := range each {
			wg.Go(func() {
				a, err := w.in.Accept(t.Context(), raw)
				if err != nil {
					t.Error(err)
					return
				}
				receipts[i][j] = a.Receipt
			})
		}
	}
	wg.Wait()
	for i, all := range receipts {
		if !bytes.Equal(all[0], all[1]) || !bytes.Equal(all[0], all[2]) {
			t.Errorf("envelope %d has different receipts", i)
		}
	}
	if w.state.Head() != envelopes {
		t.Errorf("head %d", w.state.Head())
	}
	seen := w.rows("colon")
	w.boot()
	if again := w.rows("colon"); again != seen {
		t.Errorf("after a restart\n%s\nbefore\n%s", again, seen)
	}
}

// TestFork refuses everything that is new, in this life, and says so.
func TestFork(t *testing.T) {
	w := newWorld(t)
	first := write(1).raw(t)
	w.accepts(first)
	w.disk.inject(taken)
	if _, err := w.accept(write(2).raw(t)); !errors.Is(err, state.ErrFork) {
		t.Fatalf("got %v", err)
	}
	w.disk.inject(none)
	if _, err := w.accept(write(3).raw(t)); !errors.Is(err, state.ErrFork) {
		t.Errorf("got %v", err)
	}
	w.accepts(first) // what was accepted stays so
	if w.rows("colon") != "1 0:100 1:101 2:102" {
		t.Errorf("queries see %s", w.rows("colon"))
	}
}

// TestTablesFail stop everything: a receipt was as good as given, and queries
// don't see what it promises. A restart brings it back.
func TestTablesFail(t *testing.T) {
	w := newWorld(t)
	full := errors.New("the table is full")
	w.tables.err = full
	raw := write(1).raw(t)
	if _, err := w.accept(raw); !errors.Is(err, full) || reason(err) != "" {
		t.Fatalf("got %v", err)
	}
	w.tables.err = nil
	for _, again := range [][]byte{raw, write(2).raw(t)} {
		if _, err := w.accept(again); !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
	}
	w.boot()
	if w.rows("colon") != "1 0:100 1:101 2:102" {
		t.Errorf("queries see %s", w.rows("colon"))
	}
	w.accepts(raw)
	w.accepts(write(2).raw(t))
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	whole := ingest.Config{Bundle: w.bundle, Keys: w.keys, State: w.state, Store: w.tables, Now: w.clock}
	for name, spoil := range map[string]func(c *ingest.Config){
		"bundle": func(c *ingest.Config) { c.Bundle = nil },
		"keys":   func(c *ingest.Config) { c.Keys = nil },
		"state":  func(c *ingest.Config) { c.State = nil },
		"store":  func(c *ingest.Config) { c.Store = nil },
		"clock":  func(c *ingest.Config) { c.Now = nil },
		"contract": func(c *ingest.Config) {
			bad := *c.Bundle
			bad.Datasets = append(bad.Datasets[:0:0], dataset("colon", keyColon))
			bad.Datasets[0].Contract.Floor = 1
			c.Bundle = &bad
		},
	} {
		c := whole
		spoil(&c)
		if in, err := ingest.New(c); err == nil || in != nil {
			t.Errorf("%s: made", name)
		}
	}
}

// TestOtherTables are noticed before anything is promised.
func TestOtherTables(t *testing.T) {
	w := newWorld(t)
	w.tables.Store = store.New([]*contract.Contract{})
	if _, err := w.accept(write(1).raw(t)); !errors.Is(err, store.ErrContract) {
		t.Errorf("got %v", err)
	}
}
