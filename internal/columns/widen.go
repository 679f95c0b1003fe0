package columns

import (
	"encoding/binary"
	"math"
	"slices"
)

// widthOf is the fewest bytes of 1, 2, 4 and 8 that hold v.
func widthOf(v uint64) int {
	switch {
	case v <= math.MaxUint8:
		return 1
	case v <= math.MaxUint16:
		return 2
	case v <= math.MaxUint32:
		return 4
	default:
		return 8
	}
}

// codeSize is the bytes of a code into so many texts.
func codeSize(texts int) int {
	if texts <= 1<<8 {
		return 1
	}
	return 2
}

// widen writes base plus each of the little-endian numbers in from to out, which
// has as many, and answers the smallest and the largest of those numbers.
func widen(out []int64, from []byte, width int, base int64) (low, high uint64) {
	low = math.MaxUint64
	switch width {
	case 1:
		for i, v := range from[:len(out)] {
			d := uint64(v)
			out[i] = base + int64(d)
			low, high = min(low, d), max(high, d)
		}
	case 2:
		for i := range out {
			d := uint64(binary.LittleEndian.Uint16(from[2*i:]))
			out[i] = base + int64(d)
			low, high = min(low, d), max(high, d)
		}
	case 4:
		for i := range out {
			d := uint64(binary.LittleEndian.Uint32(from[4*i:]))
			out[i] = base + int64(d)
			low, high = min(low, d), max(high, d)
		}
	default:
		for i := range out {
			d := binary.LittleEndian.Uint64(from[8*i:])
			out[i] = base + int64(d)
			low, high = min(low, d), max(high, d)
		}
	}
	return low, high
}

// widenCodes writes the little-endian numbers in from to out, which has as many,
// and says that they are all the numbers below n and no others.
func widenCodes(out []uint16, from []byte, size, n int) bool {
	seen := make([]bool, n)
	if size == 1 {
		for i, v := range from[:len(out)] {
			if int(v) >= len(seen) {
				return false
			}
			seen[v] = true
			out[i] = uint16(v)
		}
	} else {
		for i := range out {
			v := binary.LittleEndian.Uint16(from[2*i:])
			if int(v) >= len(seen) {
				return false
			}
			seen[v] = true
			out[i] = v
		}
	}
	return !slices.Contains(seen, false)
}

// spread moves the first n values of out, in place, to where present has its n
// bits, and sets the others to 0.
func spread[T int64 | uint16](out []T, n int, present []uint64) {
	at := n // the values before it aren't in their places
	for w := len(present) - 1; w >= 0; w-- {
		word := present[w]
		part := out[64*w : min(64*w+64, len(out))]
		switch word {
		case 0:
			clear(part)
		case math.MaxUint64:
			at -= 64
			copy(part, out[at:at+64])
		default:
			for i := len(part) - 1; i >= 0; i-- {
				b := word >> (i & 63) & 1
				at -= int(b)
				part[i] = out[at] & -T(b)
			}
		}
	}
}

// bitmap reads the bits of so many records, the first in the lowest bit of the
// first byte; nil when that isn't their form.
func bitmap(raw []byte, rows int) []uint64 {
	if len(raw) != (rows+7)/8 || rows%8 != 0 && raw[len(raw)-1]>>(rows%8) != 0 {
		return nil
	}
	out := make([]uint64, words(rows))
	for i := range out {
		if len(raw) >= 8 {
			out[i], raw = binary.LittleEndian.Uint64(raw), raw[8:]
			continue
		}
		for j, b := range raw {
			out[i] |= uint64(b) << (8 * j)
		}
	}
	return out
}
