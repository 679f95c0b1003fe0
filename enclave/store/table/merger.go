package table

import "slices"

// mergeRows is the number of rows that a merge works on at a time.
const mergeRows = 4 << 10

// merger writes the rows of several runs as one.
type merger struct {
	builder *builder
	sorter  *Sorter
	order   []uint32 // of the window's rows
	units   []uint32
	values  []int64
	nulls   []bool
	// The same in the order of the units.
	sortedUnits  []uint32
	sortedValues []int64
	sortedNulls  []bool
	window       window
}

// mergeRuns answers the rows of several runs as one.
func (t *Table) mergeRuns(old []*run) *run {
	m := &merger{
		builder: t.newBuilder(Partition{runs: old}.Rows()), sorter: NewSorter(mergeRows),
		units: make([]uint32, mergeRows), values: make([]int64, mergeRows), nulls: make([]bool, mergeRows),
		sortedUnits: make([]uint32, mergeRows), sortedValues: make([]int64, mergeRows), sortedNulls: make([]bool, mergeRows),
		window: newWindow(),
	}
	cursor := Partition{runs: old}.Cursor(mergeRows)
	for spans := cursor.Next(); spans != nil; spans = cursor.Next() {
		m.addUnits(spans)
		for field, column := range m.builder.columns {
			if column != nil {
				m.addColumn(column, spans, field)
			}
		}
	}
	merged := m.builder.finish()
	for field, column := range m.builder.columns {
		if column == nil {
			continue
		}
		var span Range
		for _, r := range old {
			span = span.join(r.columns[field].span)
		}
		merged.columns[field].span = span
	}
	return merged
}

// addUnits writes the units of a window and notes their order.
func (m *merger) addUnits(spans []Span) {
	n := 0
	for _, s := range spans {
		s.Units(m.units[n : n+s.Len()])
		n += s.Len()
	}
	m.order = m.sorter.Sort(m.units[:n], PartitionBits)
	for i, from := range m.order {
		m.sortedUnits[i] = m.units[from] / partitions
	}
	m.builder.addUnits(m.sortedUnits[:n])
}

// addColumn writes a column of a window in the order of its units. Where all
// frames are told alike, as they mostly are, their offsets are moved as they
// stand, and else their values are packed anew.
func (m *merger) addColumn(column *packer, spans []Span, field int) {
	nulls := m.readNulls(spans, field)
	if f, same := alike(spans, field); same {
		m.window.read(spans, field, f.layout())
		if column.move(&f, &m.window, m.order, nulls) {
			return
		}
	}
	n := 0
	for _, s := range spans {
		p := s.Column(field)
		p.Values(m.values[n : n+s.Len()])
		n += s.Len()
	}
	for i, from := range m.order {
		m.sortedValues[i] = m.values[from]
	}
	column.add(m.sortedValues[:n], nulls)
}

// readNulls answers which rows of a window are NULL, in the order of the units,
// nil when none is.
func (m *merger) readNulls(spans []Span, field int) []bool {
	if !slices.ContainsFunc(spans, func(s Span) bool { return s.run.columns[field].null != nil }) {
		return nil
	}
	n := 0
	for _, s := range spans {
		p := s.Column(field)
		for i := range s.Len() {
			m.nulls[n+i] = p.Nullable() && p.Null(i)
		}
		n += s.Len()
	}
	for i, from := range m.order {
		m.sortedNulls[i] = m.nulls[from]
	}
	return m.sortedNulls[:n]
}

// alike says whether the frames of all spans have the same grid, and answers
// one with the largest of their offsets.
func alike(spans []Span, field int) (frame, bool) {
	f := *spans[0].frame(field)
	for _, s := range spans[1:] {
		other := s.frame(field)
		if other.base != f.base || other.step != f.step || other.layout() != f.layout() {
			return f, false
		}
		f.most = max(f.most, other.most)
	}
	return f, true
}

// frame answers the frame that a column has in the rows of a span.
func (s Span) frame(field int) *frame { return &s.run.columns[field].frames[s.from/frameRows] }

// window is a column's offsets in the rows of several spans, by planes. Offsets
// of a few bits have a byte each.
type window struct {
	bytes  []uint8
	shorts []uint16
	words  []uint32
	longs  []uint64
}

func newWindow() window {
	return window{
		bytes: make([]uint8, mergeRows), shorts: make([]uint16, mergeRows), words: make([]uint32, mergeRows), longs: make([]uint64, mergeRows),
	}
}

// read takes the offsets of spans, whose frames all have a layout.
func (w *window) read(spans []Span, field int, l layout) {
	n := 0
	for _, s := range spans {
		p, end := s.Column(field), n+s.Len()
		if l.bits > 0 {
			unpackBits(&p, w.bytes[n:end])
		}
		if l.bytes {
			copy(w.bytes[n:end], p.planes.bytes)
		}
		if l.shorts {
			copy(w.shorts[n:end], p.planes.shorts)
		}
		if l.words {
			copy(w.words[n:end], p.planes.words)
		}
		if l.longs {
			copy(w.longs[n:end], p.planes.longs)
		}
		n = end
	}
}

// unpackBits writes the offsets of the first rows, which have few bits.
func unpackBits(p *Piece, to []uint8) {
	width, mask := p.layout.bits, uint64(1)<<p.layout.bits-1
	first := p.bit
	for _, word := range p.planes.bits {
		n := min(len(to), int((64-first)/width))
		word >>= first
		for i := range to[:n] {
			to[i] = uint8(word & mask)
			word >>= width
		}
		if to, first = to[n:], 0; len(to) == 0 {
			return
		}
	}
}

// move appends rows of a window in an order, without a look at their values. It
// does nothing and answers false where a frame has begun in another way.
func (p *packer) move(f *frame, w *window, order []uint32, nulls []bool) bool {
	if len(p.values) > 0 || p.moved > 0 && p.frame.grid() != f.grid() {
		return false
	}
	for len(order) > 0 {
		if p.moved == 0 {
			if p.rows == 0 {
				p.vector.planes.reserve(f.layout(), p.total)
			}
			p.frame = *f
			p.vector.planes.begin(&p.frame)
		}
		n := min(len(order), frameRows-p.moved)
		p.frame.most = max(p.frame.most, f.most)
		p.moveOffsets(f.layout(), w, order[:n])
		if nulls != nil {
			p.mark(p.rows+p.moved, nulls[:n])
			nulls = nulls[n:]
		}
		if p.moved, order = p.moved+n, order[n:]; p.moved == frameRows {
			p.close()
		}
	}
	return true
}

func (p *packer) moveOffsets(l layout, w *window, order []uint32) {
	to := &p.vector.planes
	if l.bits > 0 {
		p.few = gatherPlane(p.few, w.bytes, order, 0)
	}
	if l.bytes {
		to.bytes = gatherPlane(to.bytes, w.bytes, order, 0)
	}
	if l.shorts {
		to.shorts = gatherPlane(to.shorts, w.shorts, order, 0)
	}
	if l.words {
		to.words = gatherPlane(to.words, w.words, order, 0)
	}
	if l.longs {
		to.longs = gatherPlane(to.longs, w.longs, order, 0)
	}
}

// close ends a frame whose rows were moved.
func (p *packer) close() {
	if width := p.frame.layout().bits; width > 0 {
		p.vector.planes.bits = packBits(p.vector.planes.bits, p.few, width)
		p.few = p.few[:0]
	}
	p.vector.frames = append(p.vector.frames, p.frame)
	p.rows, p.moved = p.rows+p.moved, 0
}

// unmove takes the rows of a frame that were moved back as values, so that
// others can follow.
func (p *packer) unmove() {
	n, f := p.moved, &p.frame
	if width := f.layout().bits; width > 0 {
		p.vector.planes.bits = packBits(p.vector.planes.bits, p.few, width)
		p.few = p.few[:0]
	}
	p.vector.frames = append(p.vector.frames, *f)
	piece := p.vector.piece(len(p.vector.frames)*frameRows - frameRows)
	p.values, p.nulls = p.values[:n], p.nulls[:n]
	piece.Values(p.values)
	for i := range p.nulls {
		row := p.rows + i
		p.nulls[i] = row/64 < len(p.vector.null) && p.vector.null[row/64]>>(row%64)&1 == 1
	}
	p.vector.frames = p.vector.frames[:len(p.vector.frames)-1]
	p.vector.planes.cut(f)
	p.moved = 0
}

// cut takes away what lies behind the beginning of a frame.
func (p *planes) cut(f *frame) {
	p.bits, p.bytes, p.shorts = p.bits[:f.at.bits], p.bytes[:f.at.bytes], p.shorts[:f.at.shorts]
	p.words, p.longs = p.words[:f.at.words], p.longs[:f.at.longs]
}
