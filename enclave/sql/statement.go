package sql

// statement reads the one query of the text.
func (p *parser) statement() *statement {
	if !p.begin() {
		return nil
	}
	s := &statement{}
	p.selectModifiers()
	for more := true; more; more = p.accept(",") {
		s.items = append(s.items, p.item())
	}
	p.expect("FROM")
	s.sources = p.from()
	if p.accept("WHERE") {
		s.where = p.expression()
	}
	if p.accept("GROUP") {
		p.expect("BY")
		s.group = p.grouping()
	}
	if p.accept("HAVING") {
		s.having = p.expression()
	}
	p.windows()
	if p.accept("ORDER") {
		p.expect("BY")
		s.order = p.sortKeys()
	}
	p.limit(s)
	p.end()
	return s
}

// begin passes over what may stand before SELECT. It answers false when the
// text isn't a query, which one violation then says.
func (p *parser) begin() bool {
	first := p.peek()
	switch {
	case first.is("SELECT"):
		p.take()
		return true
	case first.is("WITH"):
		at := p.take().at
		p.derived = true
		p.accept("RECURSIVE")
		for more := true; more; more = p.accept(",") {
			p.take()
			if p.peek().is("(") {
				p.skipBalanced()
			}
			p.expect("AS")
			at = at.through(p.skipBalanced())
		}
		p.refuse(codeClause, at, "common table expressions aren't part of the dialect", "query the dataset directly")
		p.expect("SELECT")
		return !p.broken
	case first.is("VALUES"), first.is("("):
		p.refuse(codeClause, p.skipRest(), "only a single SELECT is answered", "write SELECT items FROM table")
	case first.kind == tokenWord:
		at := p.peek().at
		for t := p.take(); t.kind != tokenEnd; t = p.take() {
			at = at.through(t.at)
			if t.kind == tokenWord && privacyOption(t.text) {
				p.refuseOption(t.at)
			}
		}
		p.refuse(codeStatement, at, "only SELECT is answered", "write SELECT items FROM table")
	default:
		p.syntax()
	}
	return false
}

// selectModifiers reads what may stand between SELECT and its list.
func (p *parser) selectModifiers() {
	if t := p.peek(); t.is("WITH") {
		p.take()
		at := t.at.through(p.take().at)
		if p.accept("OPTIONS") {
			at = at.through(p.skipBalanced())
		}
		p.refuseOption(at)
	}
	if t := p.peek(); t.is("DISTINCT") {
		p.take()
		at := t.at
		if p.accept("ON") {
			at = at.through(p.skipBalanced())
		}
		p.refuse(codeNotAggregated, at, "DISTINCT puts out rows", "use GROUP BY, and COUNT(DISTINCT …) for people")
	}
	p.accept("ALL")
}

// item reads an element of the SELECT list with its alias.
func (p *parser) item() item {
	i := item{value: p.expression()}
	p.starModifiers(i.value)
	switch t := p.peek(); {
	case t.is("AS"):
		p.take()
		i.alias = p.identifier()
	case t.kind == tokenQuoted, t.kind == tokenWord && !reserved(t):
		i.alias = p.take().text
	}
	return i
}

// starModifiers passes over EXCLUDE, EXCEPT and REPLACE lists behind a star.
func (p *parser) starModifiers(n *node) {
	for n.kind == nodeStar && (p.peek().is("EXCLUDE") || p.peek().is("EXCEPT") || p.peek().is("REPLACE")) {
		p.take()
		n.at = n.at.through(p.skipBalanced())
	}
}

// identifier reads a name that must stand here.
func (p *parser) identifier() string {
	t := p.peek()
	if t.kind != tokenQuoted && (t.kind != tokenWord || reserved(t)) {
		p.syntax()
		return ""
	}
	return p.take().text
}

// grouping reads the list of GROUP BY.
func (p *parser) grouping() []*node {
	var keys []*node
	for more := true; more; more = p.accept(",") {
		t, next := p.peek(), p.peekAt(1)
		switch {
		case t.is("ALL"):
			p.refuse(codeClause, p.take().at, "GROUP BY ALL hides the keys", "name the dimensions")
		case (t.is("ROLLUP") || t.is("CUBE")) && next.is("("):
			p.take()
			p.refuse(codeClause, t.at.through(p.skipBalanced()), "marginal totals aren't part of the dialect", "send one query for each grouping")
		case t.is("GROUPING") && next.is("SETS"):
			p.take()
			p.take()
			p.refuse(codeClause, t.at.through(p.skipBalanced()), "marginal totals aren't part of the dialect", "send one query for each grouping")
		default:
			keys = append(keys, p.expression())
			continue
		}
		p.totals = true
	}
	return keys
}

// windows refuses QUALIFY and WINDOW.
func (p *parser) windows() {
	for p.peek().is("QUALIFY") || p.peek().is("WINDOW") {
		at := p.take().at
		for k := p.peek(); k.kind != tokenEnd && !k.is(";") && !k.is("ORDER") && !k.is("LIMIT") && !k.is("QUALIFY") && !k.is("WINDOW"); k = p.peek() {
			if k.is("(") {
				at = at.through(p.skipBalanced())
				continue
			}
			at = at.through(p.take().at)
		}
		p.refuse(codeClause, at, "window functions put out one value for each row", "group by a dimension instead")
	}
}

// sortKeys reads the list of ORDER BY.
func (p *parser) sortKeys() []sortKey {
	var keys []sortKey
	for more := true; more; more = p.accept(",") {
		key := sortKey{value: p.expression()}
		if !p.accept("ASC") {
			key.descending = p.accept("DESC")
		}
		if t := p.peek(); t.is("NULLS") {
			p.take()
			p.refuse(codeClause, t.at.through(p.take().at), "NULL always comes last", "leave this out")
		}
		keys = append(keys, key)
	}
	return keys
}

// limit reads LIMIT and refuses what else cuts rows.
func (p *parser) limit(s *statement) {
	for {
		t := p.peek()
		switch {
		case t.is("LIMIT") && s.limit == nil:
			p.take()
			s.limit = p.expression()
		case t.is("OFFSET"), t.is("FETCH"):
			at := t.at
			for k := p.peek(); k.kind != tokenEnd && !k.is(";") && !k.is("LIMIT"); k = p.peek() {
				at = at.through(p.take().at)
			}
			p.refuse(codeClause, at, "this clause isn't part of the dialect", "use LIMIT alone")
		default:
			return
		}
	}
}

// end refuses what comes after the query.
func (p *parser) end() {
	for _, word := range []string{"UNION", "INTERSECT", "EXCEPT", "MINUS"} {
		if p.peek().is(word) {
			p.refuse(codeClause, p.skipRest(), "set operators aren't part of the dialect", "send one query for each")
		}
	}
	for _, word := range []string{"OPTIONS", "SETTINGS", "WITH"} {
		if p.peek().is(word) {
			p.refuseOption(p.skipRest())
		}
	}
	if p.accept(";") && p.peek().kind != tokenEnd {
		at := p.peek().at
		for t := p.peek(); t.kind != tokenEnd; t = p.peek() {
			at = at.through(p.take().at)
		}
		p.refuse(codeStatement, at, "only one statement is answered", "send the statements one by one")
	}
	if p.peek().kind != tokenEnd {
		p.syntax()
	}
}
