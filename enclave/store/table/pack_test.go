package table_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

// single is a contract of a unit and one column of integers.
func single() *contract.Contract {
	return &contract.Contract{
		Dataset: "d", ID: "d", Version: "1", Floor: 5,
		Fields: []contract.Field{{Name: "unit", Type: contract.Integer, Role: contract.Unit}, {Name: "v", Type: contract.Integer, Role: contract.Dimension}},
	}
}

// one is columns for single: each row of a unit of its own, in order.
func one(values []int64, null []bool) []table.Values {
	units := make([]int64, len(values))
	for i := range units {
		units[i] = int64(i)
	}
	return []table.Values{{Ints: units, Null: make([]bool, len(values))}, {Ints: values, Null: null}}
}

// column reads the values of single back, by unit.
func column(s *table.Snapshot) (values []int64, null []bool) {
	for _, r := range genuine.Rows(s) {
		values, null = append(values, r.Values[1].Int), append(null, r.Values[1].Null)
	}
	return values, null
}

// shapes are columns that are packed in different ways.
func shapes(r *rand.Rand, n int) map[string][]int64 {
	all := map[string][]int64{}
	add := func(name string, value func(i int) int64) {
		values := make([]int64, n)
		for i := range values {
			values[i] = value(i)
		}
		all[name] = values
	}
	for bits := range 64 {
		base := int64(r.Uint64())>>1 - 1<<62
		add(fmt.Sprint(bits, " bits"), func(int) int64 { return base + int64(r.Uint64()>>(64-bits)) })
	}
	add("64 bits", func(int) int64 { return int64(r.Uint64()) })
	add("ends", func(i int) int64 { return []int64{math.MinInt64, math.MaxInt64}[i%2] })
	add("outlier", func(i int) int64 { return map[bool]int64{true: math.MaxInt64}[i == n/2] + int64(i%7) })
	for _, step := range []int64{2, 3, 7, 100, 1 << 20, 86_400_000_000, 3 << 40, math.MaxInt64} {
		add(fmt.Sprint("step ", step), func(int) int64 { return -5 + step*int64(r.IntN(2)) - step/2*int64(r.IntN(3)/2) })
		add(fmt.Sprint("multiple ", step), func(int) int64 { return 11 + step*int64(r.Uint64N(min(1000, uint64(math.MaxInt64/step)))) })
	}
	return all
}

// TestPacking demands that values come back as they were, whatever they are
// packed into, and that NULL stays NULL.
func TestPacking(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	const n = 9000 // more than a frame in a partition is for TestFrames
	for name, values := range shapes(r, n) {
		for _, nulls := range []int{0, 3, 100} {
			null := make([]bool, n)
			for i := range null {
				if null[i] = r.IntN(100) < nulls; null[i] {
					values[i] = 0
				}
			}
			tab := table.New(single(), table.Unlimited())
			if err := tab.Append(n, one(values, null)); err != nil {
				t.Fatal(err)
			}
			gotValues, gotNull := column(tab.Snapshot())
			if !slices.Equal(gotNull, null) {
				t.Errorf("%s, %d%% NULL: NULLs differ", name, nulls)
			}
			for i := range gotValues {
				if !null[i] && gotValues[i] != values[i] {
					t.Fatalf("%s, %d%% NULL: row %d is %d, want %d", name, nulls, i, gotValues[i], values[i])
				}
			}
			bounds(t, name, tab.Snapshot().Range(1), values, null)
		}
	}
}

// bounds demands that a range holds for every value, and no larger one does.
func bounds(t *testing.T, name string, got table.Range, values []int64, null []bool) {
	t.Helper()
	low, high, anyNull, some := int64(math.MaxInt64), int64(math.MinInt64), false, false
	for i, v := range values {
		if anyNull = anyNull || null[i]; !null[i] {
			low, high, some = min(low, v), max(high, v), true
		}
	}
	if got.Null != anyNull || got.Value != some {
		t.Errorf("%s: %+v", name, got)
	}
	if !some {
		return
	}
	if got.Low != low || got.High != high || (got.Step == 0) != (low == high) {
		t.Errorf("%s: %+v, want %d to %d", name, got, low, high)
	}
	for i, v := range values {
		if !null[i] && got.Step > 0 && (uint64(v)-uint64(low))%got.Step != 0 {
			t.Fatalf("%s: %d is off the step of %+v", name, v, got)
		}
	}
}

// TestFrames packs more rows than a frame has into one partition, with other
// values in each frame.
func TestFrames(t *testing.T) {
	const n = 3*4096 + 77
	tab := table.New(single(), table.Unlimited())
	units, values, null := make([]int64, n), make([]int64, n), make([]bool, n)
	for i := range values {
		frame := i / 4096
		values[i] = int64(frame)*1_000_003 + int64(i%(1+frame*frame*frame*40))*int64(1+frame)
		null[i] = frame == 2 && i%5 == 0
		if null[i] {
			values[i] = 0
		}
	}
	columns := []table.Values{{Ints: units, Null: make([]bool, n)}, {Ints: values, Null: null}}
	if err := tab.Append(n, columns); err != nil {
		t.Fatal(err)
	}
	got, gotNull := column(tab.Snapshot())
	for i := range got {
		if gotNull[i] != null[i] || !null[i] && got[i] != values[i] {
			t.Fatalf("row %d is %d", i, got[i])
		}
	}
	// Parts of frames, and some of their rows.
	p := tab.Snapshot().Partitions()[0]
	cursor, at := p.Cursor(1000), 0
	for spans := cursor.Next(); spans != nil; spans = cursor.Next() {
		for _, s := range spans {
			piece := s.Column(1)
			rows := []uint16{0, uint16(s.Len() / 3), uint16(s.Len() - 1)}
			lanes := []int64{1, 1, 1}
			table.Add(&piece, rows, lanes, piece.Base, int64(piece.Step))
			for i, row := range rows {
				k := at + int(row)
				if piece.Nullable() && piece.Null(int(row)) != null[k] || !null[k] && lanes[i] != values[k]+1 {
					t.Fatalf("row %d is %d, want %d", k, lanes[i]-1, values[k])
				}
			}
			at += s.Len()
		}
	}
}

// TestBits demands that a column takes the bits that it needs, and hardly more.
func TestBits(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	const n = 200_000
	held := func(value func(i int) int64) float64 {
		tab := table.New(single(), table.Unlimited())
		values := make([]int64, n)
		for i := range values {
			values[i] = value(i)
		}
		if err := tab.Append(n, one(values, make([]bool, n))); err != nil {
			t.Fatal(err)
		}
		return float64(tab.Held()) * 8 / n
	}
	constant := held(func(int) int64 { return 42 })
	for bits, want := range map[int]float64{1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 8: 8, 9: 16, 17: 24, 25: 32, 33: 40, 41: 48, 49: 56, 57: 64, 63: 64} {
		got := held(func(int) int64 { return int64(r.Uint64() >> (64 - bits)) }) - constant
		if got < want-0.1 || got > want+1 {
			t.Errorf("%d bits take %.2f, want %.0f", bits, got, want)
		}
	}
	second := held(func(int) int64 { return 1_700_000_000_000_000 + int64(r.IntN(50_000))*1_000_000 }) - constant
	if second > 16.5 {
		t.Errorf("seconds take %.2f bits", second)
	}
}
