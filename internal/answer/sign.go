package answer

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/internal/canonical"
)

// tag separates these signatures from all others of the service key.
const tag = "cloister answer v1\x00"

// ErrSignature says that an answer isn't the one that the key signed.
var ErrSignature = errors.New("answer: the signature doesn't fit")

// Encode answers the deterministic CBOR (RFC 8949 section 4.2.1) of a well
// formed answer; it fails with ErrShape on any other. An answer without rows
// has one encoding, whether Rows is nil or empty.
func (a *Answer) Encode() ([]byte, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	whole := *a
	if whole.Rows == nil {
		whole.Rows = [][]Cell{}
	}
	return canonical.Marshal(&whole)
}

// message is what is signed: the tag and the SHA-256 of the encoding.
func (a *Answer) message() ([]byte, error) {
	b, err := a.Encode()
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(b)
	return append([]byte(tag), digest[:]...), nil
}

// Sign answers the Ed25519 signature (64 bytes) of an answer by the service
// key.
func Sign(a *Answer, key crypto.Signer) ([]byte, error) {
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return nil, errors.New("answer: the service key isn't an Ed25519 key")
	}
	message, err := a.message()
	if err != nil {
		return nil, err
	}
	signature, err := key.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return signature, nil
}

// Verify checks a signature by the service key that evidence vouched for. It
// answers ErrShape for an answer that isn't well formed, ErrSignature for any
// signature that doesn't fit.
func Verify(a *Answer, signature []byte, service ed25519.PublicKey) error {
	message, err := a.message()
	if err != nil {
		return err
	}
	if len(service) != ed25519.PublicKeySize || !ed25519.Verify(service, message, signature) {
		return ErrSignature
	}
	return nil
}
