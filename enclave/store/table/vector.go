package table

import (
	"math"
	"math/bits"
	"unsafe"
)

// frameRows is the number of rows in a frame; the last one of a run has fewer.
const frameRows = 4 << 10

// frame is some rows of a vector. A value is base + step times its offset.
type frame struct {
	base int64
	step uint64 // at least 1
	most uint64 // the largest offset
	// at is where the frame begins in each plane that it has, in elements.
	at struct{ bits, bytes, shorts, words, longs uint32 }
}

// newFrame answers a frame for values of a range, without its rows.
func newFrame(r Range) frame {
	f := frame{base: r.Low, step: max(r.Step, 1)}
	f.most, _ = newDivisor(f.step).divide(distance(r.Low, r.High))
	f.align()
	return f
}

// align lowers the base to a rounder one, as far as the offsets stay in the same
// planes. So most frames of a column have the same base, and can be merged
// without a look at their values.
func (f *frame) align() {
	const widest = 1 << 62
	if f.most == 0 || f.step >= widest {
		return
	}
	step, layout := int64(f.step), layoutOf(f.most)
	q := f.base / step
	if q*step > f.base {
		q-- // rounded down, also below zero
	}
	for shift := 62; shift > 0; shift-- {
		back := uint64(q - q>>shift<<shift)
		high, low := bits.Mul64(back, f.step)
		if high > 0 || low > distance(math.MinInt64, f.base) || f.most+back < f.most || layoutOf(f.most+back) != layout {
			continue
		}
		f.base, f.most = f.base-int64(low), f.most+back
		return
	}
}

// grid is how the offsets of a frame are read.
type grid struct {
	base   int64
	step   uint64
	layout layout
}

func (f *frame) grid() grid { return grid{f.base, f.step, f.layout()} }

func (f *frame) layout() layout { return layoutOf(f.most) }

// planes hold the offsets of rows, one element a row in each plane that the
// largest offset needs: three bytes are a short and a byte. Offsets of one, two
// or four bits lie in bits alone, the first row in the lowest.
type planes struct {
	bits   []uint64
	bytes  []uint8
	shorts []uint16
	words  []uint32
	longs  []uint64
}

// layout is the planes that an offset lies in, from the lowest bits up.
type layout struct {
	bits                        uint // 1, 2 or 4, and no plane else
	longs, words, shorts, bytes bool
}

// layoutOf answers the planes for offsets up to the largest.
func layoutOf(most uint64) layout {
	switch n := bits.Len64(most); {
	case n == 0:
		return layout{}
	case n <= 4:
		return layout{bits: 1 << bits.Len(uint(n-1))}
	case n > 56:
		return layout{longs: true}
	default:
		size := (n + 7) / 8 // in bytes, as a sum of 4, 2 and 1
		return layout{words: size&4 != 0, shorts: size&2 != 0, bytes: size&1 != 0}
	}
}

// vector is one column of a run, packed: each frame's offsets in as few bits as
// the largest of them needs, up to the next that can be read fast. The zero
// vector is a column that isn't kept.
type vector struct {
	frames []frame
	planes planes
	null   []uint64 // a bit a row, nil when there is no NULL
	span   Range
}

// Range bounds the values of a column: each that isn't NULL is Low plus a
// multiple of Step, and at most High.
type Range struct {
	Low, High int64
	// Step is 0 when no two values differ.
	Step uint64
	// Value says that there is a value, Null that there is a NULL.
	Value, Null bool
}

// join answers the range of both columns' values.
func (r Range) join(other Range) Range {
	null := r.Null || other.Null
	switch {
	case !r.Value:
		r = other
	case other.Value:
		r.Step = gcd(gcd(r.Step, other.Step), distance(r.Low, other.Low))
		r.Low, r.High = min(r.Low, other.Low), max(r.High, other.High)
	}
	r.Null = null
	return r
}

// distance is the difference of two integers, which 63 bits may not hold.
func distance(a, b int64) uint64 { return uint64(max(a, b)) - uint64(min(a, b)) }

// gcd is the greatest common divisor; gcd(n, 0) is n.
func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (v *vector) held() int64 {
	p := &v.planes
	return int64(cap(v.frames))*int64(unsafe.Sizeof(frame{})) + 8*int64(cap(v.null)) +
		8*int64(cap(p.bits)) + int64(cap(p.bytes)) + 2*int64(cap(p.shorts)) + 4*int64(cap(p.words)) + 8*int64(cap(p.longs))
}

// at answers one value; that of a NULL means nothing.
func (v *vector) at(row int) int64 {
	f, i := &v.frames[row/frameRows], uint32(row%frameRows)
	var offset uint64
	switch l := layoutOf(f.most); {
	case l.bits > 0:
		bit := uint(i) * l.bits
		offset = v.planes.bits[f.at.bits+uint32(bit/64)] >> (bit % 64) & (1<<l.bits - 1)
	case l.longs:
		offset = v.planes.longs[f.at.longs+i]
	default:
		shift := 0
		if l.words {
			offset, shift = uint64(v.planes.words[f.at.words+i]), 32
		}
		if l.shorts {
			offset |= uint64(v.planes.shorts[f.at.shorts+i]) << shift
			shift += 16
		}
		if l.bytes {
			offset |= uint64(v.planes.bytes[f.at.bytes+i]) << shift
		}
	}
	return f.base + int64(f.step*offset)
}

// Piece is a column in the rows of a Span. The value of a row is Base + Step
// times its offset, wrapping around, and no offset is over Most. The offset of
// a NULL is 0.
type Piece struct {
	Base       int64
	Step, Most uint64

	layout layout
	planes planes // from the first row on
	bit    uint   // of the first row in planes.bits
	null   []uint64
	row    int // in the run, of the first
}

// piece answers the rest of a frame from a row on.
func (v *vector) piece(row int) Piece {
	f, i := &v.frames[row/frameRows], uint32(row%frameRows)
	p := Piece{Base: f.base, Step: f.step, Most: f.most, layout: layoutOf(f.most), null: v.null, row: row}
	if p.layout.bits > 0 {
		bit := uint(i) * p.layout.bits
		p.planes.bits, p.bit = v.planes.bits[f.at.bits+uint32(bit/64):], bit%64
	}
	if p.layout.longs {
		p.planes.longs = v.planes.longs[f.at.longs+i:]
	}
	if p.layout.words {
		p.planes.words = v.planes.words[f.at.words+i:]
	}
	if p.layout.shorts {
		p.planes.shorts = v.planes.shorts[f.at.shorts+i:]
	}
	if p.layout.bytes {
		p.planes.bytes = v.planes.bytes[f.at.bytes+i:]
	}
	return p
}

// divisor divides by a step without dividing: the inverse of its odd part
// modulo 2^64 answers exact quotients, and what isn't one is larger than any.
type divisor struct {
	inverse uint64
	shift   int
	largest uint64
}

func newDivisor(step uint64) divisor {
	shift := bits.TrailingZeros64(step)
	odd := step >> shift
	inverse := odd // right in three bits; each round doubles them
	for range 5 {
		inverse *= 2 - odd*inverse
	}
	return divisor{inverse: inverse, shift: shift, largest: ^uint64(0) / step}
}

func (d divisor) divide(n uint64) (quotient uint64, exact bool) {
	q := bits.RotateLeft64(n*d.inverse, -d.shift)
	return q, q <= d.largest
}
