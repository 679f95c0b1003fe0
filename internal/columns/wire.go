package columns

import (
	"encoding/binary"

	"github.com/cloisterhq/cloister/internal/limits"
)

// The tags of protobuf fields: their numbers and wire types. All numbers are
// below 16, so that a tag is one byte.
const (
	tagColumn  = 1<<3 | 2 // of Batch
	tagName    = 1<<3 | 2 // of Column, and all below
	tagKind    = 2 << 3   // of wire type 0
	tagPresent = 3<<3 | 2
	tagBase    = 4<<3 | 1
	tagTexts   = 5<<3 | 2
	tagValues  = 6<<3 | 2
)

// wire reads protobuf's wire format as a careful writer writes it: fields in
// the order of their numbers, none twice, none with its default, varints in
// their shortest form.
type wire struct{ rest []byte }

// tag skips a tag if it comes next.
func (w *wire) tag(tag byte) bool {
	if len(w.rest) == 0 || w.rest[0] != tag {
		return false
	}
	w.rest = w.rest[1:]
	return true
}

// varint reads a number up to limits.Envelope.
func (w *wire) varint() (int, bool) {
	n, size := binary.Uvarint(w.rest)
	if size <= 0 || n > limits.Envelope || size > 1 && w.rest[size-1] == 0 {
		return 0, false
	}
	w.rest = w.rest[size:]
	return int(n), true
}

// bytes reads a length and so many bytes, without copying them.
func (w *wire) bytes() ([]byte, bool) {
	n, ok := w.varint()
	if !ok || n > len(w.rest) {
		return nil, false
	}
	b := w.rest[:n:n]
	w.rest = w.rest[n:]
	return b, true
}

// optional reads a field of bytes, nil if it isn't there.
func (w *wire) optional(tag byte) ([]byte, bool) {
	if !w.tag(tag) {
		return nil, true
	}
	b, ok := w.bytes()
	return b, ok && len(b) > 0
}

// column reads a column's message into its parts.
func (w *wire) column() (f fields, ok bool) {
	if !w.tag(tagColumn) {
		return f, false
	}
	body, ok := w.bytes()
	if !ok {
		return f, false
	}
	in := wire{body}
	if f.name, ok = in.optional(tagName); !ok {
		return f, false
	}
	if in.tag(tagKind) {
		n, ok := in.varint()
		if !ok || n == 0 {
			return f, false
		}
		f.kind = Kind(min(n, int(KindBool)+1))
	}
	if f.present, ok = in.optional(tagPresent); !ok {
		return f, false
	}
	if in.tag(tagBase) {
		if len(in.rest) < 8 {
			return f, false
		}
		f.base = int64(binary.LittleEndian.Uint64(in.rest))
		if in.rest = in.rest[8:]; f.base == 0 {
			return f, false
		}
	}
	if f.texts, ok = in.texts(); !ok {
		return f, false
	}
	f.values, ok = in.optional(tagValues)
	return f, ok && len(in.rest) == 0
}

// texts answers the bytes of all texts, with their tags and lengths.
func (w *wire) texts() ([]byte, bool) {
	all := w.rest
	for w.tag(tagTexts) {
		if _, ok := w.bytes(); !ok {
			return nil, false
		}
	}
	if len(w.rest) == len(all) {
		return nil, true
	}
	return all[:len(all)-len(w.rest)], true
}

// appendBytes writes a field of bytes.
func appendBytes[T string | []byte](out []byte, tag byte, b T) []byte {
	return append(binary.AppendUvarint(append(out, tag), uint64(len(b))), b...)
}
