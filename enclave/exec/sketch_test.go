package exec_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/internal/contract"
)

const (
	amount = 3 // the measure of testContract
	byName = "SELECT name, COUNT(amount) AS c FROM data GROUP BY name"
)

// within is testContract with an interval for its measure.
func within(low, high int64) *contract.Contract {
	c := testContract()
	c.Fields[amount].Minimum, c.Fields[amount].Maximum = &low, &high
	return c
}

// amounts answers the values of each group, sorted.
func amounts(rows []visit) map[string][]int64 {
	all := map[string][]int64{}
	for _, v := range rows {
		if g := of(v, "name"); v.known {
			all[g] = append(all[g], v.amount)
		}
	}
	for _, values := range all {
		slices.Sort(values)
	}
	return all
}

// distributions answers the k-th sketch of each group by its keys.
func distributions(g *exec.Groups, k int) map[string]exec.Distribution {
	all := map[string]exec.Distribution{}
	for i := range g.Len() {
		keys, _ := g.Group(i)
		all[fmt.Sprint(keys)] = g.Distribution(i, k)
	}
	return all
}

// TestSketch demands that every bucket counts exactly what lies in it, that
// buckets tile the interval, and that quantiles lie where they are said to, no
// further off than is stated. Rows come in one batch and in many, for one
// worker and for several.
func TestSketch(t *testing.T) {
	for _, interval := range [][2]int64{{-500, 500}, {-512, 511}, {0, 1}, {7, 7}, {-contract.MaxMeasure, contract.MaxMeasure}, {-1, 1 << 40}} {
		c := within(interval[0], interval[1])
		f := newFixture(t, c)
		n := 20_000
		if interval[1] == 500 {
			n = 270_000 // for two workers
		}
		rows := randomVisits(rand.New(rand.NewPCG(8, uint64(interval[1]))), n, 9000, 1000)
		for i := range rows {
			rows[i].amount = interval[0] + int64(uint64(rows[i].amount+1000)*((uint64(interval[1])-uint64(interval[0]))/2000+1)%(uint64(interval[1])-uint64(interval[0])+1))
		}
		want := amounts(rows)
		for _, atOnce := range []int{len(rows), n/7 + 1} {
			if atOnce == n && n > 20_000 {
				continue
			}
			snap := visitsTable(t, c, rows, atOnce)
			for _, threads := range []int{1, 2} {
				before := runtime.GOMAXPROCS(threads)
				g, err := exec.AggregateWith(t.Context(), f.grant(t, byName), exec.More{Sketches: []exec.Sketch{{Field: amount, Buckets: 100}, {Field: amount, Buckets: 2}}}, snap, plenty)
				runtime.GOMAXPROCS(before)
				if err != nil {
					t.Fatal(err)
				}
				for k, buckets := range []int64{100, 2} {
					for name, d := range distributions(g, k) {
						checkDistribution(t, fmt.Sprint(interval, name), d, want[name], interval, buckets)
					}
				}
			}
		}
	}
}

// checkDistribution compares with all values of a group, sorted.
func checkDistribution(t *testing.T, name string, d exec.Distribution, values []int64, interval [2]int64, buckets int64) {
	t.Helper()
	if d.Values() != int64(len(values)) || int64(d.Len()) > buckets {
		t.Fatalf("%s: %d values in %d buckets, want %d", name, d.Values(), d.Len(), len(values))
	}
	next := interval[0]
	for i := range d.Len() {
		b, n := d.Bucket(i)
		from, _ := slices.BinarySearch(values, b.Low)
		to, _ := slices.BinarySearch(values, b.High+1)
		if b.Low != next || b.High < b.Low || n != int64(to-from) {
			t.Fatalf("%s: bucket %v has %d values, want %d", name, b, n, to-from)
		}
		if share := (uint64(interval[1])-uint64(interval[0]))/uint64(buckets) + 1; uint64(b.High-b.Low)+1 > 2*share {
			t.Fatalf("%s: bucket %v is wider than twice %d", name, b, share)
		}
		next = b.High + 1
	}
	if next != interval[1]+1 {
		t.Fatalf("%s: the buckets end at %d", name, next-1)
	}
	for _, q := range [][2]int64{{0, 1}, {1, 100}, {1, 4}, {1, 2}, {3, 4}, {99, 100}, {1, 1}} {
		b, ok := d.Quantile(q[0], q[1])
		if !ok {
			t.Fatalf("%s: no quantile", name)
		}
		rank := max(1, (int64(len(values))*q[0]+q[1]-1)/q[1])
		if exact := values[rank-1]; exact < b.Low || exact > b.High {
			t.Fatalf("%s: the %d/%d-quantile is %d, not in %v", name, q[0], q[1], exact, b)
		}
	}
}

// evenly answers the values of a unit in a group that count: those at evenly
// spaced ranks.
func evenly(values []int64, most int) (kept []int64) {
	slices.Sort(values)
	if len(values) <= most {
		return values
	}
	for i := range most {
		kept = append(kept, values[(2*i+1)*len(values)/(2*most)])
	}
	return kept
}

// TestSketchBounded compares with maps: so many values of a unit in a group and
// no more, whatever the order and the batches are, for units with a few rows
// and with tens of thousands.
func TestSketchBounded(t *testing.T) {
	c := within(-1000, 1000)
	f := newFixture(t, c)
	r := rand.New(rand.NewPCG(4, 4))
	rows := randomVisits(r, 60_000, 3000, 1000)
	for _, most := range []int{1, 3, 40, 700} {
		type own struct {
			unit  int64
			group string
		}
		values := map[own][]int64{}
		for _, v := range rows {
			if v.known {
				values[own{v.unit, of(v, "name")}] = append(values[own{v.unit, of(v, "name")}], v.amount)
			}
		}
		want := map[string][]int64{}
		for o, v := range values {
			want[o.group] = append(want[o.group], evenly(v, most)...)
		}
		for range 2 {
			more := exec.More{Bounds: &exec.Bounds{MaxGroups: 64, MaxCount: int64(most), Key: key(1)}, Sketches: []exec.Sketch{{Field: amount, Buckets: 4096}}}
			g, err := exec.AggregateWith(t.Context(), f.grant(t, byName), more, visitsTable(t, c, rows, 1+r.IntN(30_000)), plenty)
			if err != nil {
				t.Fatal(err)
			}
			for name, d := range distributions(g, 0) {
				slices.Sort(want[name])
				checkDistribution(t, name, d, want[name], [2]int64{-1000, 1000}, 4096)
			}
			r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		}
	}
}

// TestSketchKeepsTheGroups demands that a unit counts in the distributions of
// the groups that the aggregates have chosen, and in no others.
func TestSketchKeepsTheGroups(t *testing.T) {
	c := within(-1000, 1000)
	f := newFixture(t, c)
	snap := visitsTable(t, c, randomVisits(rand.New(rand.NewPCG(5, 5)), 30_000, 500, 1000), 7000)
	for _, groups := range []int{1, 2, 5} {
		more := exec.More{Bounds: &exec.Bounds{MaxGroups: groups, MaxCount: 4, Key: key(2)}, Sketches: []exec.Sketch{{Field: amount, Buckets: 16}}}
		g, err := exec.AggregateWith(t.Context(), f.grant(t, byName), more, snap, plenty)
		if err != nil {
			t.Fatal(err)
		}
		all := int64(0)
		for i := range g.Len() {
			_, totals := g.Group(i)
			if got := g.Distribution(i, 0).Values(); got != totals[0].Values {
				t.Errorf("%d groups: %d values in the distribution, %d counted", groups, got, totals[0].Values)
			}
			all += g.Distribution(i, 0).Values()
		}
		if all > int64(500*groups*4) || all == 0 {
			t.Errorf("%d groups: %d values", groups, all)
		}
	}
}

// TestOneUnitMoves replaces all rows of one unit: no distribution changes by
// more than the bounds say.
func TestOneUnitMoves(t *testing.T) {
	c := within(-1000, 1000)
	f := newFixture(t, c)
	r := rand.New(rand.NewPCG(6, 6))
	bounds := &exec.Bounds{MaxGroups: 2, MaxCount: 3, Key: key(3)}
	counts := func(rows []visit) map[string][]int64 {
		g, err := exec.AggregateWith(t.Context(), f.grant(t, byName), exec.More{Bounds: bounds, Sketches: []exec.Sketch{{Field: amount, Buckets: 64}}}, visitsTable(t, c, rows, 5000), plenty)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string][]int64{}
		for name, d := range distributions(g, 0) {
			for i := range d.Len() {
				_, n := d.Bucket(i)
				all[name] = append(all[name], n)
			}
		}
		return all
	}
	for range 20 {
		rows := randomVisits(r, 6000, 200, 1000)
		with := counts(rows)
		without := counts(slices.DeleteFunc(slices.Clone(rows), func(v visit) bool { return v.unit == 1 }))
		groups := 0
		for name, n := range with {
			changed := int64(0)
			for i := range n {
				before := int64(0)
				if without[name] != nil {
					before = without[name][i]
				}
				if n[i] < before {
					t.Fatal("rows of one unit take others away")
				}
				changed += n[i] - before
			}
			if changed > bounds.MaxCount {
				t.Errorf("one unit changes a group by %d", changed)
			}
			if changed > 0 {
				groups++
			}
		}
		if groups > bounds.MaxGroups {
			t.Errorf("one unit changes %d groups", groups)
		}
	}
}

func TestSketchRefused(t *testing.T) {
	f := newFixture(t, testContract())
	f.add(t, record(1, "a", 1, 10))
	grant := f.grant(t, byName)
	for name, s := range map[string]exec.Sketch{
		"a dimension": {Field: 2, Buckets: 8}, "the unit": {Field: 0, Buckets: 8}, "no field": {Field: 4, Buckets: 8}, "-1": {Field: -1, Buckets: 8},
		"one bucket": {Field: amount, Buckets: 1}, "too many": {Field: amount, Buckets: exec.MaxBuckets + 1},
	} {
		if _, err := exec.AggregateWith(t.Context(), grant, exec.More{Sketches: []exec.Sketch{s}}, f.snapshot(), plenty); !errors.Is(err, exec.ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g, err := exec.AggregateWith(t.Context(), grant, exec.More{Sketches: []exec.Sketch{{Field: amount, Buckets: 8}}}, f.snapshot(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range [][2]int64{{-1, 2}, {3, 2}, {1, 0}} {
		if _, ok := g.Distribution(0, 0).Quantile(q[0], q[1]); ok {
			t.Errorf("%d/%d is a share", q[0], q[1])
		}
	}
}

// TestSketchMemory: buckets of all groups are counted before they are there.
func TestSketchMemory(t *testing.T) {
	f := many(t, 5000)
	more := exec.More{Sketches: []exec.Sketch{{Field: amount, Buckets: 4096}}}
	grant := f.grant(t, "SELECT number, COUNT(*) FROM data GROUP BY number")
	const need = 5000 * 2049 * 8 // bytes of buckets, at the least
	if _, err := exec.AggregateWith(t.Context(), grant, more, f.snapshot(), exec.Limits{Rows: plenty.Rows, Memory: need}); !errors.Is(err, exec.ErrLimit) {
		t.Errorf("with too little memory: %v", err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := exec.AggregateWith(t.Context(), grant, more, f.snapshot(), exec.Limits{Rows: plenty.Rows, Memory: 1 << 20})
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, exec.ErrLimit) || grown > 4<<20 {
		t.Errorf("%d bytes were allocated: %v", grown, err)
	}
}

// both answers everything that a query can do at once, for tests of its limits.
func both(t testing.TB) exec.More {
	t.Helper()
	rows := []exec.LookupRow{{Key: contract.Value{Text: "n1"}, Label: contract.Value{Text: "one"}}}
	l, err := exec.NewLookup(1, true, true, rows)
	if err != nil {
		t.Fatal(err)
	}
	return exec.More{
		Bounds:   &exec.Bounds{MaxGroups: 3, MaxCount: 5, Key: key(9), Sums: map[int]exec.Interval{amount: {Low: -5, High: 5}}},
		Sketches: []exec.Sketch{{Field: amount, Buckets: 32}}, Lookups: []*exec.Lookup{l},
	}
}
