package exec

import (
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
)

// Groups is what Aggregate counted, hidden groups included. It is for
// protect.Release and for nobody else.
type Groups struct {
	run        *run
	aggregates []sql.Aggregate
}

var _ protect.Groups = (*Groups)(nil)

// finish checks the number of groups that can be shown.
func (r *run) finish(floor int, most int64) (*Groups, error) {
	shown := int64(0)
	for _, units := range r.units.count {
		if units >= int64(floor) {
			shown++
		}
	}
	if shown > most {
		return nil, ErrLimit
	}
	return &Groups{run: r, aggregates: r.plan.Aggregates()}, nil
}

// Snapshot is the number of the snapshot that was read.
func (g *Groups) Snapshot() uint64 { return g.run.snap.Number() }

// Len is the number of groups.
func (g *Groups) Len() int { return len(g.run.rows) }

// Units is the number of different units in the i-th group.
func (g *Groups) Units(i int) int64 { return g.run.units.count[i] }

// Group answers the keys and totals of the i-th group, in the plan's order.
func (g *Groups) Group(i int) ([]contract.Value, []protect.Total) {
	keys := make([]contract.Value, len(g.run.keys))
	for k := range keys {
		keys[k] = g.key(i, k)
	}
	totals := make([]protect.Total, len(g.aggregates))
	for k, a := range g.aggregates {
		totals[k] = g.total(i, a)
	}
	return keys, totals
}

func (g *Groups) key(i, k int) contract.Value {
	r, field := g.run, g.run.keys[k]
	tuple := r.groups.tuple(i)
	switch {
	case tuple[len(r.keys)+k/64]>>(k%64)&1 == 1:
		return contract.Value{Null: true}
	case r.snap.Contract().Fields[field].Type == contract.String:
		return contract.Value{Text: r.snap.Texts(field)[tuple[k]]}
	default:
		return contract.Value{Int: int64(tuple[k])}
	}
}

func (g *Groups) total(i int, a sql.Aggregate) protect.Total {
	units := g.Units(i)
	switch a.Func {
	case sql.CountRows:
		return protect.Total{Values: g.run.rows[i], Units: units}
	case sql.CountUnits:
		return protect.Total{Values: units, Units: units}
	}
	c := g.run.column(a.Field)
	if c.units != nil {
		units = c.units.count[i]
	}
	return protect.Total{Values: c.count[i], Units: units, Sum: c.sums[i]}
}
