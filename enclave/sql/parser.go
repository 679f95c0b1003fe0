package sql

// parser reads a statement by recursive descent. What it recognises and the
// dialect doesn't allow becomes a violation, and reading goes on, so that all
// of them are reported at once; a syntax error ends it.
type parser struct {
	reasons
	tokens []token
	at     int
	depth  int
	// broken says that a syntax error was met; from then on only tokenEnd is
	// seen, so that every loop ends.
	broken bool
	// derived says that FROM may name a common table expression, which was
	// refused.
	derived bool
	// totals says that an element of GROUP BY was refused.
	totals bool
}

func (p *parser) peek() token { return p.peekAt(0) }

func (p *parser) peekAt(ahead int) token {
	if p.broken || p.at+ahead >= len(p.tokens) {
		return p.tokens[len(p.tokens)-1]
	}
	return p.tokens[p.at+ahead]
}

func (p *parser) take() token {
	t := p.peek()
	if p.at < len(p.tokens)-1 {
		p.at++
	}
	return t
}

// back undoes one take.
func (p *parser) back() { p.at-- }

// accept takes the next token if it is the word.
func (p *parser) accept(word string) bool {
	if !p.peek().is(word) {
		return false
	}
	p.take()
	return true
}

func (p *parser) expect(word string) {
	if !p.accept(word) {
		p.syntax()
	}
}

// syntax reports the next token as one that can't stand there.
func (p *parser) syntax() {
	at, message := p.peek().at, phrase("the query can't be read from here on")
	if p.peek().kind == tokenEnd {
		message, at.from = "the query ends too early", max(at.from-1, 0)
	}
	p.stop(codeSyntax, at, message, "write SELECT items FROM table [WHERE …] [GROUP BY …] [HAVING …] [ORDER BY …] [LIMIT n]")
}

// stop reports the one violation after which nothing can be read.
func (p *parser) stop(code string, at span, message, fix phrase) {
	if !p.broken {
		p.refuse(code, at, message, fix)
	}
	p.broken = true
}

// list reads one or more elements separated by commas.
func (p *parser) list(element func() *node) []*node {
	all := []*node{element()}
	for p.accept(",") {
		all = append(all, element())
	}
	return all
}

// skipBalanced passes over an opening bracket and everything to its closing
// one.
func (p *parser) skipBalanced() span {
	at, open := p.peek().at, 0
	for {
		t := p.take()
		at = at.through(t.at)
		switch {
		case t.is("("), t.is("["), t.is("{"):
			open++
		case t.is(")"), t.is("]"), t.is("}"):
			if open--; open == 0 {
				return at
			}
		case t.kind == tokenEnd:
			p.syntax()
			return at
		}
		if open == 0 { // not at a bracket at all
			p.back()
			p.syntax()
			return at
		}
	}
}

// skipRest passes over everything up to the end, for clauses of which one
// refusal says enough.
func (p *parser) skipRest() span {
	at := p.peek().at
	for p.peek().kind != tokenEnd && !p.peek().is(";") {
		at = at.through(p.take().at)
	}
	return at
}

// privacyOption says whether a name is one under which some system lets query
// text set its privacy parameters.
func privacyOption(name string) bool {
	switch upper(name) {
	case "EPSILON", "DELTA", "RHO", "SIGMA", "KAPPA", "NOISE", "NOISE_KIND", "K_THRESHOLD", "THRESHOLD", "MIN_GROUP_SIZE",
		"PRIVACY_UNIT_COLUMN", "PRIVACY_BUDGET", "MAX_GROUPS_CONTRIBUTED", "MAX_ROWS_CONTRIBUTED", "MIN_PRIVACY_UNITS_PER_GROUP",
		"DIFFERENTIAL_PRIVACY", "ANONYMIZATION", "AGGREGATION_THRESHOLD", "GROUP_SELECTION_STRATEGY",
		"CONTRIBUTION_BOUNDS_PER_GROUP", "CONTRIBUTION_BOUNDS_PER_ROW", "CENSOR_DIMS", "CLAMPED", "L0", "LINF":
		return true
	}
	return false
}

func (p *parser) refuseOption(at span) {
	p.refuse(codeParameter, at, "privacy parameters come from the deployment's bundle alone", "remove the option")
}
