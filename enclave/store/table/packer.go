package table

import "slices"

// packer makes a vector of values that come in pieces.
type packer struct {
	vector vector
	codes  bool // the values are codes, which have no common step
	total  int  // rows that will come
	rows   int  // in frames
	// The rows of the next frame: as values, or moved into the planes already.
	values  []int64
	nulls   []bool
	offsets []uint64 // room for theirs
	moved   int
	frame   frame
	few     []uint8 // offsets of a few bits, moved
}

// newPacker makes one for so many values.
func newPacker(codes bool, rows int) *packer {
	n := min(rows, frameRows)
	return &packer{codes: codes, total: rows, values: make([]int64, 0, n), nulls: make([]bool, 0, n), offsets: make([]uint64, n)}
}

// add appends values; nulls is nil when none of them is NULL.
func (p *packer) add(values []int64, nulls []bool) {
	if p.moved > 0 {
		p.unmove()
	}
	for len(values) > 0 {
		n := min(len(values), frameRows-len(p.values))
		p.values = append(p.values, values[:n]...)
		if nulls == nil {
			p.nulls = p.nulls[:len(p.values)]
			clear(p.nulls[len(p.values)-n:])
		} else {
			p.nulls = append(p.nulls, nulls[:n]...)
			nulls = nulls[n:]
		}
		if values = values[n:]; len(p.values) == frameRows {
			p.flush()
		}
	}
}

// finish answers the vector in memory of its own size.
func (p *packer) finish() vector {
	if len(p.values) > 0 {
		p.flush()
	}
	if p.moved > 0 {
		p.close()
	}
	v := p.vector
	v.trim()
	if v.null != nil {
		words := make([]uint64, (p.rows+63)/64)
		copy(words, v.null)
		v.null = words
	}
	return v
}

// trim puts frames and planes into memory of their own size.
func (v *vector) trim() {
	p := &v.planes
	v.frames = exact(v.frames)
	v.planes = planes{exact(p.bits), exact(p.bytes), exact(p.shorts), exact(p.words), exact(p.longs)}
}

// exact answers a list in memory of its own size, nil when it is empty.
func exact[T any](list []T) []T {
	switch {
	case len(list) == 0:
		return nil
	case len(list) == cap(list):
		return list
	}
	return append(make([]T, 0, len(list)), list...)
}

// flush packs the values at hand into a frame.
func (p *packer) flush() {
	span := p.measure()
	if span.Null {
		p.mark(p.rows, p.nulls)
	}
	f, offsets := newFrame(span), p.offsets[:len(p.values)]
	divide := newDivisor(f.step)
	for i, v := range p.values {
		if offsets[i] = 0; !span.Null || !p.nulls[i] {
			offsets[i], _ = divide.divide(uint64(v) - uint64(f.base))
		}
	}
	p.vector.planes.append(&f, offsets)
	p.vector.frames = append(p.vector.frames, f)
	p.vector.span = p.vector.span.join(span)
	p.rows += len(p.values)
	p.values, p.nulls = p.values[:0], p.nulls[:0]
}

// measure answers the range of the values at hand.
func (p *packer) measure() Range {
	r := rangeOf(p.values, p.nulls)
	switch {
	case r.Low == r.High:
	case p.codes:
		r.Step = 1
	default:
		r.Step = stepOf(p.values, p.nulls, r)
	}
	return r
}

// rangeOf answers the range of values, but for its step. nulls may be nil.
func rangeOf(values []int64, nulls []bool) Range {
	if len(values) == 0 {
		return Range{}
	}
	if !slices.Contains(nulls, true) {
		low, high := values[0], values[0]
		for _, v := range values {
			low, high = min(low, v), max(high, v)
		}
		return Range{Low: low, High: high, Value: true}
	}
	r := Range{Null: true}
	for i, v := range values {
		switch {
		case nulls[i]:
		case !r.Value:
			r.Low, r.High, r.Value = v, v, true
		default:
			r.Low, r.High = min(r.Low, v), max(r.High, v)
		}
	}
	return r
}

// stepOf answers the greatest step by which values lie over the lowest of their
// range.
func stepOf(values []int64, nulls []bool, r Range) uint64 {
	step, divide := uint64(0), divisor{}
	for i, v := range values {
		d := uint64(v) - uint64(r.Low)
		if d == 0 || r.Null && nulls[i] {
			continue
		}
		if _, exact := divide.divide(d); !exact || step == 0 {
			if step = gcd(d, step); step == 1 {
				break
			}
			divide = newDivisor(step)
		}
	}
	return step
}

// mark sets the bits of NULLs from a row on.
func (p *packer) mark(from int, nulls []bool) {
	if short := (from+len(nulls)+63)/64 - len(p.vector.null); short > 0 {
		p.vector.null = append(p.vector.null, make([]uint64, short)...)
	}
	for i, null := range nulls {
		if row := from + i; null {
			p.vector.null[row/64] |= 1 << (row % 64)
		}
	}
}

// append appends the offsets of a frame to the planes that they need, and notes
// where it begins in each.
func (p *planes) append(f *frame, offsets []uint64) {
	p.begin(f)
	switch l := layoutOf(f.most); {
	case l.bits > 0:
		p.bits = packBits(p.bits, offsets, l.bits)
	case l.longs:
		p.longs = packPlane(p.longs, offsets, 0)
	default:
		shift := uint(0)
		if l.words {
			p.words = packPlane(p.words, offsets, 0)
			shift = 32
		}
		if l.shorts {
			p.shorts = packPlane(p.shorts, offsets, shift)
			shift += 16
		}
		if l.bytes {
			p.bytes = packPlane(p.bytes, offsets, shift)
		}
	}
}

// begin notes where a frame begins in each plane.
func (p *planes) begin(f *frame) {
	f.at.bits, f.at.bytes, f.at.shorts = uint32(len(p.bits)), uint32(len(p.bytes)), uint32(len(p.shorts))
	f.at.words, f.at.longs = uint32(len(p.words)), uint32(len(p.longs))
}

// reserve makes room for the offsets of so many rows.
func (p *planes) reserve(l layout, rows int) {
	if l.bits > 0 {
		per := int(64 / l.bits)
		p.bits = make([]uint64, 0, (rows+per-1)/per)
	}
	if l.longs {
		p.longs = make([]uint64, 0, rows)
	}
	if l.words {
		p.words = make([]uint32, 0, rows)
	}
	if l.shorts {
		p.shorts = make([]uint16, 0, rows)
	}
	if l.bytes {
		p.bytes = make([]uint8, 0, rows)
	}
}

// packPlane appends the bits of offsets that an element holds, from a bit on.
func packPlane[P uint8 | uint16 | uint32 | uint64](plane []P, offsets []uint64, shift uint) []P {
	from := len(plane)
	plane = slices.Grow(plane, len(offsets))[:from+len(offsets)]
	to := plane[from:]
	for i, offset := range offsets {
		to[i] = P(offset >> (shift & 63))
	}
	return plane
}

func packBits[O uint8 | uint64](words []uint64, offsets []O, width uint) []uint64 {
	var word uint64
	for i, offset := range offsets {
		bit := uint(i) * width % 64
		if word |= uint64(offset) << bit; bit == 64-width || i == len(offsets)-1 {
			words = append(words, word)
			word = 0
		}
	}
	return words
}
