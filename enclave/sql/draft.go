package sql

import (
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// Placeholder says what kind of value a placeholder wants: one of the column
// or aggregate that it is compared with.
type Placeholder struct {
	Type contract.Type
	// Scale is the number of decimal places of a contract.Number, else 0.
	Scale int
}

// and answers what fits both. Text in quotes can be a value of any type.
func (p Placeholder) and(other Placeholder) Placeholder {
	if p == other || p.Type == 0 {
		return other
	}
	return Placeholder{Type: contract.String}
}

// sample is some value of the kind.
func (p Placeholder) sample() Parameter {
	switch p.Type {
	case contract.Integer, contract.Number:
		return NumberParameter("0")
	case contract.Boolean:
		return BoolParameter(true)
	case contract.Date, contract.Timestamp:
		return DateParameter("1970-01-01")
	}
	return TextParameter("")
}

// Draft is a statement that compiles whatever is bound to its placeholders, as
// far as that can be told before it is. It says what the answer will look like
// and can't be run. Describe alone makes one. What its methods answer belongs
// to the caller.
type Draft struct {
	plan         *Plan
	placeholders []Placeholder
}

// Describe parses and binds one statement without the values of its
// placeholders. An error is always a *Refusal, as Compile's is.
func Describe(text string, catalog Catalog) (*Draft, error) {
	p, err := read(text, nil)
	if err != nil {
		return nil, err
	}
	b := &binder{draft: true, wanted: make([]Placeholder, p.free())}
	plan, err := p.compile(b, catalog)
	if err != nil {
		return nil, err
	}
	return &Draft{plan, b.wanted}, nil
}

// free numbers the placeholders and answers how many values they want.
func (p *parser) free() int {
	var used []bool
	p.number(func(t token, n int) bool {
		if n < 1 || n > maxParameters {
			p.refuse(codeTooLarge, t.at, "placeholders are numbered from 1 to 1024", "bind fewer values")
			return false
		}
		used = append(used, make([]bool, max(n-len(used), 0))...)
		used[n-1] = true
		return true
	})
	if slices.Contains(used, false) {
		p.refuse(codeExpression, span{}, "the numbers of the placeholders leave one out", "number them from $1 on without a gap")
	}
	return len(used)
}

// Contract is the contract that the statement was bound to. It must not be
// changed.
func (d *Draft) Contract() *contract.Contract { return d.plan.Contract() }

// Placeholders are what the placeholders want, in the order of their numbers.
func (d *Draft) Placeholders() []Placeholder { return slices.Clone(d.placeholders) }

// Keys are those that the Plan will have.
func (d *Draft) Keys() []int { return d.plan.Keys() }

// Aggregates are those that the Plan will have.
func (d *Draft) Aggregates() []Aggregate { return d.plan.Aggregates() }

// Outputs are those that the Plan will have.
func (d *Draft) Outputs() []Output { return d.plan.Outputs() }
