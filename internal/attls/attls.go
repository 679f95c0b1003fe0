// Package attls is attested TLS: TLS 1.3 whose peer proves, before anything
// else is said, that it is an accepted enclave and that the very key of this
// connection is its own. docs/spec/attls.md gives the bytes.
//
// A client trusts its roots, its policy, its clock and its own randomness. The
// server's certificate carries a key and proves nothing. A server trusts no
// client: it answers evidence to everybody, within bounds.
package attls

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"errors"
)

const (
	// Protocol is the ALPN name (RFC 7301) of the exchange followed by HTTP/2.
	// Both sides offer it and nothing else.
	Protocol = "cloister-attls/1"
	// Version of both messages.
	Version = 1
	// NonceSize is the size of a client's challenge, in bytes.
	NonceSize = 32
	// HashSize is the size of an intake key's hash and of a genesis id, in bytes.
	HashSize = 32

	// tag begins what user_data is the hash of, its version included.
	tag = "cloister attls user data v1\x00"
)

// ErrExchange says that the peer broke off or never began the exchange: there
// is no evidence to judge. Refusals of evidence are *attestation.Error.
var ErrExchange = errors.New("attls: no evidence from the peer")

// Evidence is what a server says of itself: an attestation document, and what
// the document's user_data and PCR16 commit to.
type Evidence struct {
	// Document is the attestation document, made for the client's nonce.
	Document []byte
	// Bundle is the measured bundle, encoded.
	Bundle []byte
	// ServiceKey signs receipts and answers; nil while the enclave has no keys.
	ServiceKey ed25519.PublicKey
	// IntakeKey is the SHA-256 of the public intake key; nil when there is none.
	IntakeKey []byte
	// Genesis names the enclave's state. It is nil exactly when ServiceKey is.
	Genesis []byte
}

// Binding is what a document's user_data commits to. Nil values are encoded as
// absent, which is different from every present value.
type Binding struct {
	// SPKI is the SHA-256 of the connection's public key, in the DER form of
	// its SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
	SPKI [32]byte
	// ServiceKey, IntakeKey and Genesis are those of the Evidence.
	ServiceKey ed25519.PublicKey
	IntakeKey  []byte
	Genesis    []byte
	// BundleDigest is bundle.Digest of the measured bundle.
	BundleDigest [48]byte
}

// UserData answers the document's user_data: SHA-384 over a tag and, for each
// value in the order above, a presence byte, a length of four bytes, big
// endian, and the value.
func (b Binding) UserData() [48]byte {
	raw := []byte(tag)
	for _, value := range [][]byte{b.SPKI[:], b.ServiceKey, b.IntakeKey, b.Genesis, b.BundleDigest[:]} {
		if value == nil {
			raw = append(raw, 0)
			continue
		}
		raw = append(raw, 1)
		raw = binary.BigEndian.AppendUint32(raw, uint32(len(value))) //nolint:gosec // values are short
		raw = append(raw, value...)
	}
	return sha512.Sum384(raw)
}
