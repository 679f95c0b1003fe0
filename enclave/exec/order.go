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
}

func newOrder() *order {
	o := &order{sorter: table.NewSorter(stride)}
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
func (o *order) count(tallies []tally) { countOrdered(tallies, o.main, o.rest) }

// countValid adds the rows that are valid.
func (o *order) countValid(tallies []tally, valid []bool, room *[4][]uint32) {
	main := o.main.only(room[0], room[1], func(i int) bool { return valid[o.from+i] })
	rest := o.rest.only(room[2], room[3], func(i int) bool { return valid[o.at[i]] })
	countOrdered(tallies, main, rest)
}

func countOrdered(tallies []tally, main, rest rows) {
	interleave(main.units, rest.units, func(inRest bool, from, to int) {
		if inRest {
			count(tallies, rest.groups[from:to], rest.units[from:to])
		} else {
			count(tallies, main.groups[from:to], main.units[from:to])
		}
	})
}

// only answers some of the rows, in other memory.
func (r rows) only(units, groups []uint32, which func(i int) bool) rows {
	n := 0
	for i := range r.units {
		if units[n], groups[n] = r.units[i], r.groups[i]; which(i) {
			n++
		}
	}
	return rows{units[:n], groups[:n]}
}
