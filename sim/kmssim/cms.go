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

// The constant parts of the message, each a whole element.
const (
	oidEnvelopedData = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
	oidData          = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidOAEP          = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"
	oidMGF1          = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
	oidAES256CBC     = "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a"
	// sha256ID is AlgorithmIdentifier SHA-256 with NULL parameters.
	sha256ID = "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"
	// endOfContents closes an element of indefinite length (X.690, 8.1.5).
	endOfContents = "\x00\x00"
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
	algorithm := element(tagSequence, []byte(oidAES256CBC), element(tagOctets, iv))
	return indefinite(tagSequence, []byte(oidEnvelopedData),
		indefinite(tagContext0|tagConstructed,
			indefinite(tagSequence, version, element(tagSet, recipient),
				indefinite(tagSequence, []byte(oidData), algorithm, encryptedContent(sealed, primitive))))), nil
}

// oaep is the AlgorithmIdentifier of RSAES-OAEP with SHA-256 for both the hash
// and MGF1, and no label (RFC 4055).
func oaep() []byte {
	mgf1 := element(tagSequence, []byte(oidMGF1+sha256ID))
	return element(tagSequence, []byte(oidOAEP),
		element(tagSequence, element(tagContext0|tagConstructed, []byte(sha256ID)), element(tagContext0|tagConstructed|1, mgf1)))
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
