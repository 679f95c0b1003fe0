package duckdb_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/test/duckdb"
	"github.com/cloisterhq/cloister/test/genuine"
)

var plenty = exec.Limits{Rows: 1 << 30, Memory: 1 << 30}

// trial is one data set on both sides.
type trial struct {
	contract *contract.Contract
	data     *data
	peer     *duckdb.Peer
	table    *table.Table
	desk     *genuine.Desk
}

// begin loads random rows into both, into ours in batches.
func begin(t *testing.T, g generator, peer *duckdb.Peer, desk *genuine.Desk, rows int) *trial {
	t.Helper()
	return load(t, g, g.contract(), peer, desk, rows)
}

// load is begin for a contract.
func load(t *testing.T, g generator, c *contract.Contract, peer *duckdb.Peer, desk *genuine.Desk, rows int) *trial {
	t.Helper()
	tr := &trial{contract: c, data: g.data(c, rows), peer: peer, table: table.New(c, table.Unlimited()), desk: desk}
	if err := peer.Exec(t.Context(), "DROP TABLE IF EXISTS "+c.Dataset); err != nil {
		t.Fatal(err)
	}
	if err := peer.Create(t.Context(), c, false); err != nil {
		t.Fatal(err)
	}
	if err := peer.Append(t.Context(), c, false, rows, tr.data.columns); err != nil {
		t.Fatal(err)
	}
	for from := 0; from < rows; {
		to := min(rows, from+1+g.IntN(1+pick(g, rows, rows/10)))
		if err := tr.table.Append(to-from, tr.data.part(from, to)); err != nil {
			t.Fatal(err)
		}
		from = to
	}
	return tr
}

// ours writes the groups as the peer's rows are written.
func ours(q *question, g *exec.Groups, c *contract.Contract) []string {
	var all []string
	for i := range g.Len() {
		keys, totals := g.Group(i)
		var cells []string
		for k, v := range keys {
			switch {
			case v.Null:
				cells = append(cells, "NULL")
			case c.Fields[q.keys[k]].Type == contract.String:
				cells = append(cells, v.Text)
			default:
				cells = append(cells, fmt.Sprint(v.Int))
			}
		}
		all = append(all, strings.Join(append(cells, cellsOf(q, totals, g.Units(i))...), "|"))
	}
	slices.Sort(all)
	return all
}

func cellsOf(q *question, totals []protect.Total, units int64) []string {
	cells := []string{fmt.Sprint(totals[0].Values), fmt.Sprint(totals[1].Values)}
	if totals[0].Units != units || totals[1].Units != units || totals[1].Values != units {
		cells = append(cells, "units differ")
	}
	at := 2
	for range q.counted {
		cells = append(cells, fmt.Sprint(totals[at].Values), fmt.Sprint(totals[at].Units))
		at++
	}
	for range q.measures {
		count, sum := totals[at], totals[at+1]
		cells = append(cells, fmt.Sprint(count.Values), fmt.Sprint(count.Units))
		if sum.Values == 0 {
			cells = append(cells, "NULL", "0")
		} else {
			cells = append(cells, sum.Sum.Big().String(), fmt.Sprint(sum.Units))
		}
		at += 2
	}
	return cells
}

func (tr *trial) compare(t *testing.T, q *question) {
	t.Helper()
	text := q.text(tr.contract, false)
	grant, err := tr.desk.Grant(t.Context(), tr.contract, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	groups, err := exec.Aggregate(t.Context(), grant, tr.table.Snapshot(), plenty)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	want, err := tr.peer.Rows(t.Context(), q.text(tr.contract, true))
	if err != nil {
		t.Fatalf("%s: %v", q.text(tr.contract, true), err)
	}
	slices.Sort(want)
	if got := ours(q, groups, tr.contract); !slices.Equal(got, want) {
		t.Errorf("%s\ngot  %q\nwant %q", text, got, want)
	}
}

// TestOracle asks both sides thousands of questions.
func TestOracle(t *testing.T) {
	peer, desk := open(t)
	questions := 0
	for seed := range uint64(120) {
		g := generator{rand.New(rand.NewPCG(1, seed))}
		rows := 1 + g.IntN(3000)
		if seed%40 == 39 {
			rows = 300_000 // enough for several workers
		}
		tr := begin(t, g, peer, desk, rows)
		for range 25 {
			tr.compare(t, g.question(tr.contract, tr.data))
			questions++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if questions < 3000 {
		t.Errorf("%d questions", questions)
	}
}

func open(t *testing.T) (*duckdb.Peer, *genuine.Desk) {
	t.Helper()
	peer, err := duckdb.Open(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
	})
	desk, err := genuine.NewDesk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return peer, desk
}

// TestOracleBounds has the peer clamp what each unit adds, in SQL. Which groups
// a unit stays in is ours to choose, so nobody has too many here.
func TestOracleBounds(t *testing.T) {
	peer, desk := open(t)
	for seed := range uint64(60) {
		g := generator{rand.New(rand.NewPCG(2, seed))}
		tr := begin(t, g, peer, desk, 1+g.IntN(4000))
		for range 5 {
			q := g.question(tr.contract, tr.data)
			q.keys = slices.DeleteFunc(q.keys, func(k int) bool { return len(tr.data.pools[k]) > 7 })
			if q.keys = q.keys[:min(2, len(q.keys))]; len(q.keys) == 2 && len(tr.data.pools[q.keys[0]])*len(tr.data.pools[q.keys[1]]) > 49 {
				q.keys = q.keys[:1]
			}
			q.counted = nil
			tr.compareBounded(t, q, g)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (tr *trial) compareBounded(t *testing.T, q *question, g generator) {
	t.Helper()
	b := exec.Bounds{MaxGroups: 64, MaxCount: 1 + g.Int64N(5), Sums: map[int]exec.Interval{}, Key: secret.New(make([]byte, 32))}
	for _, m := range q.measures {
		low := g.Int64N(2000) - 1000
		b.Sums[m] = exec.Interval{Low: low, High: low + g.Int64N(1<<g.IntN(60))}
	}
	text := q.text(tr.contract, false)
	grant, err := tr.desk.Grant(t.Context(), tr.contract, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	groups, err := exec.AggregateBounded(t.Context(), grant, b, tr.table.Snapshot(), plenty)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	want, err := tr.peer.Rows(t.Context(), q.boundedText(tr.contract, b))
	if err != nil {
		t.Fatalf("%s: %v", q.boundedText(tr.contract, b), err)
	}
	got := ours(q, groups, tr.contract)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s\n%+v\ngot  %q\nwant %q", text, b.Sums, got, want)
	}
}

// boundedText writes the question with bounds for the peer: a row for each unit
// and group, clamped, and then the groups.
func (q *question) boundedText(c *contract.Contract, b exec.Bounds) string {
	unit := c.Fields[c.UnitIndex()].Name
	inner, outer, names := []string{unit, "COUNT(*) AS n"}, []string{}, []string{}
	for i, k := range q.keys {
		inner = append(inner, fmt.Sprintf("%s AS k%d", whole(&c.Fields[k], true), i))
		names = append(names, fmt.Sprintf("k%d", i))
	}
	outer = append(outer, names...)
	outer = append(outer, fmt.Sprintf("CAST(COALESCE(SUM(LEAST(n, %d)), 0) AS BIGINT)", b.MaxCount), "COUNT(*)")
	for i, m := range q.measures {
		name := c.Fields[m].Name
		inner = append(inner, fmt.Sprintf("COUNT(%s) AS v%d, COALESCE(SUM(%s), 0) AS s%d", name, i, name, i))
		values := fmt.Sprintf("CAST(COALESCE(SUM(LEAST(v%d, %d)), 0) AS BIGINT)", i, b.MaxCount)
		outer = append(outer, values, fmt.Sprintf("COUNT(*) FILTER (v%d > 0)", i),
			fmt.Sprintf("CASE WHEN %s > 0 THEN SUM(GREATEST(LEAST(s%d, %d), %d)) END", values, i, b.Sums[m].High, b.Sums[m].Low),
			fmt.Sprintf("COUNT(*) FILTER (v%d > 0)", i))
	}
	group := strings.Join(append([]string{unit}, names...), ", ")
	text := "SELECT " + strings.Join(outer, ", ") + " FROM (SELECT " + strings.Join(inner, ", ") + " FROM data" + q.whereText(c, true) + " GROUP BY " + group + ")"
	if len(names) > 0 {
		text += " GROUP BY " + strings.Join(names, ", ")
	}
	return text
}
