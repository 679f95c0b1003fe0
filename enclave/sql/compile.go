// Package sql turns the text of a query into a Plan, or into a Refusal that
// names everything wrong with it. It trusts the catalogue's contracts and
// nothing of the text: no part of the text is ever executed, repeated in an
// error, or kept beyond typed literals and the names of outputs. Compiling
// reads no data, so a refusal depends on the text, the parameters and the
// visible catalogue alone.
//
// The dialect is a small part of SQL (protected-queries.md, section 3): one
// SELECT of group keys and aggregates over one dataset. What isn't known to be
// allowed is refused: the binder, in this file and those around it, picks what
// it knows out of the tree that the parser made, and nothing else gets into a
// Plan.
package sql

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// maxParameters is the largest number of bound values.
const maxParameters = 1024

// Catalog answers the contracts that a query may name.
type Catalog interface {
	// Contract answers the contract of a dataset, which must have passed its
	// Check. It answers false for a dataset that the caller doesn't see.
	Contract(dataset string) (*contract.Contract, bool)
}

// Parameter is the value bound to a placeholder: a literal without syntax. The
// zero value stands for nothing and is refused where it is used.
type Parameter struct {
	kind nodeKind
	text string
}

// NullParameter is NULL. No comparison takes it.
func NullParameter() Parameter { return Parameter{kind: nodeNull} }

// TextParameter is what stands between single quotes.
func TextParameter(text string) Parameter { return Parameter{kind: nodeString, text: text} }

// NumberParameter is a number as decimal text, such as -12.5 or 1e3. Whether it
// is one is found out where it is used.
func NumberParameter(decimal string) Parameter { return Parameter{kind: nodeNumber, text: decimal} }

// BoolParameter is TRUE or FALSE.
func BoolParameter(value bool) Parameter {
	if value {
		return Parameter{kind: nodeTrue}
	}
	return Parameter{kind: nodeFalse}
}

// Compile parses one statement and binds it to the contract of its dataset.
// parameters are the values bound to ? or $n, in order; none is nil. An error
// is always a *Refusal with the violations that were found, all of one text but
// for those behind a syntax error. Their codes are PQ100 to PQ212, PQ301, PQ302
// and PQ401 (protected-queries.md, section 5).
func Compile(text string, parameters []Parameter, catalog Catalog) (*Plan, error) {
	var l lexer
	if l.measure(text, parameters); len(l.found) > 0 {
		return nil, l.refusal("")
	}
	l.text = text
	tokens := l.tokens()
	if len(l.found) > 0 {
		return nil, l.refusal("")
	}
	p := parser{tokens: tokens}
	p.placeholders(len(parameters))
	s := p.statement()
	if s == nil || p.broken {
		return nil, p.refusal("")
	}
	b := binder{reasons: p.reasons, parameters: parameters, totals: p.totals}
	b.from(s.sources, catalog, p.derived)
	return b.bind(s)
}

// measure refuses what is too long or isn't text before anything is read.
func (r *reasons) measure(text string, parameters []Parameter) {
	if len(text) > limits.Query {
		r.refuse(codeTooLarge, span{}, "the query text is longer than 64 KiB", "send a shorter query")
		return
	}
	for at := 0; at < len(text); {
		c, size := utf8.DecodeRuneInString(text[at:])
		if c == 0 || c == utf8.RuneError && size == 1 {
			r.refuse(codeEncoding, span{at, at + 1}, "the query isn't UTF-8 text", "send UTF-8 without NUL")
			return
		}
		at += size
	}
	if len(parameters) > maxParameters {
		r.refuse(codeTooLarge, span{}, "more than 1024 values are bound", "bind fewer values")
		return
	}
	total := 0
	for _, p := range parameters {
		if total += len(p.text); total > limits.Query {
			r.refuse(codeTooLarge, span{}, "the bound values are longer than 64 KiB together", "bind shorter values")
			return
		}
		if !utf8.ValidString(p.text) || strings.ContainsRune(p.text, 0) {
			r.refuse(codeEncoding, span{}, "a bound value isn't UTF-8 text", "send UTF-8 without NUL")
		}
	}
}

// placeholders gives every placeholder the number of its value, counted from
// one, and refuses a number of values that doesn't fit.
func (p *parser) placeholders(bound int) {
	used := make([]bool, bound)
	var marks, numbers int
	for i := range p.tokens {
		t := &p.tokens[i]
		if t.kind != tokenParameter {
			continue
		}
		if t.text == "?" {
			marks++
			t.text = strconv.Itoa(marks)
		} else {
			numbers++
			t.text = t.text[1:]
		}
		if marks > 0 && numbers > 0 {
			p.refuse(codeSyntax, t.at, "placeholders are either ? or numbered, not both", "use one kind")
			return
		}
		n, err := strconv.Atoi(t.text)
		if err != nil || n < 1 || n > bound {
			p.refuse(codeExpression, t.at, "no value is bound to this placeholder", "bind one value for each placeholder")
			t.text = "0"
			continue
		}
		used[n-1] = true
	}
	for _, u := range used {
		if !u {
			p.refuse(codeExpression, span{}, "a bound value has no placeholder", "bind one value for each placeholder")
		}
	}
}
