package envelope

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	magic      = "CLENV1\n\x00"
	lengthSize = 4
	// signatureTag keeps a producer's envelope signatures apart from all others.
	signatureTag = "cloister envelope v1\x00"
)

var (
	// ErrMalformed says that bytes aren't an envelope.
	ErrMalformed = errors.New("envelope: malformed")
	// ErrTooLarge says that an envelope is over limits.Envelope.
	ErrTooLarge = errors.New("envelope: larger than 16 MiB")
	// ErrSignature says that the producer's key didn't sign this envelope.
	ErrSignature = errors.New("envelope: not signed by this producer")
)

// Sealed is an envelope that is well formed. Nobody vouches for it yet.
type Sealed struct {
	header     Header
	preamble   []byte // magic, header length, header
	ciphertext []byte // commitment, chunks
	signature  []byte
	signed     [32]byte // SHA-256 of everything before the signature
	digest     [32]byte // SHA-256 of the whole
}

// Parse takes an envelope apart. It keeps parts of raw, which mustn't change
// afterwards, and allocates in proportion to the header only.
func Parse(raw []byte) (*Sealed, error) {
	if len(raw) > limits.Envelope {
		return nil, ErrTooLarge
	}
	if len(raw) < len(magic)+lengthSize || string(raw[:len(magic)]) != magic {
		return nil, ErrMalformed
	}
	length := uint64(binary.BigEndian.Uint32(raw[len(magic):]))
	if length > limits.EnvelopeHeader {
		return nil, fmt.Errorf("%w: header", ErrMalformed)
	}
	rest := raw[len(magic)+lengthSize:]
	if uint64(len(rest)) < length+commitmentSize+chunkOverhead+ed25519.SignatureSize {
		return nil, fmt.Errorf("%w: truncated", ErrMalformed)
	}
	header, err := decodeHeader(rest[:length])
	if err != nil {
		return nil, err
	}
	start, end := len(magic)+lengthSize+int(length), len(raw)-ed25519.SignatureSize
	s := &Sealed{header: *header, preamble: raw[:start], ciphertext: raw[start:end], signature: raw[end:]}
	return s, s.hash()
}

// hash finds the signed digest and the envelope's name in one pass: the
// signature comes last, so the one is the other before 64 more bytes.
func (s *Sealed) hash() error {
	h := sha256.New()
	h.Write(s.preamble)
	h.Write(s.ciphertext)
	cloner, ok := h.(hash.Cloner)
	if !ok {
		return errors.New("envelope: SHA-256 can't be cloned")
	}
	whole, err := cloner.Clone()
	if err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	h.Sum(s.signed[:0])
	whole.Write(s.signature)
	whole.Sum(s.digest[:0])
	return nil
}

// Header answers a copy of what the envelope claims.
func (s *Sealed) Header() Header { return s.header.clone() }

// Digest is the SHA-256 of the whole envelope, its name in the inbox.
func (s *Sealed) Digest() [32]byte { return s.digest }

// Authenticate checks the producer's signature over header and ciphertext
// (RFC 8032, Ed25519). Any failure is ErrSignature.
func (s *Sealed) Authenticate(key ed25519.PublicKey) (*Authentic, error) {
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, signedMessage(s.signed), s.signature) {
		return nil, ErrSignature
	}
	return &Authentic{sealed: s}, nil
}

// Authentic is an envelope that a known producer signed.
type Authentic struct{ sealed *Sealed }

// Header answers a copy of what the producer signed.
func (a *Authentic) Header() Header { return a.sealed.Header() }

// Digest is the SHA-256 of the whole envelope, its name in the inbox.
func (a *Authentic) Digest() [32]byte { return a.sealed.digest }

func (h *Header) clone() Header {
	c := *h
	c.Wrap.Blob = slices.Clone(h.Wrap.Blob)
	return c
}

// signedMessage is what a producer signs: the tag and the SHA-256 of
// everything before the signature.
func signedMessage(signed [32]byte) []byte {
	return bytes.Join([][]byte{[]byte(signatureTag), signed[:]}, nil)
}
