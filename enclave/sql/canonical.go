package sql

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
)

// Canonical is the question in one form, for caches and fingerprints: equal
// bytes for queries that differ in case, spacing, aliases, the order of their
// lists, the spelling of literals and equivalent tests of one column
// (protected-queries.md, section 4.9). What is shown of the answer, which is
// the choice of keys in SELECT, HAVING, ORDER BY and LIMIT, isn't part of it.
// It holds literals, so it goes into a hash and never into a log.
func (p *Plan) Canonical() []byte {
	var out strings.Builder
	out.WriteString("cloister.question/v1\nfrom " + p.contract.Dataset + "\n")
	var where, group, of []string
	for _, c := range p.conditions {
		where = append(where, p.conjuncts(c)...)
	}
	for _, k := range p.keys {
		group = append(group, p.contract.Fields[k].Name)
	}
	for _, a := range p.aggregates {
		of = append(of, p.aggregate(a))
	}
	section(&out, "where", where)
	section(&out, "group", group)
	section(&out, "of", of)
	return []byte(out.String())
}

// section writes a set of lines.
func section(out *strings.Builder, head string, lines []string) {
	slices.Sort(lines)
	for _, l := range slices.Compact(lines) {
		out.WriteString(head + " " + l + "\n")
	}
}

func (p *Plan) aggregate(a Aggregate) string {
	switch a.Func {
	case CountRows:
		return "count(*)"
	case CountUnits:
		return "count(unit)"
	}
	return a.Func.String() + "(" + p.contract.Fields[a.Field].Name + ")"
}

// conjuncts writes a condition as one or more lines. A test that is itself a
// conjunction becomes its parts.
func (p *Plan) conjuncts(c Condition) []string {
	f := &p.contract.Fields[c.Field]
	tests := simplest(f, c.Any)
	if len(tests) != 1 {
		alternatives := make([]string, len(tests))
		for i, t := range tests {
			alternatives[i] = line(f, t)
		}
		slices.Sort(alternatives)
		return []string{strings.Join(slices.Compact(alternatives), " or ")}
	}
	var parts []string
	switch t := tests[0]; {
	case t.Kind == Between:
		for i, op := range []Op{GreaterOrEqual, LessOrEqual} {
			parts = append(parts, line(f, Test{Kind: Compare, Op: op, Values: t.Values[i : i+1]}))
		}
	case t.Kind == In && t.Negated:
		for i := range t.Values {
			parts = append(parts, line(f, Test{Kind: In, Negated: true, Values: t.Values[i : i+1]}))
		}
	default:
		parts = append(parts, line(f, t))
	}
	return parts
}

// simplest rewrites alternatives: equalities become one list, and relations of
// whole numbers lose their strictness.
func simplest(f *contract.Field, tests []Test) []Test {
	var out []Test
	var list []contract.Value
	for _, t := range tests {
		switch t = weak(f, t); {
		case t.Kind == In && !t.Negated:
			list = append(list, t.Values...)
		default:
			out = append(out, t)
		}
	}
	if len(list) == 0 && len(out) > 0 {
		return out
	}
	slices.SortFunc(list, compareValues)
	return append(out, Test{Kind: In, Values: slices.Compact(list)})
}

// weak rewrites a comparison as a list or without strictness. Stored integers
// have neighbours, texts don't.
func weak(f *contract.Field, t Test) Test {
	if t.Kind != Compare {
		return t
	}
	v := t.Values[0]
	switch {
	case t.Op == Equal || t.Op == NotEqual:
		return Test{Kind: In, Values: t.Values, Negated: t.Op == NotEqual}
	case f.Type == contract.String:
	case t.Op == Less && v.Int == math.MinInt64, t.Op == Greater && v.Int == math.MaxInt64:
		return never()
	case t.Op == Less:
		return Test{Kind: Compare, Op: LessOrEqual, Values: []contract.Value{{Int: v.Int - 1}}}
	case t.Op == Greater:
		return Test{Kind: Compare, Op: GreaterOrEqual, Values: []contract.Value{{Int: v.Int + 1}}}
	}
	return t
}

// line writes a test. Names have no spaces and texts are in quotes, so that two
// different lines mean two different things.
func line(f *contract.Field, t Test) string {
	var out strings.Builder
	out.WriteString(f.Name)
	switch {
	case t.Kind == IsNull && t.Negated:
		out.WriteString(" is not null")
	case t.Kind == IsNull:
		out.WriteString(" is null")
	case t.Kind == Between:
		out.WriteString(" between")
	case t.Kind == In && t.Negated:
		out.WriteString(" not in")
	case t.Kind == In:
		out.WriteString(" in")
	default:
		out.WriteString(" " + t.Op.String())
	}
	for _, v := range t.Values {
		out.WriteString(" " + spelled(f, v))
	}
	return out.String()
}

// spelled writes a stored value. Beyond the ends of a type there are stored
// integers that are no value of it, so only numbers are written as such.
func spelled(f *contract.Field, v contract.Value) string {
	switch f.Type {
	case contract.String:
		return "'" + strings.ReplaceAll(v.Text, "'", "''") + "'"
	case contract.Number:
		return f.Format(v)
	}
	return strconv.FormatInt(v.Int, 10)
}
