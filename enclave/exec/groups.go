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
	totals     *totals
	groups     []uint32 // those that have rows
	aggregates []sql.Aggregate
}

var _ protect.Groups = (*Groups)(nil)

// finish lists the groups and checks the number of those that can be shown.
func (r *run) finish(t *totals, floor, most int64) (*Groups, error) {
	g := &Groups{run: r, totals: t, aggregates: r.plan.Aggregates()}
	n, shown := 0, int64(0)
	for _, tally := range t.tallies {
		if tally.rows > 0 {
			n++
		}
		if int64(tally.units) >= floor {
			shown++
		}
	}
	if shown > most {
		return nil, ErrLimit
	}
	if len(r.keys.fields) == 0 { // the one group is there without any row
		g.groups = []uint32{0}
		return g, nil
	}
	if err := r.memory.take(size[uint32](n)); err != nil {
		return nil, err
	}
	g.groups = make([]uint32, 0, n)
	for i, tally := range t.tallies {
		if tally.rows > 0 {
			g.groups = append(g.groups, uint32(i))
		}
	}
	return g, nil
}

// Snapshot is the number of the snapshot that was read.
func (g *Groups) Snapshot() uint64 { return g.run.snap.Number() }

// Len is the number of groups.
func (g *Groups) Len() int { return len(g.groups) }

// Units is the number of different units in the i-th group.
func (g *Groups) Units(i int) int64 { return int64(g.totals.tallies[g.groups[i]].units) }

// Group answers the keys and totals of the i-th group, in the plan's order.
func (g *Groups) Group(i int) ([]contract.Value, []protect.Total) {
	group := int(g.groups[i])
	totals := make([]protect.Total, len(g.aggregates))
	for k, a := range g.aggregates {
		totals[k] = g.total(group, a)
	}
	return g.run.keys.values(g.totals.words(group)), totals
}

func (g *Groups) total(group int, a sql.Aggregate) protect.Total {
	all := g.totals.tallies[group]
	switch a.Func {
	case sql.CountRows:
		return protect.Total{Values: all.rows, Units: int64(all.units)}
	case sql.CountUnits:
		return protect.Total{Values: int64(all.units), Units: int64(all.units)}
	}
	c := &g.totals.columns[g.run.column(a.Field)]
	if c.null {
		all = c.tallies[group]
	}
	total := protect.Total{Values: all.rows, Units: int64(all.units)}
	switch {
	case c.sum && c.wide:
		total.Sum = c.wideSums[group]
	case c.sum:
		total.Sum = protect.Sum{}.Add(c.sums[group])
	}
	return total
}
