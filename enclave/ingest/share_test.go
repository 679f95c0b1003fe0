package ingest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reading holds a snapshot as a query does, until end is called.
func (w *world) reading() (end func()) {
	w.t.Helper()
	snapshot, ok := w.tables.Snapshot("colon")
	if !ok {
		w.t.Fatal("no such dataset")
	}
	return snapshot.Read()
}

// TestShare accepts envelopes while a query runs that never ends: they come one
// after the other, with a rest as long as the work between them, and all of
// them come. The clock says that each look at it takes a second.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		end := w.reading()
		defer end()
		const batches = 6
		begin := time.Now()
		var all sync.WaitGroup
		for i := range uint64(batches) {
			raw := packed(i).raw(t)
			all.Go(func() {
				if _, err := w.in.Accept(t.Context(), raw); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		// The world's clock stands still, so nothing is owed.
		if time.Since(begin) != 0 {
			t.Errorf("they rested for %v from no work", time.Since(begin))
		}
		w.tick = time.Millisecond
		for i := range uint64(batches) {
			w.accepts(packed(batches + i).raw(t))
		}
		// Each of the envelopes took two looks for decoding and two for the table.
		if rested, want := time.Since(begin), (batches-1)*2*time.Millisecond; rested != want {
			t.Errorf("they rested for %v, want %v", rested, want)
		}
		snapshot, _ := w.tables.Snapshot("colon")
		if snapshot.Number() != 2*batches || snapshot.Rows() != 2*batches*3 {
			t.Errorf("%d batches of %d rows", snapshot.Number(), snapshot.Rows())
		}
	})
}

// TestShareIsBounded demands that one envelope never waits long for the work of
// those before, and not at all when the query ends.
func TestShareIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.tick = time.Minute
		end := w.reading()
		w.accepts(packed(1).raw(t))
		begin := time.Now()
		w.accepts(packed(2).raw(t))
		if rested := time.Since(begin); rested != 250*time.Millisecond {
			t.Errorf("it rested for %v", rested)
		}
		go func() { time.Sleep(time.Millisecond); end() }()
		begin = time.Now()
		w.accepts(packed(3).raw(t))
		if rested := time.Since(begin); rested != time.Millisecond {
			t.Errorf("it rested for %v after the query", rested)
		}
	})
}

// TestShareGivesUp demands that an envelope whose sender doesn't wait any more
// isn't accepted, and keeps nobody else from it.
func TestShareGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.tick = time.Minute
		end := w.reading()
		defer end()
		w.accepts(packed(1).raw(t))
		ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
		defer stop()
		var all sync.WaitGroup
		for i := range uint64(3) {
			raw := packed(2 + i).raw(t)
			all.Go(func() {
				if _, err := w.in.Accept(ctx, raw); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		w.accepts(packed(9).raw(t))
		if got := w.rows("colon"); got != "2 0:100 1:101 2:102 3:900 4:901 5:902" {
			t.Errorf("queries see %s", got)
		}
	})
}
