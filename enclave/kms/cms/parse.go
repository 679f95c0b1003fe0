package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/sha256"
)

// Tags of the elements that are read.
const (
	tagOctets      = 0x04
	tagSequence    = 0x30
	tagSet         = 0x31
	tagPrimitive0  = 0x80
	tagConstructed = 0xa0
)

// Elements that have one form only, each with its tag and length. They are
// compared, never read.
const (
	// version2 is the version of EnvelopedData, and of a recipient that is named
	// by a key identifier (RFC 5652, sections 6.1 and 6.2.1).
	version2 = "\x02\x01\x02"
	// Content types (RFC 5652, sections 6.1 and 4) and the content encryption
	// algorithm (RFC 3565, section 4.1).
	oidEnvelopedData = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"
	oidData          = "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidAES256CBC     = "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01\x2a"
	// sha256ID is SHA-256 with NULL parameters, mgf1 is MGF1 with it, and oaep is
	// RSAES-OAEP with both and without a label (RFC 4055, section 4.1).
	sha256ID = "\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00"
	mgf1     = "\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08" + sha256ID
	oaep     = "\x30\x3c\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07\x30\x2f\xa0\x0f" + sha256ID + "\xa1\x1c" + mgf1
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
	r.exact(oaep, "key encryption algorithm")
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
