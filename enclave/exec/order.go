package exec

import "github.com/cloisterhq/cloister/enclave/store/table"

// rows are rows in the order of their units.
type rows struct{ units, groups []uint32 }

// order is the rows of a window in the order of their units: those of its
// largest part, where they are, and the others sorted. Both go side by side, so
// that the many needn't be moved for the few.
type order struct {
	main, rest rows
	from       int      // of main among all rows of the window
	at         []uint32 // of each of rest among them

	sorter *table.Sorter
	room   [4][]uint32
	valid  []bool // of rest, see countValid
}

func newOrder() *order {
	o := &order{sorter: table.NewSorter(stride), valid: make([]bool, stride)}
	for i := range o.room {
		o.room[i] = make([]uint32, stride)
	}
	return o
}

// sort takes the parts of a window over, whose rows have these units and
// groups.
func (o *order) sort(parts []part, units, groups []uint32) {
	largest, from, at := 0, 0, 0
	for i := range parts {
		if parts[i].n > parts[largest].n {
			largest, from = i, at
		}
		at += parts[i].n
	}
	to := from + parts[largest].n
	o.main, o.from = rows{units[from:to], groups[from:to]}, from
	n := copy(o.room[0], units[:from])
	n += copy(o.room[0][n:], units[to:])
	o.rest, o.at = rows{o.room[1][:n], o.room[2][:n]}, o.room[3][:n]
	if n == 0 {
		return
	}
	for i, k := range o.sorter.Sort(o.room[0][:n], table.PartitionBits) {
		row := k
		if int(k) >= from {
			row += uint32(to - from)
		}
		o.at[i], o.rest.units[i], o.rest.groups[i] = row, units[row], groups[row]
	}
}

// interleave calls do for all rows in the order of their units: for some of main or
// some of rest at a time.
func interleave(main, rest []uint32, do func(inRest bool, from, to int)) {
	i, j := 0, 0
	for j < len(rest) {
		from, unit := i, rest[j]
		for ; i+8 <= len(main) && main[i+7] <= unit; i += 8 {
		}
		for i < len(main) && main[i] <= unit {
			i++
		}
		if i > from {
			do(false, from, i)
		}
		from = j
		for j++; j < len(rest) && (i == len(main) || rest[j] < main[i]); j++ {
		}
		do(true, from, j)
	}
	if i < len(main) {
		do(false, i, len(main))
	}
}

// count adds all rows to the tallies of their groups.
func (o *order) count(tallies []tally) {
	interleave(o.main.units, o.rest.units, func(inRest bool, from, to int) {
		r := o.side(inRest)
		count(tallies, r.groups[from:to], r.units[from:to])
	})
}

// countValid adds the rows that are valid.
func (o *order) countValid(tallies []tally, valid []bool) {
	main, rest := valid[o.from:], o.valid[:len(o.at)]
	for i, at := range o.at {
		rest[i] = valid[at]
	}
	interleave(o.main.units, o.rest.units, func(inRest bool, from, to int) {
		r, of := o.side(inRest), main
		if inRest {
			of = rest
		}
		countValid(tallies, r.groups[from:to], r.units[from:to], of[from:to])
	})
}

// side answers the rows that interleave means.
func (o *order) side(inRest bool) *rows {
	if inRest {
		return &o.rest
	}
	return &o.main
}
