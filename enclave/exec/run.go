package exec

import (
	"context"
	"slices"

	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store/table"
)

// run is one query at work.
type run struct {
	plan   *sql.Plan
	snap   *table.Snapshot
	memory budget

	filters []*filter
	keys    []int
	groups  *numbering // of the keys' values
	rows    []int64    // by group
	units   *contributors
	columns []*column // by field that an aggregate reads

	// What a stride needs, made once.
	selection []int
	members   []uint32 // group of each selected row
	tuple     []uint64
}

// contributors counts the different units of each group.
type contributors struct {
	seen  *pairs
	count []int64 // by group
}

// column is the totals of a field over each group.
type column struct {
	field int
	sums  []protect.Sum // by group
	count []int64       // values that aren't NULL, by group
	// units is nil for a column without NULL: all units of a group contribute.
	units *contributors
}

// prepare makes everything whose size depends on the plan and the dictionaries.
func (r *run) prepare(ctx context.Context) error {
	r.keys = r.plan.Keys()
	for _, c := range r.plan.Conditions() {
		f, err := newFilter(ctx, &r.memory, c, r.snap)
		if err != nil {
			return err
		}
		r.filters = append(r.filters, f)
	}
	var err error
	if r.units, err = r.contributors(); err != nil {
		return err
	}
	for _, a := range r.plan.Aggregates() {
		if err := r.addColumn(a); err != nil {
			return err
		}
	}
	if r.selection, err = allocate[int](&r.memory, stride); err != nil {
		return err
	}
	if r.members, err = allocate[uint32](&r.memory, stride); err != nil {
		return err
	}
	// One word a key, then a bit a key for NULL.
	width := len(r.keys) + (len(r.keys)+63)/64
	if r.tuple, err = allocate[uint64](&r.memory, width); err != nil {
		return err
	}
	if r.groups, err = newNumbering(&r.memory, width); err != nil {
		return err
	}
	if width == 0 { // the one group is there without any row
		return r.addGroup()
	}
	return nil
}

func (r *run) contributors() (*contributors, error) {
	seen, err := newPairs(&r.memory)
	if err != nil {
		return nil, err
	}
	return &contributors{seen: seen}, nil
}

// addColumn makes a column for an aggregate's argument, once for each field.
func (r *run) addColumn(a sql.Aggregate) error {
	if a.Func == sql.CountRows || a.Func == sql.CountUnits || r.column(a.Field) != nil {
		return nil
	}
	c := &column{field: a.Field}
	if !r.snap.Contract().Fields[a.Field].Required {
		var err error
		if c.units, err = r.contributors(); err != nil {
			return err
		}
	}
	r.columns = append(r.columns, c)
	return nil
}

// column answers the column of a field, nil when there is none.
func (r *run) column(field int) *column {
	i := slices.IndexFunc(r.columns, func(c *column) bool { return c.field == field })
	if i < 0 {
		return nil
	}
	return r.columns[i]
}

// addGroup makes room for one more group everywhere.
func (r *run) addGroup() error {
	for _, counts := range r.counts() {
		next, err := grow(&r.memory, *counts, 1)
		if err != nil {
			return err
		}
		*counts = next
	}
	for _, c := range r.columns {
		sums, err := grow(&r.memory, c.sums, 1)
		if err != nil {
			return err
		}
		c.sums = sums
	}
	return nil
}

// counts answers every list that has a count a group.
func (r *run) counts() []*[]int64 {
	all := []*[]int64{&r.rows, &r.units.count}
	for _, c := range r.columns {
		all = append(all, &c.count)
		if c.units != nil {
			all = append(all, &c.units.count)
		}
	}
	return all
}

// take counts some rows of a block.
func (r *run) take(block *table.Block, from, to int) error {
	selection := r.selection[:to-from]
	for i := range selection {
		selection[i] = from + i
	}
	for _, f := range r.filters {
		selection = f.apply(block, selection)
	}
	members := r.members[:len(selection)]
	if err := r.assign(block, selection, members); err != nil {
		return err
	}
	units := block.Units()
	for i, row := range selection {
		r.rows[members[i]]++
		if err := r.units.add(members[i], units[row]); err != nil {
			return err
		}
	}
	for _, c := range r.columns {
		if err := c.take(block, selection, members); err != nil {
			return err
		}
	}
	return nil
}

// assign finds the group of each selected row. NULL is a group of its own.
func (r *run) assign(block *table.Block, selection []int, members []uint32) error {
	if len(r.keys) == 0 {
		clear(members)
		return nil
	}
	vectors := make([]table.Vector, len(r.keys))
	for k, field := range r.keys {
		vectors[k] = block.Column(field)
	}
	for i, row := range selection {
		clear(r.tuple)
		for k, v := range vectors {
			switch {
			case v.Null != nil && v.Null[row]:
				r.tuple[len(r.keys)+k/64] |= 1 << (k % 64)
			case v.Codes != nil:
				r.tuple[k] = uint64(v.Codes[row])
			default:
				r.tuple[k] = uint64(v.Ints[row])
			}
		}
		group, isNew, err := r.groups.number(r.tuple)
		if err != nil {
			return err
		}
		if isNew {
			if err := r.addGroup(); err != nil {
				return err
			}
		}
		members[i] = uint32(group)
	}
	return nil
}

func (c *contributors) add(group, unit uint32) error {
	isNew, err := c.seen.add(group, unit)
	if isNew {
		c.count[group]++
	}
	return err
}

// take adds the values of the selected rows to the totals of their groups.
func (c *column) take(block *table.Block, selection []int, members []uint32) error {
	v, units := block.Column(c.field), block.Units()
	for i, row := range selection {
		if v.Null != nil && v.Null[row] {
			continue
		}
		group := members[i]
		c.count[group]++
		if v.Ints != nil {
			c.sums[group] = c.sums[group].Add(v.Ints[row])
		}
		if c.units == nil {
			continue
		}
		if err := c.units.add(group, units[row]); err != nil {
			return err
		}
	}
	return nil
}
