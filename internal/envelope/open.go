package envelope

import (
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	chunkSize     = 64 << 10 // bytes of plaintext in every chunk but the last
	chunkOverhead = 16       // bytes of GCM tag
	// contentDigestTag keeps content digests apart from other hashes.
	contentDigestTag = "cloister content v1\x00"
)

// ErrOpen is the one answer to everything that goes wrong with a key: wrong
// key, changed bytes, cut or swapped chunks, content of another form.
var ErrOpen = errors.New("envelope: can't be opened with this key")

// Opened is the content of an envelope that its producer signed and its data
// key opened. The content is authentic; whether it's sensible is for its
// decoder to say.
type Opened struct {
	authentic *Authentic
	rows      int
	content   []byte
	report    secret.Bytes
}

// payload is the sealed plaintext, a CBOR array [rows, bytes].
type payload struct {
	_       struct{} `cbor:",toarray"`
	Rows    uint64
	Content []byte
}

// Open checks the key commitment, in constant time and before anything is
// decrypted, then every chunk, and only then looks at the plaintext. Any
// failure is ErrOpen.
func (a *Authentic) Open(dek secret.Bytes) (*Opened, error) {
	s := a.sealed
	headerHash := sha256.Sum256(s.preamble)
	k, err := deriveKeys(dek, s.header.Salt, headerHash)
	if err != nil {
		return nil, ErrOpen
	}
	defer k.content.Wipe()
	if subtle.ConstantTimeCompare(k.commitment, s.ciphertext[:commitmentSize]) != 1 {
		return nil, ErrOpen
	}
	gcm, err := newGCM(k.content)
	if err != nil {
		return nil, ErrOpen
	}
	plain, err := openChunks(gcm, headerHash, s.ciphertext[commitmentSize:])
	if err != nil {
		return nil, ErrOpen
	}
	var p payload
	if canonical.Unmarshal(plain, 16, &p) != nil || p.Rows == 0 || p.Rows > limits.BatchRows || p.Content == nil {
		return nil, ErrOpen // null isn't a byte string
	}
	return &Opened{authentic: a, rows: int(p.Rows), content: p.Content, report: k.report}, nil
}

// openChunks decrypts ciphertext in chunks of chunkSize and its tag. Only the
// last one may be shorter, none may be empty.
func openChunks(gcm cipher.AEAD, headerHash [32]byte, ciphertext []byte) ([]byte, error) {
	plain := make([]byte, 0, len(ciphertext))
	for counter := uint64(0); ; counter++ {
		n := min(len(ciphertext), chunkSize+chunkOverhead)
		last := n == len(ciphertext)
		if n <= chunkOverhead {
			return nil, ErrOpen
		}
		var err error
		plain, err = gcm.Open(plain, chunkNonce(counter, last), ciphertext[:n], headerHash[:])
		if err != nil {
			return nil, ErrOpen
		}
		if ciphertext = ciphertext[n:]; last {
			return plain, nil
		}
	}
}

// chunkNonce is the chunk's number, big endian in 11 bytes, and whether it is
// the last (STREAM, Hoang et al., CRYPTO 2015).
func chunkNonce(counter uint64, last bool) []byte {
	nonce := make([]byte, 12)
	binary.BigEndian.PutUint64(nonce[3:11], counter)
	if last {
		nonce[11] = 1
	}
	return nonce
}

// Header answers a copy of what the producer signed.
func (o *Opened) Header() Header { return o.authentic.Header() }

// Digest is the SHA-256 of the whole envelope, its name in the inbox.
func (o *Opened) Digest() [32]byte { return o.authentic.Digest() }

// Rows is the number of records that the producer says are inside, 1 to
// limits.BatchRows.
func (o *Opened) Rows() int { return o.rows }

// Content is the records in the header's codec. It mustn't be changed.
func (o *Opened) Content() []byte { return o.content }

// ContentDigest is equal for two envelopes that carry the same records in the
// same codec, however they were sealed. It is as sensitive as the records.
func (o *Opened) ContentDigest() [32]byte {
	h := sha256.New()
	h.Write([]byte(contentDigestTag))
	h.Write([]byte{o.authentic.sealed.header.Codec})
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(o.rows)))
	h.Write(o.content)
	return [32]byte(h.Sum(nil))
}

// ReportKey seals the report on this envelope's records to its producer.
func (o *Opened) ReportKey() secret.Bytes { return o.report }
