package table

// Lane is what offsets are read into. Sums wrap around.
type Lane interface{ uint32 | uint64 | int64 }

// Add adds base and step times its offset to the lane of each of a piece's
// rows: of the first ones, or of some that are counted from the first. to is as
// long as rows, unless rows is nil.
func Add[T Lane](p *Piece, rows []uint16, to []T, base, step T) {
	if base != 0 {
		for i := range to {
			to[i] += base
		}
	}
	switch l := p.layout; {
	case l.bits > 0 && rows == nil:
		addBits(p, to, step)
	case l.bits > 0:
		addBitsOf(p, rows, to, step)
	case l.longs:
		add(p.planes.longs, rows, to, step)
	default:
		if l.words {
			add(p.planes.words, rows, to, step)
			step <<= 16
			step <<= 16
		}
		if l.shorts {
			add(p.planes.shorts, rows, to, step)
			step <<= 16
		}
		if l.bytes {
			add(p.planes.bytes, rows, to, step)
		}
	}
}

// add adds step times the element of a plane to each lane.
func add[P uint8 | uint16 | uint32 | uint64, T Lane](plane []P, rows []uint16, to []T, step T) {
	if rows != nil {
		to = to[:len(rows)]
		for i, row := range rows {
			to[i] += step * T(plane[row])
		}
		return
	}
	plane = plane[:len(to)]
	for i, x := range plane {
		to[i] += step * T(x)
	}
}

// addBits is add for offsets of few bits: it takes a word apart after the other.
func addBits[T Lane](p *Piece, to []T, step T) {
	width, mask := p.layout.bits, uint64(1)<<p.layout.bits-1
	first := p.bit
	for _, word := range p.planes.bits {
		n := min(len(to), int((64-first)/width))
		word >>= first
		for i := range to[:n] {
			to[i] += step * T(word&mask)
			word >>= width
		}
		if to, first = to[n:], 0; len(to) == 0 {
			return
		}
	}
}

func addBitsOf[T Lane](p *Piece, rows []uint16, to []T, step T) {
	width, mask := p.layout.bits, uint64(1)<<p.layout.bits-1
	to = to[:len(rows)]
	for i, row := range rows {
		bit := p.bit + uint(row)*width
		to[i] += step * T(p.planes.bits[bit/64]>>(bit%64)&mask)
	}
}

// Values writes the values of the first rows. The value of a NULL means
// nothing.
func (p *Piece) Values(to []int64) {
	clear(to)
	Add(p, nil, to, p.Base, int64(p.Step))
}
