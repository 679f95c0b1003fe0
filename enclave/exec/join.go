package exec

import (
	"context"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// Join is two granted plans over two datasets of the same people, whose rows are
// joined when they belong to one unit. Each plan's conditions choose rows of its
// side. A group of the answer is a group of the left side together with one of
// the right side; its rows are the pairs of their rows.
//
// No pair is made: what a unit has in a group of each side is multiplied. Both
// sides come clustered by unit, so this costs a scan of each and a merge, and
// the memory of what the right side's units have in its groups.
type Join struct {
	// Left and Right are the sides. Their units have the same type, and the
	// datasets aren't the same one.
	Left, Right *protect.Grant
	// Outer keeps rows of the left side whose unit has none on the right side:
	// their keys of the right side are NULL, and its columns too.
	Outer bool
	// Bounds bound what one unit adds to the groups of the answer, and Sums of it
	// the columns of the left side; nil for none. RightSums bounds those of the
	// right side.
	Bounds    *Bounds
	RightSums map[int]Interval
}

// fit says whether both sides can be joined.
func (j *Join) fit(left, right *table.Snapshot) bool {
	l, r := j.Left.Plan(), j.Right.Plan()
	if l == nil || r == nil || left == nil || right == nil || !runnable(l, left.Contract()) || !runnable(r, right.Contract()) {
		return false
	}
	lc, rc := left.Contract(), right.Contract()
	if lc.Dataset == rc.Dataset || lc.Fields[lc.UnitIndex()].Type != rc.Fields[rc.UnitIndex()].Type {
		return false
	}
	if j.Bounds == nil {
		return true
	}
	of := *j.Bounds
	of.Sums = j.RightSums
	return j.Bounds.fit(l) && of.fit(r)
}

// AggregateJoin counts the groups of a join. The aggregates of a group are those
// of the left plan and then those of the right one. Errors: ErrPlan, ErrLimit,
// and that of ctx.
func AggregateJoin(ctx context.Context, j Join, left, right *table.Snapshot, limits Limits) (*Joined, error) {
	if !j.fit(left, right) {
		return nil, ErrPlan
	}
	memory := newBudget(limits.Memory)
	m := &merge{join: &j, memory: memory, ended: func() error { return ended(ctx) }}
	var err error
	if m.left, err = m.side(ctx, j.Left, left); err != nil {
		return nil, err
	}
	if m.right, err = m.side(ctx, j.Right, right); err != nil {
		return nil, err
	}
	if err := m.gather(ctx); err != nil {
		return nil, err
	}
	if err := m.scan(ctx); err != nil {
		return nil, err
	}
	return m.finish(int64(max(j.Left.Floor(), j.Right.Floor())), limits.Rows)
}

// side prepares the scan of one side. Its totals hold the numbers of its groups
// and nothing else.
func (m *merge) side(ctx context.Context, grant *protect.Grant, snap *table.Snapshot) (*run, error) {
	r := &run{plan: grant.Plan(), snap: snap, memory: m.memory}
	return r, r.prepare(ctx, More{})
}

// scanOne scans a side with one worker, so that its groups have one numbering.
func (r *run) scanOne(ctx context.Context, gathered func(p *people, whole int) error) (*totals, error) {
	r.gathered = gathered
	return r.scanWith(ctx, 1, r.snap.Partitions())
}

// none is the code of no unit, and the number of no group.
const none = ^uint32(0)

// index finds the codes of one table's units by their names.
type index struct {
	units *table.Snapshot
	seed  maphash.Seed
	slots []uint32 // a power of two; code + 1
}

func newIndex(b *budget, ended func() error, units *table.Snapshot) (*index, error) {
	slots, err := allocate[uint32](b, 1<<bits.Len(uint(2*units.Units())))
	if err != nil {
		return nil, err
	}
	x := &index{units: units, seed: maphash.MakeSeed(), slots: slots}
	for code := range units.Units() {
		if code%stride == 0 {
			if err := ended(); err != nil {
				return nil, err
			}
		}
		x.slots[x.slot(units.Unit(uint32(code)))] = uint32(code) + 1
	}
	return x, nil
}

// slot answers where a name is, or the empty slot where it would be.
func (x *index) slot(name []byte) int {
	mask := uint64(len(x.slots) - 1)
	for at := maphash.Bytes(x.seed, name) & mask; ; at = (at + 1) & mask {
		if s := x.slots[at]; s == 0 || string(x.units.Unit(s-1)) == string(name) {
			return int(at)
		}
	}
}

// code answers a unit's code, none for one that isn't there.
func (x *index) code(name []byte) uint32 { return x.slots[x.slot(name)] - 1 }

// entryColumn is what a column has in an entry.
type entryColumn struct {
	rows int64
	sum  protect.Sum
}

// hoard is what the units of the right side have in its groups, by the left
// side's code of the unit.
type hoard struct {
	codes, groups []uint32
	rows          []uint32
	columns       [][]entryColumn // by column, then by entry
	order         []uint32        // entries in the order of their units
	starts        []uint32        // by code, in order
}

// gather scans the right side.
func (m *merge) gather(ctx context.Context) error {
	x, err := newIndex(m.memory, m.ended, m.left.snap)
	if err != nil {
		return err
	}
	h := &m.hoard
	h.columns = make([][]entryColumn, len(m.right.columns))
	m.rightTotals, err = m.right.scanOne(ctx, func(p *people, whole int) error {
		if err := h.reach(m.memory, len(h.codes)+whole); err != nil {
			return err
		}
		at := len(h.codes) - whole
		last, code := none, none
		for entry, o := range p.whose[:whole] {
			if o.unit != last {
				last, code = o.unit, x.code(m.right.snap.Unit(o.unit))
			}
			if code == none {
				continue
			}
			h.codes[at], h.groups[at], h.rows[at] = code, o.group, uint32(p.rows[entry])
			for i := range h.columns {
				h.columns[i][at] = p.column(i, entry)
			}
			at++
		}
		h.cut(at)
		return nil
	})
	if err != nil {
		return err
	}
	m.memory.give(size[uint32](len(x.slots)))
	if err := m.findMissing(); err != nil {
		return err
	}
	return h.sort(m.memory, m.ended, m.left.snap.Units())
}

// column answers what a column has in an entry of people.
func (p *people) column(i, entry int) entryColumn {
	c, out := &p.columns[i], entryColumn{rows: p.rows[entry]}
	if c.totals.null {
		out.rows = c.rows[entry]
	}
	switch {
	case c.totals.sum && c.totals.wide:
		out.sum = c.wideSums[entry]
	case c.totals.sum:
		out.sum = out.sum.Add(c.sums[entry])
	}
	return out
}

func (h *hoard) reach(b *budget, entries int) error {
	for _, list := range []*[]uint32{&h.codes, &h.groups, &h.rows} {
		if err := reach(b, list, entries); err != nil {
			return err
		}
	}
	for i := range h.columns {
		if err := reach(b, &h.columns[i], entries); err != nil {
			return err
		}
	}
	return nil
}

func (h *hoard) cut(entries int) {
	h.codes, h.groups, h.rows = h.codes[:entries], h.groups[:entries], h.rows[:entries]
	for i := range h.columns {
		h.columns[i] = h.columns[i][:entries]
	}
}

// sort deals the entries to their units. They come unit by unit, in another
// order than the left side's.
func (h *hoard) sort(b *budget, ended func() error, units int) (err error) {
	if h.starts, err = allocate[uint32](b, units+1); err != nil {
		return err
	}
	if h.order, err = allocate[uint32](b, len(h.codes)); err != nil {
		return err
	}
	for _, code := range h.codes {
		h.starts[code+1]++
	}
	for code := range units {
		h.starts[code+1] += h.starts[code]
	}
	if err := ended(); err != nil {
		return err
	}
	next, err := allocate[uint32](b, units)
	if err != nil {
		return err
	}
	copy(next, h.starts)
	for entry, code := range h.codes {
		if entry%(16*stride) == 0 {
			if err := ended(); err != nil {
				return err
			}
		}
		h.order[next[code]] = uint32(entry)
		next[code]++
	}
	b.give(size[uint32](units))
	return nil
}

// of answers the entries of a unit.
func (h *hoard) of(code uint32) []uint32 { return h.order[h.starts[code]:h.starts[code+1]] }

// Joined is what AggregateJoin counted, hidden groups included. It is for
// protect.Release and for nobody else.
type Joined struct {
	merge  *merge
	groups []uint32
}

var _ protect.Groups = (*Joined)(nil)

// finish lists the groups and checks the number of those that can be shown.
func (m *merge) finish(floor, most int64) (*Joined, error) {
	shown := int64(0)
	g := &Joined{merge: m}
	if len(m.left.keys.fields)+len(m.right.keys.fields) == 0 { // the one group is there without any row
		if _, err := m.number(0, 0); err != nil {
			return nil, err
		}
	}
	if err := m.memory.take(size[uint32](len(m.tallies))); err != nil {
		return nil, err
	}
	g.groups = make([]uint32, 0, len(m.tallies))
	for i, t := range m.tallies {
		if t.rows > 0 || len(m.left.keys.fields)+len(m.right.keys.fields) == 0 {
			g.groups = append(g.groups, uint32(i))
		}
		if int64(t.units) >= floor {
			shown++
		}
	}
	if shown > most {
		return nil, ErrLimit
	}
	return g, nil
}

// Snapshot is the number of the left side's snapshot.
func (g *Joined) Snapshot() uint64 { return g.merge.left.snap.Number() }

// Len is the number of groups.
func (g *Joined) Len() int { return len(g.groups) }

// Units is the number of different units in the i-th group.
func (g *Joined) Units(i int) int64 { return int64(g.merge.tallies[g.groups[i]].units) }

// Group answers the keys and totals of the i-th group, the left side's and then
// the right side's.
func (g *Joined) Group(i int) ([]contract.Value, []protect.Total) {
	m, group := g.merge, g.groups[i]
	totals := m.totalsOf(m.left, group, 0)
	return m.values(group), slices.Concat(totals, m.totalsOf(m.right, group, len(m.left.columns)))
}
