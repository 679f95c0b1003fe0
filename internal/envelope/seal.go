package envelope

import (
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

// Seal makes an envelope of rows records that content holds in the header's
// codec. The header's salt must be random and new for each call. The report
// key that it answers opens the enclave's report on this envelope. Same
// arguments, same bytes.
func Seal(h Header, dek secret.Bytes, rows int, content []byte, signer ed25519.PrivateKey) (raw []byte, reportKey secret.Bytes, err error) {
	if rows < 1 || rows > limits.BatchRows {
		return nil, secret.Bytes{}, fmt.Errorf("envelope: 1 to %d records", limits.BatchRows)
	}
	if h.Salt == [32]byte{} {
		return nil, secret.Bytes{}, errors.New("envelope: the salt isn't set")
	}
	if len(signer) != ed25519.PrivateKeySize {
		return nil, secret.Bytes{}, errors.New("envelope: not an Ed25519 key")
	}
	if len(content) > limits.Envelope {
		return nil, secret.Bytes{}, ErrTooLarge
	}
	raw, err = appendPreamble(&h)
	if err != nil {
		return nil, secret.Bytes{}, err
	}
	headerHash := sha256.Sum256(raw)
	k, err := deriveKeys(dek, h.Salt, headerHash)
	if err != nil {
		return nil, secret.Bytes{}, err
	}
	defer k.content.Wipe()
	if content == nil {
		content = []byte{} // an empty byte string, not null
	}
	plain, err := canonical.Marshal(&payload{Rows: uint64(rows), Content: content})
	if err != nil {
		return nil, secret.Bytes{}, err
	}
	defer clear(plain)
	gcm, err := newGCM(k.content)
	if err != nil {
		return nil, secret.Bytes{}, err
	}
	chunks := (len(plain) + chunkSize - 1) / chunkSize
	raw = slices.Grow(raw, commitmentSize+len(plain)+chunks*chunkOverhead+ed25519.SignatureSize)
	raw = append(raw, k.commitment...)
	raw = sealChunks(gcm, headerHash, raw, plain)
	raw = append(raw, ed25519.Sign(signer, signedMessage(sha256.Sum256(raw)))...)
	if len(raw) > limits.Envelope {
		return nil, secret.Bytes{}, ErrTooLarge
	}
	return raw, k.report, nil
}

func appendPreamble(h *Header) ([]byte, error) {
	header, err := encodeHeader(h)
	if err != nil {
		return nil, err
	}
	raw := append([]byte(magic), binary.BigEndian.AppendUint32(nil, uint32(len(header)))...)
	return append(raw, header...), nil
}

// sealChunks appends plain to raw in sealed chunks. Plain is never empty.
func sealChunks(gcm cipher.AEAD, headerHash [32]byte, raw, plain []byte) []byte {
	for counter := uint64(0); len(plain) > 0; counter++ {
		n := min(len(plain), chunkSize)
		raw = gcm.Seal(raw, chunkNonce(counter, n == len(plain)), plain[:n], headerHash[:])
		plain = plain[n:]
	}
	return raw
}
