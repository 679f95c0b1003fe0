package query_test

import (
	"cmp"
	"math/big"
	"slices"
	"strings"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/contract"
)

// This file is the model: what a question means, said as plainly as possible.
// It goes through all rows again for every group, and shares nothing with the
// product but contracts and the formatting of values.

// question is a query before it is text. Columns are the contract's indexes.
type question struct {
	keys   []int
	items  []item
	where  [][]atom // all of them, any of each
	having []bound
	order  []sortKey
	limit  int // -1 for none
}

// item is an output: a key, or an aggregate over a column, which is -1 for
// COUNT(*).
type item struct {
	key    bool
	fn     string // count(*), count, units, sum, avg
	column int
}

// atom is a test of a column; literals are values in natural units.
type atom struct {
	column   int
	op       string // = <> < <= > >= in, not in, between, null, not null
	literals []literal
}

// literal is text for a string column, else a number.
type literal struct {
	text   string
	number *big.Rat
}

type bound struct {
	item  int
	op    string
	value *big.Rat
}

type sortKey struct {
	item       int
	descending bool
}

// cell is a shown value: text for strings, else a number; neither for NULL.
type cell struct {
	null   bool
	text   string
	number *big.Rat
}

// row is a record, by column.
type row []contract.Value

// expectation is the answer of the model.
type expectation struct {
	rows       [][]cell
	suppressed bool
}

func ten(n int) *big.Rat {
	return new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil))
}

// natural answers a stored value as a cell.
func natural(f *contract.Field, v contract.Value) cell {
	if v.Null {
		return cell{null: true}
	}
	if f.Type == contract.String {
		return cell{text: v.Text}
	}
	return cell{number: new(big.Rat).Quo(new(big.Rat).SetInt64(v.Int), ten(f.Scale))}
}

func compareTo(a cell, b literal) int {
	if a.number == nil {
		return strings.Compare(a.text, b.text)
	}
	return a.number.Cmp(b.number)
}

func related(op string, order int) bool {
	switch op {
	case "=":
		return order == 0
	case "<>":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

// holds is SQL's three values with unknown taken for false, which is all that
// WHERE asks for: there is no NOT over tests.
func (a atom) holds(v cell) bool {
	switch {
	case a.op == "null":
		return v.null
	case v.null:
		return false
	case a.op == "not null":
		return true
	case a.op == "between":
		return compareTo(v, a.literals[0]) >= 0 && compareTo(v, a.literals[1]) <= 0
	case a.op == "in", a.op == "not in":
		found := slices.ContainsFunc(a.literals, func(l literal) bool { return compareTo(v, l) == 0 })
		return found == (a.op == "in")
	}
	return related(a.op, compareTo(v, a.literals[0]))
}

func (q *question) passes(c *contract.Contract, r row) bool {
	for _, any := range q.where {
		if !slices.ContainsFunc(any, func(a atom) bool { return a.holds(natural(&c.Fields[a.column], r[a.column])) }) {
			return false
		}
	}
	return true
}

// answer answers the question over rows.
func (q *question) answer(c *contract.Contract, rows []row) expectation {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !q.passes(c, r) })
	var groups [][]row
	if len(q.keys) == 0 {
		groups = [][]row{rows}
	}
	same := func(a, b row) bool {
		return !slices.ContainsFunc(q.keys, func(k int) bool { return a[k] != b[k] })
	}
	for i, r := range rows {
		if len(q.keys) > 0 && !slices.ContainsFunc(rows[:i], func(b row) bool { return same(r, b) }) {
			groups = append(groups, slices.DeleteFunc(slices.Clone(rows), func(b row) bool { return !same(r, b) }))
		}
	}
	var out expectation
	var shown []group
	for _, g := range groups {
		if units(c, g) >= c.Floor {
			shown = append(shown, q.group(c, g))
		} else if len(q.keys) == 0 {
			out.suppressed = true
			shown = append(shown, q.hidden())
		}
	}
	shown = slices.DeleteFunc(shown, func(g group) bool { return !q.kept(g) })
	slices.SortFunc(shown, q.compare)
	if q.limit >= 0 {
		shown = shown[:min(q.limit, len(shown))]
	}
	for _, g := range shown {
		out.rows = append(out.rows, g.cells)
	}
	return out
}

func units(c *contract.Contract, rows []row) int {
	seen := map[contract.Value]bool{}
	for _, r := range rows {
		seen[r[c.UnitIndex()]] = true
	}
	return len(seen)
}

// group is a shown group: its keys and its cells.
type group struct{ keys, cells []cell }

func (q *question) hidden() group {
	g := group{cells: make([]cell, len(q.items))}
	for i := range g.cells {
		g.cells[i].null = true
	}
	return g
}

func (q *question) group(c *contract.Contract, rows []row) group {
	var g group
	for _, k := range q.keys {
		g.keys = append(g.keys, natural(&c.Fields[k], rows[0][k]))
	}
	for _, it := range q.items {
		g.cells = append(g.cells, it.of(c, rows))
	}
	return g
}

// of answers the item for the rows of a shown group.
func (it item) of(c *contract.Contract, rows []row) cell {
	whole := func(n int) cell { return cell{number: new(big.Rat).SetInt64(int64(n))} }
	switch {
	case it.key:
		return natural(&c.Fields[it.column], rows[0][it.column])
	case it.fn == "count(*)":
		return whole(len(rows))
	case it.fn == "units":
		return whole(units(c, rows))
	}
	valued := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r[it.column].Null })
	if units(c, valued) < c.Floor {
		return cell{null: true}
	}
	if it.fn == "count" {
		return whole(len(valued))
	}
	sum := new(big.Rat)
	for _, r := range valued {
		sum.Add(sum, natural(&c.Fields[it.column], r[it.column]).number)
	}
	if it.fn == "sum" {
		return cell{number: sum}
	}
	mean := sum.Quo(sum, whole(len(valued)).number)
	// FloatString rounds half away from zero.
	rounded, _ := new(big.Rat).SetString(mean.FloatString(6))
	return cell{number: rounded}
}

func (q *question) kept(g group) bool {
	for _, h := range q.having {
		v := g.cells[h.item]
		if v.null || !related(h.op, v.number.Cmp(h.value)) {
			return false
		}
	}
	return true
}

// compare sorts by ORDER BY, then by the keys that are put out, then by the
// others.
func (q *question) compare(a, b group) int {
	for _, o := range q.order {
		if c := compareCells(a.cells[o.item], b.cells[o.item], o.descending); c != 0 {
			return c
		}
	}
	for i, it := range q.items {
		if c := compareCells(a.cells[i], b.cells[i], false); it.key && c != 0 {
			return c
		}
	}
	for i := range q.keys {
		if c := compareCells(a.keys[i], b.keys[i], false); c != 0 {
			return c
		}
	}
	return 0
}

func compareCells(a, b cell, descending bool) int {
	switch {
	case a.null || b.null:
		return map[bool]int{true: 1}[a.null] - map[bool]int{true: 1}[b.null]
	case a.number != nil:
		return cmp.Compare(a.number.Cmp(b.number), 0) * map[bool]int{true: -1, false: 1}[descending]
	}
	return strings.Compare(a.text, b.text) * map[bool]int{true: -1, false: 1}[descending]
}

// shows says whether an answer's cell is the expected one, in its column's one
// spelling.
func shows(column answer.Column, got answer.Cell, want cell) bool {
	switch {
	case want.null || got.Null:
		return want.null && got.Null
	case want.number == nil:
		return column.Type == answer.String && got.Text == want.text
	case column.Type == answer.Decimal:
		return got.Text == want.number.FloatString(column.Scale)
	}
	return column.Type != answer.String && want.number.IsInt() && want.number.Num().IsInt64() && want.number.Num().Int64() == got.Int
}
