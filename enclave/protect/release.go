package protect

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/contract"
)

var (
	// ErrGrant says that nobody granted what should be released, or that the
	// groups are those of another query.
	ErrGrant = errors.New("protect: no grant for this")
	// ErrRange says that a sum of integers is beyond 64 bits. It is told of
	// shown groups alone.
	ErrRange = errors.New("protect: a sum is beyond its column's type")
)

// Released is what may leave the enclave. Only Release makes one that holds
// anything.
type Released struct{ answer answer.Answer }

// Answer is the answer without what its signer adds: Genesis, Manifest and
// Query. The caller may set fields, but mustn't change rows and columns.
func (r *Released) Answer() *answer.Answer {
	a := r.answer
	return &a
}

// Release applies the grant's protection to what was counted. A group with
// fewer units than the floor is left out and not counted; without GROUP BY
// there is one row always, all NULL under the floor. An aggregate over a column
// is NULL in a shown group when fewer units than the floor gave it a value.
// HAVING, ORDER BY and LIMIT see what is released and nothing else. Errors:
// ErrGrant, ErrRange.
func Release(grant *Grant, groups Groups) (*Released, error) {
	plan := grant.Plan()
	if plan == nil || groups == nil || grant.mode != answer.ModeThreshold {
		return nil, ErrGrant
	}
	r := newRelease(grant)
	if err := r.show(groups); err != nil {
		return nil, err
	}
	r.having()
	slices.SortFunc(r.rows, r.compare)
	if limit, ok := plan.Limit(); ok {
		r.rows = r.rows[:min(limit, len(r.rows))]
	}
	return &Released{answer.Answer{
		Mode: grant.mode, Dataset: plan.Dataset(), Snapshot: groups.Snapshot(), Floor: grant.Floor(),
		Columns: Columns(plan), Rows: r.cells(), Suppressed: r.suppressed, AuditID: grant.audit,
	}}, nil
}

// release is one answer in the making.
type release struct {
	contract   *contract.Contract
	floor      int64
	keys       []int
	aggregates []aggregate
	outputs    []sql.Output
	conditions []sql.Having
	order      []sql.Order
	rows       []row
	suppressed bool
}

// row is a group that is shown, by the plan's keys and aggregates.
type row struct {
	keys   []contract.Value
	values []value
}

func newRelease(g *Grant) *release {
	p := g.plan
	r := &release{
		contract: p.Contract(), floor: int64(g.Floor()), keys: p.Keys(), outputs: p.Outputs(), conditions: p.Having(), order: order(p),
	}
	for _, a := range p.Aggregates() {
		r.aggregates = append(r.aggregates, newAggregate(a, r.contract))
	}
	return r
}

// show takes over the groups that pass the floor.
func (r *release) show(groups Groups) error {
	for i := range groups.Len() {
		if groups.Units(i) < r.floor {
			continue
		}
		keys, totals := groups.Group(i)
		if len(keys) != len(r.keys) || len(totals) != len(r.aggregates) {
			return ErrGrant
		}
		shown := row{keys: keys, values: make([]value, len(totals))}
		for k, total := range totals {
			var err error
			if shown.values[k], err = r.aggregates[k].value(total, r.floor); err != nil {
				return err
			}
		}
		r.rows = append(r.rows, shown)
	}
	if len(r.keys) > 0 {
		return nil
	}
	if len(r.rows) == 0 {
		r.suppressed = true
		r.rows = []row{{values: make([]value, len(r.aggregates))}}
	}
	if len(r.rows) != 1 {
		return fmt.Errorf("%w: more groups than a query without GROUP BY has", ErrGrant)
	}
	return nil
}

// Outlined is a query as far as its answer's columns depend on it: an sql.Plan
// or an sql.Draft.
type Outlined interface {
	Contract() *contract.Contract
	Keys() []int
	Aggregates() []sql.Aggregate
	Outputs() []sql.Output
}

// Columns describes the columns of the answer that Release would make.
func Columns(q Outlined) []answer.Column {
	c, keys := q.Contract(), q.Keys()
	var aggregates []aggregate
	for _, a := range q.Aggregates() {
		aggregates = append(aggregates, newAggregate(a, c))
	}
	outputs := q.Outputs()
	all := make([]answer.Column, len(outputs))
	for i, o := range outputs {
		if o.Key >= 0 {
			all[i] = keyColumn(&c.Fields[keys[o.Key]])
		} else {
			all[i] = aggregates[o.Aggregate].column()
		}
		all[i].Name = o.Name
	}
	return all
}

// cells writes the rows out. It answers an empty list rather than none, which
// would be encoded in another way.
func (r *release) cells() [][]answer.Cell {
	all := make([][]answer.Cell, len(r.rows))
	for i, shown := range r.rows {
		all[i] = make([]answer.Cell, len(r.outputs))
		for k, o := range r.outputs {
			if o.Key >= 0 {
				all[i][k] = keyCell(&r.contract.Fields[r.keys[o.Key]], shown.keys[o.Key])
			} else {
				all[i][k] = r.aggregates[o.Aggregate].cell(shown.values[o.Aggregate])
			}
		}
	}
	return all
}
