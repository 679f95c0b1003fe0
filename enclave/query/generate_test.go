package query_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
)

// generator makes random contracts, records and questions.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

// contract has a unit anywhere, a few columns of each usable role, and one that
// queries can't see.
func (g generator) contract() *contract.Contract {
	c := &contract.Contract{Dataset: "data", ID: "data", Version: "1", Mode: contract.Threshold, Floor: 5 + g.IntN(3)}
	add := func(f contract.Field) {
		f.Name = fmt.Sprintf("c%d", len(c.Fields))
		c.Fields = append(c.Fields, f)
	}
	for range g.IntN(3) {
		g.dimension(add)
	}
	add(contract.Field{Type: pick(g, contract.String, contract.Integer), Role: contract.Unit})
	for range 1 + g.IntN(3) {
		g.dimension(add)
	}
	for range 1 + g.IntN(3) {
		f := contract.Field{Type: pick(g, contract.Integer, contract.Number), Role: contract.Measure, Required: g.chance(40)}
		most := pick(g, int64(3), 1000, contract.MaxMeasure)
		least := pick(g, 0, -most)
		f.Minimum, f.Maximum = &least, &most
		if f.Type == contract.Number {
			f.Scale = pick(g, 0, 1, 2, 6, 7, 9)
		}
		add(f)
	}
	add(contract.Field{Type: contract.String})
	return c
}

func (g generator) dimension(add func(contract.Field)) {
	f := contract.Field{
		Type: pick(g, contract.String, contract.Integer, contract.Number, contract.Boolean, contract.Date, contract.Timestamp),
		Role: contract.Dimension, Required: g.chance(40),
	}
	if f.Type == contract.Number {
		f.Scale = pick(g, 0, 2, 9)
	}
	add(f)
}

// value answers a value from the few that a column has.
func (g generator) value(f *contract.Field) contract.Value {
	if !f.Required && f.Role != contract.Unit && g.chance(25) {
		return contract.Value{Null: true}
	}
	switch {
	case f.Role == contract.Unit:
		n := int64(g.IntN(24)) - 3
		if f.Type == contract.String {
			return contract.Value{Text: fmt.Sprint("u", n)}
		}
		return contract.Value{Int: n}
	case f.Role == contract.Measure:
		if g.chance(20) {
			return contract.Value{Int: pick(g, *f.Minimum, *f.Maximum)}
		}
		return contract.Value{Int: *f.Minimum + g.Int64N(*f.Maximum-*f.Minimum+1)}
	case f.Type == contract.String:
		return contract.Value{Text: pick(g, "", "a", "A", "b", "é", "it's", "a b")}
	case f.Type == contract.Boolean:
		return contract.Value{Int: int64(g.IntN(2))}
	case f.Type == contract.Timestamp:
		return contract.Value{Int: pick[int64](g, 0, -1, 1_700_000_000_000_000, 1_700_000_000_123_456)}
	case f.Type == contract.Date:
		return contract.Value{Int: pick[int64](g, 0, -1, 19_000, -719_162)}
	}
	return contract.Value{Int: pick[int64](g, 0, 1, -1, 2, 150, -1<<63, 1<<63-1)}
}

// rows answers records as rows, and as they travel.
func (g generator) rows(c *contract.Contract, n int) ([]row, []columns.Record) {
	var rows []row
	var records []columns.Record
	for range n {
		r, record := make(row, len(c.Fields)), columns.Record{}
		for i := range c.Fields {
			f := &c.Fields[i]
			r[i] = g.value(f)
			switch {
			case r[i].Null:
				record = append(record, columns.Null(f.Name))
			case f.Type == contract.String:
				record = append(record, columns.Text(f.Name, r[i].Text))
			case f.Type == contract.Boolean:
				record = append(record, columns.Bool(f.Name, r[i].Int == 1))
			default:
				record = append(record, columns.Int(f.Name, r[i].Int))
			}
		}
		rows, records = append(rows, r), append(records, record)
	}
	return rows, records
}

// of answers the columns of a role.
func of(c *contract.Contract, role contract.Role) []int {
	var all []int
	for i, f := range c.Fields {
		if f.Role == role {
			all = append(all, i)
		}
	}
	return all
}

func (g generator) question(c *contract.Contract) *question {
	q := &question{limit: -1}
	dimensions, measures := of(c, contract.Dimension), of(c, contract.Measure)
	for _, i := range g.Perm(len(dimensions)) {
		if g.chance(35) {
			q.keys = append(q.keys, dimensions[i])
		}
	}
	for _, k := range q.keys {
		if g.chance(80) {
			q.items = append(q.items, item{key: true, column: k})
		}
	}
	for range g.IntN(4) {
		it := item{fn: pick(g, "count(*)", "count", "units", "sum", "avg"), column: -1}
		switch it.fn {
		case "count":
			it.column = pick(g, append(dimensions, measures...)...)
		case "sum", "avg":
			it.column = pick(g, measures...)
		}
		q.items = append(q.items, it)
	}
	if len(q.items) == 0 {
		q.items = []item{{fn: "count(*)", column: -1}}
	}
	g.Shuffle(len(q.items), func(i, j int) { q.items[i], q.items[j] = q.items[j], q.items[i] })
	for range g.IntN(3) {
		column := pick(g, dimensions...)
		var any []atom
		for range 1 + g.IntN(3) {
			any = append(any, g.atom(c, column))
		}
		q.where = append(q.where, any)
	}
	for i, it := range q.items {
		if !it.key && len(q.keys) > 0 && g.chance(20) {
			q.having = append(q.having, bound{i, g.op(), big.NewRat(int64(g.IntN(40)-10), int64(1+g.IntN(2)))})
		}
		if g.chance(20) {
			q.order = append(q.order, sortKey{i, g.chance(50)})
		}
	}
	if g.chance(20) {
		q.limit = g.IntN(4)
	}
	return q
}

func (g generator) op() string { return pick(g, "=", "<>", "<", "<=", ">", ">=") }

func (g generator) atom(c *contract.Contract, column int) atom {
	f := c.Fields[column]
	f.Required = true
	a := atom{column: column, op: pick(g, g.op(), g.op(), g.op(), "in", "not in", "between", "null", "not null")}
	count := map[string]int{"in": 1 + g.IntN(4), "between": 2, "null": 0, "not null": 0}
	n, ok := count[a.op]
	if a.op == "not in" {
		n = 1 + g.IntN(4)
	} else if !ok {
		n = 1
	}
	for range n {
		v := natural(&f, g.value(&f))
		l := literal{text: v.text, number: v.number}
		if (f.Type == contract.Integer || f.Type == contract.Number) && g.chance(15) {
			l.number.Add(l.number, big.NewRat(1, 3_000_000_000)) // no column has such a value
			l.number, _ = new(big.Rat).SetString(l.number.FloatString(15))
		}
		a.literals = append(a.literals, l)
	}
	return a
}

// text writes the question in the dialect. Items have the names o0, o1...
func (q *question) text(c *contract.Contract) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	for i, it := range q.items {
		fmt.Fprintf(&b, "%s%s AS o%d", map[bool]string{true: ", "}[i > 0], it.text(c), i)
	}
	b.WriteString(" FROM data")
	for i, any := range q.where {
		b.WriteString(map[bool]string{true: " AND ", false: " WHERE "}[i > 0] + "(")
		for k, a := range any {
			b.WriteString(map[bool]string{true: " OR "}[k > 0] + a.text(c))
		}
		b.WriteString(")")
	}
	for i, k := range q.keys {
		b.WriteString(map[bool]string{true: ", ", false: " GROUP BY "}[i > 0] + c.Fields[k].Name)
	}
	for i, h := range q.having {
		fmt.Fprintf(&b, "%so%d %s %s", map[bool]string{true: " AND ", false: " HAVING "}[i > 0], h.item, h.op, h.value.FloatString(1))
	}
	for i, o := range q.order {
		fmt.Fprintf(&b, "%so%d%s", map[bool]string{true: ", ", false: " ORDER BY "}[i > 0], o.item, map[bool]string{true: " DESC"}[o.descending])
	}
	if q.limit >= 0 {
		fmt.Fprintf(&b, " LIMIT %d", q.limit)
	}
	return b.String()
}

func (it item) text(c *contract.Contract) string {
	switch {
	case it.key:
		return c.Fields[it.column].Name
	case it.fn == "count(*)":
		return "COUNT(*)"
	case it.fn == "units":
		return "COUNT(DISTINCT " + c.Fields[c.UnitIndex()].Name + ")"
	}
	return it.fn + "(" + c.Fields[it.column].Name + ")"
}

func (a atom) text(c *contract.Contract) string {
	f := &c.Fields[a.column]
	var literals []string
	for _, l := range a.literals {
		literals = append(literals, l.sql(f))
	}
	switch a.op {
	case "null":
		return f.Name + " IS NULL"
	case "not null":
		return f.Name + " IS NOT NULL"
	case "between":
		return f.Name + " BETWEEN " + literals[0] + " AND " + literals[1]
	case "in", "not in":
		return f.Name + " " + a.op + " (" + strings.Join(literals, ", ") + ")"
	}
	return f.Name + " " + a.op + " " + literals[0]
}

// sql writes a literal of a column.
func (l literal) sql(f *contract.Field) string {
	switch f.Type {
	case contract.String:
		return "'" + strings.ReplaceAll(l.text, "'", "''") + "'"
	case contract.Integer, contract.Number:
		return l.number.FloatString(15)
	case contract.Boolean:
		return fmt.Sprint(l.number.Sign() != 0)
	}
	return strings.ToUpper(f.Type.String()) + " '" + f.Format(contract.Value{Int: l.number.Num().Int64()}) + "'"
}
