package sql

// nodeKind says what an expression is. Everything that the dialect doesn't
// know by itself is a nodeForeign: it can be named in a refusal and can't
// become part of a Plan.
type nodeKind uint8

const (
	nodeForeign nodeKind = iota
	nodeColumn
	nodeStar
	nodeString
	nodeNumber
	nodeTrue
	nodeFalse
	nodeNull
	nodeDate      // DATE '…'
	nodeTimestamp // TIMESTAMP '…'
	nodeParameter
	nodeCall
	nodeSubquery
	// From here on the kinds are conditions.
	nodeOr
	nodeAnd
	nodeNot
	nodeCompare
	nodeIn
	nodeBetween
	nodeIsNull
)

// node is an expression as written. It proves nothing: the binder alone makes
// plans.
type node struct {
	kind nodeKind
	at   span
	// text is the name of a column or function, the operator of a comparison,
	// or the content of a literal.
	text string
	// what says what a foreign expression is; empty when only what stands
	// inside it is refused.
	what phrase
	// table is the qualifier of a column, or empty.
	table string
	// args are the operands, left to right.
	args []*node
	// negated marks NOT IN, NOT BETWEEN and IS NOT NULL; distinct a DISTINCT in
	// a call; star a call with * as its argument; refused a foreign expression
	// that the parser refused already.
	negated, distinct, star, refused bool
}

// literal says whether the node is one value, written out or bound.
func (n *node) literal() bool {
	switch n.kind {
	case nodeString, nodeNumber, nodeTrue, nodeFalse, nodeNull, nodeDate, nodeTimestamp, nodeParameter:
		return true
	}
	return false
}

// item is an element of the SELECT list.
type item struct {
	value *node
	alias string
}

// sortKey is an element of ORDER BY.
type sortKey struct {
	value      *node
	descending bool
}

// source is a table of FROM.
type source struct {
	at           span
	nameAt       span
	name, alias  string
	notATable    bool // refused already
	join         span // from JOIN to the end of its condition
	on           *node
	joined, left bool
}

// statement is a query as written.
type statement struct {
	items   []item
	sources []source
	where   *node
	group   []*node
	having  *node
	order   []sortKey
	limit   *node
}
