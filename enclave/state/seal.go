package state

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	keySize  = 32
	saltSize = 32
	tagSize  = 16
	// step is what sealed plaintext is padded to a multiple of, in bytes, so that
	// sizes don't tell counts.
	step = 256

	keyTag    = "cloister state v1 key\x00"
	sealedTag = "cloister state v1 sealed\x00"
)

// ErrSealed is the one answer to everything that can be wrong with a sealed
// object.
var ErrSealed = errors.New("state: not sealed by this state for this place")

// Seal seals plaintext under the state's data key for one place: a purpose,
// such as "audit", and a number. Nothing sealed for one place opens at another,
// in another state or in another deployment. The size of the result tells that
// of the plaintext in steps of 256 bytes.
func (s *State) Seal(purpose string, number uint64, plaintext []byte) ([]byte, error) {
	return seal(s.dek, s.place(purpose, number), plaintext)
}

// Unseal opens what Seal made for the same place. Any failure is ErrSealed.
func (s *State) Unseal(purpose string, number uint64, sealed []byte) ([]byte, error) {
	return unseal(s.dek, s.place(purpose, number), sealed)
}

// place is the additional data of everything but manifests.
func (s *State) place(purpose string, number uint64) []byte {
	b := []byte(sealedTag)
	b = appendString(b, purpose)
	b = appendString(b, s.config.Deployment)
	b = append(b, s.genesis[:]...)
	return binary.BigEndian.AppendUint64(b, number)
}

// appendString appends a length and the string, so that no two lists of
// strings have one encoding.
func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// seal answers salt || AES-256-GCM(padded plaintext). The key is new for every
// random salt, so the nonce may stay zero even when a number is sealed again
// after a crash.
func seal(dek secret.Bytes, data, plaintext []byte) ([]byte, error) {
	if len(plaintext) > limits.Object-2*step {
		return nil, fmt.Errorf("state: at most %d bytes can be sealed", limits.Object-2*step)
	}
	salt := make([]byte, saltSize, saltSize+len(plaintext)+step+4+tagSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	gcm, err := newGCM(dek, salt)
	if err != nil {
		return nil, err
	}
	size := (4 + len(plaintext) + step - 1) / step * step
	padded := make([]byte, size)
	defer clear(padded)
	binary.BigEndian.PutUint32(padded, uint32(len(plaintext)))
	copy(padded[4:], plaintext)
	return gcm.Seal(salt, make([]byte, gcm.NonceSize()), padded, data), nil
}

func unseal(dek secret.Bytes, data, sealed []byte) ([]byte, error) {
	if len(sealed) < saltSize+step+tagSize || len(sealed) > limits.Object {
		return nil, ErrSealed
	}
	gcm, err := newGCM(dek, sealed[:saltSize])
	if err != nil {
		return nil, ErrSealed
	}
	padded, err := gcm.Open(nil, make([]byte, gcm.NonceSize()), sealed[saltSize:], data)
	if err != nil || len(padded)%step != 0 {
		return nil, ErrSealed
	}
	length := uint64(binary.BigEndian.Uint32(padded))
	if length > uint64(len(padded)-4) || uint64(len(padded))-4-length >= step {
		return nil, ErrSealed
	}
	plaintext, padding := padded[4:4+length], padded[4+length:]
	if len(bytes.TrimLeft(padding, "\x00")) != 0 {
		return nil, ErrSealed
	}
	return plaintext, nil
}

func newGCM(dek secret.Bytes, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha512.New384, dek.Expose(), salt, keyTag, keySize)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return gcm, nil
}
