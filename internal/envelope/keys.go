package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"

	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	keySize        = 32
	commitmentSize = 32
	// contentTag separates these keys from all others of a data key.
	contentTag = "cloister envelope v1 content"
)

// keys are what one envelope's data key, salt and header give.
type keys struct {
	content    secret.Bytes
	commitment []byte // public: it names the key without giving it away
	report     secret.Bytes
}

// deriveKeys is HKDF-SHA-384 (RFC 5869). The header hash in it means that
// another header never leads to the same keys.
func deriveKeys(dek secret.Bytes, salt, headerHash [32]byte) (*keys, error) {
	if dek.Len() != keySize {
		return nil, fmt.Errorf("envelope: a data key has %d bytes", keySize)
	}
	out, err := hkdf.Key(sha512.New384, dek.Expose(), salt[:], contentTag+string(headerHash[:]), 2*keySize+commitmentSize)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	return &keys{
		content:    secret.New(out[:keySize:keySize]),
		commitment: out[keySize : keySize+commitmentSize : keySize+commitmentSize],
		report:     secret.New(out[keySize+commitmentSize:]),
	}, nil
}

func newGCM(key secret.Bytes) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key.Expose())
	if err != nil {
		return nil, fmt.Errorf("envelope: a key has %d bytes", keySize)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	return gcm, nil
}
