package sql

import (
	"cmp"
	"errors"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/contract"
)

const (
	// maxNumeral is the longest number read, in bytes, as in contract.
	maxNumeral = 256
	// maxExponent is where exponents are cut off. With at most 256 digits
	// before it, what lies beyond compares with every stored and every
	// released value like what lies there.
	maxExponent = 512
)

// point is a literal on the scale of a column's stored values. value is the
// literal itself when exact, else the largest stored value below it. beyond is
// the sign of a literal that no int64 reaches, else 0.
type point struct {
	value  contract.Value
	exact  bool
	beyond int
}

// point reads a literal as a value of a column. A literal that isn't one is
// refused without repeating it.
func (b *binder) point(f *contract.Field, n *node) (point, bool) {
	literal, ok := b.resolve(n, Placeholder{f.Type, f.Scale})
	if !ok {
		return point{}, false
	}
	if literal.kind == nodeNull {
		b.refuse(codePredicate, n.at, "no value equals NULL, and none differs from it", "use IS NULL or IS NOT NULL")
		return point{}, false
	}
	p, ok := literal.on(f)
	if !ok {
		b.refuse(codeExpression, n.at, "the literal isn't a value of the column's type", literalFix(f.Type))
	}
	return p, ok
}

func literalFix(t contract.Type) phrase {
	switch t {
	case contract.String:
		return "write text in single quotes"
	case contract.Boolean:
		return "write TRUE or FALSE"
	case contract.Date:
		return "write a day as DATE '2024-01-31'"
	case contract.Timestamp:
		return "write an instant as TIMESTAMP '2024-01-31 12:00:00'"
	}
	return "write a number of at most 256 digits"
}

// on answers a literal as a value of a column. Text in quotes can be a value of
// any type; other literals belong to their own types. A day is an instant too,
// its first.
func (n *node) on(f *contract.Field) (point, bool) {
	text := n.text
	switch f.Type {
	case contract.String:
		if n.kind != nodeString {
			return point{}, false
		}
	case contract.Integer, contract.Number:
		if n.kind != nodeNumber && n.kind != nodeString {
			return point{}, false
		}
		r, ok := numeral(text)
		return scaled(r, f.Scale), ok
	case contract.Boolean:
		switch n.kind {
		case nodeTrue, nodeFalse:
			text = strconv.FormatBool(n.kind == nodeTrue)
		case nodeString:
		default:
			return point{}, false
		}
	case contract.Date:
		if n.kind != nodeDate && n.kind != nodeString {
			return point{}, false
		}
	case contract.Timestamp:
		if n.kind != nodeDate && n.kind != nodeTimestamp && n.kind != nodeString {
			return point{}, false
		}
		day := contract.Field{Type: contract.Date}
		if _, err := day.Parse(text); err == nil {
			text += "T00:00:00Z"
		}
	}
	v, err := f.Parse(text)
	return point{value: v, exact: true}, err == nil
}

// numeral reads [+-]digits[.digits][e[+-]digits] exactly, but for exponents
// beyond maxExponent.
func numeral(text string) (*big.Rat, bool) {
	if len(text) > maxNumeral {
		return new(big.Rat), false
	}
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		var err error
		// A number beyond int comes back as the nearest one.
		if exponent, err = strconv.Atoi(text[i+1:]); err != nil && !errors.Is(err, strconv.ErrRange) {
			return new(big.Rat), false
		}
		mantissa, exponent = text[:i], min(max(exponent, -maxExponent), maxExponent)
	}
	unsigned := strings.TrimPrefix(mantissa, "-")
	negative := unsigned != mantissa
	if !negative {
		unsigned = strings.TrimPrefix(mantissa, "+")
	}
	whole, fraction, _ := strings.Cut(unsigned, ".")
	digits := whole + fraction
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return new(big.Rat), false
	}
	n, _ := new(big.Int).SetString(digits, 10) // they are digits
	if negative {
		n.Neg(n)
	}
	return new(big.Rat).Mul(new(big.Rat).SetInt(n), power(exponent-len(fraction))), true
}

// power is ten to the exponent.
func power(exponent int) *big.Rat {
	n := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exponent, -exponent))), nil)
	if exponent < 0 {
		return new(big.Rat).SetFrac(big.NewInt(1), n)
	}
	return new(big.Rat).SetInt(n)
}

// scaled puts a number on a scale of int64.
func scaled(r *big.Rat, scale int) point {
	units := new(big.Rat).Mul(r, power(scale))
	// Div rounds to minus infinity for a positive divisor, and Denom is one.
	floor := new(big.Int).Div(units.Num(), units.Denom())
	if !floor.IsInt64() {
		return point{beyond: floor.Sign()}
	}
	return point{value: contract.Value{Int: floor.Int64()}, exact: units.IsInt()}
}

// The tests that no value passes, and that all values but NULL pass.
func never() Test  { return Test{Kind: In} }
func always() Test { return Test{Kind: IsNull, Negated: true} }

// compare makes the test that a value stands in relation op to a point, exact
// for every point: between two stored values, < and <= ask for the lower one.
func compare(op Op, p point) Test {
	switch {
	case p.beyond != 0:
		if op == NotEqual || p.beyond > 0 && (op == Less || op == LessOrEqual) || p.beyond < 0 && (op == Greater || op == GreaterOrEqual) {
			return always()
		}
		return never()
	case p.exact:
	case op == Equal:
		return never()
	case op == NotEqual:
		return always()
	case op == Less:
		op = LessOrEqual
	case op == GreaterOrEqual:
		op = Greater
	}
	return Test{Kind: Compare, Op: op, Values: []contract.Value{p.value}}
}

// between makes the test that a value lies between two points, both included.
func between(low, high point) Test {
	first, last := low.value, high.value
	switch {
	case low.beyond > 0, high.beyond < 0:
		return never()
	case low.beyond < 0:
		first = contract.Value{Int: math.MinInt64}
	case !low.exact && first.Int == math.MaxInt64:
		return never()
	case !low.exact:
		first.Int++
	}
	if high.beyond > 0 {
		last = contract.Value{Int: math.MaxInt64}
	}
	switch order := compareValues(first, last); {
	case order > 0:
		return never()
	case order == 0:
		return Test{Kind: Compare, Op: Equal, Values: []contract.Value{first}}
	}
	return Test{Kind: Between, Values: []contract.Value{first, last}}
}

// among makes the test that a value is, or isn't, one of several points.
func among(points []point, negated bool) Test {
	var values []contract.Value
	for _, p := range points {
		if p.exact {
			values = append(values, p.value)
		}
	}
	slices.SortFunc(values, compareValues)
	values = slices.Compact(values)
	switch {
	case len(values) == 0 && negated:
		return always()
	case len(values) == 0:
		return never()
	case len(values) > 1:
		return Test{Kind: In, Values: values, Negated: negated}
	case negated:
		return Test{Kind: Compare, Op: NotEqual, Values: values}
	}
	return Test{Kind: Compare, Op: Equal, Values: values}
}

// compareValues orders stored values of one column.
func compareValues(a, b contract.Value) int {
	return cmp.Or(cmp.Compare(a.Int, b.Int), cmp.Compare(a.Text, b.Text))
}
