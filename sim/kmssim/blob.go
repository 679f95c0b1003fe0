package kmssim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cloisterhq/cloister/internal/secret"
)

// A ciphertext blob is magic, the key's id (36 bytes), a nonce (12 bytes) and
// AES-256-GCM ciphertext. The key's ARN and the encryption context are its
// additional data.
const (
	blobMagic = "CSIMKMS\x01"
	idLen     = 36
	nonceLen  = 12
	blobHead  = len(blobMagic) + idLen + nonceLen
	// maxBlob is KMS's own limit for CiphertextBlob, in bytes.
	maxBlob = 6144
)

// wrap encrypts under a key, bound to an encryption context.
func wrap(k key, context map[string]string, plaintext []byte) ([]byte, error) {
	aead, err := gcm(k.current())
	if err != nil {
		return nil, err
	}
	out := append([]byte(blobMagic), k.id...)
	out = append(out, make([]byte, nonceLen)...)
	nonce := out[len(blobMagic)+idLen:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	return aead.Seal(out, nonce, plaintext, binding(k.arn, context)), nil
}

// unwrap opens what wrap made, with the same key and encryption context, under
// the material of any age, and answers which it was. Every failure is the same.
func unwrap(k key, context map[string]string, blob []byte) (secret.Bytes, int, *failure) {
	if id, ok := blobKey(blob); !ok || id != k.id {
		return secret.Bytes{}, 0, badCiphertext()
	}
	for n := len(k.material) - 1; n >= 0; n-- {
		aead, err := gcm(k.material[n])
		if err != nil {
			return secret.Bytes{}, 0, internal()
		}
		plain, err := aead.Open(nil, blob[blobHead-nonceLen:blobHead], blob[blobHead:], binding(k.arn, context))
		if err == nil {
			return secret.New(plain), n, nil
		}
	}
	return secret.Bytes{}, 0, badCiphertext()
}

// blobKey answers the id of the key that a blob says it was made under.
func blobKey(blob []byte) (string, bool) {
	if len(blob) < blobHead || len(blob) > maxBlob || !bytes.HasPrefix(blob, []byte(blobMagic)) {
		return "", false
	}
	return string(blob[len(blobMagic) : len(blobMagic)+idLen]), true
}

func gcm(material secret.Bytes) (cipher.AEAD, error) {
	block, err := aes.NewCipher(material.Expose())
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return cipher.NewGCM(block)
}

// binding encodes the key's ARN and the encryption context, version 1: each
// text behind its length, names in order.
func binding(arn string, context map[string]string) []byte {
	out := []byte("cloister kms simulation v1\x00")
	add := func(s string) {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
		out = append(out, s...)
	}
	add(arn)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		add(name)
		add(context[name])
	}
	return out
}
