package exec

import (
	"cmp"
	"context"
	"slices"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// filter is one conjunct of WHERE, ready for many rows.
type filter struct {
	field int
	// null says whether NULL passes.
	null bool
	// codes says for each code of a string column whether it passes; nil for
	// other columns, which have tests.
	codes []bool
	tests []test[int64]
}

// test is a sql.Test of values of one type.
type test[T cmp.Ordered] struct {
	kind    sql.TestKind
	op      sql.Op
	values  []T // sorted, for In
	negated bool
}

// newFilter evaluates a condition over the dictionary of a string column once,
// so that a row costs a look at its code.
func newFilter(ctx context.Context, b *budget, c sql.Condition, snap *table.Snapshot) (*filter, error) {
	f := &filter{field: c.Field}
	for _, t := range c.Any {
		f.null = f.null || t.Kind == sql.IsNull && !t.Negated
	}
	if snap.Contract().Fields[c.Field].Type != contract.String {
		f.tests = tests(c.Any, func(v contract.Value) int64 { return v.Int })
		return f, nil
	}
	texts := tests(c.Any, func(v contract.Value) string { return v.Text })
	dictionary := snap.Texts(c.Field)
	var err error
	if f.codes, err = allocate[bool](b, len(dictionary)); err != nil {
		return nil, err
	}
	for code, text := range dictionary {
		if code%stride == 0 {
			if err := ended(ctx); err != nil {
				return nil, err
			}
		}
		f.codes[code] = anyHolds(texts, text)
	}
	return f, nil
}

func tests[T cmp.Ordered](of []sql.Test, value func(contract.Value) T) []test[T] {
	all := make([]test[T], len(of))
	for i, t := range of {
		all[i] = test[T]{kind: t.Kind, op: t.Op, negated: t.Negated}
		for _, v := range t.Values {
			all[i].values = append(all[i].values, value(v))
		}
		if t.Kind == sql.In {
			slices.Sort(all[i].values)
		}
	}
	return all
}

// anyHolds says whether one of the tests holds for a value that isn't NULL.
func anyHolds[T cmp.Ordered](tests []test[T], v T) bool {
	for i := range tests {
		if tests[i].holds(v) {
			return true
		}
	}
	return false
}

// holds is two-valued: v isn't NULL, and no literal is.
func (t *test[T]) holds(v T) bool {
	switch t.kind {
	case sql.Compare:
		return relation(t.op, cmp.Compare(v, t.values[0]))
	case sql.In:
		_, found := slices.BinarySearch(t.values, v)
		return found != t.negated
	case sql.Between:
		return t.values[0] <= v && v <= t.values[1]
	case sql.IsNull:
		return t.negated
	}
	return false
}

func relation(op sql.Op, order int) bool {
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
	case sql.GreaterOrEqual:
		return order >= 0
	}
	return false
}

// apply answers the rows of the selection that pass, in the selection's memory.
func (f *filter) apply(block *table.Block, selection []int) []int {
	v := block.Column(f.field)
	kept := selection[:0]
	for _, row := range selection {
		var pass bool
		switch {
		case v.Null != nil && v.Null[row]:
			pass = f.null
		case f.codes != nil:
			pass = f.codes[v.Codes[row]]
		default:
			pass = anyHolds(f.tests, v.Ints[row])
		}
		if pass {
			kept = append(kept, row)
		}
	}
	return kept
}
