package sql

import (
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
)

// maxParameters is the largest number of bound values.
const maxParameters = 1024

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

// DateParameter is a day as 2006-01-02. Whether it is one is found out where it
// is used.
func DateParameter(day string) Parameter { return Parameter{kind: nodeDate, text: day} }

// TimestampParameter is an instant as RFC 3339 writes it. Whether it is one is
// found out where it is used.
func TimestampParameter(instant string) Parameter {
	return Parameter{kind: nodeTimestamp, text: instant}
}

// BoolParameter is TRUE or FALSE.
func BoolParameter(value bool) Parameter {
	if value {
		return Parameter{kind: nodeTrue}
	}
	return Parameter{kind: nodeFalse}
}

// Literal is the value as the dialect writes it, such as 'it”s', -12.5, TRUE
// or DATE '2024-01-31'. Different values have different literals. It is data:
// it goes into a digest or back to the caller, and never into a log.
func (p Parameter) Literal() string {
	switch p.kind {
	case nodeString:
		return quote(p.text)
	case nodeNumber:
		return p.text
	case nodeDate:
		return "DATE " + quote(p.text)
	case nodeTimestamp:
		return "TIMESTAMP " + quote(p.text)
	case nodeTrue:
		return "TRUE"
	case nodeFalse:
		return "FALSE"
	}
	return "NULL"
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// Literals are those of several values; none is nil.
func Literals(parameters []Parameter) []string {
	var all []string
	for _, p := range parameters {
		all = append(all, p.Literal())
	}
	return all
}

// resolve answers the literal that a node stands for: itself, or the value
// bound to a placeholder, in a draft any value of the wanted kind. It answers
// false for a placeholder without a value, which is refused already.
func (b *binder) resolve(n *node, want Placeholder) (node, bool) {
	if n.kind != nodeParameter {
		return *n, true
	}
	i, err := strconv.Atoi(n.text)
	if err != nil || i < 1 {
		return node{}, false
	}
	var p Parameter
	switch {
	case b.draft && i <= len(b.wanted):
		b.wanted[i-1] = b.wanted[i-1].and(want)
		p = want.sample()
	case !b.draft && i <= len(b.parameters):
		p = b.parameters[i-1]
	default:
		return node{}, false
	}
	if number := want.Type == contract.Integer || want.Type == contract.Number; number && p.kind == nodeString {
		// Some clients bind everything as text.
		if _, ok := numeral(p.text); ok {
			p.kind = nodeNumber
		}
	}
	return node{kind: p.kind, at: n.at, text: p.text}, true
}

// placeholders gives every placeholder the number of its value, counted from
// one, and refuses a number of values that doesn't fit.
func (p *parser) placeholders(bound int) {
	used := make([]bool, bound)
	if !p.number(func(t token, n int) bool {
		if n < 1 || n > bound {
			p.refuse(codeExpression, t.at, "no value is bound to this placeholder", "bind one value for each placeholder")
			return false
		}
		used[n-1] = true
		return true
	}) {
		return
	}
	for _, u := range used {
		if !u {
			p.refuse(codeExpression, span{}, "a bound value has no placeholder", "bind one value for each placeholder")
		}
	}
}

// number calls take with every placeholder and its number, 0 for what is none,
// and writes the number into it, or 0 where take answers false. It answers
// false, after a refusal, when two kinds of placeholders are mixed.
func (p *parser) number(take func(t token, n int) bool) bool {
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
			return false
		}
		n, err := strconv.Atoi(t.text)
		if err != nil {
			n = 0
		}
		if !take(*t, n) {
			t.text = "0"
		}
	}
	return true
}

// ParseParameter reads what Literal writes. It answers false for quotes that
// don't fit; whatever else isn't a literal becomes a number that is refused
// where it is used.
func ParseParameter(literal string) (Parameter, bool) {
	kind, quoted := nodeString, literal
	if rest, ok := strings.CutPrefix(literal, "DATE "); ok {
		kind, quoted = nodeDate, rest
	} else if rest, ok := strings.CutPrefix(literal, "TIMESTAMP "); ok {
		kind, quoted = nodeTimestamp, rest
	}
	switch {
	case literal == "NULL":
		return NullParameter(), true
	case literal == "TRUE", literal == "FALSE":
		return BoolParameter(literal == "TRUE"), true
	case kind == nodeString && !strings.HasPrefix(quoted, "'"):
		return NumberParameter(literal), true
	}
	if len(quoted) < 2 {
		return Parameter{}, false
	}
	p := Parameter{kind: kind, text: strings.ReplaceAll(quoted[1:len(quoted)-1], "''", "'")}
	return p, p.Literal() == literal
}
