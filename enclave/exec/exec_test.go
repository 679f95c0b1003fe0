package exec_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

var plenty = exec.Limits{Rows: 1 << 20, Memory: 1 << 30}

func testContract() *contract.Contract {
	least, most := int64(-contract.MaxMeasure), int64(contract.MaxMeasure)
	return &contract.Contract{
		Dataset: "data", ID: "data", Version: "1", Mode: contract.Threshold, Floor: 5,
		Fields: []contract.Field{
			{Name: "unit", Type: contract.Integer, Role: contract.Unit},
			{Name: "name", Type: contract.String, Role: contract.Dimension},
			{Name: "number", Type: contract.Integer, Role: contract.Dimension, Required: true},
			{Name: "amount", Type: contract.Integer, Role: contract.Measure, Minimum: &least, Maximum: &most},
		},
	}
}

func record(unit int, name string, number int, amount int64) columns.Record {
	return columns.Record{
		columns.Int("unit", int64(unit)), columns.Text("name", name), columns.Int("number", int64(number)), columns.Int("amount", amount),
	}
}

// fixture is a store with one table, and the desk that grants queries over it.
type fixture struct {
	contract *contract.Contract
	store    *store.Store
	desk     *genuine.Desk
}

func newFixture(t testing.TB, c *contract.Contract) *fixture {
	t.Helper()
	d, err := genuine.NewDesk(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{contract: c, store: store.New([]*contract.Contract{c}), desk: d}
}

func (f *fixture) add(t testing.TB, records ...columns.Record) {
	t.Helper()
	for batch := range slices.Chunk(records, 50_000) {
		b, err := genuine.Batch(f.contract, batch)
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() != len(batch) {
			t.Fatalf("%d of %d records were accepted", b.Len(), len(batch))
		}
		if err := f.store.Append(b); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *fixture) snapshot() *table.Snapshot {
	s, _ := f.store.Snapshot(f.contract.Dataset)
	return s
}

func (f *fixture) grant(t testing.TB, text string) *protect.Grant {
	t.Helper()
	g, err := f.desk.Grant(context.Background(), f.contract, text)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// lines writes all groups, hidden ones too, sorted.
func lines(g *exec.Groups) string {
	var all []string
	for i := range g.Len() {
		keys, totals := g.Group(i)
		line := fmt.Sprint(keys, " ", g.Units(i))
		for _, t := range totals {
			line += fmt.Sprint(" ", t.Values, "/", t.Units, "/", t.Sum.Big())
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// TestGroups demands hidden groups too: hiding is for Release.
func TestGroups(t *testing.T) {
	f := newFixture(t, testContract())
	f.add(t, record(1, "a", 1, 10), record(1, "a", 1, -3), record(2, "a", 1, 0), record(3, "b", 1, 7))
	null := record(9, "", 1, 0)
	null[1], null[3] = columns.Null("name"), columns.Null("amount")
	f.add(t, null, record(9, "a", 2, 5))
	tests := []struct{ query, want string }{
		{"SELECT name, COUNT(*), SUM(amount) FROM data GROUP BY name",
			"[{false 0 a}] 3 4/3/0 4/3/12\n[{false 0 b}] 1 1/1/0 1/1/7\n[{true 0 }] 1 1/1/0 0/0/0"},
		{"SELECT COUNT(*), COUNT(DISTINCT unit) AS u, COUNT(amount) AS c, COUNT(name) AS n FROM data",
			"[] 4 6/4/0 4/4/0 5/4/0 5/4/0"},
		{"SELECT number FROM data GROUP BY number", "[{false 1 }] 4\n[{false 2 }] 1"},
		{"SELECT COUNT(*) FROM data WHERE name = 'nobody'", "[] 0 0/0/0"},
		{"SELECT name FROM data WHERE name = 'nobody' GROUP BY name", ""},
		{"SELECT COUNT(*) FROM data WHERE name <> 'b' AND number < 2", "[] 2 3/2/0"},
		{"SELECT COUNT(*) FROM data WHERE name IS NULL OR name > 'a'", "[] 2 2/2/0"},
	}
	for _, tt := range tests {
		g, err := exec.Aggregate(t.Context(), f.grant(t, tt.query), f.snapshot(), plenty)
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(g); got != tt.want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", tt.query, got, tt.want)
		}
		if g.Snapshot() != 2 {
			t.Errorf("snapshot %d", g.Snapshot())
		}
	}
}

func TestNoGrant(t *testing.T) {
	f := newFixture(t, testContract())
	good := f.grant(t, "SELECT COUNT(*) FROM data")
	other := testContract()
	other.Fields = other.Fields[:3]
	tests := []struct {
		name  string
		grant *protect.Grant
		snap  *table.Snapshot
	}{
		{"none", nil, f.snapshot()},
		{"made by hand", &protect.Grant{}, f.snapshot()},
		{"no snapshot", good, nil},
		{"snapshot of another contract", good, table.New(other, table.Unlimited()).Snapshot()},
	}
	for _, tt := range tests {
		if _, err := exec.Aggregate(t.Context(), tt.grant, tt.snap, plenty); !errors.Is(err, exec.ErrPlan) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := exec.Aggregate(t.Context(), good, table.New(testContract(), table.Unlimited()).Snapshot(), plenty); err != nil {
		t.Errorf("an equal contract: %v", err)
	}
}

// TestManyGroups compares with maps: more keys than a word has bits, more
// groups than the first hash table has slots.
func TestManyGroups(t *testing.T) {
	const wide, rows = 70, 6_000
	c := testContract()
	for i := range wide {
		c.Fields = append(c.Fields, contract.Field{Name: fmt.Sprint("k", i), Type: contract.Integer, Role: contract.Dimension})
	}
	f := newFixture(t, c)
	r := rand.New(rand.NewPCG(1, 1))
	keys, list := map[string]map[int]bool{}, ""
	var records []columns.Record
	for range rows {
		unit := r.IntN(500)
		rec := record(unit, "x", 0, 1)
		// One column in seventy differs between two groups, as 1, 0 or NULL.
		at, kind := r.IntN(wide), r.IntN(3)
		for i := range wide {
			name := fmt.Sprint("k", i)
			switch {
			case i != at || kind == 0:
				rec = append(rec, columns.Int(name, 0))
			case kind == 1:
				rec = append(rec, columns.Int(name, 1))
			}
		}
		key := fmt.Sprint(at, kind)
		if kind == 0 {
			key = "none"
		}
		if keys[key] == nil {
			keys[key] = map[int]bool{}
		}
		keys[key][unit] = true
		records = append(records, rec)
	}
	for i := range wide {
		list += fmt.Sprint(", k", i)
	}
	f.add(t, records...)
	g, err := exec.Aggregate(t.Context(), f.grant(t, "SELECT COUNT(*) FROM data GROUP BY "+list[2:]), f.snapshot(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []int
	for i := range g.Len() {
		got = append(got, int(g.Units(i)))
	}
	for _, seen := range keys {
		want = append(want, len(seen))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("units of groups: %v, want %v", got, want)
	}
}

// TestWideSums adds up more than 64 bits hold, both ways.
func TestWideSums(t *testing.T) {
	const rows = 3000
	f := newFixture(t, testContract())
	var records []columns.Record
	for i := range rows {
		records = append(records, record(i, "up", 1, contract.MaxMeasure), record(i, "down", 1, -contract.MaxMeasure))
	}
	f.add(t, records...)
	g, err := exec.Aggregate(t.Context(), f.grant(t, "SELECT name, SUM(amount) FROM data GROUP BY name"), f.snapshot(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	want := "[{false 0 down}] 3000 3000/3000/-27021597764222976000\n[{false 0 up}] 3000 3000/3000/27021597764222976000"
	if got := lines(g); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// many fills a table with rows of different units, names and numbers.
func many(t testing.TB, rows int) *fixture {
	f := newFixture(t, testContract())
	records := make([]columns.Record, rows)
	for i := range records {
		records[i] = record(i, fmt.Sprint("n", i), i, 1)
	}
	f.add(t, records...)
	return f
}

// ending is a context that ends when it was asked often enough.
type ending struct {
	context.Context
	asked, most int
}

func (e *ending) Err() error {
	if e.asked++; e.asked > e.most {
		return context.Canceled
	}
	return nil
}

// TestCancelled demands that the context is looked at every few thousand rows,
// of the table and of a dictionary, and that its end is the end.
func TestCancelled(t *testing.T) {
	const rows, every = 20_000, 5000
	f := many(t, rows)
	for _, query := range []string{
		"SELECT COUNT(*) FROM data",
		"SELECT COUNT(*) FROM data WHERE name = 'n1'",
		"SELECT number, SUM(amount) FROM data GROUP BY number",
	} {
		grant := f.grant(t, query)
		all := &ending{Context: t.Context(), most: 1 << 30}
		if _, err := exec.Aggregate(all, grant, f.snapshot(), plenty); err != nil {
			t.Fatal(err)
		}
		least := rows / every
		if strings.Contains(query, "WHERE") {
			least *= 2
		}
		if all.asked < least {
			t.Errorf("%s: asked %d times for %d rows", query, all.asked, rows)
		}
		for most := range all.asked {
			e := &ending{Context: t.Context(), most: most}
			if _, err := exec.Aggregate(e, grant, f.snapshot(), plenty); !errors.Is(err, context.Canceled) || e.asked != most+1 {
				t.Errorf("%s: asked %d times after the end: %v", query, e.asked-most, err)
			}
		}
	}
}

// TestMemory demands that a query which may take less than it needs stops
// before it has taken much more than it may.
func TestMemory(t *testing.T) {
	f := many(t, 20_000)
	// enough is the sum of what is held at the end and the largest old half.
	for query, enough := range map[string]int64{
		"SELECT COUNT(*) FROM data":                                          480_000, // units
		"SELECT number, SUM(amount) FROM data GROUP BY number":               3_100_000,
		"SELECT name, number, COUNT(amount) FROM data GROUP BY name, number": 3_100_000,
		"SELECT COUNT(*) FROM data WHERE name <> 'n1'":                       500_000,
	} {
		grant := f.grant(t, query)
		if _, err := exec.Aggregate(t.Context(), grant, f.snapshot(), exec.Limits{Rows: plenty.Rows, Memory: enough}); err != nil {
			t.Errorf("%s: %d bytes aren't enough", query, enough)
		}
		want, err := exec.Aggregate(t.Context(), grant, f.snapshot(), plenty)
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for memory := int64(0); ; memory = memory*2 + 1 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := exec.Aggregate(t.Context(), grant, f.snapshot(), exec.Limits{Rows: plenty.Rows, Memory: memory})
			runtime.ReadMemStats(&after)
			if err == nil {
				if lines(got) != lines(want) {
					t.Errorf("%s: another answer with %d bytes", query, memory)
				}
				break
			}
			if !errors.Is(err, exec.ErrLimit) {
				t.Fatal(err)
			}
			failed++
			// What was taken and given back on the way is about as much again,
			// and what the plan takes is small.
			if taken := int64(after.TotalAlloc - before.TotalAlloc); taken > 3*memory+64<<10 {
				t.Errorf("%s: allocated %d bytes and may take %d", query, taken, memory)
			}
		}
		if failed < 15 {
			t.Errorf("%s: failed %d times", query, failed)
		}
	}
}

// TestRows limits groups that reach the floor, and no others.
func TestRows(t *testing.T) {
	f := newFixture(t, testContract())
	for number := range 3 {
		for unit := range 5 {
			f.add(t, record(unit, "shown", number, 1))
		}
	}
	for number := range 50 {
		f.add(t, record(number%4, "hidden", 100+number, 1))
	}
	grant := f.grant(t, "SELECT number, COUNT(*) FROM data GROUP BY number")
	for rows, want := range map[int64]error{0: exec.ErrLimit, 2: exec.ErrLimit, 3: nil} {
		g, err := exec.Aggregate(t.Context(), grant, f.snapshot(), exec.Limits{Rows: rows, Memory: plenty.Memory})
		if !errors.Is(err, want) {
			t.Errorf("%d rows: %v", rows, err)
		}
		if err == nil && g.Len() != 53 {
			t.Errorf("%d groups", g.Len())
		}
	}
}

// TestSnapshotIsolation runs a query over one snapshot, again and again, while
// batches come: its answer stays the same, and later snapshots have theirs.
func TestSnapshotIsolation(t *testing.T) {
	const batches, rows = 40, 50
	f := newFixture(t, testContract())
	grant := f.grant(t, "SELECT COUNT(*), COUNT(DISTINCT unit) AS u, SUM(amount) FROM data")
	var sealed [][]columns.Record
	for b := range batches {
		var records []columns.Record
		for i := range rows {
			records = append(records, record(b*rows+i, fmt.Sprint("n", b), b, 1))
		}
		sealed = append(sealed, records)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				snap := f.snapshot()
				n := snap.Number() * rows
				want := fmt.Sprintf("[] %d %d/%d/0 %d/%d/0 %d/%d/%d", n, n, n, n, n, n, n, n)
				for range 2 {
					g, err := exec.Aggregate(context.Background(), grant, snap, plenty)
					if err != nil || lines(g) != want {
						t.Errorf("snapshot %d: %v", snap.Number(), err)
						return
					}
				}
			}
		})
	}
	for _, records := range sealed {
		f.add(t, records...)
	}
	close(done)
	wg.Wait()
}

func BenchmarkGroup(b *testing.B) {
	f := newFixture(b, testContract())
	records := make([]columns.Record, 50_000)
	r := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		for i := range records {
			records[i] = record(r.IntN(200_000), fmt.Sprint("n", r.IntN(50)), r.IntN(1000), 1)
		}
		f.add(b, records...)
	}
	for _, query := range []string{
		"SELECT SUM(amount) FROM data WHERE name <> 'n7'",
		"SELECT name, COUNT(*), SUM(amount) FROM data GROUP BY name",
		"SELECT name, number, COUNT(*) FROM data GROUP BY name, number",
	} {
		grant := f.grant(b, query)
		b.Run(query, func(b *testing.B) {
			for b.Loop() {
				if _, err := exec.Aggregate(context.Background(), grant, f.snapshot(), plenty); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(f.snapshot().Rows())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

// BenchmarkNulls counts a column without NULL and one in which a fifth of the
// rows has none, by a key of the same kinds.
func BenchmarkNulls(b *testing.B) {
	f := newFixture(b, testContract())
	r := rand.New(rand.NewPCG(3, 3))
	rows := make([]visit, 1_000_000)
	for _, nulls := range []bool{false, true} {
		for i := range rows {
			rows[i] = visit{unit: r.Int64N(100_000), name: fmt.Sprint("n", r.IntN(50)), amount: r.Int64N(1000), known: !nulls || r.IntN(5) > 0}
			if nulls && r.IntN(10) == 0 {
				rows[i].name = "-"
			}
		}
		snap := visitsTable(b, f.contract, rows, len(rows))
		grant := f.grant(b, "SELECT name, COUNT(*), SUM(amount) FROM data GROUP BY name")
		b.Run(fmt.Sprintf("nulls=%t", nulls), func(b *testing.B) {
			for b.Loop() {
				if _, err := exec.Aggregate(b.Context(), grant, snap, plenty); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
		})
	}
}
