package table_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/store/table"
)

// grown appends batches of rows with these units to a table that doesn't merge,
// each row's value its number, and answers the units by row.
func grown(t *testing.T, batches [][]int64) (*table.Table, []int64) {
	t.Helper()
	tab := table.New(single(), table.Unlimited())
	tab.Hold()
	var all []int64
	for _, units := range batches {
		values := make([]int64, len(units))
		for i := range values {
			values[i] = int64(len(all) + i)
		}
		all = append(all, units...)
		nulls := make([]bool, len(units))
		if err := tab.Append(len(units), []table.Values{{Ints: units, Null: nulls}, {Ints: values, Null: nulls}}); err != nil {
			t.Fatal(err)
		}
	}
	return tab, all
}

// batches are runs of different kinds.
func batches(r *rand.Rand, kind string) [][]int64 {
	var all [][]int64
	batch := func(n int, unit func() int64) {
		units := make([]int64, n)
		for i := range units {
			units[i] = unit()
		}
		all = append(all, units)
	}
	switch kind {
	case "one":
		batch(20_000, func() int64 { return r.Int64N(2000) })
	case "alike":
		for range 5 {
			batch(3000, func() int64 { return r.Int64N(2000) })
		}
	case "large and small":
		batch(30_000, func() int64 { return r.Int64N(3000) })
		for range 6 {
			batch(1+r.IntN(300), func() int64 { return r.Int64N(4000) })
		}
	case "new people":
		for i := range 8 {
			batch(1000, func() int64 { return int64(i*100) + r.Int64N(150) })
		}
	case "giants":
		for range 4 {
			batch(5000, func() int64 { return r.Int64N(2) * r.Int64N(40) })
		}
	case "single rows":
		for range 600 {
			batch(1, func() int64 { return r.Int64N(20) })
		}
	}
	return all
}

// TestCursor demands of windows that they hold every row once, with its unit,
// no more rows than they may, and units in order.
func TestCursor(t *testing.T) {
	for _, kind := range []string{"one", "alike", "large and small", "new people", "giants", "single rows"} {
		for _, most := range []int{1, 7, 500, 2048, 100_000} {
			t.Run(fmt.Sprint(kind, " ", most), func(t *testing.T) {
				tab, units := grown(t, batches(rand.New(rand.NewPCG(7, uint64(most))), kind))
				want := codes(text64(units))
				seen := make([]bool, len(units))
				for _, p := range tab.Snapshot().Partitions() {
					walk(t, p, most, want, seen)
				}
				if i := slices.Index(seen, false); i >= 0 {
					t.Errorf("row %d was in no window", i)
				}
			})
		}
	}
}

func text64(values []int64) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = fmt.Sprint(v)
	}
	return all
}

// walk goes through a partition and marks the rows that it sees.
func walk(t *testing.T, p table.Partition, most int, want []uint32, seen []bool) {
	t.Helper()
	rows, newest := 0, uint32(0)
	cursor := p.Cursor(most)
	for spans := cursor.Next(); spans != nil; spans = cursor.Next() {
		n, last := 0, newest
		for _, s := range spans {
			units, values := make([]uint32, s.Len()), make([]int64, s.Len())
			s.Units(units)
			piece := s.Column(1)
			piece.Values(values)
			for i, row := range values {
				if seen[row] || want[row] != units[i] {
					t.Fatalf("row %d of unit %d comes as one of %d, or again", row, want[row], units[i])
				}
				seen[row] = true
			}
			if s.Len() == 0 || !slices.IsSorted(units) || units[0] < newest {
				t.Fatalf("units %v after %d", units, newest)
			}
			n, last = n+s.Len(), max(last, units[len(units)-1])
		}
		if n > most {
			t.Fatalf("%d rows in a window of %d", n, most)
		}
		rows, newest = rows+n, last
	}
	if rows != p.Rows() {
		t.Errorf("%d rows of %d", rows, p.Rows())
	}
}

func TestSorter(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	s := table.NewSorter(3000)
	for _, span := range []uint32{1, 2, 100, 2047, 2048, 2049, 1 << 22, 1<<32 - 1} {
		for _, n := range []int{0, 1, 2, 3000} {
			for same := range 5 {
				keys := make([]uint32, n)
				base := r.Uint32N(^uint32(0) - span + 1)
				for i := range keys {
					keys[i] = (base+r.Uint32N(span))>>same<<same | 1<<same>>1
				}
				want := make([]uint32, n)
				for i := range want {
					want[i] = uint32(i)
				}
				slices.SortStableFunc(want, func(a, b uint32) int { return cmp.Compare(keys[a], keys[b]) })
				if got := s.Sort(keys, same); !slices.Equal(got, want) {
					t.Fatalf("%d keys of %d: another order", n, span)
				}
			}
		}
	}
}

func BenchmarkWindows(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 9))
	for _, runs := range []int{1, 8} {
		tab := table.New(single(), table.Unlimited())
		tab.Hold()
		for range runs {
			units := make([]int64, 800_000/runs)
			for i := range units {
				units[i] = r.Int64N(80_000)
			}
			nulls := make([]bool, len(units))
			if err := tab.Append(len(units), []table.Values{{Ints: units, Null: nulls}, {Ints: units, Null: nulls}}); err != nil {
				b.Fatal(err)
			}
		}
		units := make([]uint32, 2048)
		b.Run(fmt.Sprint(runs, " runs"), func(b *testing.B) {
			for b.Loop() {
				for _, p := range tab.Snapshot().Partitions() {
					cursor := p.Cursor(2048)
					for spans := cursor.Next(); spans != nil; spans = cursor.Next() {
						for _, s := range spans {
							s.Units(units[:s.Len()])
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/800_000, "ns/row")
		})
	}
}
