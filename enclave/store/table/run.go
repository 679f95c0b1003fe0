package table

import (
	"math/bits"
	"unsafe"
)

const (
	// PartitionBits is how many of the lowest bits of a unit's code say in which
	// partition it is.
	PartitionBits = 4
	partitions    = 1 << PartitionBits
)

// run is some rows of a partition in the order of their units. Nothing changes
// it. Units count within the partition here: the n-th one has the code
// n * partitions + the partition's number.
type run struct {
	rows    int
	units   vector   // the k-th unit less k, which never decreases
	starts  []uint64 // a bit a row: the first one of its unit
	columns []vector // by field
}

func (r *run) held() int64 {
	all := int64(unsafe.Sizeof(*r)) + r.units.held() + 8*int64(cap(r.starts)) +
		int64(cap(r.columns))*int64(unsafe.Sizeof(vector{}))
	for i := range r.columns {
		all += r.columns[i].held()
	}
	return all
}

// unit answers the k-th unit.
func (r *run) unit(k int) int { return k + int(r.units.at(k)) }

// starting answers how many units start in the rows behind one row up to
// another.
func (r *run) starting(from, to int) int {
	first, last := from/64, to/64
	if first == last {
		return bits.OnesCount64(r.starts[first] >> (from % 64) >> 1 << (64 - (to - from)))
	}
	n := bits.OnesCount64(r.starts[first] >> (from % 64) >> 1)
	for _, word := range r.starts[first+1 : last] {
		n += bits.OnesCount64(word)
	}
	return n + bits.OnesCount64(r.starts[last]<<(63-to%64))
}

// first answers the row where the n-th unit starts behind a row, or the row
// itself for n 0.
func (r *run) first(row, n int) int {
	if n == 0 {
		return row
	}
	at := row / 64
	word := r.starts[at] & (^uint64(1) << (row % 64))
	for n > bits.OnesCount64(word) {
		n -= bits.OnesCount64(word)
		at++
		word = r.starts[at]
	}
	for range n - 1 {
		word &= word - 1
	}
	return at*64 + bits.TrailingZeros64(word)
}

// builder makes a run of rows that come in the order of their units.
type builder struct {
	run     *run
	last    int // the newest unit, -1 for none
	units   *packer
	count   int
	offsets []int64
	columns []*packer // by field, nil for what isn't kept
}

// newBuilder makes one for so many rows.
func (t *Table) newBuilder(rows int) *builder {
	b := &builder{
		run: &run{columns: make([]vector, len(t.kept))}, last: -1, units: newPacker(true, rows), columns: make([]*packer, len(t.kept)),
	}
	for i, k := range t.kept {
		if k == keptCodes || k == keptInts {
			b.columns[i] = newPacker(k == keptCodes, rows)
		}
	}
	return b
}

// addUnits appends the units of rows, whose columns must follow.
func (b *builder) addUnits(units []uint32) {
	r, n := b.run, 0
	b.offsets = resize(b.offsets, len(units))
	for short := (r.rows+len(units)+63)/64 - len(r.starts); short > 0; short-- {
		r.starts = append(r.starts, 0)
	}
	last := b.last
	for i, u := range units {
		// Without a branch: whether a unit is new is a toss of a coin.
		fresh := 0
		if int(u) != last {
			fresh = 1
		}
		row := r.rows + i
		r.starts[row/64] |= uint64(fresh) << (row % 64)
		b.offsets[n] = int64(u) - int64(b.count+n)
		n += fresh
		last = int(u)
	}
	b.last, b.count, b.offsets = last, b.count+n, b.offsets[:n]
	r.rows += len(units)
	b.units.add(b.offsets, nil)
}

// finish answers the run.
func (b *builder) finish() *run {
	r := b.run
	r.units = b.units.finish()
	r.starts = exact(r.starts)
	for i, c := range b.columns {
		if c != nil {
			r.columns[i] = c.finish()
		}
	}
	return r
}
