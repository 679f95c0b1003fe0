package sql

// maxDepth bounds the nesting of expressions.
const maxDepth = 64

// expression = conjunction {"OR" conjunction}.
func (p *parser) expression() *node {
	if p.depth++; p.depth > maxDepth {
		p.stop(codeTooLarge, p.peek().at, "the expression is nested too deeply", "write it with fewer parentheses")
	}
	defer func() { p.depth-- }()
	return p.chain("OR", nodeOr, p.conjunction)
}

func (p *parser) conjunction() *node { return p.chain("AND", nodeAnd, p.negation) }

// chain reads operands separated by a word into one node with all of them.
func (p *parser) chain(word string, kind nodeKind, operand func() *node) *node {
	n := operand()
	if !p.peek().is(word) {
		return n
	}
	all := &node{kind: kind, at: n.at, args: []*node{n}}
	for p.accept(word) {
		next := operand()
		all.args = append(all.args, next)
		all.at = all.at.through(next.at)
	}
	return all
}

func (p *parser) negation() *node {
	if !p.peek().is("NOT") {
		return p.predicate()
	}
	if p.depth++; p.depth > maxDepth {
		p.stop(codeTooLarge, p.peek().at, "the expression is nested too deeply", "write it with fewer parentheses")
	}
	defer func() { p.depth-- }()
	at := p.take().at
	inner := p.negation()
	return &node{kind: nodeNot, at: at.through(inner.at), args: []*node{inner}}
}

// predicate reads an operand and the comparisons after it.
func (p *parser) predicate() *node {
	n := p.sum()
	for {
		switch t := p.peek(); {
		case t.is("="), t.is("<>"), t.is("<"), t.is("<="), t.is(">"), t.is(">="):
			p.take()
			right := p.sum()
			n = &node{kind: nodeCompare, at: n.at.through(right.at), text: t.text, args: []*node{n, right}}
		case t.is("IS"):
			n = p.is(n)
		case t.is("NOT") && (p.peekAt(1).is("IN") || p.peekAt(1).is("BETWEEN") || p.patternAt(1)):
			p.take()
			n = p.membership(n, true)
		case t.is("IN"), t.is("BETWEEN"), p.patternAt(0):
			n = p.membership(n, false)
		default:
			return n
		}
	}
}

// patternAt says whether a pattern match begins at a token ahead.
func (p *parser) patternAt(ahead int) bool {
	t := p.peekAt(ahead)
	for _, word := range []string{"LIKE", "ILIKE", "GLOB", "SIMILAR", "REGEXP", "RLIKE", "~", "!~"} {
		if t.is(word) {
			return true
		}
	}
	return false
}

// is reads IS [NOT] NULL, and other tests as foreign.
func (p *parser) is(left *node) *node {
	p.take()
	n := &node{kind: nodeIsNull, args: []*node{left}, negated: p.accept("NOT")}
	if !p.peek().is("NULL") {
		n.kind, n.what = nodeForeign, "this test"
		if p.accept("DISTINCT") && p.accept("FROM") {
			n.args = append(n.args, p.sum())
			n.at = left.at.through(n.args[1].at)
			return n
		}
	}
	n.at = left.at.through(p.take().at)
	return n
}

// membership reads IN, BETWEEN or a pattern match; the token is the next one.
func (p *parser) membership(left *node, negated bool) *node {
	word := p.take()
	n := &node{args: []*node{left}, negated: negated}
	switch {
	case word.is("BETWEEN"):
		n.kind = nodeBetween
		n.args = append(n.args, p.sum())
		p.expect("AND")
		n.args = append(n.args, p.sum())
	case word.is("IN"):
		n.kind = nodeIn
		open := p.peek()
		if p.subqueryAt(0) {
			sub := p.subquery()
			n.kind, n.args = nodeForeign, append(n.args, sub)
			break
		}
		p.expect("(")
		n.args = append(n.args, p.list(p.expression)...)
		n.at = open.at.through(p.peek().at)
		p.expect(")")
	default:
		p.accept("TO") // SIMILAR TO
		n.what = "pattern matching"
		n.args = append(n.args, p.sum())
		if p.accept("ESCAPE") {
			n.args = append(n.args, p.sum())
		}
	}
	n.at = left.at.through(n.at).through(n.args[len(n.args)-1].at)
	return n
}

// sum reads arithmetic, which is foreign, of all precedences in one: the
// refusal doesn't depend on the tree.
func (p *parser) sum() *node {
	n := p.signed()
	for {
		t := p.peek()
		if t.kind != tokenSymbol || !arithmetic(t.text) {
			return n
		}
		p.take()
		right := p.signed()
		n = &node{kind: nodeForeign, at: n.at.through(right.at), what: "arithmetic", args: []*node{n, right}}
	}
}

func arithmetic(symbol string) bool {
	switch symbol {
	case "+", "-", "*", "/", "%", "^", "||", "&", "|", "**", "//", "<<", ">>", "->", "#":
		return true
	}
	return false
}

// signed reads an operand with its sign; a sign before a number is part of it.
func (p *parser) signed() *node {
	t := p.peek()
	if t.kind != tokenSymbol || (t.text != "-" && t.text != "+" && t.text != "~" && t.text != "!" && t.text != "@") {
		return p.casted()
	}
	p.take()
	if number := p.peek(); number.kind == tokenNumber && (t.text == "-" || t.text == "+") && !p.peekAt(1).is("::") {
		p.take()
		text := number.text
		if t.text == "-" {
			text = "-" + text
		}
		return &node{kind: nodeNumber, at: t.at.through(number.at), text: text}
	}
	if p.depth++; p.depth > maxDepth {
		p.stop(codeTooLarge, t.at, "the expression is nested too deeply", "write it with fewer signs")
	}
	defer func() { p.depth-- }()
	inner := p.signed()
	return &node{kind: nodeForeign, at: t.at.through(inner.at), what: "arithmetic", args: []*node{inner}}
}

// casted reads an operand and what may stand behind it: casts, subscripts,
// collations and time zones, all foreign.
func (p *parser) casted() *node {
	n := p.operand()
	for {
		switch t := p.peek(); {
		case t.is("::"):
			p.take()
			n = &node{kind: nodeForeign, at: n.at.through(p.typeName()), what: "a cast", args: []*node{n}}
		case t.is("["):
			n = &node{kind: nodeForeign, at: n.at.through(p.skipBalanced()), what: "a subscript", args: []*node{n}}
		case t.is("COLLATE"):
			p.take()
			n = &node{kind: nodeForeign, at: n.at.through(p.take().at), what: "a collation", args: []*node{n}}
		case t.is("AT") && p.peekAt(1).is("TIME") && p.peekAt(2).is("ZONE"):
			p.take()
			p.take()
			p.take()
			n = &node{kind: nodeForeign, at: n.at.through(p.take().at), what: "a time zone", args: []*node{n}}
		default:
			return n
		}
	}
}

// typeName passes over a type's name, its arguments included.
func (p *parser) typeName() span {
	at := p.peek().at
	if k := p.peek().kind; k != tokenWord && k != tokenQuoted {
		p.syntax()
		return at
	}
	p.take()
	if p.peek().is("(") {
		at = at.through(p.skipBalanced())
	}
	return at
}
