package sql

// operand reads a literal, a column, a call, parentheses, or what is refused
// in their place.
func (p *parser) operand() *node {
	t := p.peek()
	switch t.kind {
	case tokenString:
		return p.leaf(nodeString)
	case tokenNumber:
		return p.leaf(nodeNumber)
	case tokenParameter:
		return p.leaf(nodeParameter)
	case tokenQuoted:
		return p.name()
	case tokenWord:
		return p.word()
	}
	switch {
	case p.subqueryAt(0):
		return p.subquery()
	case t.is("("):
		p.take()
		n := p.expression()
		if p.peek().is(",") {
			n = p.foreign("a row of values", t.at, append([]*node{n}, p.rest()...)...)
		}
		n.at = t.at.through(p.peek().at)
		p.expect(")")
		return n
	case t.is("*"):
		return p.leaf(nodeStar)
	case t.is("["), t.is("{"):
		return p.foreign("a list", p.skipBalanced())
	}
	p.syntax()
	return &node{at: t.at}
}

// rest reads the further elements of a row value.
func (p *parser) rest() []*node {
	p.expect(",")
	return p.list(p.expression)
}

func (p *parser) leaf(kind nodeKind) *node {
	t := p.take()
	return &node{kind: kind, at: t.at, text: t.text}
}

// foreign makes a node that can only be refused.
func (p *parser) foreign(what phrase, at span, args ...*node) *node {
	for _, a := range args {
		at = at.through(a.at)
	}
	return &node{kind: nodeForeign, at: at, what: what, args: args}
}

// word reads what begins with an unquoted word.
func (p *parser) word() *node {
	t, next := p.peek(), p.peekAt(1)
	switch {
	case t.is("NULL"):
		return p.leaf(nodeNull)
	case t.is("TRUE"):
		return p.leaf(nodeTrue)
	case t.is("FALSE"):
		return p.leaf(nodeFalse)
	case t.is("DATE") && next.kind == tokenString:
		p.take()
		return &node{kind: nodeDate, at: t.at.through(next.at), text: p.take().text}
	case t.is("TIMESTAMP") && next.kind == tokenString:
		p.take()
		return &node{kind: nodeTimestamp, at: t.at.through(next.at), text: p.take().text}
	case next.kind == tokenString: // INTERVAL '…', E'…', X'…' and other typed literals
		p.take()
		p.take()
		return p.foreign("this kind of literal", t.at.through(next.at))
	case t.is("CASE"):
		return p.caseExpression()
	case t.is("EXISTS") && next.is("("):
		p.take()
		return &node{kind: nodeSubquery, at: t.at.through(p.skipBalanced())}
	case (t.is("CAST") || t.is("TRY_CAST")) && next.is("("):
		return p.cast()
	case t.is("ARRAY") && next.is("["):
		p.take()
		return p.foreign("a list", t.at.through(p.skipBalanced()))
	case p.subqueryAt(1): // ANY (SELECT …) and its relatives
		p.take()
		sub := p.subquery()
		return &node{kind: nodeCall, at: t.at.through(sub.at), text: upper(t.text), args: []*node{sub}}
	case next.is("("):
		return p.call()
	case reserved(t):
		p.syntax()
		return &node{at: t.at}
	}
	return p.name()
}

// reserved words can't be names unless they are quoted.
func reserved(t token) bool {
	if t.kind != tokenWord {
		return false
	}
	switch upper(t.text) {
	case "SELECT", "FROM", "WHERE", "GROUP", "BY", "HAVING", "ORDER", "LIMIT", "AND", "OR", "NOT", "IN", "IS",
		"BETWEEN", "AS", "ON", "USING", "JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "NATURAL", "UNION", "INTERSECT", "EXCEPT",
		"DISTINCT", "ALL", "ASC", "DESC", "OFFSET", "FETCH", "QUALIFY", "WINDOW", "WITH", "VALUES", "LIKE", "ILIKE", "CASE", "WHEN",
		"THEN", "ELSE", "END", "NULL", "TRUE", "FALSE", "TABLESAMPLE", "LATERAL", "OUTER", "PIVOT", "UNPIVOT", "ESCAPE", "COLLATE":
		return true
	}
	return false
}

// name reads a column, with or without a qualifier, or a call of a quoted or
// qualified function. table.* is a star.
func (p *parser) name() *node {
	t := p.take()
	n := &node{kind: nodeColumn, at: t.at, text: t.text}
	for p.peek().is(".") {
		p.take()
		last := p.take()
		n.at = n.at.through(last.at)
		switch {
		case last.is("*"):
			n.kind = nodeStar
			return n
		case last.kind != tokenWord && last.kind != tokenQuoted:
			p.back()
			p.syntax()
			return n
		case n.table != "":
			n.kind, n.what = nodeForeign, "a name of more than two parts"
		}
		n.table, n.text = n.text, last.text
	}
	if p.peek().is("(") {
		return p.qualifiedCall(n)
	}
	return n
}

// qualifiedCall reads the call of a function of which the name was read.
func (p *parser) qualifiedCall(name *node) *node {
	p.back()
	n := p.call()
	n.at = name.at.through(n.at)
	if name.table != "" {
		n.text = upper(name.table) + "." + n.text
	}
	return n
}

// call reads a function or aggregate with everything that may stand in and
// behind its parentheses.
func (p *parser) call() *node {
	name := p.take()
	n := &node{kind: nodeCall, at: name.at, text: upper(name.text)}
	p.expect("(")
	switch {
	case p.accept("DISTINCT"):
		n.distinct = true
	default:
		p.accept("ALL")
	}
	if p.peek().is("*") && (p.peekAt(1).is(")") || p.peekAt(1).is(",")) {
		p.take()
		n.star = true
	} else if !p.peek().is(")") {
		n.args = append(n.args, p.argument())
	}
	for p.accept(",") {
		n.args = append(n.args, p.argument())
	}
	n.args = append(n.args, p.insideCall()...)
	n.at = n.at.through(p.peek().at)
	p.expect(")")
	return p.behindCall(n)
}

// argument reads one argument; named ones are privacy or engine options.
func (p *parser) argument() *node {
	name, arrow := p.peek(), p.peekAt(1)
	if (name.kind == tokenWord || name.kind == tokenQuoted) && (arrow.is("=>") || arrow.is(":=")) {
		p.take()
		p.take()
		n := p.foreign("a named argument", name.at, p.expression())
		if privacyOption(name.text) {
			p.refuseOption(n.at)
			n.refused = true
		}
		return n
	}
	return p.expression()
}

// insideCall reads what may stand before the closing parenthesis: an order, a
// treatment of NULL, a clamp. Each becomes a foreign argument.
func (p *parser) insideCall() []*node {
	var extra []*node
	for {
		t := p.peek()
		switch {
		case t.is("ORDER"):
			p.take()
			p.expect("BY")
			for _, key := range p.sortKeys() {
				extra = append(extra, p.foreign("an order of values", t.at, key.value))
			}
		case (t.is("IGNORE") || t.is("RESPECT")) && p.peekAt(1).is("NULLS"):
			p.take()
			extra = append(extra, p.foreign("a treatment of NULL", t.at.through(p.take().at)))
		case t.is("CLAMPED"):
			p.take()
			p.expect("BETWEEN")
			low := p.sum()
			p.expect("AND")
			at := t.at.through(low.at).through(p.sum().at)
			p.refuseOption(at)
		case t.is("AS"): // a cast under another name
			p.take()
			extra = append(extra, p.foreign("a cast", t.at.through(p.typeName())))
		case t.is("FROM"), t.is("FOR"): // EXTRACT(… FROM …), SUBSTRING(… FROM … FOR …)
			p.take()
			extra = append(extra, p.foreign("this function", t.at, p.expression()))
		default:
			return extra
		}
	}
}

// behindCall reads FILTER, OVER and WITHIN GROUP.
func (p *parser) behindCall(n *node) *node {
	for {
		t := p.peek()
		switch {
		case t.is("FILTER") && p.peekAt(1).is("("):
			p.take()
			n.args = append(n.args, p.foreign("FILTER", t.at.through(p.skipBalanced())))
		case t.is("WITHIN") && p.peekAt(1).is("GROUP"):
			p.take()
			p.take()
			n.args = append(n.args, p.foreign("an order of values", t.at.through(p.skipBalanced())))
		case t.is("OVER"):
			p.take()
			at := n.at
			if p.peek().is("(") {
				at = at.through(p.skipBalanced())
			} else {
				at = at.through(p.take().at)
			}
			p.refuse(codeClause, at, "window functions put out one value for each row", "group by a dimension instead")
			n = p.foreign("window", at)
			n.refused = true
		default:
			return n
		}
	}
}

func (p *parser) caseExpression() *node {
	from := p.take().at
	var args []*node
	for {
		switch {
		case p.accept("WHEN"), p.accept("THEN"), p.accept("ELSE"):
		case p.peek().is("END"):
			return p.foreign("CASE", from.through(p.take().at), args...)
		case p.broken:
			return p.foreign("CASE", from, args...)
		default:
			args = append(args, p.expression())
		}
	}
}

func (p *parser) cast() *node {
	from := p.take().at
	p.expect("(")
	inner := p.expression()
	p.expect("AS")
	p.typeName()
	at := from.through(p.peek().at)
	p.expect(")")
	return p.foreign("a cast", at, inner)
}

// subqueryAt says whether a parenthesis with a query in it begins ahead.
func (p *parser) subqueryAt(ahead int) bool {
	if !p.peekAt(ahead).is("(") {
		return false
	}
	next := p.peekAt(ahead + 1)
	return next.is("SELECT") || next.is("WITH") || next.is("VALUES")
}

// subquery passes over a query in parentheses.
func (p *parser) subquery() *node {
	return &node{kind: nodeSubquery, at: p.skipBalanced()}
}
