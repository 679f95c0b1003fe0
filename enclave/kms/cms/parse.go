package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/sha256"
)

// Tags of the elements that are read.
const (
	tagInteger     = 0x02
	tagOctets      = 0x04
	tagSequence    = 0x30
	tagSet         = 0x31
	tagPrimitive0  = 0x80
	tagConstructed = 0xa0
)

// Elements that have one form only, each with its tag and length. They are
// compared, never read.
var (
	// Version 2 of EnvelopedData and of a recipient that is named by a key
	// identifier (RFC 5652, sections 6.1 and 6.2.1).
	version2         = []byte{tagInteger, 1, 2}
	oidEnvelopedData = []byte{0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3}
	oidData          = []byte{0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1}
	oidAES256CBC     = []byte{0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a}
	// algorithmOAEP is RSAES-OAEP with SHA-256, MGF1 with SHA-256 and no label
	// (RFC 4055, section 4.1).
	algorithmOAEP = []byte{
		tagSequence, 60, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 7, tagSequence, 47,
		0xa0, 15, tagSequence, 13, 0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 0x05, 0,
		0xa1, 28, tagSequence, 26, 0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8,
		tagSequence, 13, 0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 0x05, 0,
	}
)

// message is what varies from one message to the next. All but content are
// parts of the input.
type message struct {
	rid, encryptedKey, iv []byte
	content               []byte
}

// parse reads a message in KMS's form: EnvelopedData to one recipient without
// originator information or attributes, with elements of indefinite length, or
// the same with definite ones. It allocates at most as much as the input holds.
func parse(in []byte) (*message, error) {
	r := newReader(in)
	m := &message{}
	r.open(tagSequence, either, "ContentInfo")
	r.exact(oidEnvelopedData, "content type")
	r.open(tagConstructed, either, "content")
	r.open(tagSequence, either, "EnvelopedData")
	r.exact(version2, "version")
	m.recipient(r)
	m.encrypted(r)
	r.close("EnvelopedData")
	r.close("content")
	r.close("ContentInfo")
	r.end()
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// recipient reads RecipientInfos: one KeyTransRecipientInfo.
func (m *message) recipient(r *reader) {
	r.open(tagSet, definite, "recipients")
	r.open(tagSequence, definite, "recipient")
	r.exact(version2, "recipient's version")
	m.rid = r.sized(tagPrimitive0, sha256.Size, "recipient's name")
	r.exact(algorithmOAEP, "key encryption algorithm")
	m.encryptedKey = r.primitive(tagOctets, "encrypted key")
	r.close("recipient")
	r.close("recipients") // a second recipient would stand here
}

// encrypted reads EncryptedContentInfo. The content is one string or many, as
// KMS sends both.
func (m *message) encrypted(r *reader) {
	r.open(tagSequence, either, "EncryptedContentInfo")
	r.exact(oidData, "type of the encrypted content")
	r.open(tagSequence, definite, "content encryption algorithm")
	r.exact(oidAES256CBC, "content encryption algorithm")
	m.iv = r.sized(tagOctets, aes.BlockSize, "initialisation vector")
	r.close("content encryption algorithm")
	if r.next(tagPrimitive0) {
		m.content = bytes.Clone(r.primitive(tagPrimitive0, "encrypted content"))
	} else {
		r.open(tagConstructed, indefinite, "encrypted content")
		m.content = make([]byte, 0, r.left())
		for r.more() {
			chunk := r.primitive(tagOctets, "chunk")
			if len(chunk) == 0 {
				r.fail("empty chunk")
			}
			m.content = append(m.content, chunk...)
		}
		r.close("encrypted content")
	}
	r.close("EncryptedContentInfo")
	if len(m.content) == 0 || len(m.content)%aes.BlockSize != 0 {
		r.fail("length of the encrypted content")
	}
}
