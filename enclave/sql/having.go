package sql

import (
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// having binds HAVING: comparisons of released values with numbers, all of
// which must hold.
func (b *binder) having(s *statement) {
	if s.having == nil {
		return
	}
	if len(s.group) == 0 && !b.totals {
		b.refuse(codeHaving, s.having.at, "without GROUP BY there is always one row", "leave HAVING out, or group by a dimension")
	}
	conjuncts := flatten(s.having, nodeAnd, nil)
	if len(conjuncts) > maxElements {
		b.refuse(codeTooLarge, s.having.at, "HAVING has more than 256 conditions", "send fewer conditions")
		return
	}
	for _, n := range conjuncts {
		if h, ok := b.post(n); ok {
			b.plan.having = append(b.plan.having, h)
		}
	}
}

// post binds one comparison of HAVING.
func (b *binder) post(n *node) (Having, bool) {
	switch n.kind {
	case nodeCompare:
	case nodeForeign, nodeSubquery:
		b.foreign(n, codeExpression, "compare an aggregate of SELECT with a number")
		return Having{}, false
	default:
		b.refuse(codeHaving, n.at, "HAVING compares aggregates of SELECT with numbers, joined by AND", "write comparisons such as n >= 20")
		b.inside(n)
		return Having{}, false
	}
	left, right, op := n.args[0], n.args[1], operator(n.text)
	if left.literal() && !right.literal() {
		left, right, op = right, left, op.flipped()
	}
	aggregate, ok := b.released(left)
	if !right.literal() {
		b.unreleased(right, "the right side isn't a number")
		return Having{}, false
	}
	literal, bound := b.resolve(right, b.valueOf(aggregate, ok))
	if !bound {
		return Having{}, false
	}
	value, number := numeral(literal.text)
	if literal.kind != nodeNumber || !number {
		b.refuse(codeHaving, right.at, "the literal isn't a number", literalFix(contract.Number))
	}
	return Having{Aggregate: aggregate, Op: op, Value: value}, ok && number
}

// released answers the aggregate of SELECT that one side of a comparison
// means, by its output's name or written again.
func (b *binder) released(n *node) (int, bool) {
	if i, ok := b.output(n); ok {
		out := b.plan.outputs[i]
		if out.Key >= 0 {
			b.refuse(codeHaving, n.at, "HAVING is about aggregates, and this is a group key", "filter by dimensions in WHERE")
		}
		return out.Aggregate, out.Aggregate >= 0
	}
	if n.kind != nodeCall {
		b.unreleased(n, "this isn't an aggregate of SELECT")
		return 0, false
	}
	a, ok := b.aggregate(n)
	if !ok {
		return 0, false
	}
	i := slices.Index(b.plan.aggregates, a)
	if i < 0 {
		b.refuse(codeHaving, n.at, "this aggregate isn't in SELECT", "add it to SELECT")
	}
	return i, i >= 0
}

// unreleased refuses anything else in a comparison of HAVING. Of columns only
// those that no clause may use are told apart.
func (b *binder) unreleased(n *node, message phrase) {
	switch {
	case n.kind == nodeColumn:
		c, ok := b.lookup(n)
		if ok && (b.contract.Fields[c].Role == contract.Restricted || b.contract.Fields[c].Role == contract.Status) {
			b.usable(n)
			return
		}
		b.refuse(codeHaving, n.at, message, "add the aggregate to SELECT, and compare it or its alias with a number")
	case n.literal(), n.kind == nodeCall:
		b.refuse(codeHaving, n.at, message, "compare an aggregate of SELECT with a number")
	default:
		b.foreign(n, codeExpression, "compare an aggregate of SELECT with a number")
	}
}

// valueOf answers what the values of an aggregate of SELECT are like; known
// says that there is such an aggregate.
func (b *binder) valueOf(aggregate int, known bool) Placeholder {
	if !known {
		return Placeholder{Type: contract.Integer}
	}
	a := b.plan.aggregates[aggregate]
	switch a.Func {
	case Sum:
		f := &b.contract.Fields[a.Field]
		return Placeholder{f.Type, f.Scale}
	case Avg:
		return Placeholder{contract.Number, contract.DefaultScale}
	}
	return Placeholder{Type: contract.Integer}
}
