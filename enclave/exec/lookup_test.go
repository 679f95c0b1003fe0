package exec_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/internal/contract"
)

func text(s string) contract.Value { return contract.Value{Text: s} }

// TestLookup compares with maps: labels in the place of texts, of integers and
// of both, inner and outer.
func TestLookup(t *testing.T) {
	f := newFixture(t, testContract())
	byText := map[string]string{"n1": "low", "n2": "low", "n3": "high", "n7": "-", "n99": "nobody's"}
	byInt := map[int64]string{0: "zero", 100: "low", 300: "low", 400: "-", 1 << 40: "nobody's"}
	var texts, ints []exec.LookupRow
	label := func(s string) contract.Value {
		if s == "-" {
			return contract.Value{Null: true}
		}
		return text(s)
	}
	for k, v := range byText {
		texts = append(texts, exec.LookupRow{Key: text(k), Label: label(v)})
	}
	for k, v := range byInt {
		ints = append(ints, exec.LookupRow{Key: contract.Value{Int: k}, Label: label(v)})
	}
	for _, n := range []int{20_000, 20_001, 270_000} { // the last for two workers
		outer := n > 20_000
		rows := randomVisits(rand.New(rand.NewPCG(9, 9)), n, 20_000, 1000)
		snap := visitsTable(t, f.contract, rows, 50_000)
		one, err := exec.NewLookup(1, true, outer, texts)
		if err != nil {
			t.Fatal(err)
		}
		two, err := exec.NewLookup(2, false, outer, ints)
		if err != nil {
			t.Fatal(err)
		}
		find := func(s string, known bool) (contract.Value, bool) {
			if !known {
				return contract.Value{Null: true}, outer
			}
			return label(s), true
		}
		first := func(v visit) (contract.Value, bool) { s, ok := byText[v.name]; return find(s, ok) }
		second := func(v visit) (contract.Value, bool) { s, ok := byInt[v.number]; return find(s, ok) }
		for name, tt := range map[string]struct {
			keys    string
			lookups []*exec.Lookup
			by      func(visit) ([]contract.Value, bool)
		}{
			"texts":    {"name", []*exec.Lookup{one}, func(v visit) ([]contract.Value, bool) { a, ok := first(v); return []contract.Value{a}, ok }},
			"integers": {"number", []*exec.Lookup{two}, func(v visit) ([]contract.Value, bool) { a, ok := second(v); return []contract.Value{a}, ok }},
			"one of two": {"name, number", []*exec.Lookup{two}, func(v visit) ([]contract.Value, bool) {
				a, ok := second(v)
				return []contract.Value{named(v), a}, ok
			}},
			"both": {"name, number", []*exec.Lookup{two, one}, func(v visit) ([]contract.Value, bool) {
				a, ok1 := first(v)
				b, ok2 := second(v)
				return []contract.Value{a, b}, ok1 && ok2
			}},
		} {
			if n > 100_000 && name != "both" {
				continue // the large table is for one of them
			}
			grant := f.grant(t, "SELECT "+tt.keys+", COUNT(*), SUM(amount) AS s FROM data WHERE number <> 200 GROUP BY "+tt.keys)
			want := naive(rows, func(v visit) bool { _, ok := tt.by(v); return ok && v.number != 200 }, func(v visit) []contract.Value { k, _ := tt.by(v); return k })
			for _, threads := range []int{1, 2} {
				before := runtime.GOMAXPROCS(threads)
				g, err := exec.AggregateWith(t.Context(), grant, exec.More{Lookups: tt.lookups}, snap, plenty)
				runtime.GOMAXPROCS(before)
				if err != nil {
					t.Fatal(err)
				}
				if got := lines(g); got != want {
					t.Errorf("%s, outer %t: got\n%s\nwant\n%s", name, outer, got, want)
				}
			}
		}
	}
}

// TestLookupWide has keys whose numbers don't fit into one word.
func TestLookupWide(t *testing.T) {
	f := newFixture(t, testContract())
	rows := randomVisits(rand.New(rand.NewPCG(1, 9)), 5000, 300, contract.MaxMeasure) // numbers are far apart
	lookup, err := exec.NewLookup(1, true, true, []exec.LookupRow{{Key: text("n1"), Label: text("x")}, {Key: text("n2"), Label: text("y")}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := exec.AggregateWith(t.Context(), f.grant(t, "SELECT number, name, COUNT(*), SUM(amount) AS s FROM data GROUP BY number, name"),
		exec.More{Lookups: []*exec.Lookup{lookup}}, visitsTable(t, f.contract, rows, 700), plenty)
	if err != nil {
		t.Fatal(err)
	}
	want := naive(rows, func(visit) bool { return true }, func(v visit) []contract.Value {
		label, ok := map[string]contract.Value{"n1": text("x"), "n2": text("y")}[v.name]
		return []contract.Value{{Int: v.number}, {Null: !ok, Text: label.Text}}
	})
	if got := lines(g); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestEmptyLookup joins nothing: no row is left, or all in one group.
func TestEmptyLookup(t *testing.T) {
	f := newFixture(t, testContract())
	f.add(t, record(1, "a", 1, 10), record(2, "b", 1, 10))
	for _, field := range []struct {
		at   int
		name string
	}{{1, "name"}, {2, "number"}} {
		for outer, want := range map[bool]string{false: "", true: "[{true 0 }] 2 2/2/0"} {
			l, err := exec.NewLookup(field.at, field.at == 1, outer, nil)
			if err != nil {
				t.Fatal(err)
			}
			g, err := exec.AggregateWith(t.Context(), f.grant(t, "SELECT COUNT(*) FROM data GROUP BY "+field.name), exec.More{Lookups: []*exec.Lookup{l}}, f.snapshot(), plenty)
			if err != nil {
				t.Fatal(err)
			}
			if got := lines(g); got != want {
				t.Errorf("%s, outer %t: %q", field.name, outer, got)
			}
		}
	}
}

func TestLookupRefused(t *testing.T) {
	key := func(n int) exec.LookupRow {
		return exec.LookupRow{Key: contract.Value{Int: int64(n)}, Label: text("x")}
	}
	var large []exec.LookupRow
	for i := range exec.MaxLookupRows + 1 {
		large = append(large, key(i))
	}
	for name, rows := range map[string][]exec.LookupRow{
		"a key twice": {key(1), key(2), key(1)}, "a NULL key": {{Key: contract.Value{Null: true}}}, "too many rows": large,
		"too many bytes": {{Key: contract.Value{Int: 1}, Label: text(strings.Repeat("x", 4<<20+1))}},
	} {
		if _, err := exec.NewLookup(2, false, false, rows); !errors.Is(err, exec.ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	full, err := exec.NewLookup(2, false, false, large[1:])
	if err != nil {
		t.Errorf("the largest: %v", err)
	}
	f := newFixture(t, testContract())
	f.add(t, record(1, "a", 1, 10))
	numbers, err := exec.NewLookup(2, false, false, []exec.LookupRow{key(1)})
	if err != nil {
		t.Fatal(err)
	}
	asText, err := exec.NewLookup(2, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	grant := f.grant(t, "SELECT number, COUNT(*) FROM data GROUP BY number")
	for name, c := range map[string]struct {
		lookups []*exec.Lookup
		query   string
	}{
		"not a key":    {[]*exec.Lookup{numbers}, "SELECT name, COUNT(*) FROM data GROUP BY name"},
		"another type": {[]*exec.Lookup{asText}, ""}, "none": {[]*exec.Lookup{nil}, ""}, "the same twice": {[]*exec.Lookup{numbers, numbers}, ""},
	} {
		g := grant
		if c.query != "" {
			g = f.grant(t, c.query)
		}
		if _, err := exec.AggregateWith(t.Context(), g, exec.More{Lookups: c.lookups}, f.snapshot(), plenty); !errors.Is(err, exec.ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := exec.AggregateWith(t.Context(), grant, exec.More{Lookups: []*exec.Lookup{full}}, f.snapshot(), exec.Limits{Rows: 10, Memory: 1 << 20}); !errors.Is(err, exec.ErrLimit) {
		t.Errorf("a table of several megabytes in one: %v", err)
	}
}

// TestMoreIsCancelled counts how often the context is asked after its end: once
// at most in each worker, whatever is being done.
func TestMoreIsCancelled(t *testing.T) {
	f := many(t, 20_000)
	grant := f.grant(t, "SELECT name, SUM(amount) FROM data GROUP BY name")
	for name, more := range map[string]exec.More{
		"all": both(t), "a sketch": {Sketches: both(t).Sketches}, "a lookup": {Lookups: both(t).Lookups},
		"bounds and a sketch": {Bounds: both(t).Bounds, Sketches: both(t).Sketches},
	} {
		all := &ending{Context: t.Context(), most: 1 << 30}
		if _, err := exec.AggregateWith(all, grant, more, f.snapshot(), plenty); err != nil {
			t.Fatal(err)
		}
		if all.asked < 8 {
			t.Errorf("%s: asked %d times", name, all.asked)
		}
		for most := range all.asked {
			e := &ending{Context: t.Context(), most: most}
			if _, err := exec.AggregateWith(e, grant, more, f.snapshot(), plenty); err == nil || e.asked != most+1 {
				t.Errorf("%s: asked %d times after the end: %v", name, e.asked-most, err)
			}
		}
	}
}

// TestHeavyUnitIsCancelled has one unit with all rows: what is kept of it is
// much, and still the end of the context is seen.
func TestHeavyUnitIsCancelled(t *testing.T) {
	c := within(-1000, 1000)
	f := newFixture(t, c)
	rows := make([]visit, 60_000)
	for i := range rows {
		rows[i] = visit{unit: 1, name: fmt.Sprint("n", i%3000), amount: int64(i % 900), known: true}
	}
	snap := visitsTable(t, c, rows, len(rows))
	grant, more := f.grant(t, byName), exec.More{Bounds: &exec.Bounds{MaxGroups: 64, MaxCount: 2, Key: key(4)}, Sketches: []exec.Sketch{{Field: amount, Buckets: 64}}}
	all := &ending{Context: t.Context(), most: 1 << 30}
	g, err := exec.AggregateWith(all, grant, more, snap, plenty)
	if err != nil {
		t.Fatal(err)
	}
	values := int64(0)
	for i := range g.Len() {
		values += g.Distribution(i, 0).Values()
	}
	if values != 64*2 {
		t.Errorf("%d values of one unit", values)
	}
	for most := range all.asked {
		e := &ending{Context: t.Context(), most: most}
		if _, err := exec.AggregateWith(e, grant, more, snap, plenty); err == nil || e.asked != most+1 {
			t.Fatalf("asked %d times after the end: %v", e.asked-most, err)
		}
	}
	if all.asked < 8 {
		t.Errorf("asked %d times", all.asked)
	}
}
