package sql

import (
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// maxList is the largest number of literals of an IN, and of tests joined by
// OR.
const maxList = 50

// where binds the conjuncts of WHERE.
func (b *binder) where(n *node) {
	if n == nil {
		return
	}
	conjuncts := flatten(n, nodeAnd, nil)
	if len(conjuncts) > maxElements {
		b.refuse(codeTooLarge, n.at, "WHERE has more than 256 conditions", "send fewer conditions")
		return
	}
	for _, atom := range conjuncts {
		c, ok := b.condition(atom)
		if ok && !slices.ContainsFunc(b.plan.conditions, c.equal) {
			b.plan.conditions = append(b.plan.conditions, c)
		}
	}
}

// flatten answers the operands of nested nodes of one kind, in their order.
func flatten(n *node, kind nodeKind, all []*node) []*node {
	if n.kind != kind {
		return append(all, n)
	}
	for _, a := range n.args {
		all = flatten(a, kind, all)
	}
	return all
}

func (c Condition) equal(other Condition) bool {
	return c.Field == other.Field && slices.EqualFunc(c.Any, other.Any, Test.equal)
}

func (t Test) equal(other Test) bool {
	return t.Kind == other.Kind && t.Op == other.Op && t.Negated == other.Negated && slices.Equal(t.Values, other.Values)
}

// condition binds a conjunct: one test, or several of one column joined by OR.
func (b *binder) condition(n *node) (Condition, bool) {
	atoms := flatten(n, nodeOr, nil)
	if len(atoms) > maxList {
		b.refuse(codePredicate, n.at, "more than 50 tests are joined by OR", "use IN, or send several queries")
		return Condition{}, false
	}
	out := Condition{Field: -1}
	complete := true
	for _, atom := range atoms {
		c, t, ok := b.test(atom)
		if !ok {
			complete = false
			continue
		}
		if out.Field >= 0 && out.Field != c {
			b.refuse(codePredicate, n.at, "OR joins tests of one column only", "use AND, or send one query for each column")
			complete = false
		}
		out.Field = c
		if !slices.ContainsFunc(out.Any, t.equal) {
			out.Any = append(out.Any, t)
		}
	}
	return out, complete
}

// test binds one test of one column. A column that is refused makes no test.
func (b *binder) test(n *node) (int, Test, bool) {
	switch n.kind {
	case nodeCompare:
		return b.comparison(n)
	case nodeIn, nodeBetween, nodeIsNull:
		return b.membership(n)
	case nodeNot:
		b.refuse(codePredicate, n.at, "NOT before a condition isn't part of the dialect", "use <>, NOT IN or IS NOT NULL")
		b.tests(n.args[0])
	case nodeAnd:
		b.refuse(codePredicate, n.at, "AND inside OR isn't part of the dialect", "use BETWEEN or IN, or send one query for each part")
		b.tests(n)
	case nodeColumn:
		if _, ok := b.dimension(n); ok {
			b.refuse(codePredicate, n.at, "a column alone isn't a condition", "compare it with a literal")
		}
	default:
		if n.literal() {
			b.refuse(codePredicate, n.at, "a literal alone isn't a condition", "compare a dimension with a literal")
			break
		}
		b.operand(n)
	}
	return 0, Test{}, false
}

// tests goes through conditions of which the whole is refused already.
func (b *binder) tests(n *node) {
	if n.kind == nodeAnd || n.kind == nodeOr {
		for _, a := range n.args {
			b.tests(a)
		}
		return
	}
	b.test(n)
}

// operand refuses an expression in place of a dimension or literal.
func (b *binder) operand(n *node) {
	if _, ok := aggregateFunction(n.text); n.kind == nodeCall && ok {
		b.refuse(codeExpression, n.at, "WHERE is about single rows, which have no aggregates", "compare aggregates in HAVING")
		b.inside(n)
		return
	}
	b.foreign(n, codeExpression, "compare a dimension with a literal")
}

// comparison binds a dimension and a literal, in either order.
func (b *binder) comparison(n *node) (int, Test, bool) {
	left, right, op := n.args[0], n.args[1], operator(n.text)
	if left.literal() && !right.literal() {
		left, right, op = right, left, op.flipped()
	}
	if left.kind != nodeColumn || !right.literal() {
		b.unlike(n, left, right)
		return 0, Test{}, false
	}
	c, ok := b.dimension(left)
	if !ok {
		return c, Test{}, false
	}
	p, ok := b.point(&b.contract.Fields[c], right)
	return c, compare(op, p), ok
}

// unlike refuses a comparison of anything else than a dimension and a literal.
func (b *binder) unlike(n *node, operands ...*node) {
	plain := true
	for _, o := range operands {
		switch {
		case o.literal():
		case o.kind >= nodeOr: // a condition in place of a value
			b.inside(o)
		case o.kind == nodeColumn:
			_, ok := b.dimension(o)
			plain = plain && ok
		default:
			b.operand(o)
			plain = false
		}
	}
	if plain {
		b.refuse(codePredicate, n.at, "a condition compares one dimension with literals", "write the dimension, the comparison, and a literal")
	}
}

func operator(symbol string) Op {
	for op := Equal; op <= GreaterOrEqual; op++ {
		if op.String() == symbol {
			return op
		}
	}
	return 0
}

// flipped answers the relation seen from the other side.
func (o Op) flipped() Op {
	switch o {
	case Less:
		return Greater
	case LessOrEqual:
		return GreaterOrEqual
	case Greater:
		return Less
	case GreaterOrEqual:
		return LessOrEqual
	}
	return o
}

// membership binds IN, BETWEEN and IS NULL.
func (b *binder) membership(n *node) (int, Test, bool) {
	literals := n.args[1:]
	switch {
	case n.kind == nodeBetween && n.negated:
		b.refuse(codePredicate, n.at, "NOT BETWEEN isn't part of the dialect", "use < and > joined by OR, in parentheses")
		for _, a := range n.args {
			b.inside(a)
		}
		return 0, Test{}, false
	case len(literals) > maxList:
		b.refuse(codePredicate, n.at, "the list has more than 50 literals", "send several queries")
		return 0, Test{}, false
	case n.args[0].kind != nodeColumn || slices.ContainsFunc(literals, func(l *node) bool { return !l.literal() }):
		b.unlike(n, n.args...)
		return 0, Test{}, false
	}
	c, ok := b.dimension(n.args[0])
	if !ok {
		return c, Test{}, false
	}
	points, ok := b.points(&b.contract.Fields[c], literals)
	switch {
	case !ok:
		return c, Test{}, false
	case n.kind == nodeIsNull:
		return c, Test{Kind: IsNull, Negated: n.negated}, true
	case n.kind == nodeIn:
		return c, among(points, n.negated), true
	}
	return c, between(points[0], points[1]), true
}

// points reads several literals of one column.
func (b *binder) points(f *contract.Field, literals []*node) ([]point, bool) {
	all, complete := make([]point, 0, len(literals)), true
	for _, l := range literals {
		p, ok := b.point(f, l)
		complete = complete && ok
		all = append(all, p)
	}
	return all, complete
}
