package table

import "slices"

// packer makes a vector of values that come in pieces.
type packer struct {
	vector vector
	codes  bool // the values are codes, which have no common step
	values []int64
	nulls  []bool
	rows   int

	offsets []uint64 // of a frame on its way into the planes
}

// newPacker makes one for so many values.
func newPacker(codes bool, rows int) *packer {
	n := min(rows, frameRows)
	return &packer{codes: codes, values: make([]int64, 0, n), nulls: make([]bool, 0, n), offsets: make([]uint64, n)}
}

// add appends values; nulls is nil when none of them is NULL.
func (p *packer) add(values []int64, nulls []bool) {
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
	v := p.vector
	v.frames = exact(v.frames)
	v.planes = planes{exact(v.planes.bits), exact(v.planes.bytes), exact(v.planes.shorts), exact(v.planes.words), exact(v.planes.longs)}
	if v.null != nil {
		words := make([]uint64, (p.rows+63)/64)
		copy(words, v.null)
		v.null = words
	}
	return v
}

// exact answers a list in memory of its own size, nil when it is empty.
func exact[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return append(make([]T, 0, len(list)), list...)
}

// flush packs the values at hand into a frame.
func (p *packer) flush() {
	first := p.rows
	p.rows += len(p.values)
	span := p.measure()
	if span.Null {
		p.mark(first)
	}
	f := frame{base: span.Low, step: max(span.Step, 1)}
	divide := newDivisor(f.step)
	f.most, _ = divide.divide(distance(span.Low, span.High))
	for i, v := range p.values {
		if p.offsets[i] = 0; !p.nulls[i] {
			p.offsets[i], _ = divide.divide(uint64(v) - uint64(f.base))
		}
	}
	p.pack(&f)
	p.vector.frames = append(p.vector.frames, f)
	p.vector.span = p.vector.span.join(span)
	p.values, p.nulls = p.values[:0], p.nulls[:0]
}

// measure answers the range of the values at hand.
func (p *packer) measure() Range {
	var r Range
	for i, v := range p.values {
		switch {
		case p.nulls[i]:
			r.Null = true
		case !r.Value:
			r.Low, r.High, r.Value = v, v, true
		default:
			r.Low, r.High = min(r.Low, v), max(r.High, v)
		}
	}
	switch {
	case r.Low == r.High:
	case p.codes:
		r.Step = 1
	default:
		r.Step = p.step(r.Low)
	}
	return r
}

// step answers the greatest step by which all values at hand lie over low.
func (p *packer) step(low int64) uint64 {
	step, divide := uint64(0), divisor{}
	for i, v := range p.values {
		d := uint64(v) - uint64(low)
		if p.nulls[i] || d == 0 {
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

// mark sets the bits of NULLs at hand, whose first row is given.
func (p *packer) mark(first int) {
	if short := (p.rows+63)/64 - len(p.vector.null); short > 0 {
		p.vector.null = append(p.vector.null, make([]uint64, short)...)
	}
	for i, null := range p.nulls {
		if row := first + i; null {
			p.vector.null[row/64] |= 1 << (row % 64)
		}
	}
}

// pack appends the offsets at hand to the planes that they need.
func (p *packer) pack(f *frame) {
	to, offsets := &p.vector.planes, p.offsets[:len(p.values)]
	f.at.bits, f.at.bytes, f.at.shorts = uint32(len(to.bits)), uint32(len(to.bytes)), uint32(len(to.shorts))
	f.at.words, f.at.longs = uint32(len(to.words)), uint32(len(to.longs))
	shift := 0
	switch l := layoutOf(f.most); {
	case l.bits > 0:
		to.bits = packBits(to.bits, offsets, l.bits)
	case l.longs:
		to.longs = packPlane(to.longs, offsets, 0)
	default:
		if l.words {
			to.words = packPlane(to.words, offsets, 0)
			shift = 32
		}
		if l.shorts {
			to.shorts = packPlane(to.shorts, offsets, shift)
			shift += 16
		}
		if l.bytes {
			to.bytes = packPlane(to.bytes, offsets, shift)
		}
	}
}

// packPlane appends the bits of offsets that an element holds, from a bit on.
func packPlane[P uint8 | uint16 | uint32 | uint64](plane []P, offsets []uint64, shift int) []P {
	from := len(plane)
	plane = slices.Grow(plane, len(offsets))[:from+len(offsets)]
	for i, offset := range offsets {
		plane[from+i] = P(offset >> shift)
	}
	return plane
}

func packBits(words, offsets []uint64, width uint) []uint64 {
	var word uint64
	for i, offset := range offsets {
		bit := uint(i) * width % 64
		if word |= offset << bit; bit == 64-width || i == len(offsets)-1 {
			words = append(words, word)
			word = 0
		}
	}
	return words
}
