package exec

import (
	"context"
	"slices"

	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
)

// merge is a join that runs.
type merge struct {
	join                    *Join
	memory                  *budget
	ended                   func() error
	left, right             *run
	leftTotals, rightTotals *totals // the groups of each side
	hoard                   hoard
	// missing is the right side's group of units that it doesn't have: the one
	// whose keys are all NULL, none when there is no such.
	missing uint32

	numbers *numbering // of pairs of groups
	shares  []uint64   // by group: its share of ranks, 0 before it is known
	tallies []tally    // by group
	columns [][]joinedColumn
	pairs   int // since the last look at the context
	chooser *chooser
	chosen  []candidate
}

// joinedColumn is what a column has in a group of the answer.
type joinedColumn struct {
	rows  int64
	units uint32
	sum   protect.Sum
}

// candidate is a group in which a unit may count.
type candidate struct {
	rank  uint64
	group uint32
	left  int    // the entry on the left side
	right uint32 // and on the right one; none for none
}

// scan scans the left side and joins each unit when its rows are all there.
func (m *merge) scan(ctx context.Context) error {
	var err error
	if m.numbers, err = newNumbering(m.memory, m.ended, 2); err != nil {
		return err
	}
	m.columns = make([][]joinedColumn, len(m.left.columns)+len(m.right.columns))
	if m.join.Bounds != nil {
		m.chooser = newChooser(m.join.Bounds)
	}
	m.leftTotals, err = m.left.scanOne(ctx, m.take)
	return err
}

// findMissing looks for the right side's group without keys.
func (m *merge) findMissing() error {
	m.missing = none
	for group := range m.rightTotals.tallies {
		if group%stride == 0 {
			if err := m.ended(); err != nil {
				return err
			}
		}
		keys := m.right.keys.values(m.rightTotals.words(group))
		if !slices.ContainsFunc(keys, func(v contract.Value) bool { return !v.Null }) {
			m.missing = uint32(group)
			return nil
		}
	}
	return nil
}

// take joins the units that have the first entries.
func (m *merge) take(p *people, whole int) error {
	m.leftTotals = p.totals // for the keys of groups, before the scan's end
	for from := 0; from < whole; {
		unit, to := p.whose[from].unit, from
		for to < whole && p.whose[to].unit == unit {
			to++
		}
		if err := m.unit(p, unit, from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// unit joins one unit, whose entries on the left side are some of people's.
func (m *merge) unit(p *people, unit uint32, from, to int) error {
	right := m.hoard.of(unit)
	if len(right) == 0 {
		if !m.join.Outer {
			return nil
		}
		right = []uint32{none}
	}
	own := uint64(0)
	if m.chooser != nil {
		own = m.chooser.unit(m.left.snap.Unit(unit))
	}
	m.chosen = m.chosen[:0]
	for entry := from; entry < to; entry++ {
		for _, other := range right {
			if m.pairs++; m.pairs%stride == 0 {
				if err := m.ended(); err != nil {
					return err
				}
			}
			group, err := m.pair(p, entry, other)
			if err != nil {
				return err
			}
			c := candidate{group: group, left: entry, right: other}
			if m.chooser == nil {
				m.count(p, c)
				continue
			}
			c.rank = rank(own, m.share(group))
			m.choose(c)
		}
	}
	for _, c := range m.chosen {
		m.count(p, c)
	}
	return nil
}

// pair numbers the group of two entries.
func (m *merge) pair(p *people, entry int, other uint32) (uint32, error) {
	right := m.missing
	if other != none {
		right = m.hoard.groups[other]
	}
	return m.number(p.whose[entry].group, right)
}

// number numbers a pair of groups and makes room for it.
func (m *merge) number(left, right uint32) (uint32, error) {
	group, err := m.numbers.number([]uint64{uint64(left), uint64(right)})
	if err != nil {
		return 0, err
	}
	if err := reach(m.memory, &m.tallies, m.numbers.count); err != nil {
		return 0, err
	}
	if m.chooser != nil {
		if err := reach(m.memory, &m.shares, m.numbers.count); err != nil {
			return 0, err
		}
	}
	for i := range m.columns {
		if err := reach(m.memory, &m.columns[i], m.numbers.count); err != nil {
			return 0, err
		}
	}
	return group, nil
}

// share answers a group's share of ranks.
func (m *merge) share(group uint32) uint64 {
	if m.shares[group] == 0 {
		m.shares[group] = m.chooser.group(m.values(group))
	}
	return m.shares[group]
}

// choose keeps a candidate while it is among those with the smallest ranks.
func (m *merge) choose(c candidate) {
	if len(m.chosen) < m.join.Bounds.MaxGroups {
		m.chosen = append(m.chosen, c)
	} else if c.rank < m.chosen[len(m.chosen)-1].rank {
		m.chosen[len(m.chosen)-1] = c
	}
	for i := len(m.chosen) - 1; i > 0 && m.chosen[i].rank < m.chosen[i-1].rank; i-- {
		m.chosen[i], m.chosen[i-1] = m.chosen[i-1], m.chosen[i]
	}
}

// count adds a unit's pairs in a group to it.
func (m *merge) count(p *people, c candidate) {
	leftRows, rightRows := p.rows[c.left], int64(1) // a row alone stays one
	if c.right != none {
		rightRows = int64(m.hoard.rows[c.right])
	}
	t := &m.tallies[c.group]
	t.rows += m.most(leftRows * rightRows)
	t.units++
	for i := range m.left.columns {
		m.add(&m.left.columns[i], i, c.group, p.column(i, c.left), rightRows, m.leftSum)
	}
	if c.right == none {
		return
	}
	for i := range m.right.columns {
		m.add(&m.right.columns[i], len(m.left.columns)+i, c.group, m.hoard.columns[i][c.right], leftRows, m.rightSum)
	}
}

// add adds what a column has in an entry, as often as there are rows on the
// other side.
func (m *merge) add(c *column, at int, group uint32, own entryColumn, times int64, bound func(field int) Interval) {
	to := &m.columns[at][group]
	if own.rows > 0 {
		to.rows += m.most(own.rows * times)
		to.units++
	}
	if !c.sum {
		return
	}
	sum := own.sum.Times(uint32(times))
	if m.join.Bounds == nil {
		to.sum = to.sum.Plus(sum)
		return
	}
	b := bound(c.field)
	to.sum = to.sum.Add(sum.Clamp(b.Low, b.High))
}

func (m *merge) leftSum(field int) Interval  { return m.join.Bounds.Sums[field] }
func (m *merge) rightSum(field int) Interval { return m.join.RightSums[field] }

// most is how many of a unit's rows in a group count.
func (m *merge) most(rows int64) int64 {
	if m.join.Bounds == nil {
		return rows
	}
	return min(rows, m.join.Bounds.MaxCount)
}

// values answers the keys of a group, the left side's first.
func (m *merge) values(group uint32) []contract.Value {
	pair := m.numbers.tuple(int(group))
	all := m.left.keys.values(m.leftTotals.words(int(pair[0])))
	if uint32(pair[1]) == none {
		for range m.right.keys.fields {
			all = append(all, contract.Value{Null: true})
		}
		return all
	}
	return append(all, m.right.keys.values(m.rightTotals.words(int(pair[1])))...)
}

// totalsOf answers the totals of one side's aggregates, whose columns begin at a
// place.
func (m *merge) totalsOf(r *run, group uint32, first int) []protect.Total {
	var all []protect.Total
	t := m.tallies[group]
	for _, a := range r.plan.Aggregates() {
		switch a.Func {
		case sql.CountRows:
			all = append(all, protect.Total{Values: t.rows, Units: int64(t.units)})
		case sql.CountUnits:
			all = append(all, protect.Total{Values: int64(t.units), Units: int64(t.units)})
		default:
			c := m.columns[first+r.column(a.Field)][group]
			total := protect.Total{Values: c.rows, Units: int64(c.units)}
			if a.Func != sql.CountValues {
				total.Sum = c.sum
			}
			all = append(all, total)
		}
	}
	return all
}
