package cms_test

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // for the messages that must be refused
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/kms/cms"
)

// parts are the elements of a message, each whole, and how they are put
// together. Tests change some of them.
type parts struct {
	contentType, version             []byte
	afterVersion                     []byte // originatorInfo would stand here
	recipients                       [][]byte
	dataType, algorithm              []byte
	content                          []byte
	attributes                       []byte // unprotectedAttrs
	trailer                          []byte
	info, explicit, enveloped, inner func(tag byte, parts ...[]byte) []byte
	set                              func(tag byte, parts ...[]byte) []byte
}

// recipientParts are the elements of a KeyTransRecipientInfo.
type recipientParts struct{ version, rid, algorithm, key []byte }

const (
	hexSHA256 = "300d06096086480165030402010500"
	hexSHA1   = "300906052b0e03021a0500"
	hexOAEP   = "303c06092a864886f70d010107302fa00f" + hexSHA256 + "a11c301a06092a864886f70d010108" + hexSHA256
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// element is an element with a definite length.
func element(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	switch n := len(content); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, content...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, content...)
	case n < 0x10000:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, content...)
	default:
		return append([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, content...)
	}
}

// endless is an element with an indefinite length.
func endless(tag byte, parts ...[]byte) []byte {
	return append(append([]byte{tag, 0x80}, bytes.Join(parts, nil)...), 0, 0)
}

// seed is what a message is made from.
type seed struct {
	plain   []byte
	pad     []byte // instead of the right padding
	key     []byte // the content key, else the tests' own
	wrapped []byte // what is encrypted to the recipient instead of it
	hash    crypto.Hash
	chunk   int // 0 is primitive content
	garbled bool
}

// seal makes the parts of a message of KMS's form to a key.
func seal(t testing.TB, to *rsa.PublicKey, s seed) (parts, recipientParts) {
	t.Helper()
	if s.key == nil {
		s.key = bytes.Repeat([]byte{7}, 32)
	}
	if s.hash == 0 {
		s.hash = crypto.SHA256
	}
	if s.wrapped == nil {
		s.wrapped = s.key
	}
	encrypted, err := rsa.EncryptOAEP(s.hash.New(), rand.Reader, to, s.wrapped, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.garbled {
		encrypted[100] ^= 1
	}
	if s.pad == nil {
		n := aes.BlockSize - len(s.plain)%aes.BlockSize
		s.pad = bytes.Repeat([]byte{byte(n)}, n)
	}
	iv := bytes.Repeat([]byte{9}, aes.BlockSize)
	content := append(bytes.Clone(s.plain), s.pad...)
	if len(content)%aes.BlockSize == 0 {
		block, err := aes.NewCipher(s.key)
		if err != nil {
			t.Fatal(err)
		}
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(content, content)
	}
	spki, err := x509.MarshalPKIXPublicKey(to)
	if err != nil {
		t.Fatal(err)
	}
	rid := sha256.Sum256(spki)
	r := recipientParts{unhex("020102"), element(0x80, rid[:]), unhex(hexOAEP), element(4, encrypted)}
	return parts{
		contentType: unhex("06092a864886f70d010703"), version: unhex("020102"), recipients: [][]byte{r.bytes()},
		dataType: unhex("06092a864886f70d010701"), algorithm: element(0x30, unhex("060960864801650304012a"), element(4, iv)),
		content: contentElement(content, s.chunk),
		info:    endless, explicit: endless, enveloped: endless, inner: endless, set: element,
	}, r
}

func contentElement(content []byte, chunk int) []byte {
	if chunk == 0 {
		return element(0x80, content)
	}
	var chunks [][]byte
	for len(content) > 0 {
		n := min(chunk, len(content))
		chunks, content = append(chunks, element(4, content[:n])), content[n:]
	}
	return endless(0xa0, chunks...)
}

func (r recipientParts) bytes() []byte { return element(0x30, r.version, r.rid, r.algorithm, r.key) }

func (p parts) bytes() []byte {
	set := p.set(0x31, p.recipients...)
	inner := p.inner(0x30, p.dataType, p.algorithm, p.content)
	enveloped := p.enveloped(0x30, p.version, p.afterVersion, set, inner, p.attributes)
	return append(p.info(0x30, p.contentType, p.explicit(0xa0, enveloped)), p.trailer...)
}

// testKey is a key that is used in tests only.
func testKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode(read(t, "recipient.pem"))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

func recipient(t testing.TB, key *rsa.PrivateKey) *cms.Recipient {
	t.Helper()
	r, err := cms.NewRecipient(key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
