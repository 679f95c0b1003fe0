package protect

import (
	"cmp"
	"math/big"
	"slices"
	"strings"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
)

// having drops rows of which a condition on a released value doesn't hold; none
// holds for NULL.
func (r *release) having() {
	for _, h := range r.conditions {
		bound := new(big.Rat).Mul(h.Value, new(big.Rat).SetInt(power(r.aggregates[h.Aggregate].scale)))
		r.rows = slices.DeleteFunc(r.rows, func(shown row) bool {
			v := shown.values[h.Aggregate]
			return v.n == nil || !holds(h.Op, new(big.Rat).SetInt(v.n).Cmp(bound))
		})
	}
}

// holds says whether a relation fits the result of a comparison.
func holds(op sql.Op, order int) bool {
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

// order answers the sort keys of a result: those of the query, then the group
// keys in the order of the outputs, which leaves ties to keys that aren't put
// out alone.
func order(p *sql.Plan) []sql.Order {
	all := p.Order()
	for i, o := range p.Outputs() {
		if o.Key >= 0 {
			all = append(all, sql.Order{Output: i})
		}
	}
	return all
}

// compare is the order of two rows. No two groups have all keys the same, so it
// is total.
func (r *release) compare(a, b row) int {
	for _, o := range r.order {
		var c int
		if out := r.outputs[o.Output]; out.Key >= 0 {
			c = r.compareKeys(a, b, out.Key, o.Descending)
		} else {
			c = compareValues(a.values[out.Aggregate], b.values[out.Aggregate], o.Descending)
		}
		if c != 0 {
			return c
		}
	}
	for k := range r.keys {
		if c := r.compareKeys(a, b, k, false); c != 0 {
			return c
		}
	}
	return 0
}

func (r *release) compareKeys(a, b row, k int, descending bool) int {
	x, y := a.keys[k], b.keys[k]
	c := cmp.Compare(x.Int, y.Int)
	if r.contract.Fields[r.keys[k]].Type == contract.String {
		c = strings.Compare(x.Text, y.Text)
	}
	return nullsLast(x.Null, y.Null, c, descending)
}

func compareValues(a, b value, descending bool) int {
	if a.n == nil || b.n == nil {
		return nullsLast(a.n == nil, b.n == nil, 0, descending)
	}
	return nullsLast(false, false, a.n.Cmp(b.n), descending)
}

// nullsLast puts NULL at the end in both directions.
func nullsLast(a, b bool, order int, descending bool) int {
	switch {
	case a && b:
		return 0
	case a:
		return 1
	case b:
		return -1
	case descending:
		return -order
	}
	return order
}
