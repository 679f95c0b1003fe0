package cms

import "fmt"

const (
	// maxMessage is the longest message that is read, in bytes.
	maxMessage = 64 << 10
	// maxDepth is how many elements may be open at a time.
	maxDepth = 8
	// indefiniteLength is the length octet of an element that ends with
	// end-of-contents octets (X.690, section 8.1.3.6).
	indefiniteLength = 0x80
	// endOfContents closes such an element (X.690, section 8.1.5).
	endOfContents = "\x00\x00"
)

// form says in which of the two forms the length of a constructed element may
// come.
type form int

const (
	definite form = 1 << iota
	indefinite
	either = definite | indefinite
)

// frame is a constructed element that is open.
type frame struct {
	// end is where the element ends, or where it must have ended when its
	// length is indefinite.
	end        int
	indefinite bool
}

// reader reads the BER (X.690) of one message, element by element as its caller
// expects them, without recursion. Lengths must be in their shortest form. After
// the first failure it reads nothing more.
type reader struct {
	in     []byte
	at     int
	frames [maxDepth]frame
	depth  int
	err    error
}

func newReader(in []byte) *reader {
	r := &reader{in: in}
	if len(in) > maxMessage {
		r.fail("longer than 64 KiB")
	}
	return r
}

// fail keeps the first failure.
func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
}

// end fails unless everything was read.
func (r *reader) end() {
	if r.at != len(r.in) || r.depth != 0 {
		r.fail("something follows")
	}
}

// limit answers where the innermost open element ends at the latest.
func (r *reader) limit() int {
	if r.depth == 0 {
		return len(r.in)
	}
	return r.frames[r.depth-1].end
}

// left answers how many bytes the innermost open element can still have.
func (r *reader) left() int {
	if r.err != nil {
		return 0
	}
	return r.limit() - r.at
}

// next says whether an element with this tag comes next.
func (r *reader) next(tag byte) bool { return r.left() > 0 && r.in[r.at] == tag }

// starts says whether these bytes come next in the innermost open element.
func (r *reader) starts(want string) bool {
	return r.left() >= len(want) && string(r.in[r.at:r.at+len(want)]) == want
}

// exact reads bytes that must be these.
func (r *reader) exact(want, what string) {
	if !r.starts(want) {
		r.fail(what)
	}
	if r.err == nil {
		r.at += len(want)
	}
}

// header reads a tag and a length. The content, if its length is definite, lies
// within the innermost open element.
func (r *reader) header(tag byte, what string) (length int, as form) {
	if r.left() < 2 || r.in[r.at] != tag {
		r.fail(what)
		return 0, definite
	}
	first := r.in[r.at+1]
	r.at += 2
	switch {
	case first < indefiniteLength:
		length = int(first)
	case first == indefiniteLength:
		return 0, indefinite
	default:
		length = r.long(int(first&0x7f), what)
	}
	if length > r.left() {
		r.fail(what)
		return 0, definite
	}
	return length, definite
}

// long reads a length of one or two octets (X.690, section 8.1.3.5); a longer
// one is over maxMessage.
func (r *reader) long(octets int, what string) (length int) {
	if octets < 1 || octets > 2 || octets > r.left() {
		r.fail(what)
		return 0
	}
	for range octets {
		length = length<<8 | int(r.in[r.at])
		r.at++
	}
	if length < 0x80 || octets == 2 && length < 0x100 {
		r.fail(what) // not the shortest form
	}
	return length
}

// primitive reads a primitive element and answers its content, a part of the
// input.
func (r *reader) primitive(tag byte, what string) []byte {
	length, as := r.header(tag, what)
	if as != definite {
		r.fail(what)
	}
	if r.err != nil {
		return nil
	}
	content := r.in[r.at : r.at+length : r.at+length]
	r.at += length
	return content
}

// sized reads a primitive element of a fixed length.
func (r *reader) sized(tag byte, length int, what string) []byte {
	content := r.primitive(tag, what)
	if len(content) != length {
		r.fail(what)
	}
	return content
}

// open enters a constructed element whose length is in one of the forms.
func (r *reader) open(tag byte, allowed form, what string) {
	length, as := r.header(tag, what)
	if as&allowed == 0 || r.depth == maxDepth {
		r.fail(what)
	}
	if r.err != nil {
		return
	}
	f := frame{end: r.at + length}
	if as == indefinite {
		f = frame{end: r.limit(), indefinite: true}
	}
	r.frames[r.depth] = f
	r.depth++
}

// more says whether the innermost open element goes on.
func (r *reader) more() bool {
	if r.left() == 0 {
		return false
	}
	return !r.frames[r.depth-1].indefinite || !r.starts(endOfContents)
}

// close leaves the innermost open element, which must end here.
func (r *reader) close(what string) {
	if r.err != nil {
		return
	}
	if r.frames[r.depth-1].indefinite {
		r.exact(endOfContents, what)
	} else if r.left() != 0 {
		r.fail(what)
	}
	r.depth--
}
