// Package envelope is the sealed form in which records travel from a producer
// to the enclave: a clear header that is authenticated whole, content sealed
// in chunks, and the producer's signature last. docs/spec/envelope.md gives
// the bytes. It trusts no byte that it reads: what is parsed, what a producer
// signed and what a data key opened are three types, Sealed, Authentic and
// Opened, each made only from the one before.
package envelope

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// Version is the format's version, in every header.
	Version = 1
	// WrapKMS says that the data key is wrapped by an AWS KMS key.
	WrapKMS = 1
	// WrapIntake says that the data key is sealed to the enclave's intake key,
	// by HPKE.
	WrapIntake = 2

	maxName    = 63   // bytes of a deployment, dataset or producer name, as DNS labels
	maxVersion = 64   // bytes of a contract version
	maxStream  = 128  // bytes of a stream name; "sha256:" and hex need 71
	maxARN     = 2048 // bytes of a KMS key ARN
	maxBlob    = 6144 // bytes of a KMS CiphertextBlob, KMS API Reference, Decrypt

	// intakeBlob is the size of a data key that is sealed to an intake key:
	// encapsulations of ML-KEM-768 and X25519, key, tag.
	intakeBlob = 1088 + 32 + keySize + 16
)

const (
	// intakeTag separates the info of this version from all others.
	intakeTag    = "cloister envelope v1 intake\x00"
	digestPrefix = "sha256:"
)

// ErrHeader says that a header has a field that isn't allowed.
var ErrHeader = errors.New("envelope: a header field isn't allowed")

// Header is the clear part of an envelope. The parent can read it; neither the
// parent nor anybody else can change it.
type Header struct {
	// Version is always 1.
	Version uint64 `cbor:"1,keyasint"`
	// Deployment, Dataset and Producer are names as in the bundle.
	Deployment string `cbor:"2,keyasint"`
	Dataset    string `cbor:"3,keyasint"`
	// Contract is the version of the dataset's contract that the producer knew.
	Contract string `cbor:"4,keyasint"`
	Producer string `cbor:"5,keyasint"`
	// Stream and Sequence name the batch: a producer uses a number once only.
	Stream   string `cbor:"6,keyasint"`
	Sequence uint64 `cbor:"7,keyasint"`
	// Codec names the form of the content, see internal/columns.
	Codec uint8 `cbor:"8,keyasint"`
	Wrap  Wrap  `cbor:"9,keyasint"`
	// Salt is random and new for every envelope, so that two envelopes of one
	// data key never share a content key.
	Salt [32]byte `cbor:"10,keyasint"`
}

// Wrap says how the data key can be had.
type Wrap struct {
	// Kind is WrapKMS or WrapIntake.
	Kind uint8 `cbor:"1,keyasint"`
	// Key is the ARN of the wrapping key, which the enclave believes only when it
	// is the one that the bundle pins; or the name of the intake key, "sha256:"
	// and the hash of its public half in hex.
	Key string `cbor:"2,keyasint"`
	// Epoch counts the dataset's wrapping keys. An intake key has none: 0.
	Epoch uint64 `cbor:"3,keyasint"`
	// Blob is the wrapped data key, opaque, at most 6144 bytes; 1168 under an
	// intake key.
	Blob []byte `cbor:"4,keyasint"`
}

// KMSContext is the encryption context that a data key is bound to. Producer
// and enclave each build it from names that they know; it never travels.
func KMSContext(deployment, dataset, producer string, epoch uint64) map[string]string {
	return map[string]string{
		"deployment": deployment,
		"dataset":    dataset,
		"producer":   producer,
		"purpose":    "record",
		"epoch":      strconv.FormatUint(epoch, 10),
	}
}

// IntakeInfo is HPKE's info, which a data key under an intake key is bound to:
// a tag, then each name behind its length. Producer and enclave each build it
// from names that they know; it never travels. key is the intake key's name.
func IntakeInfo(deployment, dataset, producer, stream, key string) []byte {
	info := []byte(intakeTag)
	for _, name := range []string{deployment, dataset, producer, stream, key} {
		info = append(binary.BigEndian.AppendUint32(info, uint32(len(name))), name...)
	}
	return info
}

// encodeHeader checks and encodes h, at most limits.EnvelopeHeader bytes.
func encodeHeader(h *Header) ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	b, err := canonical.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(b) > limits.EnvelopeHeader {
		return nil, fmt.Errorf("%w: %d bytes at most", ErrHeader, limits.EnvelopeHeader)
	}
	return b, nil
}

// decodeHeader reads a header that is exactly in the deterministic encoding.
func decodeHeader(b []byte) (*Header, error) {
	h := new(Header)
	if err := canonical.Unmarshal(b, 16, h); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Header) check() error {
	switch {
	case h.Version != Version:
		return fmt.Errorf("%w: version", ErrHeader)
	case !isName(h.Deployment):
		return fmt.Errorf("%w: deployment", ErrHeader)
	case !isName(h.Dataset):
		return fmt.Errorf("%w: dataset", ErrHeader)
	case !isName(h.Producer):
		return fmt.Errorf("%w: producer", ErrHeader)
	case !isText(h.Contract, maxVersion):
		return fmt.Errorf("%w: contract version", ErrHeader)
	case !isText(h.Stream, maxStream):
		return fmt.Errorf("%w: stream", ErrHeader)
	case h.Codec == 0:
		return fmt.Errorf("%w: codec", ErrHeader)
	}
	return h.Wrap.check()
}

func (w *Wrap) check() error {
	switch w.Kind {
	case WrapKMS:
		if !isText(w.Key, maxARN) {
			return fmt.Errorf("%w: key ARN", ErrHeader)
		}
		if len(w.Blob) == 0 || len(w.Blob) > maxBlob {
			return fmt.Errorf("%w: wrapped key", ErrHeader)
		}
	case WrapIntake:
		if !isDigest(w.Key) || w.Epoch != 0 {
			return fmt.Errorf("%w: intake key", ErrHeader)
		}
		if len(w.Blob) != intakeBlob {
			return fmt.Errorf("%w: wrapped key", ErrHeader)
		}
	default:
		return fmt.Errorf("%w: key wrap", ErrHeader)
	}
	return nil
}

// isDigest allows "sha256:" and 64 hex digits in lower case.
func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, digestPrefix)
	b, err := hex.DecodeString(digits)
	return ok && err == nil && len(b) == sha256.Size && digits == strings.ToLower(digits)
}

// isName allows what the bundle allows in names: [a-z0-9-]{1,63}.
func isName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= maxName
}

// isText allows printable ASCII without spaces, quotes and backslashes.
func isText(s string, most int) bool {
	if len(s) == 0 || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\'' || c == '\\' || c == '`' {
			return false
		}
	}
	return true
}
