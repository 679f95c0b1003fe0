package sql

// from reads the tables of FROM and their joins.
func (p *parser) from() []source {
	all := []source{p.source()}
	for {
		t := p.peek()
		if t.is(",") {
			p.take()
			s := p.source()
			s.joined, s.join = true, t.at.through(s.at)
			all = append(all, s)
			continue
		}
		if !p.joinAhead() {
			p.sampling()
			return all
		}
		all = append(all, p.join())
	}
}

// joinAhead says whether the next words are those of a join.
func (p *parser) joinAhead() bool {
	for ahead := range 4 {
		t := p.peekAt(ahead)
		if t.is("JOIN") {
			return true
		}
		if !joinWord(t) {
			return false
		}
	}
	return false
}

func joinWord(t token) bool {
	for _, w := range []string{"INNER", "LEFT", "RIGHT", "FULL", "OUTER", "CROSS", "NATURAL", "SEMI", "ANTI", "ASOF", "POSITIONAL"} {
		if t.is(w) {
			return true
		}
	}
	return false
}

// join reads a join and its condition. Only [INNER|LEFT] JOIN with ON can be
// the dialect's.
func (p *parser) join() source {
	from, plain, left := p.peek().at, true, false
	for !p.peek().is("JOIN") {
		t := p.take()
		left = left || t.is("LEFT")
		plain = plain && (t.is("INNER") || t.is("LEFT"))
	}
	p.take()
	s := p.source()
	s.joined, s.left = plain, left
	s.join = from.through(s.at)
	switch {
	case p.accept("ON"):
		s.on = p.expression()
		s.join = s.join.through(s.on.at)
	case p.peek().is("USING"):
		p.take()
		s.join = s.join.through(p.skipBalanced())
	}
	if !plain {
		s.on = nil
	}
	s.joined = true
	return s
}

// source reads one table, or refuses what stands in its place.
func (p *parser) source() source {
	t := p.peek()
	s := source{at: t.at, nameAt: t.at, notATable: true}
	switch {
	case p.subqueryAt(0), t.is("("):
		s.at = p.skipBalanced()
		p.refuse(codeSubquery, s.at, "a query inside the query could carry single rows", "query the dataset directly")
	case t.kind == tokenString:
		p.take()
		p.refuse(codeStatement, s.at, "files can't be read", "name a dataset")
	case t.is("VALUES"):
		p.take()
		s.at = s.at.through(p.skipBalanced())
		p.refuse(codeClause, s.at, "VALUES isn't part of the dialect", "name a dataset")
	case t.is("LATERAL"), t.is("UNNEST"):
		p.take()
		for !p.broken && (p.peek().kind == tokenWord && p.peekAt(1).is("(")) {
			p.take()
		}
		s.at = s.at.through(p.skipBalanced())
		p.refuse(codeNotAggregated, s.at, "this puts out rows", "name a dataset")
	default:
		p.table(&s)
	}
	p.snapshot()
	p.tableAlias(&s)
	p.sampling()
	return s
}

// table reads a dataset's name; functions and qualified names are refused.
func (p *parser) table(s *source) {
	s.name = p.identifier()
	switch {
	case p.peek().is("("):
		s.at = s.at.through(p.skipBalanced())
		p.refuse(codeStatement, s.at, "table functions don't exist here", "name a dataset")
	case p.peek().is("-"):
		p.stop(codeSyntax, s.at.through(p.peek().at), "a name with - stands in double quotes", "put the dataset's name into double quotes")
	case p.peek().is("."):
		for p.accept(".") {
			s.at = s.at.through(p.take().at)
		}
		p.refuse(codeStatement, s.at, "there are no schemas and no catalogue tables", "name a dataset without a schema")
	default:
		s.notATable = false
	}
}

// snapshot refuses AS OF and its relatives: a query sees the newest snapshot.
func (p *parser) snapshot() {
	t := p.peek()
	switch {
	case t.is("AS") && p.peekAt(1).is("OF"):
		p.take()
		p.take()
	case t.is("FOR") && (p.peekAt(1).is("SYSTEM_TIME") || p.peekAt(1).is("TIMESTAMP") || p.peekAt(1).is("VERSION")):
		p.take()
		p.take()
		p.accept("AS")
		p.accept("OF")
	case t.is("AT") && p.peekAt(1).is("("):
		p.take()
		p.refuse(codeSnapshot, t.at.through(p.skipBalanced()), "only published snapshots can be named, and none is", "leave this out to query the newest snapshot")
		return
	default:
		return
	}
	value := p.sum()
	p.refuse(codeSnapshot, t.at.through(value.at), "only published snapshots can be named, and none is", "leave this out to query the newest snapshot")
}

func (p *parser) tableAlias(s *source) {
	switch t := p.peek(); {
	case t.is("AS"):
		p.take()
		s.at = s.at.through(p.peek().at)
		s.alias = p.identifier()
	case t.kind == tokenQuoted, t.kind == tokenWord && !reserved(t) && !joinWord(t) && !sampleWord(t):
		s.at = s.at.through(t.at)
		s.alias = p.take().text
	}
}

func sampleWord(t token) bool {
	return t.is("TABLESAMPLE") || t.is("PIVOT") || t.is("UNPIVOT") || t.is("USING") || t.is("OPTIONS") || t.is("SETTINGS") || t.is("MINUS")
}

// sampling refuses TABLESAMPLE, USING SAMPLE, PIVOT and UNPIVOT.
func (p *parser) sampling() {
	for t := p.peek(); sampleWord(t) && (!t.is("USING") || p.peekAt(1).is("SAMPLE")) && !t.is("OPTIONS") && !t.is("SETTINGS") && !t.is("MINUS"); t = p.peek() {
		at := p.take().at
		for k := p.peek(); k.kind != tokenEnd && !k.is(";") && !k.is("WHERE") && !k.is("GROUP") && !k.is("ORDER") && !k.is("LIMIT") && !k.is("HAVING"); k = p.peek() {
			if k.is("(") {
				at = at.through(p.skipBalanced())
				continue
			}
			at = at.through(p.take().at)
		}
		p.refuse(codeClause, at, "sampling and pivoting aren't part of the dialect", "query the whole dataset and group by a dimension")
	}
}
