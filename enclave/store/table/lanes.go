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

// Within writes which of the first n rows have an offset from low to high, at
// most Most, and answers them; false when their offsets lie in several planes.
// to has room for n.
func (p *Piece) Within(low, high uint64, n int, to []uint16) ([]uint16, bool) {
	switch p.layout {
	case layout{bytes: true}:
		return to[:within(p.planes.bytes[:n], uint8(low), uint8(high), to)], true
	case layout{shorts: true}:
		return to[:within(p.planes.shorts[:n], uint16(low), uint16(high), to)], true
	case layout{words: true}:
		return to[:within(p.planes.words[:n], uint32(low), uint32(high), to)], true
	case layout{longs: true}:
		return to[:within(p.planes.longs[:n], low, high, to)], true
	}
	return nil, false
}

// within writes every row and keeps the place of one that passes, which costs
// less than a branch that nobody can predict.
func within[P uint8 | uint16 | uint32 | uint64](plane []P, low, high P, to []uint16) int {
	n, width := 0, high-low
	to = to[:len(plane)]
	for i, x := range plane {
		to[n] = uint16(i) //nolint:gosec // less than the rows of a frame
		kept := 0
		if x-low <= width {
			kept = 1
		}
		n += kept
	}
	return n
}
