package sql_test

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
)

// holds is what the documentation of sql.Test says.
func holds(t sql.Test, v contract.Value) bool {
	if t.Kind == sql.IsNull {
		return v.Null != t.Negated
	}
	if v.Null {
		return false
	}
	order := func(w contract.Value) int { return cmp.Or(cmp.Compare(v.Int, w.Int), cmp.Compare(v.Text, w.Text)) }
	switch t.Kind {
	case sql.Compare:
		return related(t.Op, order(t.Values[0]))
	case sql.Between:
		return order(t.Values[0]) >= 0 && order(t.Values[1]) <= 0
	case sql.In:
		for _, w := range t.Values {
			if order(w) == 0 {
				return !t.Negated
			}
		}
		return t.Negated
	}
	return false
}

func related(op sql.Op, order int) bool {
	switch op {
	case sql.Equal:
		return order == 0
	case sql.NotEqual:
		return order != 0
	case sql.Less:
		return order < 0
	case sql.LessOrEqual:
		return order <= 0
	case sql.Greater:
		return order > 0
	}
	return order >= 0
}

// passes evaluates a condition and WHERE as a whole.
func passes(conditions []sql.Condition, v contract.Value) bool {
	for _, c := range conditions {
		any := false
		for _, t := range c.Any {
			any = any || holds(t, v)
		}
		if !any {
			return false
		}
	}
	return true
}

// scales is a catalogue with a number of every scale; n0 is an integer.
func scales(t testing.TB) catalog {
	t.Helper()
	c := &contract.Contract{Dataset: "scales", ID: "scales", Version: "1", Floor: 10, Fields: []contract.Field{
		{Name: "unit", Type: contract.Integer, Role: contract.Unit}, {Name: "n0", Type: contract.Integer, Role: contract.Dimension},
	}}
	for scale := 1; scale <= contract.MaxScale; scale++ {
		c.Fields = append(c.Fields, contract.Field{Name: fmt.Sprint("n", scale), Type: contract.Number, Scale: scale, Role: contract.Dimension})
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return catalog{"scales": c}
}

// number writes a random number in one of its spellings, often near the ends
// of int64 on the scale, and often with more places than the scale has.
func number(r *rand.Rand, scale int) string {
	n := new(big.Int).SetInt64(r.Int64N(2001) - 1000)
	switch r.IntN(4) {
	case 0:
		n.Add(n, big.NewInt(math.MaxInt64))
	case 1:
		n.Add(n, big.NewInt(math.MinInt64))
	}
	places := scale + r.IntN(5) - 1
	switch r.IntN(3) {
	case 0:
		return fmt.Sprintf("%se%d", n, -places)
	case 1:
		return fmt.Sprintf("%s00E%+d", n, -places-2)
	}
	return new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(places, 0))), nil)).FloatString(max(places, 0) + r.IntN(2))
}

func rational(t *testing.T, text string) *big.Rat {
	t.Helper()
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q isn't a number", text)
	}
	return r
}

// near answers stored values around a literal, at the ends, and NULL.
func near(r *rand.Rand, literal *big.Rat, scale int) []contract.Value {
	values := []contract.Value{{Null: true}, {}, {Int: math.MaxInt64}, {Int: math.MinInt64}, {Int: r.Int64()}}
	units := new(big.Rat).Mul(literal, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
	floor := new(big.Int).Div(units.Num(), units.Denom())
	for d := int64(-2); d <= 2; d++ {
		if v := new(big.Int).Add(floor, big.NewInt(d)); v.IsInt64() {
			values = append(values, contract.Value{Int: v.Int64()})
		}
	}
	return values
}

// exact is the number that a stored value stands for.
func exact(v contract.Value, scale int) *big.Rat {
	return new(big.Rat).SetFrac(big.NewInt(v.Int), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
}

func conditions(t *testing.T, where string, from catalog) []sql.Condition {
	t.Helper()
	plan, refusal := compile(t, `SELECT COUNT(*) FROM scales WHERE `+where, nil, from)
	if refusal != nil {
		t.Fatalf("%s is refused: %v", where, refusal)
	}
	return plan.Conditions()
}

// TestFixedPointAgainstRationals compares every relation with the same one of
// exact rational numbers.
func TestFixedPointAgainstRationals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	from := scales(t)
	ops := []sql.Op{sql.Equal, sql.NotEqual, sql.Less, sql.LessOrEqual, sql.Greater, sql.GreaterOrEqual}
	flipped := []sql.Op{sql.Equal, sql.NotEqual, sql.Greater, sql.GreaterOrEqual, sql.Less, sql.LessOrEqual}
	for range 2000 {
		scale := r.IntN(contract.MaxScale + 1)
		text := number(r, scale)
		literal, i := rational(t, text), r.IntN(len(ops))
		where := fmt.Sprintf("n%d %s %s", scale, ops[i], text)
		if r.IntN(2) == 0 {
			where = fmt.Sprintf("%s %s n%d", text, flipped[i], scale)
		}
		got := conditions(t, where, from)
		for _, v := range near(r, literal, scale) {
			want := !v.Null && related(ops[i], exact(v, scale).Cmp(literal))
			if passes(got, v) != want {
				t.Fatalf("%s for %+v: got %v, want %v; test %+v", where, v, !want, want, got)
			}
		}
	}
}

// TestRangesAndListsAgainstRationals does the same for BETWEEN, IN and NOT IN.
func TestRangesAndListsAgainstRationals(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	from := scales(t)
	for range 800 {
		scale := r.IntN(contract.MaxScale + 1)
		texts := []string{number(r, scale), number(r, scale)}
		for range r.IntN(3) {
			texts = append(texts, number(r, scale))
		}
		var values []contract.Value
		var literals []*big.Rat
		for _, text := range texts {
			literals = append(literals, rational(t, text))
			values = append(values, near(r, literals[len(literals)-1], scale)...)
		}
		between := conditions(t, fmt.Sprintf("n%d BETWEEN %s AND %s", scale, texts[0], texts[1]), from)
		in := conditions(t, fmt.Sprintf("n%d IN (%s)", scale, strings.Join(texts, ", ")), from)
		notIn := conditions(t, fmt.Sprintf("n%d NOT IN (%s)", scale, strings.Join(texts, ", ")), from)
		for _, v := range values {
			n, among := exact(v, scale), false
			for _, l := range literals {
				among = among || n.Cmp(l) == 0
			}
			if got, want := passes(between, v), !v.Null && n.Cmp(literals[0]) >= 0 && n.Cmp(literals[1]) <= 0; got != want {
				t.Fatalf("n%d between %v: %+v gives %v, want %v", scale, texts[:2], v, got, want)
			}
			if got, want := passes(in, v), !v.Null && among; got != want {
				t.Fatalf("n%d in %v: %+v gives %v, want %v", scale, texts, v, got, want)
			}
			if got, want := passes(notIn, v), !v.Null && !among; got != want {
				t.Fatalf("n%d not in %v: %+v gives %v, want %v", scale, texts, v, got, want)
			}
		}
	}
}

// TestHavingAgainstRationals keeps the numbers of HAVING exact.
func TestHavingAgainstRationals(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	from := scales(t)
	for range 500 {
		text := number(r, r.IntN(10))
		plan, refusal := compile(t, "SELECT n1, COUNT(*) AS n FROM scales GROUP BY n1 HAVING n >= "+text, nil, from)
		if refusal != nil {
			t.Fatal(refusal)
		}
		if got := plan.Having()[0].Value; got.Cmp(rational(t, text)) != 0 {
			t.Fatalf("%s became %s", text, got)
		}
	}
}

// TestParameters holds bound values to the same plans as literals.
func TestParameters(t *testing.T) {
	pairs := []struct {
		literal, bound string
		parameter      sql.Parameter
	}{
		{"pieces = 5", "pieces = ?", sql.NumberParameter("5")},
		{"pieces < 1.5e3", "? > pieces", sql.NumberParameter("1500")},
		{"price >= -0.015", "price >= $1", sql.NumberParameter("-0.015")},
		{"product = 'it''s'", "product = ?", sql.TextParameter("it's")},
		{"day = DATE '2024-02-29'", "day = ?", sql.TextParameter("2024-02-29")},
		{"sent = TIMESTAMP '2024-02-29 01:02:03'", "sent = ?", sql.TextParameter("2024-02-29T01:02:03Z")},
		{"express = TRUE", "express = ?", sql.BoolParameter(true)},
		{"express IN (FALSE)", "express IN (?)", sql.BoolParameter(false)},
	}
	for _, p := range pairs {
		literal := mustCompile(t, `SELECT COUNT(*) FROM "all-types" WHERE `+p.literal)
		bound := mustCompile(t, `SELECT COUNT(*) FROM "all-types" WHERE `+p.bound, p.parameter)
		if string(literal.Canonical()) != string(bound.Canonical()) {
			t.Errorf("%s and %s differ:\n%s%s", p.literal, p.bound, literal.Canonical(), bound.Canonical())
		}
	}
}
