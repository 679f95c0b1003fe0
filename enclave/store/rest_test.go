package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/contract"
)

// runs answers the most runs that a partition has.
func runs(t *testing.T, s *store.Store) int {
	t.Helper()
	most := 0
	for _, p := range snapshot(t, s, "one").Partitions() {
		if p.Rows() > 0 {
			most = max(most, len(p.Cursor(64).Next()))
		}
	}
	return most
}

// TestRest: a table is compacted once nothing has come for a while, not before,
// and not while somebody reads it.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testContract("one", "1")
		s := store.New([]*contract.Contract{c})
		add := func() {
			t.Helper()
			if err := s.Append(batch(t, c, person("x", "a"))); err != nil {
				t.Fatal(err)
			}
		}
		add()
		time.Sleep(1900 * time.Millisecond)
		add()
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		if n := runs(t, s); n != 2 {
			t.Fatalf("%d runs before the table rests, want 2", n)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if n := runs(t, s); n != 1 {
			t.Fatalf("%d runs after it rested, want 1", n)
		}

		before := snapshot(t, s, "one")
		end := before.Read()
		add()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := runs(t, s); n != 2 {
			t.Fatalf("%d runs while a query reads, want 2", n)
		}
		end()
		synctest.Wait()
		if n := runs(t, s); n != 1 {
			t.Fatalf("%d runs after the query, want 1", n)
		}
		if got := sites(snapshot(t, s, "one")); got != "aaa" || sites(before) != "aa" {
			t.Errorf("the table shows %s, and before %s", got, sites(before))
		}
	})
}
