package table_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/store/table"
)

// TestQuiet waits for readers: for all of them, until the time is over, or
// until nobody waits any more.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab := table.New(single(), table.Unlimited())
		begin := time.Now()
		waited := func() time.Duration { d := time.Since(begin); begin = time.Now(); return d }
		tab.Quiet(t.Context(), time.Hour)
		if tab.Reading() || waited() != 0 {
			t.Error("there is no reader")
		}
		one, other := tab.Snapshot().Read(), tab.Snapshot().Read()
		go func() { time.Sleep(time.Second); one(); one() }()
		go func() { time.Sleep(3 * time.Second); other() }()
		tab.Quiet(t.Context(), 2*time.Second)
		if !tab.Reading() || waited() != 2*time.Second {
			t.Error("it didn't wait as long as it may")
		}
		tab.Quiet(t.Context(), time.Hour)
		if tab.Reading() || waited() != time.Second {
			t.Error("it didn't wait for the last reader")
		}
		end := tab.Snapshot().Read()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		tab.Quiet(ctx, time.Hour)
		if !tab.Reading() || waited() != time.Minute {
			t.Error("it waited longer than its caller")
		}
		end()
	})
}

// TestReaders begins and ends reading at the same time as batches come.
func TestReaders(t *testing.T) {
	tab := table.New(single(), table.Unlimited())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				end := tab.Snapshot().Read()
				tab.Quiet(t.Context(), 0)
				end()
			}
		})
	}
	for i := range int64(50) {
		if err := tab.Append(1, []table.Values{{Ints: []int64{i}}, {Ints: []int64{i}}}); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	if tab.Reading() || tab.Snapshot().Rows() != 50 {
		t.Errorf("%d rows, reading %v", tab.Snapshot().Rows(), tab.Reading())
	}
}
