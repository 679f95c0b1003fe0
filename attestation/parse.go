package attestation

import (
	"bytes"

	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// tagSign1 is the optional CBOR tag 18 (RFC 9052, section 2).
	tagSign1 = 0xd2
	// arrayOf4 is the head of a COSE_Sign1 message.
	arrayOf4 = 0x84
	// emptyMap is the only unprotected header.
	emptyMap = 0xa0
	// maxPayload is the largest payload, in bytes (attestation process
	// document, section "COSE and CBOR").
	maxPayload = 16384

	// protectedHeader is the byte string {1: -35}, ES384, with its head.
	protectedHeader = "\x44\xa1\x01\x38\x22"
	// signaturePrefix opens the Sig_structure: an array of four and "Signature1".
	signaturePrefix = "\x84\x6aSignature1"
	// emptyBytes is the external data of the Sig_structure.
	emptyBytes = "\x40"
)

// Parse reads one document, with or without tag 18, and nothing behind it.
// The result shares no memory with raw. Errors are always *[Error]; the size
// of everything is checked before anything is copied.
func Parse(raw []byte) (*Document, error) {
	if len(raw) == 0 {
		return nil, malformed("empty")
	}
	if len(raw) > limits.Document {
		return nil, malformed("too long")
	}
	d := &Document{raw: bytes.Clone(raw)}
	d.message = d.raw
	if d.message[0] == tagSign1 {
		d.message = d.message[1:]
	}
	if len(d.message) == 0 || d.message[0] != arrayOf4 {
		return nil, malformed("not an array of four")
	}
	payload, err := d.envelope(&cursor{d.message[1:]})
	if err != nil {
		return nil, err
	}
	if err := d.walk(payload); err != nil {
		return nil, err
	}
	return d, nil
}

// envelope reads the four elements and answers the payload. Both headers are
// compared as bytes and every length must be in its shortest form: none of
// this is signed, so any slack would be malleability.
func (d *Document) envelope(c *cursor) ([]byte, error) {
	if err := protected(c); err != nil {
		return nil, err
	}
	if c.next() != emptyMap {
		return nil, malformed("unprotected header isn't the empty map")
	}
	c.rest = c.rest[1:]
	item := c.rest
	payload, err := outerBytes(c)
	if err != nil {
		return nil, err
	}
	if len(payload) == 0 || len(payload) > maxPayload {
		return nil, malformed("payload of a wrong size")
	}
	d.payload = item[:len(item)-len(c.rest)]
	if d.signature, err = outerBytes(c); err != nil {
		return nil, err
	}
	if !c.empty() {
		return nil, malformed("trailing bytes after the message")
	}
	return payload, nil
}

// protected reads the protected header. A byte string with anything else in
// it is another algorithm, or the same one written otherwise.
func protected(c *cursor) error {
	if rest, ok := bytes.CutPrefix(c.rest, []byte(protectedHeader)); ok {
		c.rest = rest
		return nil
	}
	if _, err := outerBytes(c); err != nil {
		return err
	}
	return NewError(Algorithm, "protected header isn't exactly {1: -35}", nil)
}

// outerBytes reads a byte string with a head in its shortest form.
func outerBytes(c *cursor) ([]byte, error) {
	h, err := c.head()
	if err != nil {
		return nil, err
	}
	if h.major != majorBytes {
		return nil, malformed("not a byte string")
	}
	if !h.shortest {
		return nil, malformed("length not in its shortest form")
	}
	return c.take(h.arg)
}
