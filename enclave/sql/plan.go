package sql

import (
	"math/big"
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// TestKind says how a Test looks at a value. The zero value is no kind.
type TestKind uint8

// The kinds of a Test.
const (
	// Compare holds when the value stands in relation Op to Values[0].
	Compare TestKind = iota + 1
	// In holds when the value is one of Values. Without any Values it never
	// holds: that is what an equality with a number becomes that the column's
	// scale can't hold.
	In
	// Between holds when Values[0] <= value <= Values[1].
	Between
	// IsNull holds when there is no value.
	IsNull
)

// Op is a relation between a value and a literal. The zero value is none.
type Op uint8

// The relations, with the value on the left.
const (
	Equal Op = iota + 1
	NotEqual
	Less
	LessOrEqual
	Greater
	GreaterOrEqual
)

// String is the relation as SQL writes it.
func (o Op) String() string {
	if o < Equal || o > GreaterOrEqual {
		return "unknown"
	}
	return [...]string{"", "=", "<>", "<", "<=", ">", ">="}[o]
}

// Func is an aggregate function. The zero value is none.
type Func uint8

// The aggregate functions; protected-queries.md section 4.4 says what each
// answers.
const (
	// CountRows is COUNT(*).
	CountRows Func = iota + 1
	// CountValues is COUNT(column): values that aren't NULL.
	CountValues
	// CountUnits is COUNT(DISTINCT unit).
	CountUnits
	// Sum is SUM(measure).
	Sum
	// Avg is AVG(measure).
	Avg
)

// String is the function's name as an output that has no alias shows it.
func (f Func) String() string {
	switch f {
	case CountRows, CountValues, CountUnits:
		return "count"
	case Sum:
		return "sum"
	case Avg:
		return "avg"
	}
	return "unknown"
}

// Test is one test of one value. A NULL value holds in no Test but an IsNull
// that isn't negated. Text compares by its bytes, everything else by its stored
// integer.
type Test struct {
	// Kind says which of the other fields count.
	Kind TestKind
	// Op is the relation of Compare, else 0.
	Op Op
	// Values are literals in the column's stored form, never NULL: one for
	// Compare, two for Between, none for IsNull, for In sorted and distinct.
	Values []contract.Value
	// Negated turns In into NOT IN and IsNull into IS NOT NULL; NULL is in no
	// list and in no complement of one.
	Negated bool
}

// Condition is a conjunct of WHERE: it holds when any of its tests does.
type Condition struct {
	// Field is the index of the column in the contract, always a dimension.
	Field int
	// Any has at least one test.
	Any []Test
}

// Aggregate is what a query wants to know of each group.
type Aggregate struct {
	Func Func
	// Field is the index of the argument in the contract: -1 for CountRows,
	// the unit's for CountUnits.
	Field int
}

// Output is a column of the result. Exactly one of Key and Aggregate isn't -1.
type Output struct {
	// Name is unique in the query without regard to case, 1 to 63 bytes of
	// printable text.
	Name string
	// Key is an index into Plan.Keys, Aggregate one into Plan.Aggregates.
	Key, Aggregate int
}

// Having is a condition on a released value. A NULL value fails it.
type Having struct {
	// Aggregate is an index into Plan.Aggregates.
	Aggregate int
	Op        Op
	Value     *big.Rat
}

// Order is a sort key of the result. NULL comes last both ways.
type Order struct {
	// Output is an index into Plan.Outputs.
	Output     int
	Descending bool
}

// Plan is a query that the dialect allows, bound to the contract of its
// dataset. Compile alone makes one, and it can't express the output of rows:
// every output is a group key or an aggregate. It doesn't change once made, so
// several goroutines may use it at once. What its methods answer belongs to
// the caller.
type Plan struct {
	contract   *contract.Contract
	conditions []Condition
	keys       []int
	aggregates []Aggregate
	outputs    []Output
	having     []Having
	order      []Order
	limit      int // -1 for none
}

// Contract is the contract that the query was bound to. It must not be
// changed.
func (p *Plan) Contract() *contract.Contract { return p.contract }

// Dataset is the name of the dataset queried.
func (p *Plan) Dataset() string { return p.contract.Dataset }

// Conditions are the conjuncts of WHERE, without repetitions, in the order
// written. A row counts when all of them hold.
func (p *Plan) Conditions() []Condition {
	all := slices.Clone(p.conditions)
	for i := range all {
		all[i].Any = slices.Clone(all[i].Any)
		for k := range all[i].Any {
			all[i].Any[k].Values = slices.Clone(all[i].Any[k].Values)
		}
	}
	return all
}

// Keys are the contract's indexes of the columns of GROUP BY, without
// repetitions, in the order written. Without GROUP BY there are none, and the
// result is one row.
func (p *Plan) Keys() []int { return slices.Clone(p.keys) }

// Aggregates are the aggregates of SELECT, without repetitions, in the order
// of first appearance. A query that only lists its groups has none.
func (p *Plan) Aggregates() []Aggregate { return slices.Clone(p.aggregates) }

// Outputs are the columns of the result, in the order of SELECT.
func (p *Plan) Outputs() []Output { return slices.Clone(p.outputs) }

// Having are conditions on the released values of a row, all of which must
// hold for it to be shown. There are none without GROUP BY.
func (p *Plan) Having() []Having {
	all := slices.Clone(p.having)
	for i := range all {
		all[i].Value = new(big.Rat).Set(all[i].Value)
	}
	return all
}

// Order are the sort keys, the first one weighing most. Without any the rows
// go by the group keys, in the order of Outputs.
func (p *Plan) Order() []Order { return slices.Clone(p.order) }

// Limit is how many rows are shown at most, false for all.
func (p *Plan) Limit() (int, bool) { return max(p.limit, 0), p.limit >= 0 }
