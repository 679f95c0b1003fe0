// Package exec runs granted plans over snapshots: filter, group, count, sum,
// count units, count distributions, join on the unit or with a public table, and
// bound what one unit adds. Everything is exact, nothing is a
// float, and no value can make an operator fail: apart from the limits of
// memory and rows, and the end of the context, an error depends on the plan
// alone. That a limit was met tells something of the data, roughly and about
// all groups at once.
//
// A few thousand rows are worked on at a time, one column after the other.
// Rows come in the order of their units, so a unit is counted once in a group
// by a look at the unit that was there before. Partitions of the table are
// worked on at the same time: no unit is in two of them.
package exec

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

var (
	// ErrLimit says that a query needs more memory or gives more rows than it
	// may.
	ErrLimit = errors.New("exec: the query is over its limit of memory or rows")
	// ErrPlan says that nobody granted the plan, that it isn't one over this
	// snapshot, or that its bounds aren't any. Nothing was read.
	ErrPlan = errors.New("exec: not a granted plan over this snapshot")
)

// stride is how many rows are worked on at a time, and between two looks at the
// context.
const stride = 2 << 10

// Limits bound one query.
type Limits struct {
	// Rows is the largest number of groups that reach the floor; HAVING and
	// LIMIT come later and don't count. Groups under the floor never count, so
	// that an error doesn't tell of them.
	Rows int64
	// Memory is the largest number of bytes held for the query at a time.
	Memory int64
}

// More is what is done beyond a plan. The zero value is nothing.
type More struct {
	// Bounds bound what one unit adds; nil for none.
	Bounds *Bounds
	// Sketches are the distributions that are counted in each group, beside the
	// plan's aggregates.
	Sketches []Sketch
	// Lookups put labels in the place of keys.
	Lookups []*Lookup
}

// Aggregate counts the groups of a granted plan in a snapshot of its dataset.
// Errors: ErrPlan, ErrLimit, and that of ctx.
func Aggregate(ctx context.Context, grant *protect.Grant, snap *table.Snapshot, limits Limits) (*Groups, error) {
	return AggregateWith(ctx, grant, More{}, snap, limits)
}

// AggregateBounded is Aggregate when no unit adds more than the bounds allow.
func AggregateBounded(ctx context.Context, grant *protect.Grant, bounds Bounds, snap *table.Snapshot, limits Limits) (*Groups, error) {
	return AggregateWith(ctx, grant, More{Bounds: &bounds}, snap, limits)
}

// AggregateWith is Aggregate with more.
func AggregateWith(ctx context.Context, grant *protect.Grant, more More, snap *table.Snapshot, limits Limits) (*Groups, error) {
	plan := grant.Plan()
	if plan == nil || snap == nil || !runnable(plan, snap.Contract()) || !more.fit(plan) {
		return nil, ErrPlan
	}
	defer snap.Read()()
	r := &run{plan: plan, snap: snap, memory: newBudget(limits.Memory)}
	if err := r.prepare(ctx, more); err != nil {
		return nil, err
	}
	t, err := r.scan(ctx)
	if err != nil {
		return nil, err
	}
	return r.finish(t, int64(grant.Floor()), limits.Rows)
}

// fit says whether all of it can be done with a plan.
func (m *More) fit(p *sql.Plan) bool {
	if m.Bounds != nil && !m.Bounds.fit(p) {
		return false
	}
	for _, s := range m.Sketches {
		if !s.fit(p.Contract()) {
			return false
		}
	}
	for i, l := range m.Lookups {
		if l == nil || !l.fit(p) || slices.ContainsFunc(m.Lookups[:i], func(other *Lookup) bool { return other.field == l.field }) {
			return false
		}
	}
	return true
}

func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	return nil
}

// runnable says whether a plan is over a table of this contract and reads
// nothing but columns that tables keep. Compile makes no other plan.
func runnable(p *sql.Plan, c *contract.Contract) bool {
	if p.Contract() != c && !reflect.DeepEqual(p.Contract(), c) {
		return false
	}
	readable := func(field int) bool {
		return field >= 0 && field < len(c.Fields) && (c.Fields[field].Role == contract.Dimension || c.Fields[field].Role == contract.Measure)
	}
	for _, condition := range p.Conditions() {
		if !readable(condition.Field) {
			return false
		}
	}
	for _, key := range p.Keys() {
		if !readable(key) {
			return false
		}
	}
	for _, a := range p.Aggregates() {
		switch a.Func {
		case sql.CountRows, sql.CountUnits:
		case sql.CountValues:
			if !readable(a.Field) {
				return false
			}
		case sql.Sum, sql.Avg:
			if !readable(a.Field) || c.Fields[a.Field].Type != contract.Integer && c.Fields[a.Field].Type != contract.Number {
				return false
			}
		default:
			return false
		}
	}
	return true
}
