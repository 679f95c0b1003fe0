package exec

import (
	"context"
	"math"
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
	// values are the values that pass, or the codes of a text column: ascending,
	// with a gap between one interval and the next.
	values []interval
	// pass says of each code whether it passes; it is nil when values are few.
	pass []bool
}

// interval is all integers from low to high.
type interval struct{ low, high int64 }

// everything is the interval of all integers.
func everything() interval { return interval{math.MinInt64, math.MaxInt64} }

// newFilter evaluates a condition over the dictionary of a text column once, so
// that a row costs a look at its code.
func newFilter(ctx context.Context, b *budget, c sql.Condition, snap *table.Snapshot) (*filter, error) {
	f := &filter{field: c.Field}
	for _, t := range c.Any {
		f.null = f.null || t.Kind == sql.IsNull && !t.Negated
	}
	if snap.Contract().Fields[c.Field].Type != contract.String {
		for _, t := range c.Any {
			f.values = append(f.values, intervals(t)...)
		}
		f.values = join(f.values)
		return f, nil
	}
	return f, f.judge(ctx, b, c.Any, snap.Texts(c.Field))
}

// intervals are the integers for which a test holds; no literal is NULL.
func intervals(t sql.Test) []interval {
	var all []interval
	switch t.Kind {
	case sql.Compare:
		return compared(t.Op, t.Values[0].Int)
	case sql.In:
		for _, v := range t.Values {
			all = append(all, interval{v.Int, v.Int})
		}
		if t.Negated {
			return complement(join(all))
		}
	case sql.Between:
		all = append(all, interval{t.Values[0].Int, t.Values[1].Int})
	case sql.IsNull:
		if t.Negated {
			all = append(all, everything())
		}
	}
	return all
}

func compared(op sql.Op, v int64) []interval {
	same := []interval{{v, v}}
	switch op {
	case sql.Equal:
		return same
	case sql.NotEqual:
		return complement(same)
	case sql.LessOrEqual:
		return []interval{{math.MinInt64, v}}
	case sql.GreaterOrEqual:
		return []interval{{v, math.MaxInt64}}
	case sql.Less:
		return complement([]interval{{v, math.MaxInt64}})
	case sql.Greater:
		return complement([]interval{{math.MinInt64, v}})
	}
	return nil
}

// join answers the same integers in ascending intervals with gaps.
func join(all []interval) []interval {
	all = slices.DeleteFunc(all, func(i interval) bool { return i.low > i.high })
	slices.SortFunc(all, func(a, b interval) int {
		if a.low < b.low {
			return -1
		}
		return 1
	})
	var joined []interval
	for _, i := range all {
		if last := len(joined) - 1; last >= 0 && (joined[last].high == math.MaxInt64 || joined[last].high+1 >= i.low) {
			joined[last].high = max(joined[last].high, i.high)
		} else {
			joined = append(joined, i)
		}
	}
	return joined
}

// complement answers all other integers, of joined intervals.
func complement(joined []interval) []interval {
	var all []interval
	low := int64(math.MinInt64)
	for _, i := range joined {
		if i.low > low {
			all = append(all, interval{low, i.low - 1})
		}
		if i.high == math.MaxInt64 {
			return all
		}
		low = i.high + 1
	}
	return append(all, interval{low, math.MaxInt64})
}

// judge tests every text of a dictionary.
func (f *filter) judge(ctx context.Context, b *budget, tests []sql.Test, texts table.Texts) error {
	pass, err := allocate[bool](b, texts.Len())
	if err != nil {
		return err
	}
	runs := 0
	for code := range pass {
		if code%stride == 0 {
			if err := ended(ctx); err != nil {
				return err
			}
		}
		text := texts.At(code)
		pass[code] = slices.ContainsFunc(tests, func(t sql.Test) bool { return holds(t, text) })
		if pass[code] && (code == 0 || !pass[code-1]) {
			runs++
		}
	}
	if runs > 1 {
		f.pass = pass
		return nil
	}
	b.give(size[bool](len(pass)))
	if low := slices.Index(pass, true); low >= 0 {
		f.values = []interval{{int64(low), int64(low + len(pass[low:]) - 1)}}
		if n := slices.Index(pass[low:], false); n >= 0 {
			f.values[0].high = int64(low + n - 1)
		}
	}
	return nil
}

// holds says whether a test holds for a text. It is compared as it lies there:
// none of these conversions copies it.
func holds(t sql.Test, text []byte) bool {
	switch t.Kind {
	case sql.Compare:
		return related(t.Op, compare(text, t.Values[0].Text))
	case sql.In:
		return slices.ContainsFunc(t.Values, func(v contract.Value) bool { return string(text) == v.Text }) != t.Negated
	case sql.Between:
		return t.Values[0].Text <= string(text) && string(text) <= t.Values[1].Text
	case sql.IsNull:
		return t.Negated
	}
	return false
}

func compare(text []byte, with string) int {
	switch {
	case string(text) < with:
		return -1
	case string(text) > with:
		return 1
	}
	return 0
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
	case sql.GreaterOrEqual:
		return order >= 0
	}
	return false
}
