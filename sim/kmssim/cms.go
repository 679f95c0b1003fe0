package kmssim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
)

// chunk is the longest OCTET STRING of constructed content that KMS sends.
const chunk = 1000

// ASN.1 tags of the message.
const (
	tagInteger     = 0x02
	tagOctets      = 0x04
	tagSequence    = 0x30
	tagSet         = 0x31
	tagContext0    = 0x80
	tagConstructed = 0x20
)

// The constant parts of the message, each a whole element or header.
var (
	oidEnvelopedData = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03}
	oidData          = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01}
	oidOAEP          = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07}
	oidMGF1          = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08}
	oidAES256CBC     = []byte{0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a}
	// sha256ID is AlgorithmIdentifier SHA-256 with NULL parameters.
	sha256ID = []byte{0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00}
	// endOfContents closes an element of indefinite length (X.690, 8.1.5).
	endOfContents = []byte{0, 0}
)

// envelop encrypts to an RSA key as KMS does for CiphertextForRecipient: CMS
// EnvelopedData (RFC 5652) in BER with indefinite lengths, one recipient named
// by rid, RSAES-OAEP with SHA-256 and AES-256-CBC. Primitive content is the
// rarer of the two forms that KMS sends.
func envelop(to *rsa.PublicKey, rid [sha256.Size]byte, plaintext []byte, primitive bool) ([]byte, error) {
	var random [32 + aes.BlockSize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("content key: %w", err)
	}
	defer clear(random[:])
	content, iv := random[:32], random[32:]
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, to, content, nil)
	if err != nil {
		return nil, fmt.Errorf("wrap the content key: %w", err)
	}
	block, err := aes.NewCipher(content)
	if err != nil {
		return nil, fmt.Errorf("content key: %w", err)
	}
	// PKCS#7 padding: between 1 and 16 bytes, each the number of them.
	pad := aes.BlockSize - len(plaintext)%aes.BlockSize
	sealed := append(bytes.Clone(plaintext), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, sealed)

	version := element(tagInteger, []byte{2})
	recipient := element(tagSequence, version, element(tagContext0, rid[:]), oaep(), element(tagOctets, wrapped))
	algorithm := element(tagSequence, oidAES256CBC, element(tagOctets, iv))
	return indefinite(tagSequence, oidEnvelopedData,
		indefinite(tagContext0|tagConstructed,
			indefinite(tagSequence, version, element(tagSet, recipient),
				indefinite(tagSequence, oidData, algorithm, encryptedContent(sealed, primitive))))), nil
}

// oaep is the AlgorithmIdentifier of RSAES-OAEP with SHA-256 for both the hash
// and MGF1, and no label (RFC 4055).
func oaep() []byte {
	mgf1 := element(tagSequence, oidMGF1, sha256ID)
	return element(tagSequence, oidOAEP,
		element(tagSequence, element(tagContext0|tagConstructed, sha256ID), element(tagContext0|tagConstructed|1, mgf1)))
}

// encryptedContent is [0] IMPLICIT OCTET STRING in one of its two forms.
func encryptedContent(sealed []byte, primitive bool) []byte {
	if primitive {
		return element(tagContext0, sealed)
	}
	var chunks [][]byte
	for len(sealed) > 0 {
		n := min(chunk, len(sealed))
		chunks = append(chunks, element(tagOctets, sealed[:n]))
		sealed = sealed[n:]
	}
	return indefinite(tagContext0|tagConstructed, chunks...)
}

// element is an element of definite length in its shortest form.
func element(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	out := []byte{tag}
	switch n := len(content); {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 1<<8:
		out = append(out, 0x81, byte(n))
	case n < 1<<16:
		out = append(out, 0x82, byte(n>>8), byte(n))
	default: // plaintexts end at 4096 bytes
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(out, content...)
}

// indefinite is a constructed element of indefinite length.
func indefinite(tag byte, parts ...[]byte) []byte {
	return append(append([]byte{tag, 0x80}, bytes.Join(parts, nil)...), endOfContents...)
}
