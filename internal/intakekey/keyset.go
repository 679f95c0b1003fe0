package intakekey

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/internal/canonical"
)

const (
	// Version is the key set's version. It fixes the suite: MLKEM768-X25519,
	// HKDF-SHA384, AES-256-GCM.
	Version = 1
	magic   = "CLKEY1\n\x00"
	tag     = "cloister intake key v1\x00"
	maxSet  = 4 << 10 // bytes of a whole key set
)

var (
	// ErrMalformed says that bytes aren't a key set, or not in its one form.
	ErrMalformed = errors.New("intakekey: not a key set of version 1")
	// ErrSignature says that the service key didn't sign this key set.
	ErrSignature = errors.New("intakekey: not signed by this enclave")
)

// Claims are what the enclave says of an intake key.
type Claims struct {
	// Version is always 1.
	Version uint64 `cbor:"1,keyasint"`
	// Deployment and Genesis name the state that keeps the private half.
	Deployment string   `cbor:"2,keyasint"`
	Genesis    [32]byte `cbor:"3,keyasint"`
	// Key is the public key.
	Key []byte `cbor:"4,keyasint"`
	// Born and NotAfter are in milliseconds since the epoch, by the enclave's
	// signed clock. Nothing is sealed to the key after NotAfter.
	Born     int64 `cbor:"5,keyasint"`
	NotAfter int64 `cbor:"6,keyasint"`
}

// Sign encodes and signs claims with the service key, which must be Ed25519.
// Same claims, same bytes.
func Sign(c Claims, key crypto.Signer) ([]byte, error) {
	c.Version = Version
	if _, ok := key.Public().(ed25519.PublicKey); !ok {
		return nil, errors.New("intakekey: the service key isn't Ed25519")
	}
	body, err := canonical.Marshal(&c)
	if err != nil {
		return nil, err
	}
	raw := append([]byte(magic), body...)
	signature, err := key.Sign(rand.Reader, message(raw), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("intakekey: %w", err)
	}
	return append(raw, signature...), nil
}

// message is what the service key signs.
func message(signed []byte) []byte {
	sum := sha256.Sum256(signed)
	return append([]byte(tag), sum[:]...)
}

// Set is a key set whose signature was checked.
type Set struct {
	claims  Claims
	public  *Public
	service ed25519.PublicKey
	raw     []byte
}

// Verify checks the signature, then reads the key set.
func Verify(raw []byte, service ed25519.PublicKey) (*Set, error) {
	if len(raw) > maxSet || len(raw) < len(magic)+ed25519.SignatureSize || string(raw[:len(magic)]) != magic {
		return nil, ErrMalformed
	}
	end := len(raw) - ed25519.SignatureSize
	if len(service) != ed25519.PublicKeySize || !ed25519.Verify(service, message(raw[:end]), raw[end:]) {
		return nil, ErrSignature
	}
	s := &Set{service: bytes.Clone(service), raw: bytes.Clone(raw)}
	if canonical.Unmarshal(raw[len(magic):end], 16, &s.claims) != nil || s.claims.Version != Version || s.claims.Born >= s.claims.NotAfter {
		return nil, ErrMalformed
	}
	var err error
	if s.public, err = ParsePublic(s.claims.Key); err != nil {
		return nil, ErrMalformed
	}
	return s, nil
}

// Public answers the intake key.
func (s *Set) Public() *Public { return s.public }

// Deployment is whose key it is.
func (s *Set) Deployment() string { return s.claims.Deployment }

// Genesis names the state that keeps the private half.
func (s *Set) Genesis() [32]byte { return s.claims.Genesis }

// Service answers a copy of the key that signed the set.
func (s *Set) Service() ed25519.PublicKey { return bytes.Clone(s.service) }

// NotAfter is when the key may be sealed to for the last time.
func (s *Set) NotAfter() time.Time { return time.UnixMilli(s.claims.NotAfter) }

// Expired says whether the key mustn't be sealed to any more.
func (s *Set) Expired(now time.Time) bool { return now.After(s.NotAfter()) }
