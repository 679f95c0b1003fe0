package table_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/store/table"
)

// TestNulls holds the lists of NULLs against the marks of rows, from wherever a
// span begins, for all rows and for some, and those of offsets in a range
// against the values.
func TestNulls(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 71))
		n := 1 + r.IntN(6000)
		values, null := make([]int64, n), make([]bool, n)
		for i := range values {
			if null[i] = r.IntN(1+int(seed%7)) == 0; !null[i] {
				values[i] = r.Int64N(100 << []int{0, 9, 18, 27, 51}[seed%5]) // a byte to eight
			}
		}
		tab, columns := table.New(single(), table.Unlimited()), one(values, null)
		for half, cut := 0, r.IntN(n+1); half < 2; half++ {
			from, to := half*cut, cut+half*(n-cut)
			batch := []table.Values{{Ints: columns[0].Ints[from:to]}, {Ints: values[from:to], Null: null[from:to]}}
			if err := tab.Append(to-from, batch); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range tab.Snapshot().Partitions() {
			cursor := p.Cursor(1 + r.IntN(300))
			for spans := cursor.Next(); spans != nil; spans = cursor.Next() {
				for _, s := range spans {
					nullsOf(t, r, s)
				}
			}
		}
	}
}

func nullsOf(t *testing.T, r *rand.Rand, s table.Span) {
	t.Helper()
	piece := s.Column(1)
	var some, all, ofSome, left []uint16
	for i := range s.Len() {
		row := uint16(i)
		null := piece.Nullable() && piece.Null(i)
		if null {
			all = append(all, row)
		}
		if r.IntN(3) == 0 {
			continue
		}
		if null {
			ofSome = append(ofSome, uint16(len(some)))
		} else {
			left = append(left, row)
		}
		some = append(some, row)
	}
	room := make([]uint16, s.Len())
	withinOf(t, r, &piece, s.Len(), room)
	if got := piece.Nulls(nil, s.Len(), room); !slices.Equal(got, all) {
		t.Fatalf("of %d rows: %d, not %d", s.Len(), got, all)
	}
	if some == nil {
		return
	}
	if got := piece.Nulls(some, len(some), room); !slices.Equal(got, ofSome) {
		t.Fatalf("of the rows %d: %d, not %d", some, got, ofSome)
	}
	if got := piece.DropNulls(some); !slices.Equal(got, left) {
		t.Fatalf("without NULLs: %d, not %d", got, left)
	}
}

// withinOf holds the rows whose offset is in a range against their values.
func withinOf(t *testing.T, r *rand.Rand, piece *table.Piece, n int, room []uint16) {
	t.Helper()
	low := r.Uint64N(piece.Most + 1)
	high := low + r.Uint64N(piece.Most-low+1)
	got, ok := piece.Within(low, high, n, room)
	if !ok {
		return
	}
	values := make([]int64, n)
	piece.Values(values)
	var want []uint16
	for i, v := range values {
		if offset := uint64(v-piece.Base) / piece.Step; offset >= low && offset <= high {
			want = append(want, uint16(i))
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("offsets from %d to %d: the rows %d, not %d", low, high, got, want)
	}
}
