// Package receipt is the enclave's signed word on an envelope, and the report
// on rejected records that goes with it. docs/spec/receipt.md gives the bytes.
// It trusts the service key that the caller took from verified evidence, and
// nothing that it reads.
package receipt

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/internal/canonical"
)

const (
	// Version is the format's version, in every receipt.
	Version = 1

	magic   = "CLRCP1\n\x00"
	tag     = "cloister receipt v1\x00"
	maxSize = 4 << 10 // bytes of a whole receipt
)

var (
	// ErrMalformed says that bytes aren't a receipt or a report.
	ErrMalformed = errors.New("receipt: malformed")
	// ErrSignature says that the service key didn't sign this receipt.
	ErrSignature = errors.New("receipt: not signed by this enclave")
)

// Receipt says that the records of an envelope were judged and that the
// accepted ones are durable.
type Receipt struct {
	// Version is always 1.
	Version uint64 `cbor:"1,keyasint"`
	// Deployment and Genesis name the state that now holds the records.
	Deployment string   `cbor:"2,keyasint"`
	Genesis    [32]byte `cbor:"3,keyasint"`
	// Dataset, Producer, Stream and Sequence are the envelope's own.
	Dataset  string `cbor:"4,keyasint"`
	Producer string `cbor:"5,keyasint"`
	Stream   string `cbor:"6,keyasint"`
	Sequence uint64 `cbor:"7,keyasint"`
	// Envelope is the SHA-256 of the envelope that was handed in.
	Envelope [32]byte `cbor:"8,keyasint"`
	// Manifest is the number of the manifest that records the acceptance.
	Manifest uint64 `cbor:"9,keyasint"`
	// Repeat says that the same records had been accepted before, sealed in
	// another envelope: this one counted nothing.
	Repeat bool `cbor:"10,keyasint"`
	// Report is the SHA-256 of the sealed report.
	Report [32]byte `cbor:"11,keyasint"`
	// Time of acceptance, in milliseconds since the epoch, by the enclave's
	// signed clock.
	Time int64 `cbor:"12,keyasint"`
}

// Sign encodes and signs r with the service key, which must be Ed25519. Same
// receipt, same bytes.
func Sign(r Receipt, key crypto.Signer) ([]byte, error) {
	r.Version = Version
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return nil, errors.New("receipt: the service key isn't Ed25519")
	}
	body, err := canonical.Marshal(&r)
	if err != nil {
		return nil, err
	}
	raw := append([]byte(magic), body...)
	signature, err := key.Sign(rand.Reader, message(raw), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	if raw = append(raw, signature...); len(raw) > maxSize {
		return nil, fmt.Errorf("receipt: larger than %d bytes", maxSize)
	}
	return raw, nil
}

// Verify checks the signature, then reads the receipt.
func Verify(raw []byte, key ed25519.PublicKey) (*Receipt, error) {
	if len(raw) > maxSize || len(raw) < len(magic)+ed25519.SignatureSize || string(raw[:len(magic)]) != magic {
		return nil, ErrMalformed
	}
	end := len(raw) - ed25519.SignatureSize
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, message(raw[:end]), raw[end:]) {
		return nil, ErrSignature
	}
	r := new(Receipt)
	if canonical.Unmarshal(raw[len(magic):end], 16, r) != nil || r.Version != Version {
		return nil, ErrMalformed
	}
	return r, nil
}

// message is what the service key signs.
func message(signed []byte) []byte {
	sum := sha256.Sum256(signed)
	return append([]byte(tag), sum[:]...)
}
