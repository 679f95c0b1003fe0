package duckdb_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/internal/contract"
)

// cell writes a key as the peer's rows do.
func cell(f *contract.Field, v contract.Value) string {
	switch {
	case v.Null:
		return "NULL"
	case f.Type == contract.String:
		return v.Text
	}
	return fmt.Sprint(v.Int)
}

func (tr *trial) grant(t *testing.T, text string) *protect.Grant {
	t.Helper()
	grant, err := tr.desk.Grant(t.Context(), tr.contract, text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return grant
}

func (tr *trial) ask(t *testing.T, text string) []string {
	t.Helper()
	rows, err := tr.peer.Rows(t.Context(), text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return rows
}

// TestOracleQuantiles demands that the peer's exact quantiles lie in the buckets
// that are answered, that these are as narrow as is stated, and that every
// bucket counts what the peer counts there.
func TestOracleQuantiles(t *testing.T) {
	peer, desk := open(t)
	quantiles := 0
	for seed := range uint64(80) {
		g := generator{rand.New(rand.NewPCG(5, seed))}
		tr := begin(t, g, peer, desk, 1+g.IntN(3000))
		for range 4 {
			q := g.question(tr.contract, tr.data)
			q.counted, q.measures = nil, []int{pick(g, of(tr.contract, contract.Measure)...)}
			quantiles += tr.compareQuantiles(t, q, exec.Sketch{Field: q.measures[0], Buckets: 2 + g.IntN(exec.MaxBuckets-1)})
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if quantiles < 2000 {
		t.Errorf("%d quantiles", quantiles)
	}
}

// shares are quantiles that doubles hold exactly.
func shares() [][2]int64 { return [][2]int64{{1, 8}, {1, 4}, {1, 2}, {3, 4}, {1, 1}} }

func (tr *trial) compareQuantiles(t *testing.T, q *question, s exec.Sketch) int {
	t.Helper()
	groups, err := exec.AggregateWith(t.Context(), tr.grant(t, q.text(tr.contract, false)), exec.More{Sketches: []exec.Sketch{s}}, tr.table.Snapshot(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	f := &tr.contract.Fields[s.Field]
	var keys []string
	for _, k := range q.keys {
		keys = append(keys, whole(&tr.contract.Fields[k], true))
	}
	items := slices.Clone(keys)
	for _, share := range shares() {
		items = append(items, fmt.Sprintf("quantile_disc(%s, %v)", f.Name, float64(share[0])/float64(share[1])))
	}
	from := " FROM data" + q.whereText(tr.contract, true)
	exact := map[string][]string{}
	for _, row := range tr.ask(t, "SELECT "+strings.Join(items, ", ")+from+q.groupText(tr.contract)) {
		cells := strings.Split(row, "|")
		exact[strings.Join(cells[:len(keys)], "|")] = cells[len(keys):]
	}
	var got []string
	compared := 0
	width := uint64(0)
	for i := range groups.Len() {
		values, _ := groups.Group(i)
		var own []string
		for k, v := range values {
			own = append(own, cell(&tr.contract.Fields[q.keys[k]], v))
		}
		d := groups.Distribution(i, 0)
		first, _ := d.Bucket(0)
		width = uint64(first.High-first.Low) + 1
		for b := range d.Len() {
			if _, n := d.Bucket(b); n > 0 {
				got = append(got, strings.Join(append(slices.Clone(own), fmt.Sprint(b), fmt.Sprint(n)), "|"))
			}
		}
		compared += tr.checkQuantiles(t, s, d, exact[strings.Join(own, "|")])
	}
	if groups.Len() == 0 {
		return 0
	}
	items = append(slices.Clone(keys), fmt.Sprintf("(CAST(%s AS HUGEINT) - %d) // %d AS bucket", f.Name, *f.Minimum, width), "COUNT(*)")
	where := " AND "
	if len(q.where) == 0 {
		where = " WHERE "
	}
	want := tr.ask(t, "SELECT "+strings.Join(items, ", ")+from+where+f.Name+" IS NOT NULL GROUP BY ALL")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s, %d buckets: got %q\nwant %q", q.text(tr.contract, false), s.Buckets, got, want)
	}
	return compared
}

func (tr *trial) checkQuantiles(t *testing.T, s exec.Sketch, d exec.Distribution, exact []string) int {
	t.Helper()
	f := &tr.contract.Fields[s.Field]
	for i, share := range shares() {
		bucket, ok := d.Quantile(share[0], share[1])
		if !ok || exact == nil {
			if ok != (exact != nil && exact[i] != "NULL") {
				t.Errorf("the peer says %v, we say %t", exact, ok)
			}
			return 0
		}
		value, err := strconv.ParseInt(exact[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		most := 2 * ((uint64(*f.Maximum)-uint64(*f.Minimum))/uint64(s.Buckets) + 1)
		if value < bucket.Low || value > bucket.High || uint64(bucket.High-bucket.Low)+1 > most {
			t.Errorf("the %v-quantile is %d; we say %v, at most %d wide", share, value, bucket, most)
		}
	}
	return len(shares())
}

// TestOracleLookup joins a public table to a key on both sides.
func TestOracleLookup(t *testing.T) {
	peer, desk := open(t)
	compared := 0
	for seed := range uint64(80) {
		g := generator{rand.New(rand.NewPCG(6, seed))}
		tr := begin(t, g, peer, desk, 1+g.IntN(3000))
		for range 4 {
			q := g.question(tr.contract, tr.data)
			q.counted = nil
			if len(q.keys) > 0 && tr.compareLookup(t, g, q) {
				compared++
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if compared < 50 {
		t.Errorf("%d joins", compared)
	}
}

func (tr *trial) compareLookup(t *testing.T, g generator, q *question) bool {
	t.Helper()
	field := q.keys[0]
	f := &tr.contract.Fields[field]
	if f.Type != contract.String && f.Type != contract.Integer {
		return false
	}
	var rows []exec.LookupRow
	kind := map[bool]string{true: "VARCHAR", false: "BIGINT"}[f.Type == contract.String]
	for _, statement := range []string{"DROP TABLE IF EXISTS lookup", "CREATE TABLE lookup (k " + kind + ", label VARCHAR)"} {
		if err := tr.peer.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, v := range tr.data.pools[field] {
		if text := literal(f, v, true); !seen[text] && g.chance(70) {
			seen[text] = true
			label := contract.Value{Text: fmt.Sprint("label ", g.IntN(4))}
			written := "'" + label.Text + "'"
			if g.chance(10) {
				label, written = contract.Value{Null: true}, "NULL"
			}
			rows = append(rows, exec.LookupRow{Key: v, Label: label})
			if err := tr.peer.Exec(t.Context(), fmt.Sprintf("INSERT INTO lookup VALUES (%s, %s)", text, written)); err != nil {
				t.Fatal(err)
			}
		}
	}
	outer := g.chance(50)
	l, err := exec.NewLookup(field, f.Type == contract.String, outer, rows)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := exec.AggregateWith(t.Context(), tr.grant(t, q.text(tr.contract, false)), exec.More{Lookups: []*exec.Lookup{l}}, tr.table.Snapshot(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range groups.Len() {
		keys, totals := groups.Group(i)
		var cells []string
		for k, v := range keys {
			as := &tr.contract.Fields[q.keys[k]]
			if q.keys[k] == field {
				as = &contract.Field{Type: contract.String}
			}
			cells = append(cells, cell(as, v))
		}
		got = append(got, strings.Join(append(cells, cellsOf(q, totals, groups.Units(i))...), "|"))
	}
	// The peer asks the same of rows that have the label in the key's place.
	join := map[bool]string{true: "LEFT", false: "INNER"}[outer]
	text := q.text(tr.contract, true)
	text = strings.Replace(text, " FROM data", fmt.Sprintf(" FROM (SELECT data.* EXCLUDE (%s), lookup.label AS %s FROM (SELECT * FROM data%s) data %s JOIN lookup ON data.%s = lookup.k) rows",
		f.Name, f.Name, q.whereText(tr.contract, true), join, f.Name), 1)
	if where := q.whereText(tr.contract, true); where != "" {
		at := strings.LastIndex(text, where)
		text = text[:at] + text[at+len(where):]
	}
	want := tr.ask(t, text)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s\ngot  %q\nwant %q", text, got, want)
	}
	return true
}

// TestOracleJoin joins two tables on the unit, inner and outer.
func TestOracleJoin(t *testing.T) {
	peer, desk := open(t)
	for seed := range uint64(80) {
		g := generator{rand.New(rand.NewPCG(7, seed))}
		left := begin(t, g, peer, desk, 1+g.IntN(1500))
		other := g.contract()
		other.Dataset, other.ID = "other", "other"
		other.Fields[0].Type = left.contract.Fields[0].Type
		right := load(t, g, other, peer, desk, 1+g.IntN(1500))
		for range 5 {
			compareJoin(t, left, right, g.question(left.contract, left.data), g.question(right.contract, right.data), g.chance(50))
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// side writes one side's keys and aggregates for the peer, under an alias.
func (q *question) side(c *contract.Contract, alias string) (keys, aggregates []string) {
	for _, k := range q.keys {
		f := c.Fields[k]
		f.Name = alias + "." + f.Name
		keys = append(keys, whole(&f, true))
	}
	name := func(field int) string { return alias + "." + c.Fields[field].Name }
	unit := "l." + c.Fields[c.UnitIndex()].Name
	for _, m := range q.measures {
		n := name(m)
		aggregates = append(aggregates, "COUNT("+n+")", fmt.Sprintf("COUNT(DISTINCT CASE WHEN %s IS NOT NULL THEN %s END)", n, unit), "SUM("+n+")")
	}
	return keys, aggregates
}

func compareJoin(t *testing.T, left, right *trial, ql, qr *question, outer bool) {
	t.Helper()
	ql.counted, qr.counted = nil, nil
	g, err := exec.AggregateJoin(t.Context(), exec.Join{Left: left.grant(t, ql.text(left.contract, false)), Right: right.grant(t, qr.text(right.contract, false)), Outer: outer},
		left.table.Snapshot(), right.table.Snapshot(), plenty)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range g.Len() {
		keys, totals := g.Group(i)
		var cells []string
		for k, v := range keys {
			f := &contract.Field{}
			if k < len(ql.keys) {
				f = &left.contract.Fields[ql.keys[k]]
			} else {
				f = &right.contract.Fields[qr.keys[k-len(ql.keys)]]
			}
			cells = append(cells, cell(f, v))
		}
		cells = append(cells, fmt.Sprint(totals[0].Values), fmt.Sprint(totals[1].Values))
		for at := 2; at < len(totals); at += 2 {
			if at == 2+2*len(ql.measures) {
				at += 2 // the right side's counts of rows and units
				if at == len(totals) {
					break
				}
			}
			sum := "NULL"
			if totals[at].Values > 0 {
				sum = totals[at+1].Sum.Big().String()
			}
			cells = append(cells, fmt.Sprint(totals[at].Values), fmt.Sprint(totals[at].Units), sum)
		}
		got = append(got, strings.Join(cells, "|"))
	}
	leftKeys, leftItems := ql.side(left.contract, "l")
	rightKeys, rightItems := qr.side(right.contract, "r")
	unit := left.contract.Fields[0].Name
	keys := slices.Concat(leftKeys, rightKeys)
	text := "SELECT " + strings.Join(slices.Concat(keys, []string{"COUNT(*)", "COUNT(DISTINCT l." + unit + ")"}, leftItems, rightItems), ", ") +
		" FROM (SELECT * FROM data" + ql.whereText(left.contract, true) + ") l " + map[bool]string{true: "LEFT", false: "INNER"}[outer] +
		" JOIN (SELECT * FROM other" + qr.whereText(right.contract, true) + ") r ON l." + unit + " = r." + right.contract.Fields[0].Name
	if len(keys) > 0 {
		text += " GROUP BY " + strings.Join(keys, ", ")
	}
	want := left.ask(t, text)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s\ngot  %q\nwant %q", text, got, want)
	}
}
