package protect

import (
	"math/big"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/contract"
)

// avgScale is the number of decimal places of an AVG.
const avgScale = 6

// value is a released aggregate, in units of its aggregate's scale; nil is
// NULL.
type value struct{ n *big.Int }

// aggregate is an aggregate of the plan with the form of its values.
type aggregate struct {
	of sql.Func
	// argument is the scale of the column's values, scale that of the result.
	argument, scale int
	// decimal says that the result is a decimal, else it is an int64.
	decimal bool
}

func newAggregate(a sql.Aggregate, c *contract.Contract) aggregate {
	out := aggregate{of: a.Func}
	switch a.Func {
	case sql.Sum:
		f := &c.Fields[a.Field]
		out.argument, out.scale, out.decimal = f.Scale, f.Scale, f.Type == contract.Number
	case sql.Avg:
		out.argument, out.scale, out.decimal = c.Fields[a.Field].Scale, avgScale, true
	}
	return out
}

// value answers what may be shown of a total in a group that is shown: NULL
// when fewer units than the floor stand behind it.
func (a *aggregate) value(t Total, floor int64) (value, error) {
	if t.Units < floor {
		return value{}, nil
	}
	var n *big.Int
	switch a.of {
	case sql.Sum:
		n = t.Sum.Big()
	case sql.Avg:
		n = a.mean(t)
	default:
		n = big.NewInt(t.Values)
	}
	if !a.decimal && !n.IsInt64() {
		return value{}, ErrRange
	}
	return value{n}, nil
}

// mean is sum / count in units of avgScale, rounded half away from zero from
// the exact quotient.
func (a *aggregate) mean(t Total) *big.Int {
	numerator := t.Sum.Big()
	numerator.Mul(numerator, power(avgScale))
	denominator := new(big.Int).Mul(big.NewInt(t.Values), power(a.argument))
	return roundedQuotient(numerator, denominator)
}

// roundedQuotient is n / d rounded half away from zero; d is positive.
func roundedQuotient(n, d *big.Int) *big.Int {
	q, rest := new(big.Int).QuoRem(n, d, new(big.Int))
	if rest.Abs(rest).Lsh(rest, 1).Cmp(d) >= 0 {
		q.Add(q, big.NewInt(int64(n.Sign())))
	}
	return q
}

// power is 10^scale.
func power(scale int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
}

func (a *aggregate) column() answer.Column {
	if a.decimal {
		return answer.Column{Type: answer.Decimal, Scale: a.scale}
	}
	return answer.Column{Type: answer.Int64}
}

func (a *aggregate) cell(v value) answer.Cell {
	switch {
	case v.n == nil:
		return answer.Cell{Null: true}
	case a.decimal:
		return answer.Cell{Text: answer.FormatDecimal(v.n, a.scale)}
	default:
		return answer.Cell{Int: v.n.Int64()}
	}
}

// keyColumn describes a group key by its column's type.
func keyColumn(f *contract.Field) answer.Column {
	switch f.Type {
	case contract.String:
		return answer.Column{Type: answer.String}
	case contract.Number:
		return answer.Column{Type: answer.Decimal, Scale: f.Scale}
	case contract.Boolean:
		return answer.Column{Type: answer.Boolean}
	case contract.Date:
		return answer.Column{Type: answer.Date}
	case contract.Timestamp:
		return answer.Column{Type: answer.Timestamp}
	default:
		return answer.Column{Type: answer.Int64}
	}
}

func keyCell(f *contract.Field, v contract.Value) answer.Cell {
	switch {
	case v.Null:
		return answer.Cell{Null: true}
	case f.Type == contract.Number:
		return answer.Cell{Text: answer.FormatDecimal(big.NewInt(v.Int), f.Scale)}
	default:
		return answer.Cell{Int: v.Int, Text: v.Text}
	}
}
