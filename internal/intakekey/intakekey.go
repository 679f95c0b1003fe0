// Package intakekey is the key that producers can seal data keys to without
// asking KMS: HPKE (RFC 9180, base mode) whose private half only the enclave
// has, and the signed key set in which the public half travels.
// docs/spec/intake.md gives the bytes.
//
// Base mode says nothing about who sealed: the envelope's signature does, and
// is checked before anything here opens. It trusts the service key that the
// caller took from verified evidence.
package intakekey

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// PublicSize is the size of a public key, in bytes: ML-KEM-768 and X25519.
	PublicSize = 1184 + 32
	// SeedSize is the size of a private key, in bytes.
	SeedSize = 32
	// WrappedSize is the size of a wrapped data key, in bytes: the encapsulation,
	// the key and AES-GCM's tag.
	WrappedSize = 1088 + 32 + keySize + 16

	keySize = 32 // bytes of a data key
	prefix  = "sha256:"
)

var (
	// ErrKey says that bytes aren't a key.
	ErrKey = errors.New("intakekey: not a key of MLKEM768-X25519")
	// ErrOpen is the one answer to everything that can be wrong with a wrapped
	// data key.
	ErrOpen = errors.New("intakekey: the data key doesn't open with this intake key for this stream")
)

// Public is an intake key's public half.
type Public struct {
	key hpke.PublicKey
	raw []byte
}

// ParsePublic reads PublicSize bytes.
func ParsePublic(raw []byte) (*Public, error) {
	if len(raw) != PublicSize {
		return nil, ErrKey
	}
	key, err := hpke.MLKEM768X25519().NewPublicKey(raw)
	if err != nil {
		return nil, ErrKey
	}
	return &Public{key: key, raw: bytes.Clone(raw)}, nil
}

// Bytes answers a copy of the key's encoding.
func (p *Public) Bytes() []byte { return bytes.Clone(p.raw) }

// Digest is the SHA-256 of Bytes. Evidence carries it.
func (p *Public) Digest() [32]byte { return sha256.Sum256(p.raw) }

// ID names the key in envelopes: "sha256:" and Digest in hex.
func (p *Public) ID() string {
	digest := p.Digest()
	return prefix + hex.EncodeToString(digest[:])
}

// Wrap seals a data key to the intake key, bound to info. It answers
// WrappedSize bytes, the encapsulation first, other ones for each call.
func (p *Public) Wrap(dek secret.Bytes, info []byte) ([]byte, error) {
	if dek.Len() != keySize {
		return nil, fmt.Errorf("intakekey: a data key has %d bytes", keySize)
	}
	wrapped, err := hpke.Seal(p.key, hpke.HKDFSHA384(), hpke.AES256GCM(), info, dek.Expose())
	if err != nil {
		return nil, fmt.Errorf("intakekey: %w", err)
	}
	return wrapped, nil
}

// Private is an intake key whole. The enclave alone has one.
type Private struct {
	key    hpke.PrivateKey
	public *Public
}

// Generate makes a new key.
func Generate() (*Private, error) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("intakekey: %w", err)
	}
	return newPrivate(key)
}

// ParsePrivate reads a key from the SeedSize bytes that Seed answers. It doesn't
// keep them.
func ParsePrivate(seed secret.Bytes) (*Private, error) {
	if seed.Len() != SeedSize {
		return nil, ErrKey
	}
	key, err := hpke.MLKEM768X25519().NewPrivateKey(seed.Expose())
	if err != nil {
		return nil, ErrKey
	}
	return newPrivate(key)
}

func newPrivate(key hpke.PrivateKey) (*Private, error) {
	public, err := ParsePublic(key.PublicKey().Bytes())
	if err != nil {
		return nil, err
	}
	return &Private{key: key, public: public}, nil
}

// Public answers the public half.
func (k *Private) Public() *Public { return k.public }

// Seed answers all that the key is made from, a copy that the caller wipes.
func (k *Private) Seed() (secret.Bytes, error) {
	seed, err := k.key.Bytes()
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("intakekey: %w", err)
	}
	return secret.New(seed), nil
}

// Unwrap opens a data key that was wrapped with the same info. The caller owns
// it. Any failure is ErrOpen.
func (k *Private) Unwrap(wrapped, info []byte) (secret.Bytes, error) {
	if len(wrapped) != WrappedSize {
		return secret.Bytes{}, ErrOpen
	}
	dek, err := hpke.Open(k.key, hpke.HKDFSHA384(), hpke.AES256GCM(), info, wrapped)
	if err != nil || len(dek) != keySize {
		return secret.Bytes{}, ErrOpen
	}
	return secret.New(dek), nil
}
