package duckdb_test

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// generator makes random contracts, rows and questions.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

// contract has a unit, a few dimensions of every type and a few measures.
func (g generator) contract() *contract.Contract {
	c := &contract.Contract{Dataset: "data", ID: "data", Version: "1", Mode: contract.Threshold, Floor: 5}
	add := func(f contract.Field) {
		f.Name = fmt.Sprintf("c%d", len(c.Fields))
		c.Fields = append(c.Fields, f)
	}
	add(contract.Field{Type: pick(g, contract.String, contract.Integer), Role: contract.Unit, Required: true})
	for range 2 + g.IntN(4) {
		f := contract.Field{
			Type: pick(g, contract.String, contract.Integer, contract.Number, contract.Boolean, contract.Date, contract.Timestamp),
			Role: contract.Dimension, Required: g.chance(40),
		}
		if f.Type == contract.Number {
			f.Scale = g.IntN(4)
		}
		add(f)
	}
	for range 1 + g.IntN(2) {
		most := pick(g, int64(3), 100_000, contract.MaxMeasure)
		least := pick(g, 0, -most)
		add(contract.Field{
			Type: contract.Integer, Role: contract.Measure, Required: g.chance(40), Minimum: &least, Maximum: &most,
		})
	}
	return c
}

// pool is the values that a column has: few, or many, or far apart.
func (g generator) pool(f *contract.Field) []contract.Value {
	n := pick(g, 1, 2, 7, 300)
	all := make([]contract.Value, n)
	base := pick(g, int64(0), -1000, 1<<40)
	step := pick(g, int64(1), 100, 1<<33)
	for i := range all {
		switch f.Type {
		case contract.String:
			all[i].Text = pick(g, "", "a", "B", "é", "it's ") + fmt.Sprint(i)
		case contract.Boolean:
			all[i].Int = int64(i % 2)
		case contract.Date:
			all[i].Int = int64(i*pick(g, 1, 31) - 20_000)
		case contract.Timestamp:
			all[i].Int = 1_600_000_000_000_000 + int64(i)*pick[int64](g, 1, 60_000_000)
		default:
			if all[i].Int = base + int64(i)*step; f.Role == contract.Measure {
				all[i].Int = *f.Minimum + g.Int64N(*f.Maximum-*f.Minimum+1)
			}
		}
	}
	return all
}

// data is rows of a contract by column, and the values that each column has.
type data struct {
	rows    int
	columns []table.Values
	pools   [][]contract.Value
}

func (g generator) data(c *contract.Contract, rows int) *data {
	d := &data{rows: rows, columns: make([]table.Values, len(c.Fields)), pools: make([][]contract.Value, len(c.Fields))}
	people := 1 + g.IntN(rows/3+1)
	for i := range c.Fields {
		f, v := &c.Fields[i], &d.columns[i]
		d.pools[i] = g.pool(f)
		for range rows {
			value := pick(g, d.pools[i]...)
			if f.Role == contract.Unit {
				n := g.IntN(people)
				if g.chance(10) {
					n = 0
				}
				value = contract.Value{Int: int64(n) * 17, Text: fmt.Sprint("unit ", n)}
			}
			null := !f.Required && g.chance(15)
			if null {
				value = contract.Value{}
			}
			if f.Type == contract.String {
				v.Texts = append(v.Texts, value.Text)
			} else {
				v.Ints = append(v.Ints, value.Int)
			}
			v.Null = append(v.Null, null)
		}
	}
	return d
}

// part answers some of the rows.
func (d *data) part(from, to int) []table.Values {
	all := make([]table.Values, len(d.columns))
	for i, v := range d.columns {
		all[i].Null = v.Null[from:to]
		if v.Texts != nil {
			all[i].Texts = v.Texts[from:to]
		} else {
			all[i].Ints = v.Ints[from:to]
		}
	}
	return all
}

// question is what both sides are asked.
type question struct {
	keys     []int
	measures []int // whose values are counted and added up
	counted  []int // whose values are counted
	where    []condition
}

// condition holds when any of its atoms does.
type condition []atom

type atom struct {
	field    int
	op       string // with one literal, or in, not in, between, null, not null
	literals []contract.Value
}

func of(c *contract.Contract, role contract.Role) []int {
	var all []int
	for i, f := range c.Fields {
		if f.Role == role {
			all = append(all, i)
		}
	}
	return all
}

func (g generator) question(c *contract.Contract, d *data) *question {
	q := &question{}
	dimensions, measures := of(c, contract.Dimension), of(c, contract.Measure)
	for _, i := range g.Perm(len(dimensions)) {
		if g.chance(35) {
			q.keys = append(q.keys, dimensions[i])
		}
		if g.chance(25) {
			q.counted = append(q.counted, dimensions[i])
		}
	}
	for _, m := range measures {
		if g.chance(60) {
			q.measures = append(q.measures, m)
		}
	}
	for range g.IntN(3) {
		field := pick(g, dimensions...)
		var any condition
		for range 1 + g.IntN(3) {
			any = append(any, g.atom(d, field))
		}
		q.where = append(q.where, any)
	}
	return q
}

func (g generator) atom(d *data, field int) atom {
	a := atom{field: field, op: pick(g, "=", "<>", "<", "<=", ">", ">=", "in", "not in", "between", "null", "not null")}
	n := 1
	switch a.op {
	case "null", "not null":
		n = 0
	case "between":
		n = 2
	case "in", "not in":
		n = 1 + g.IntN(12)
	}
	for range n {
		v := pick(g, d.pools[field]...)
		if g.chance(20) && v.Int < 1<<62 {
			v.Int++ // perhaps a value that isn't there
		}
		a.literals = append(a.literals, v)
	}
	return a
}

// text writes the question in the dialect, or for the peer.
func (q *question) text(c *contract.Contract, peer bool) string {
	var items []string
	for _, k := range q.keys {
		items = append(items, whole(&c.Fields[k], peer))
	}
	unit := c.Fields[c.UnitIndex()].Name
	items = append(items, "COUNT(*)", "COUNT(DISTINCT "+unit+")")
	aggregate := func(call string, field int) {
		items = append(items, fmt.Sprintf("%s(%s)", call, c.Fields[field].Name))
		if peer { // how many units have a value
			items = append(items, fmt.Sprintf("COUNT(DISTINCT CASE WHEN %s IS NOT NULL THEN %s END)", c.Fields[field].Name, unit))
		}
	}
	for _, k := range q.counted {
		aggregate("COUNT", k)
	}
	for _, m := range q.measures {
		aggregate("COUNT", m)
		aggregate("SUM", m)
	}
	if !peer {
		for i := range items {
			items[i] += fmt.Sprint(" AS o", i)
		}
	}
	return "SELECT " + strings.Join(items, ", ") + " FROM " + c.Dataset + q.whereText(c, peer) + q.groupText(c)
}

// whole writes a key as the peer answers it as an integer.
func whole(f *contract.Field, peer bool) string {
	switch {
	case !peer:
		return f.Name
	case f.Type == contract.Date:
		return "(" + f.Name + " - DATE '1970-01-01')"
	case f.Type == contract.Timestamp:
		return "epoch_us(" + f.Name + ")"
	case f.Type == contract.Boolean:
		return "CAST(" + f.Name + " AS INTEGER)"
	}
	return f.Name
}

func (q *question) whereText(c *contract.Contract, peer bool) string {
	var all []string
	for _, any := range q.where {
		var atoms []string
		for _, a := range any {
			atoms = append(atoms, a.text(&c.Fields[a.field], peer))
		}
		all = append(all, "("+strings.Join(atoms, " OR ")+")")
	}
	if len(all) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(all, " AND ")
}

func (q *question) groupText(c *contract.Contract) string {
	var names []string
	for _, k := range q.keys {
		names = append(names, c.Fields[k].Name)
	}
	if len(names) == 0 {
		return ""
	}
	return " GROUP BY " + strings.Join(names, ", ")
}

func (a atom) text(f *contract.Field, peer bool) string {
	var literals []string
	for _, v := range a.literals {
		literals = append(literals, literal(f, v, peer))
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

// literal writes a value; the peer keeps numbers in stored units.
func literal(f *contract.Field, v contract.Value, peer bool) string {
	switch f.Type {
	case contract.String:
		return "'" + strings.ReplaceAll(v.Text, "'", "''") + "'"
	case contract.Date, contract.Timestamp:
		return strings.ToUpper(f.Type.String()) + " '" + strings.TrimSuffix(f.Format(v), "Z") + "'"
	case contract.Boolean:
		return fmt.Sprint(v.Int%2 == 1)
	case contract.Number:
		if !peer {
			return f.Format(v)
		}
	}
	return fmt.Sprint(v.Int)
}
