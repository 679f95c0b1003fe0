package table

import (
	"math"
	"math/bits"
	"slices"

	"github.com/cloisterhq/cloister/internal/limits"
)

// batchRows is how many rows a batch has for which memory is kept.
const batchRows = limits.BatchRows

// batch is rows on their way into the table. One is used again for the next
// rows: see Table.batches.
type batch struct {
	units   []uint32 // the code of each row's unit
	keys    []uint32 // of each row: partition, then unit
	codes   []uint32 // of a column of texts
	offsets []uint64 // of a column of integers, when they aren't the values
	known   []uint32 // codes of a dictionary
	sorter  *Sorter
	// order has the rows by partition and then by unit, ends where each partition
	// ends.
	order []uint32
	ends  [partitions]int
}

// resize answers a list of n elements, whatever they are.
func resize[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

// build makes the runs of a batch, nil for a partition without rows. It gives
// new values their codes.
func (t *Table) build(rows int, columns []Values) (runs [partitions]*run) {
	b, _ := t.batches.Get().(*batch)
	if b == nil {
		b = &batch{}
	}
	if rows <= batchRows {
		defer t.batches.Put(b)
	}
	b.units = resize(b.units, rows)
	t.encodeUnits(b, &columns[t.unit])
	b.cluster()
	for i := range runs {
		if rows := b.partition(i); len(rows) > 0 {
			runs[i] = t.newRun(b, rows)
		}
	}
	for field, kept := range t.kept {
		if kept == keptCodes || kept == keptInts {
			t.pack(b, field, &columns[field], &runs)
		}
	}
	return runs
}

// encodeUnits gives the units their codes.
func (t *Table) encodeUnits(b *batch, v *Values) {
	if v.Texts != nil {
		t.units.encode(b, v, b.units)
	} else {
		t.units.integers(v.Ints, b.units)
	}
}

// encode writes the code of every row that has a text, and 0 for others.
func (l *lexicon) encode(b *batch, v *Values, codes []uint32) {
	if v.Codes == nil {
		for row, text := range v.Texts {
			if codes[row] = 0; v.Null == nil || !v.Null[row] {
				codes[row] = l.text(text)
			}
		}
		return
	}
	// Each text is looked up when it comes first: what no row has isn't kept.
	b.known = resize(b.known, len(v.Texts))
	clear(b.known) // codes + 1
	for row, code := range v.Codes {
		if v.Null != nil && v.Null[row] {
			codes[row] = 0
			continue
		}
		if b.known[code] == 0 {
			b.known[code] = l.text(v.Texts[code]) + 1
		}
		codes[row] = b.known[code] - 1
	}
}

// cluster orders the rows by partition and then by unit. Rows of a unit stay as
// they are.
func (b *batch) cluster() {
	last := uint32(0)
	for _, code := range b.units {
		last = max(last, code)
	}
	b.keys = resize(b.keys, len(b.units))
	width, rows := bits.Len32(last/partitions), [partitions]int{}
	for row, code := range b.units {
		b.keys[row] = code%partitions<<width | code/partitions
		rows[code%partitions]++
	}
	if b.sorter == nil || len(b.sorter.order) < len(b.units) {
		b.sorter = NewSorter(len(b.units))
	}
	b.order = b.sorter.Sort(b.keys, 0)
	end := 0
	for i, n := range rows {
		end += n
		b.ends[i] = end
	}
}

// partition answers the rows of a partition, in order.
func (b *batch) partition(i int) []uint32 {
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	return b.order[from:b.ends[i]]
}

// newRun makes a run with its units, without its columns.
func (t *Table) newRun(b *batch, rows []uint32) *run {
	r := &run{rows: len(rows), columns: make([]vector, len(t.kept)), starts: make([]uint64, (len(rows)+63)/64)}
	b.offsets = resize(b.offsets, len(rows))
	count, last := 0, -1
	for i, row := range rows {
		if u := int(b.units[row] / partitions); u != last {
			last = u
			r.starts[i/64] |= 1 << (i % 64)
			b.offsets[count] = uint64(u - count) // never decreases
			count++
		}
	}
	units := b.offsets[:count]
	r.units.span = Range{Low: int64(units[0]), High: int64(units[count-1]), Step: 1, Value: true}
	for len(units) > 0 {
		of := units[:min(len(units), frameRows)]
		f := frame{base: int64(of[0]), step: 1, most: of[len(of)-1] - of[0]}
		for i := range of {
			of[i] -= uint64(f.base)
		}
		r.units.planes.append(&f, of)
		r.units.frames, units = append(r.units.frames, f), units[len(of):]
	}
	r.units.trim()
	return r
}

// pack adds a column to the runs. All its frames have the same base and step.
func (t *Table) pack(b *batch, field int, v *Values, runs *[partitions]*run) {
	nulls := v.Null
	if !slices.Contains(nulls, true) {
		nulls = nil
	}
	if t.kept[field] == keptCodes {
		b.codes = resize(b.codes, len(b.units))
		t.texts[field].encode(b, v, b.codes)
		span := rangeOfCodes(b.codes, nulls)
		f := newFrame(span)
		if f.most > 0 && f.base > 0 {
			for i, code := range b.codes {
				b.codes[i] = code - min(code, uint32(f.base)) // that of a NULL is 0
			}
		}
		packRuns(b, field, b.codes, nulls, span, f, runs)
		return
	}
	span := rangeOf(v.Ints, nulls)
	if span.Low != span.High {
		span.Step = stepOf(v.Ints, nulls, span)
	}
	f := newFrame(span)
	if f.most == 0 || f.base == 0 && f.step == 1 {
		packRuns(b, field, v.Ints, nulls, span, f, runs) // the values are the offsets
		return
	}
	b.offsets = resize(b.offsets, len(v.Ints))
	divide := newDivisor(f.step)
	for i, value := range v.Ints {
		b.offsets[i], _ = divide.divide(uint64(value) - uint64(f.base))
	}
	for i, null := range nulls {
		if null {
			b.offsets[i] = 0
		}
	}
	packRuns(b, field, b.offsets, nulls, span, f, runs)
}

// rangeOfCodes is rangeOf for codes, from 0 on.
func rangeOfCodes(codes []uint32, nulls []bool) Range {
	low, high := uint32(math.MaxUint32), uint32(0)
	for i, code := range codes {
		if nulls == nil || !nulls[i] {
			low, high = min(low, code), max(high, code)
		}
	}
	r := Range{Null: nulls != nil}
	if low <= high {
		r.Low, r.High, r.Value = int64(low), int64(high), true
	}
	if low < high {
		r.Step = 1
	}
	return r
}

// packRuns adds a column of a batch to its runs: offsets in frames like f.
func packRuns[O uint32 | uint64 | int64](b *batch, field int, offsets []O, nulls []bool, span Range, f frame, runs *[partitions]*run) {
	for i, r := range runs {
		if r != nil {
			r.columns[field] = packRun(offsets, nulls, span, f, b.partition(i))
		}
	}
}

// packRun answers the vector of some rows of a column.
func packRun[O uint32 | uint64 | int64](offsets []O, nulls []bool, span Range, f frame, rows []uint32) vector {
	v := vector{frames: make([]frame, 0, (len(rows)+frameRows-1)/frameRows), span: span}
	v.planes.reserve(layoutOf(f.most), len(rows))
	for left := rows; len(left) > 0; {
		of := left[:min(len(left), frameRows)]
		gather(&v.planes, &f, offsets, of)
		v.frames, left = append(v.frames, f), left[len(of):]
	}
	if nulls == nil {
		return v
	}
	v.null = make([]uint64, (len(rows)+63)/64)
	any := false
	for i, row := range rows {
		if nulls[row] {
			v.null[i/64] |= 1 << (i % 64)
			any = true
		}
	}
	if !any {
		v.null = nil
	}
	return v
}

// gather appends the offsets of some rows to the planes that a frame needs, and
// notes where it begins in each.
func gather[O uint32 | uint64 | int64](p *planes, f *frame, offsets []O, rows []uint32) {
	p.begin(f)
	switch l := layoutOf(f.most); {
	case l.bits > 0:
		p.bits = gatherBits(p.bits, offsets, rows, l.bits)
	case l.longs:
		p.longs = gatherPlane(p.longs, offsets, rows, 0)
	default:
		shift := uint(0)
		if l.words {
			p.words = gatherPlane(p.words, offsets, rows, 0)
			shift = 32
		}
		if l.shorts {
			p.shorts = gatherPlane(p.shorts, offsets, rows, shift)
			shift += 16
		}
		if l.bytes {
			p.bytes = gatherPlane(p.bytes, offsets, rows, shift)
		}
	}
}

// gatherPlane appends the bits of offsets that an element holds, from a bit on.
func gatherPlane[P uint8 | uint16 | uint32 | uint64, O uint8 | uint16 | uint32 | uint64 | int64](plane []P, offsets []O, rows []uint32, shift uint) []P {
	from := len(plane)
	plane = slices.Grow(plane, len(rows))[:from+len(rows)]
	to := plane[from:]
	if shift == 0 {
		for i, row := range rows {
			to[i] = P(offsets[row])
		}
		return plane
	}
	for i, row := range rows {
		to[i] = P(offsets[row] >> (shift & 63))
	}
	return plane
}

func gatherBits[O uint8 | uint32 | uint64 | int64](words []uint64, offsets []O, rows []uint32, width uint) []uint64 {
	per := int(64 / width)
	for len(rows) > 0 {
		n := min(len(rows), per)
		var word uint64
		for i, row := range rows[:n] {
			word |= uint64(offsets[row]) << (uint(i) * width & 63)
		}
		words, rows = append(words, word), rows[n:]
	}
	return words
}
