package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

// A manifest's object is
//
//	magic (8) || length of the wrapped key (4) || wrapped key || sealed body
//
// The first manifest holds the wrapped data key, in clear: it is what KMS needs
// to release the key. All later ones hold none.
const (
	prefix      = "manifest/"
	magic       = "CLMAN1\n\x00"
	manifestTag = "cloister manifest v1\x00"
	maxWrapped  = 6144     // bytes of a KMS CiphertextBlob
	maxManifest = 64 << 10 // bytes of a manifest's object
)

// manifest is the sealed body.
type manifest struct {
	Number uint64 `cbor:"1,keyasint"`
	// Previous is the SHA-256 of the manifest before, of the clear part for the
	// first.
	Previous [32]byte `cbor:"2,keyasint"`
	// Genesis is the state's name; zero in the first, whose hash it is.
	Genesis [32]byte `cbor:"3,keyasint"`
	// Time of writing, in milliseconds since the epoch, never before that of
	// the manifest before.
	Time int64 `cbor:"4,keyasint"`
	// ServiceKey is the Ed25519 seed, in the first alone.
	ServiceKey []byte `cbor:"5,keyasint"`
	// Acceptance is in all but the first.
	Acceptance *Acceptance `cbor:"6,keyasint"`
}

// manifestName makes lexical order the order of numbers.
func manifestName(number uint64) string { return fmt.Sprintf("%s%020d", prefix, number) }

// manifestData is the additional data of a sealed manifest.
func manifestData(deployment string, number uint64, previous [32]byte) []byte {
	b := appendString([]byte(manifestTag), deployment)
	b = binary.BigEndian.AppendUint64(b, number)
	return append(b, previous[:]...)
}

// clearPart is what stands before the sealed body.
func clearPart(wrapped []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte(magic), uint32(len(wrapped)))
	return append(b, wrapped...)
}

// splitManifest takes an object apart: its clear part, the wrapped key in it,
// and the sealed body.
func splitManifest(raw []byte) (clear, wrapped, sealed []byte, err error) {
	start := len(magic) + 4
	if len(raw) < start || len(raw) > maxManifest || string(raw[:len(magic)]) != magic {
		return nil, nil, nil, ErrCorrupt
	}
	n := uint64(binary.BigEndian.Uint32(raw[len(magic):]))
	if n > maxWrapped || n > uint64(len(raw)-start) {
		return nil, nil, nil, ErrCorrupt
	}
	end := start + int(n)
	return raw[:end], raw[start:end], raw[end:], nil
}

// writeManifest answers a manifest's object.
func writeManifest(dek secret.Bytes, deployment string, wrapped []byte, m *manifest) ([]byte, error) {
	body, err := canonical.Marshal(m)
	if err != nil {
		return nil, err
	}
	defer clear(body)
	sealed, err := seal(dek, manifestData(deployment, m.Number, m.Previous), body)
	if err != nil {
		return nil, err
	}
	raw := append(clearPart(wrapped), sealed...)
	if len(raw) > maxManifest {
		return nil, fmt.Errorf("state: a manifest has at most %d bytes", maxManifest)
	}
	return raw, nil
}

// readManifest opens the object that should be the manifest with this number
// after the one with this hash.
func readManifest(dek secret.Bytes, deployment string, number uint64, previous [32]byte, raw []byte) (*manifest, error) {
	before, wrapped, sealed, err := splitManifest(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: manifest %d", err, number)
	}
	if number == 0 {
		previous = sha256.Sum256(before)
	}
	body, err := unseal(dek, manifestData(deployment, number, previous), sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: manifest %d", ErrCorrupt, number)
	}
	m := new(manifest)
	if canonical.Unmarshal(body, 16, m) != nil || m.Number != number || m.Previous != previous {
		return nil, fmt.Errorf("%w: manifest %d", ErrCorrupt, number)
	}
	first := number == 0
	if first != (len(wrapped) > 0) || first != (len(m.ServiceKey) > 0) || first != (m.Acceptance == nil) {
		return nil, fmt.Errorf("%w: manifest %d", ErrCorrupt, number)
	}
	if m.Acceptance != nil && m.Acceptance.check() != nil {
		return nil, fmt.Errorf("%w: manifest %d", ErrCorrupt, number)
	}
	return m, nil
}

// check says what can't be an acceptance, whoever wrote it.
func (a *Acceptance) check() error {
	if a.Dataset == "" || a.Producer == "" || a.Stream == "" || a.Key == "" || a.Accepted < 0 || a.Rejected < 0 ||
		a.Accepted > limits.BatchRows || a.Rejected > limits.BatchRows-a.Accepted {
		return fmt.Errorf("state: not an acceptance of 0 to %d records of a stream", limits.BatchRows)
	}
	return nil
}
