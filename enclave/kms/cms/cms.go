// Package cms opens CiphertextForRecipient, the message in which KMS answers an
// attested call: CMS EnvelopedData (RFC 5652) to an RSA key, in BER.
//
// The message has no signature and no MAC. Whoever knows the public key, which
// stands in every attestation document, can make one that opens, so opening it
// proves nothing about its maker: TLS to KMS, which ends in the enclave, does.
package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"math"

	"github.com/cloisterhq/cloister/internal/secret"
)

// contentKeySize is the content key in bytes: AES-256.
const contentKeySize = 32

var (
	// ErrMalformed says that a message isn't in the form that KMS uses or is for
	// another key. What is wrong can be seen without any key.
	ErrMalformed = errors.New("cms: not a message of KMS to this key")
	// ErrOpen is the one answer to everything that goes wrong afterwards:
	// content key, padding, length of the plaintext.
	ErrOpen = errors.New("cms: the message can't be opened")
)

// Recipient is an RSA key that KMS encrypts to. It is safe for use by several
// goroutines.
type Recipient struct {
	key  *rsa.PrivateKey
	spki []byte
	// rid is the SHA-256 of spki: the name by which KMS calls the key.
	rid [sha256.Size]byte
}

// NewRecipient makes a recipient of a key.
func NewRecipient(key *rsa.PrivateKey) (*Recipient, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("cms: public key: %w", err)
	}
	return &Recipient{key: key, spki: spki, rid: sha256.Sum256(spki)}, nil
}

// PublicKey answers the public key as DER SubjectPublicKeyInfo (RFC 5280,
// section 4.1), a copy.
func (r *Recipient) PublicKey() []byte { return bytes.Clone(r.spki) }

// Open opens a message whose plaintext must have size bytes. Errors wrap
// ErrMalformed or are ErrOpen; neither says anything about the plaintext.
func (r *Recipient) Open(message []byte, size int) (secret.Bytes, error) {
	m, err := parse(message)
	if err != nil {
		return secret.Bytes{}, err
	}
	if !bytes.Equal(m.rid, r.rid[:]) {
		return secret.Bytes{}, fmt.Errorf("%w: recipient", ErrMalformed)
	}
	if len(m.encryptedKey) != r.key.Size() {
		return secret.Bytes{}, fmt.Errorf("%w: length of the encrypted key", ErrMalformed)
	}
	// Lengths are no secret. A plaintext of size bytes has one padding only
	// (RFC 5652, section 6.3).
	pad := len(m.content) - size
	if size < 0 || pad < 1 || pad > aes.BlockSize {
		return secret.Bytes{}, ErrOpen
	}
	key, good := r.contentKey(m.encryptedKey)
	defer clear(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return secret.Bytes{}, ErrOpen
	}
	cipher.NewCBCDecrypter(block, m.iv).CryptBlocks(m.content, m.content)
	plain, padding := m.content[:size:size], m.content[size:]
	good &= subtle.ConstantTimeCompare(padding, bytes.Repeat([]byte{byte(pad)}, pad))
	if good != 1 {
		clear(m.content)
		return secret.Bytes{}, ErrOpen
	}
	return secret.New(plain), nil
}

// contentKey unwraps the content key with RSAES-OAEP (RFC 8017, section 7.1.2).
// When that fails it answers a random key and 0, so that the caller does the
// same work as for a good one and fails at the end.
func (r *Recipient) contentKey(encrypted []byte) (key [contentKeySize]byte, good int) {
	_, _ = rand.Read(key[:]) // crypto/rand never fails (since Go 1.24)
	unwrapped, err := rsa.DecryptOAEP(sha256.New(), nil, r.key, encrypted, nil)
	if err != nil {
		unwrapped = nil
	}
	defer clear(unwrapped)
	var padded [contentKeySize]byte
	defer clear(padded[:])
	copy(padded[:], unwrapped)
	good = subtle.ConstantTimeEq(int32(min(len(unwrapped), math.MaxInt32)), contentKeySize)
	subtle.ConstantTimeCopy(good, key[:], padded[:])
	return key, good
}
