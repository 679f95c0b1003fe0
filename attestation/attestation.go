// Package attestation reads Nitro attestation documents. It trusts nothing and
// authenticates nothing: a [Document] says what its bytes say, and package
// verifier decides whether anybody should believe it.
//
// The format is that of the Nitro Secure Module API's attestation process
// document (aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md): a
// COSE_Sign1 message (RFC 9052, section 4.2) around a CBOR map. Reading is
// stricter than that text wherever real documents allow it: one byte string
// has one reading, and nothing outside the signed payload can vary but the
// optional tag and the signature itself.
package attestation

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"time"
)

const (
	// PCRSize is the size of a register of a SHA-384 bank, in bytes.
	PCRSize = sha512.Size384
	// PCRCount is the number of registers of a Nitro Secure Module.
	PCRCount = 32
	// SignatureSize is the size of an ES384 signature, r and s of 48 bytes
	// each (RFC 9053, section 2.1).
	SignatureSize = 96
)

// PCR is the value of one platform configuration register.
type PCR [PCRSize]byte

// errHex says that a text isn't a register's value.
var errHex = errors.New("attestation: a PCR is written as 96 hexadecimal digits")

// ParsePCR reads 96 hexadecimal digits of either case.
func ParsePCR(text string) (PCR, error) {
	var p PCR
	if len(text) != 2*PCRSize {
		return PCR{}, errHex
	}
	if _, err := hex.Decode(p[:], []byte(text)); err != nil {
		return PCR{}, errHex
	}
	return p, nil
}

// IsZero says whether the register was never extended, as PCR0, PCR1 and PCR2
// of a debug enclave.
func (p PCR) IsZero() bool { return p == PCR{} }

// String is the value in lower-case hexadecimal digits.
func (p PCR) String() string { return hex.EncodeToString(p[:]) }

// Extend answers the register's value after an extension by raw data:
// SHA-384(old value || data).
func (p PCR) Extend(data []byte) PCR {
	h := sha512.New384()
	h.Write(p[:])
	h.Write(data)
	return PCR(h.Sum(nil))
}

// Document is a well-formed attestation document of a Nitro enclave. Only
// [Parse] makes one, and it never changes. Its content is the sender's word.
type Document struct {
	raw       []byte
	message   []byte // raw without the optional tag
	payload   []byte // the third element, its head included
	signature []byte

	moduleID    string
	timestamp   uint64 // milliseconds
	pcrs        [PCRCount]PCR
	locked      uint32 // bit i: the document has PCR i
	certificate []byte
	bundle      [][]byte
	publicKey   []byte
	userData    []byte
	nonce       []byte
}

// ModuleID names the enclave and its instance: i-<hex>-enc<hex>.
func (d *Document) ModuleID() string { return d.moduleID }

// Timestamp is when the document was made, by the module's clock, in UTC with
// milliseconds.
func (d *Document) Timestamp() time.Time {
	return time.UnixMilli(int64(d.timestamp)).UTC() //nolint:gosec // Parse bounds it to 2^53-1.
}

// PCR answers register i, and false when the document doesn't have it:
// documents hold locked registers only.
func (d *Document) PCR(i int) (PCR, bool) {
	if i < 0 || i >= PCRCount || d.locked&(1<<i) == 0 {
		return PCR{}, false
	}
	return d.pcrs[i], true
}

// PCRs answers a copy of all registers of the document.
func (d *Document) PCRs() map[int]PCR {
	all := make(map[int]PCR, PCRCount)
	for i := range PCRCount {
		if p, ok := d.PCR(i); ok {
			all[i] = p
		}
	}
	return all
}

// PublicKey answers a copy of public_key; nil when it is absent, null or
// empty, so that an empty key binds nothing.
func (d *Document) PublicKey() []byte { return bytes.Clone(d.publicKey) }

// UserData answers a copy of user_data; nil when it is absent or null.
func (d *Document) UserData() []byte { return bytes.Clone(d.userData) }

// Nonce answers a copy of nonce; nil when it is absent or null.
func (d *Document) Nonce() []byte { return bytes.Clone(d.nonce) }

// Certificate answers a copy of the leaf certificate, in DER.
func (d *Document) Certificate() []byte { return bytes.Clone(d.certificate) }

// CABundle answers a copy of the certificates above the leaf, in DER, the
// root first.
func (d *Document) CABundle() [][]byte {
	all := make([][]byte, len(d.bundle))
	for i, der := range d.bundle {
		all[i] = bytes.Clone(der)
	}
	return all
}

// Raw answers a copy of the bytes that were parsed. Don't recognise documents
// by them: (r, n-s) is a second good signature of the same content.
func (d *Document) Raw() []byte { return bytes.Clone(d.raw) }

// Message answers a copy of Raw without the optional COSE_Sign1 tag.
func (d *Document) Message() []byte { return bytes.Clone(d.message) }

// Signed answers what the signature covers: the Sig_structure with context
// "Signature1" and no external data (RFC 9052, section 4.4).
func (d *Document) Signed() []byte {
	return append([]byte(signaturePrefix+protectedHeader+emptyBytes), d.payload...)
}

// Digest answers SHA-384 of Signed, what ES384 signs (RFC 9053, section 2.1).
// Two good signatures of one content have one digest, so memories of documents
// are keyed on it.
func (d *Document) Digest() [sha512.Size384]byte {
	h := sha512.New384()
	h.Write([]byte(signaturePrefix + protectedHeader + emptyBytes))
	h.Write(d.payload)
	var sum [sha512.Size384]byte
	h.Sum(sum[:0])
	return sum
}

// Signature answers a copy of the signature, r || s. A good one has
// [SignatureSize] bytes; the verifier says so, once it knows the key.
func (d *Document) Signature() []byte { return bytes.Clone(d.signature) }
