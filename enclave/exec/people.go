package exec

import (
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/store/table"
)

// people bounds what each unit adds. The rows of a unit in a group become one
// entry; when all rows of a unit are there, the entries of some groups are
// clamped and added to the totals, and the others are forgotten.
type people struct {
	bounds  *Bounds
	memory  *budget
	snap    *table.Snapshot
	totals  *totals
	chooser *chooser
	places  []place  // by group
	shares  []uint64 // by group: its share of ranks, 0 before it is known

	entries int
	whose   []owner // by entry, as what follows
	ranks   []uint64
	rows    []int64
	columns []personal

	of   []uint32 // by row of a window, its entry
	rest []uint32
	kept []uint32 // entries that count
	best []uint64 // the smallest ranks of a unit

	sketches []personalSketch
	gathered func(p *people, whole int) error // see run
}

// owner is a unit in a group.
type owner struct{ unit, group uint32 }

// place is where the newest unit of a group has its entry.
type place struct {
	last  uint32 // the unit's code + 1
	entry uint32
}

// personal is what a column has in each entry.
type personal struct {
	totals   *columnTotals
	bound    Interval
	rows     []int64 // with a value; nil for a column without NULL
	sums     []int64
	wideSums []protect.Sum
}

func (r *run) newPeople(t *totals, ended func() error) (*people, error) {
	p := &people{
		bounds: r.bounds, memory: r.memory, snap: r.snap, totals: t, gathered: r.gathered,
		columns: make([]personal, len(t.columns)), best: make([]uint64, maxGroups),
	}
	for i := range t.columns {
		p.columns[i] = personal{totals: &t.columns[i]}
		if r.bounds != nil {
			p.columns[i].bound = r.bounds.Sums[t.columns[i].field]
		}
	}
	if r.bounds != nil {
		p.chooser = newChooser(r.bounds)
	}
	for i := range t.sketches {
		s, err := newPersonalSketch(r.memory, &t.sketches[i], ended)
		if err != nil {
			return nil, err
		}
		p.sketches = append(p.sketches, s)
	}
	var err error
	if p.of, err = allocate[uint32](r.memory, stride); err != nil {
		return nil, err
	}
	p.rest, err = allocate[uint32](r.memory, stride)
	return p, err
}

// reach makes room for so many entries, and for every group.
func (p *people) reach(entries int) error {
	groups := len(p.totals.tallies)
	if err := reach(p.memory, &p.places, groups); err != nil {
		return err
	}
	if err := reach(p.memory, &p.shares, groups); err != nil {
		return err
	}
	if err := reach(p.memory, &p.whose, entries); err != nil {
		return err
	}
	if err := reach(p.memory, &p.kept, entries); err != nil {
		return err
	}
	if err := reach(p.memory, &p.ranks, entries); err != nil {
		return err
	}
	if err := reach(p.memory, &p.rows, entries); err != nil {
		return err
	}
	for i := range p.columns {
		if err := p.columns[i].reach(p.memory, entries); err != nil {
			return err
		}
	}
	return nil
}

func (c *personal) reach(memory *budget, entries int) error {
	if c.totals.null {
		if err := reach(memory, &c.rows, entries); err != nil {
			return err
		}
	}
	switch {
	case c.totals.sum && c.totals.wide:
		return reach(memory, &c.wideSums, entries)
	case c.totals.sum:
		return reach(memory, &c.sums, entries)
	}
	return nil
}

// take makes entries of a window's rows, and counts the units that are whole.
func (p *people) take(w *worker, n int) error {
	if err := p.reach(p.entries + n + 1); err != nil {
		return err
	}
	of := p.of[:n]
	p.assign(w.order, of)
	for _, entry := range of {
		p.rows[entry]++
	}
	for i := range p.columns {
		c := &p.columns[i]
		if c.totals.sum {
			w.readValues(c.totals.column)
			c.add(of, w.values[:n])
		}
		if c.totals.null {
			w.readValid(c.totals.column)
			for i, entry := range of {
				value := int64(0)
				if w.valid[i] {
					value = 1
				}
				c.rows[entry] += value
			}
		}
	}
	for i := range p.sketches {
		s := &p.sketches[i]
		if err := s.add(of, w.values[:n], w.readSketched(s.totals)); err != nil {
			return err
		}
	}
	whole := p.entries
	for whole > 0 && p.whose[whole-1].unit == p.whose[p.entries-1].unit {
		whole--
	}
	return p.flush(whole)
}

// assign finds the entry of each row of a window, or makes it.
func (p *people) assign(o *order, of []uint32) {
	interleave(o.main.units, o.rest.units, func(inRest bool, from, to int) {
		if !inRest {
			p.assignRows(o.main.units[from:to], o.main.groups[from:to], of[o.from+from:])
			return
		}
		rest := p.rest[:to-from]
		p.assignRows(o.rest.units[from:to], o.rest.groups[from:to], rest)
		for i, at := range o.at[from:to] {
			of[at] = rest[i]
		}
	})
}

func (p *people) assignRows(units, groups, of []uint32) {
	units, of = units[:len(groups)], of[:len(groups)]
	// Every row writes down the entry that it would begin. Whether it does is
	// hard to foresee, and a branch would cost more.
	next, places, whose := p.entries, p.places, p.whose
	for i, group := range groups {
		at, last := &places[group], units[i]+1
		whose[next] = owner{units[i], group}
		entry, begun := at.entry, 0
		if at.last != last {
			entry, begun = uint32(next), 1
		}
		*at = place{last, entry}
		of[i] = entry
		next += begun
	}
	p.entries = next
}

// add adds values to the sums of their entries.
func (c *personal) add(entries []uint32, values []int64) {
	values = values[:len(entries)]
	if c.totals.wide {
		for i, entry := range entries {
			c.wideSums[entry] = c.wideSums[entry].Add(values[i])
		}
		return
	}
	sums := c.sums
	for i, entry := range entries {
		sums[entry] += values[i]
	}
}

// close counts the units that are left, after a partition.
func (p *people) close() error { return p.flush(p.entries) }

// flush counts the first entries, which are all of their units', and moves the
// others to the front.
func (p *people) flush(whole int) error {
	if whole == 0 {
		return nil
	}
	count := p.count
	if p.gathered != nil {
		count = func(whole int) error { return p.gathered(p, whole) }
	}
	if err := count(whole); err != nil {
		return err
	}
	left := p.entries - whole
	copy(p.whose, p.whose[whole:p.entries])
	move(p.rows, whole, p.entries)
	for i := range p.columns {
		c := &p.columns[i]
		move(c.rows, whole, p.entries)
		move(c.sums, whole, p.entries)
		move(c.wideSums, whole, p.entries)
	}
	for entry, o := range p.whose[:left] {
		p.places[o.group].entry = uint32(entry)
	}
	p.entries = left
	return nil
}

// count adds those of the first entries that count to the totals.
func (p *people) count(whole int) error {
	kept := p.choose(whole)
	for _, entry := range kept {
		t := &p.totals.tallies[p.whose[entry].group]
		t.rows += min(p.rows[entry], p.bounds.MaxCount)
		t.units++
	}
	for i := range p.columns {
		p.columns[i].flush(p.whose, kept, p.bounds.MaxCount)
	}
	for i := range p.sketches {
		if err := p.sketches[i].flush(p.whose, kept, whole, p.bounds.MaxCount); err != nil {
			return err
		}
	}
	return nil
}

// move puts the elements from a place to the end to the front, and zero behind
// them.
func move[T any](list []T, from, to int) {
	if list != nil {
		clear(list[copy(list, list[from:to]):to])
	}
}

// flush adds the entries that count to a column's totals.
func (c *personal) flush(whose []owner, kept []uint32, most int64) {
	if c.totals.null {
		for _, entry := range kept {
			if rows := c.rows[entry]; rows > 0 {
				t := &c.totals.tallies[whose[entry].group]
				t.rows += min(rows, most)
				t.units++
			}
		}
	}
	switch {
	case c.totals.sum && c.totals.wide:
		for _, entry := range kept {
			sum := &c.totals.wideSums[whose[entry].group]
			*sum = sum.Add(c.wideSums[entry].Clamp(c.bound.Low, c.bound.High))
		}
	case c.totals.sum:
		for _, entry := range kept {
			c.totals.sums[whose[entry].group] += min(max(c.sums[entry], c.bound.Low), c.bound.High)
		}
	}
}

// choose answers which of the first entries count: of each unit those of the
// groups with the smallest ranks.
func (p *people) choose(whole int) []uint32 {
	kept, most := p.kept, p.bounds.MaxGroups
	n := 0
	for from := 0; from < whole; {
		to, largest := p.rank(from, whole)
		first := n
		for i, r := range p.ranks[from:to] {
			kept[n] = uint32(from + i)
			counts := 0
			if r <= largest {
				counts = 1
			}
			n += counts
		}
		n = min(n, first+most) // even if two ranks are the same
		from = to
	}
	return kept[:n]
}

// rank ranks the entries of the unit that has the first of some entries. It
// answers the first entry of the next unit, and the largest rank that counts.
func (p *people) rank(from, whole int) (to int, largest uint64) {
	unit, shares, ranks := p.whose[from].unit, p.shares, p.ranks[from:whole]
	own := p.chooser.unit(p.snap.Unit(unit))
	n := 0
	for i, o := range p.whose[from:whole] {
		if o.unit != unit {
			break
		}
		share := shares[o.group]
		if share == 0 {
			share = p.share(o.group)
		}
		ranks[i] = rank(own, share)
		n++
	}
	return from + n, p.smallest(ranks[:n])
}

// smallest answers the largest of so many smallest ranks as count. The smallest
// so far move up one place from where the next one belongs. For few there is no
// branch that depends on a rank, which nobody could foresee.
func (p *people) smallest(ranks []uint64) uint64 {
	most := ^uint64(0)
	if p.bounds.MaxGroups <= 4 {
		// Variables of their own stay in registers.
		a, b, c, d := most, most, most, most
		for _, r := range ranks {
			a, r = min(a, r), max(a, r)
			b, r = min(b, r), max(b, r)
			c, r = min(c, r), max(c, r)
			d = min(d, r)
		}
		return [...]uint64{a, b, c, d}[p.bounds.MaxGroups-1]
	}
	best := p.best[:p.bounds.MaxGroups]
	for i := range best {
		best[i] = most
	}
	for _, r := range ranks {
		for k := 0; k < len(best) && r < best[len(best)-1]; k++ {
			best[k], r = min(best[k], r), max(best[k], r)
		}
	}
	return best[len(best)-1]
}

func (p *people) share(group uint32) uint64 {
	p.shares[group] = p.chooser.group(p.totals.keys.values(p.totals.words(int(group))))
	return p.shares[group]
}
