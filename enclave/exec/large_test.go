package exec_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// naive counts visits with maps, and writes the groups as lines does.
func naive(rows []visit, where func(visit) bool, by func(visit) []contract.Value) string {
	type group struct {
		keys               []contract.Value
		rows, values       int64
		units, valuesUnits map[int64]bool
		sum                *big.Int
	}
	groups := map[string]*group{}
	for _, v := range rows {
		if !where(v) {
			continue
		}
		keys := by(v)
		g := groups[fmt.Sprint(keys)]
		if g == nil {
			g = &group{keys: keys, units: map[int64]bool{}, valuesUnits: map[int64]bool{}, sum: new(big.Int)}
			groups[fmt.Sprint(keys)] = g
		}
		g.rows++
		g.units[v.unit] = true
		if v.known {
			g.values++
			g.valuesUnits[v.unit] = true
			g.sum.Add(g.sum, big.NewInt(v.amount))
		}
	}
	var all []string
	for _, g := range groups {
		all = append(all, fmt.Sprint(g.keys, " ", len(g.units), fmt.Sprintf(" %d/%d/0", g.rows, len(g.units)),
			" ", g.values, "/", len(g.valuesUnits), "/", g.sum))
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func named(v visit) contract.Value {
	if v.name == "-" {
		return contract.Value{Null: true}
	}
	return contract.Value{Text: v.name}
}

// TestLarge compares with maps, over tables for several workers that came in
// one batch and in many, with as many threads as there are and with one.
func TestLarge(t *testing.T) {
	f := newFixture(t, testContract())
	tests := []struct {
		query string
		where func(visit) bool
		by    func(visit) []contract.Value
	}{
		{"", func(visit) bool { return true }, func(visit) []contract.Value { return []contract.Value{} }},
		{" WHERE name IN ('n1', 'n3', 'n8') GROUP BY number",
			func(v visit) bool { return v.name == "n1" || v.name == "n3" || v.name == "n8" },
			func(v visit) []contract.Value { return []contract.Value{{Int: v.number}} }},
		{" WHERE number > 100 AND number <> 400 GROUP BY name",
			func(v visit) bool { return v.number > 100 && v.number != 400 },
			func(v visit) []contract.Value { return []contract.Value{named(v)} }},
		{" WHERE name IS NULL OR name = 'n2' GROUP BY name, number",
			func(v visit) bool { return v.name == "-" || v.name == "n2" },
			func(v visit) []contract.Value { return []contract.Value{named(v), {Int: v.number}} }},
		{" WHERE number NOT IN (0, 1, 2, 3, 4, 200, 600) AND name < 'n4' GROUP BY name",
			func(v visit) bool {
				return v.number != 0 && v.number != 200 && v.number != 600 && v.name != "-" && v.name < "n4"
			},
			func(v visit) []contract.Value { return []contract.Value{named(v)} }},
		{" WHERE number = 1 GROUP BY name", func(v visit) bool { return v.number == 1 }, func(visit) []contract.Value { return nil }},
	}
	for _, most := range []int64{1000, contract.MaxMeasure} {
		rows := randomVisits(rand.New(rand.NewPCG(30, uint64(most))), 300_000, 30_000, most)
		snaps := []*table.Snapshot{visitsTable(t, f.contract, rows, len(rows)), visitsTable(t, f.contract, rows, 23_000)}
		for _, tt := range tests {
			_, keys, grouped := strings.Cut(tt.query, "GROUP BY ")
			if grouped {
				keys += ", "
			}
			grant := f.grant(t, "SELECT "+keys+"COUNT(*), SUM(amount) AS s FROM data"+tt.query)
			want := naive(rows, tt.where, tt.by)
			for i, snap := range snaps {
				for _, threads := range []int{1, 4} {
					before := runtime.GOMAXPROCS(threads)
					g, err := exec.Aggregate(t.Context(), grant, snap, plenty)
					runtime.GOMAXPROCS(before)
					if err != nil {
						t.Fatal(err)
					}
					if got := lines(g); got != want {
						t.Errorf("most %d,%s, table %d, %d threads: got\n%s\nwant\n%s", most, tt.query, i, threads, got, want)
					}
				}
			}
		}
	}
}

// TestManyHashed groups by numbers too far apart for a place each, and more of
// them than the first hash table has slots, in each of two words.
func TestManyHashed(t *testing.T) {
	c := testContract()
	c.Fields = append(c.Fields, contract.Field{Name: "other", Type: contract.Integer, Role: contract.Dimension})
	f := newFixture(t, c)
	r := rand.New(rand.NewPCG(31, 1))
	const n = 300_000
	tab := table.New(c, table.Unlimited())
	columns := make([]table.Values, 5)
	want := map[[3]int64]int64{}
	for i := range n {
		a, b, null := int64(r.Uint64N(40))<<58^int64(r.IntN(50)), int64(r.Uint64N(3))<<62, r.IntN(3) == 0
		if null {
			b = 0
		}
		columns[0].Ints = append(columns[0].Ints, int64(i))
		columns[1].Texts = append(columns[1].Texts, "x")
		columns[2].Ints = append(columns[2].Ints, a)
		columns[3].Ints = append(columns[3].Ints, 1)
		columns[4].Ints = append(columns[4].Ints, b)
		for k := range columns {
			columns[k].Null = append(columns[k].Null, null && k == 4)
		}
		want[[3]int64{a, b, map[bool]int64{true: 1}[null]}]++
	}
	if err := tab.Append(n, columns); err != nil {
		t.Fatal(err)
	}
	g, err := exec.Aggregate(t.Context(), f.grant(t, "SELECT COUNT(*) FROM data GROUP BY number, other"), tab.Snapshot(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	for i := range g.Len() {
		keys, totals := g.Group(i)
		key := [3]int64{keys[0].Int, keys[1].Int, map[bool]int64{true: 1}[keys[1].Null]}
		if totals[0].Values != want[key] {
			t.Fatalf("%v comes %d times, want %d", keys, totals[0].Values, want[key])
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("%d groups are missing", len(want))
	}
}

// counting is a context that ends when it was asked often enough, by several
// goroutines.
type counting struct {
	context.Context
	asked atomic.Int64
	most  int64
}

func (c *counting) Err() error {
	if c.asked.Add(1) > c.most {
		return context.Canceled
	}
	return nil
}

// TestCancelledTogether demands that the end of the context is the end for all
// workers, each of which looks at it once more at most, and that none is left.
func TestCancelledTogether(t *testing.T) {
	f := newFixture(t, testContract())
	rows := randomVisits(rand.New(rand.NewPCG(32, 1)), 600_000, 30_000, 1000)
	snap := visitsTable(t, f.contract, rows, len(rows))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, query := range []string{
		"SELECT COUNT(*) FROM data",
		"SELECT name, number, SUM(amount) FROM data WHERE name <> 'n3' GROUP BY name, number",
	} {
		grant := f.grant(t, query)
		before := runtime.NumGoroutine()
		for most := int64(0); most < 250; most += 17 {
			ctx := &counting{Context: t.Context(), most: most}
			if _, err := exec.Aggregate(ctx, grant, snap, plenty); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s: %v", query, err)
			}
			if asked := ctx.asked.Load(); asked > most+4 {
				t.Errorf("%s: asked %d times after the end", query, asked-most)
			}
		}
		for i := 0; runtime.NumGoroutine() > before; i++ {
			if i == 1000 {
				t.Fatalf("%s: %d goroutines, %d before", query, runtime.NumGoroutine(), before)
			}
			time.Sleep(time.Millisecond) // ended goroutines are counted for a moment
		}
	}
}

// TestMemoryTogether demands that a query for which several workers have no
// room is done by one.
func TestMemoryTogether(t *testing.T) {
	f := newFixture(t, testContract())
	rows := randomVisits(rand.New(rand.NewPCG(33, 1)), 600_000, 30_000, 1000)
	snap := visitsTable(t, f.contract, rows, len(rows))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	grant := f.grant(t, "SELECT name, COUNT(*) FROM data GROUP BY name")
	want, err := exec.Aggregate(t.Context(), grant, snap, plenty)
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.Aggregate(t.Context(), grant, snap, exec.Limits{Rows: 100, Memory: 300_000})
	if err != nil {
		t.Fatal(err)
	}
	if lines(got) != lines(want) {
		t.Error("another answer with less memory")
	}
	if _, err := exec.Aggregate(t.Context(), grant, snap, exec.Limits{Rows: 100, Memory: 100_000}); !errors.Is(err, exec.ErrLimit) {
		t.Errorf("too little: %v", err)
	}
}
