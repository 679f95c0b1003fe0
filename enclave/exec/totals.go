package exec

import (
	"context"

	"github.com/cloisterhq/cloister/enclave/protect"
)

// tally counts rows and the units that they come from.
type tally struct {
	rows  int64
	units uint32
	// last is the newest unit's code + 1. Units come in order, so no other
	// needs to be known.
	last uint32
}

// count adds a row of each unit to the tally of its group.
func count(tallies []tally, groups, units []uint32) {
	if len(tallies) == 1 {
		tallies[0].count(units)
		return
	}
	units = units[:len(groups)]
	for i, group := range groups {
		t, last, other := &tallies[group], units[i]+1, uint32(0)
		if t.last != last { // without a branch: nobody can predict it
			other = 1
		}
		t.rows, t.units, t.last = t.rows+1, t.units+other, last
	}
}

// countValid is count for the rows that are valid. Like there, no branch depends
// on a row.
func countValid(tallies []tally, groups, units []uint32, valid []bool) {
	units, valid = units[:len(groups)], valid[:len(groups)]
	for i, group := range groups {
		t, own, row := &tallies[group], units[i]+1, uint32(0)
		if valid[i] {
			row = 1
		}
		last, other := t.last, uint32(0)
		if last != own {
			other = 1
		}
		if valid[i] {
			last = own
		}
		t.rows, t.units, t.last = t.rows+int64(row), t.units+other&row, last
	}
}

// count adds a row of each unit to a tally.
func (t *tally) count(units []uint32) {
	last, others := t.last, uint32(0)
	for _, unit := range units {
		other := uint32(0)
		if last != unit+1 {
			other = 1
		}
		others, last = others+other, unit+1
	}
	t.rows, t.units, t.last = t.rows+int64(len(units)), t.units+others, last
}

// totals is what was counted of each group.
type totals struct {
	memory  *budget
	keys    *keys
	numbers *numbering // nil when each possible group has its place
	tallies []tally    // by group
	columns []columnTotals
	// sketches are the distributions of each group.
	sketches []sketchTotals
}

// columnTotals is what was counted of a column in each group.
type columnTotals struct {
	column
	tallies  []tally       // of the rows with a value; nil for a column without NULL
	sums     []int64       // nil for wide columns, and for those without sums
	wideSums []protect.Sum // nil for others
}

func (r *run) newTotals(ended func() error) (*totals, error) {
	t := &totals{memory: r.memory, keys: r.keys, columns: make([]columnTotals, len(r.columns))}
	for i, c := range r.columns {
		t.columns[i].column = c
	}
	for _, s := range r.sketches {
		t.sketches = append(t.sketches, sketchTotals{sketch: s})
	}
	if r.keys.places > 0 {
		return t, t.reach(r.keys.places)
	}
	var err error
	t.numbers, err = newNumbering(r.memory, ended, r.keys.words)
	return t, err
}

// reach makes room for so many groups.
func (t *totals) reach(groups int) error {
	if err := reach(t.memory, &t.tallies, groups); err != nil {
		return err
	}
	for i := range t.columns {
		c := &t.columns[i]
		if c.null {
			if err := reach(t.memory, &c.tallies, groups); err != nil {
				return err
			}
		}
		var err error
		switch {
		case c.sum && c.wide:
			err = reach(t.memory, &c.wideSums, groups)
		case c.sum:
			err = reach(t.memory, &c.sums, groups)
		}
		if err != nil {
			return err
		}
	}
	for i := range t.sketches {
		s := &t.sketches[i]
		if err := reach(t.memory, &s.counts, groups*s.buckets); err != nil {
			return err
		}
	}
	return nil
}

// number finds the groups of rows whose words are given.
func (t *totals) number(words [][]uint64, tuple []uint64, to []uint32) error {
	if len(words) == 1 {
		if err := t.numbers.numberWords(words[0][:len(to)], to); err != nil {
			return err
		}
		return t.reach(t.numbers.count)
	}
	for i := range to {
		for k := range words {
			tuple[k] = words[k][i]
		}
		var err error
		if to[i], err = t.numbers.number(tuple); err != nil {
			return err
		}
	}
	return t.reach(t.numbers.count)
}

// words answers the words of a group's keys.
func (t *totals) words(group int) []uint64 {
	if t.numbers == nil {
		return []uint64{uint64(group)}
	}
	return t.numbers.tuple(group)
}

// add adds the values of rows to the sums of their groups.
func (c *columnTotals) add(groups []uint32, values []int64) {
	values = values[:len(groups)]
	if c.wide {
		for i, group := range groups {
			c.wideSums[group] = c.wideSums[group].Add(values[i])
		}
		return
	}
	if len(c.sums) == 1 {
		sum := int64(0)
		for _, v := range values {
			sum += v
		}
		c.sums[0] += sum
		return
	}
	sums := c.sums
	for i, group := range groups {
		sums[group] += values[i]
	}
}

// join adds what another worker counted, of other units.
func (t *totals) join(ctx context.Context, other *totals) error {
	for from := range other.tallies {
		if (from+1)%stride == 0 {
			if err := ended(ctx); err != nil {
				return err
			}
		}
		if other.tallies[from].rows == 0 {
			continue
		}
		to := uint32(from)
		if t.numbers != nil {
			var err error
			if to, err = t.numbers.number(other.numbers.tuple(from)); err != nil {
				return err
			}
			if err := t.reach(t.numbers.count); err != nil {
				return err
			}
		}
		t.tallies[to].join(other.tallies[from])
		for i := range t.columns {
			t.columns[i].join(int(to), &other.columns[i], from)
		}
		for i := range t.sketches {
			t.sketches[i].join(int(to), &other.sketches[i], from)
		}
	}
	return nil
}

func (t *tally) join(other tally) {
	t.rows += other.rows
	t.units += other.units
}

func (c *columnTotals) join(to int, other *columnTotals, from int) {
	if c.null {
		c.tallies[to].join(other.tallies[from])
	}
	switch {
	case c.sum && c.wide:
		c.wideSums[to] = c.wideSums[to].Plus(other.wideSums[from])
	case c.sum:
		c.sums[to] += other.sums[from]
	}
}
