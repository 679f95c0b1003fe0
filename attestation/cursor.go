package attestation

import "encoding/binary"

// Major types of CBOR (RFC 8949, section 3.1), as far as documents use them.
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

const (
	nullByte  = 0xf6
	breakByte = 0xff
)

// cursor reads definite CBOR heads and strings off the front of a byte slice.
// It knows six forms and refuses everything else, so it needs no limit on
// nesting, and it never allocates: what it answers points into the input.
//
// A general decoder isn't used here because it would have to be kept from
// accepting what documents never have: text, arrays or null in place of byte
// strings. The verifier's second opinion reads the same bytes with such a
// decoder and compares.
type cursor struct{ rest []byte }

// head is a data item's first bytes.
type head struct {
	major    byte
	arg      uint64
	shortest bool // the argument is written in the fewest bytes
}

// empty says whether everything has been read.
func (c *cursor) empty() bool { return len(c.rest) == 0 }

// next answers the first byte without reading it, 0xff at the end.
func (c *cursor) next() byte {
	if c.empty() {
		return breakByte
	}
	return c.rest[0]
}

// head reads one head. Indefinite lengths and reserved values are errors.
func (c *cursor) head() (head, error) {
	if c.empty() {
		return head{}, malformed("truncated")
	}
	first := c.rest[0]
	h := head{major: first >> 5, arg: uint64(first & 0x1f), shortest: true}
	c.rest = c.rest[1:]
	if h.arg < 24 {
		return h, nil
	}
	if h.arg > 27 {
		return head{}, malformed("indefinite or reserved length")
	}
	size := 1 << (h.arg - 24)
	if len(c.rest) < size {
		return head{}, malformed("truncated")
	}
	var wide [8]byte
	copy(wide[8-size:], c.rest[:size])
	c.rest = c.rest[size:]
	h.arg = binary.BigEndian.Uint64(wide[:])
	h.shortest = h.arg >= shortestFrom(size)
	return h, nil
}

// shortestFrom is the smallest argument that needs size bytes.
func shortestFrom(size int) uint64 {
	switch size {
	case 1:
		return 24
	case 2:
		return 1 << 8
	case 4:
		return 1 << 16
	default:
		return 1 << 32
	}
}

// take reads n bytes.
func (c *cursor) take(n uint64) ([]byte, error) {
	if n > uint64(len(c.rest)) {
		return nil, malformed("truncated")
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b, nil
}

// str reads a definite string of the given major type. ok is false, and
// nothing was read, when the next item is of another type.
func (c *cursor) str(major byte) (b []byte, ok bool, err error) {
	if c.empty() {
		return nil, false, malformed("truncated")
	}
	if c.next()>>5 != major {
		return nil, false, nil
	}
	h, err := c.head()
	if err != nil {
		return nil, false, err
	}
	b, err = c.take(h.arg)
	return b, err == nil, err
}

// null reads a null, if one is next.
func (c *cursor) null() bool {
	if c.next() != nullByte {
		return false
	}
	c.rest = c.rest[1:]
	return true
}

func malformed(detail string) *Error { return NewError(Malformed, detail, nil) }
