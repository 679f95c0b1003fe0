package columns

import (
	"encoding/binary"
	"math"
)

// CBOR major types (RFC 8949 section 3.1), already in the upper three bits.
const (
	majorUnsigned = 0 << 5
	majorNegative = 1 << 5
	majorText     = 3 << 5
	majorMap      = 5 << 5
	simpleFalse   = 0xf4
	simpleTrue    = 0xf5
	simpleNull    = 0xf6
)

// headSize is the number of bytes of an item's head with argument n.
func headSize(n uint64) int {
	switch {
	case n < 24:
		return 1
	case n <= math.MaxUint8:
		return 2
	case n <= math.MaxUint16:
		return 3
	case n <= math.MaxUint32:
		return 5
	default:
		return 9
	}
}

// valueSize is the number of bytes of a cell's value.
func valueSize(c Cell) int {
	switch c.Kind {
	case KindInt:
		_, n := intHead(c.Int)
		return headSize(n)
	case KindText:
		return headSize(uint64(len(c.Text))) + len(c.Text)
	default:
		return 1
	}
}

// intHead answers how an integer is written: -1-n with the argument n when it
// is negative.
func intHead(v int64) (major byte, n uint64) {
	if v < 0 {
		return majorNegative, uint64(^v)
	}
	return majorUnsigned, uint64(v)
}

func appendHead(b []byte, major byte, n uint64) []byte {
	switch headSize(n) {
	case 1:
		return append(b, major|byte(n))
	case 2:
		return append(b, major|24, byte(n))
	case 3:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case 5:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), n)
	}
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendValue(b []byte, c Cell) []byte {
	switch c.Kind {
	case KindInt:
		major, n := intHead(c.Int)
		return appendHead(b, major, n)
	case KindText:
		return appendText(b, c.Text)
	case KindBool:
		return append(b, simpleFalse+byte(c.Int))
	default:
		return append(b, simpleNull)
	}
}
