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
	"strings"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// Catalog answers the contracts that a query may name.
type Catalog interface {
	// Contract answers the contract of a dataset, which must have passed its
	// Check. It answers false for a dataset that the caller doesn't see.
	Contract(dataset string) (*contract.Contract, bool)
}

// Compile parses one statement and binds it to the contract of its dataset.
// parameters are the values bound to ? or $n, in order; none is nil. An error
// is always a *Refusal with all violations that were found. Every code of
// PQ1xx to PQ3xx in protected-queries.md section 5 can be among them, and PQ401.
func Compile(text string, parameters []Parameter, catalog Catalog) (*Plan, error) {
	p, err := read(text, parameters)
	if err != nil {
		return nil, err
	}
	p.placeholders(len(parameters))
	return p.compile(&binder{parameters: parameters}, catalog)
}

// read cuts the text into tokens.
func read(text string, parameters []Parameter) (*parser, error) {
	var l lexer
	if l.measure(text, parameters); len(l.found) > 0 {
		return nil, l.refusal("")
	}
	l.text = text
	tokens := l.tokens()
	if len(l.found) > 0 {
		return nil, l.refusal("")
	}
	return &parser{tokens: tokens}, nil
}

// compile parses the tokens and binds what they say.
func (p *parser) compile(b *binder, catalog Catalog) (*Plan, error) {
	s := p.statement()
	if s == nil || p.broken {
		return nil, p.refusal("")
	}
	b.reasons, b.totals = p.reasons, p.totals
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
