package envelope

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	reportMagic  = "CLREP1\n\x00"
	reportTag    = "cloister report v1\x00"
	reportNonce  = 12
	smallestPad  = 512     // bytes of the smallest bucket
	largestPad   = 8 << 20 // bytes of the largest bucket
	reportHeader = len(reportMagic) + reportNonce
)

// ErrReport is the one answer to everything that goes wrong with a report.
var ErrReport = errors.New("envelope: the report can't be opened with this key")

// SealReport seals the enclave's report on the envelope with this digest. It is
// padded to 512 bytes or a doubling of that, so that its size tells neither
// how many records were rejected nor why. Same arguments, same bytes: the nonce
// is a MAC of the plaintext, so two different reports never share one.
func SealReport(key secret.Bytes, digest [32]byte, report []byte) ([]byte, error) {
	size := bucket(lengthSize + len(report))
	if size > largestPad {
		return nil, errors.New("envelope: the report is larger than 8 MiB")
	}
	gcm, macKey, err := reportKeys(key)
	if err != nil {
		return nil, err
	}
	padded := make([]byte, size)
	binary.BigEndian.PutUint32(padded, uint32(len(report)))
	copy(padded[lengthSize:], report)
	nonce := reportIV(macKey, digest, padded)
	out := append([]byte(reportMagic), nonce...)
	return gcm.Seal(out, nonce, padded, reportData(digest)), nil
}

// OpenReport opens what SealReport made for the envelope with this digest. Any
// failure is ErrReport.
func OpenReport(key secret.Bytes, digest [32]byte, sealed []byte) ([]byte, error) {
	if len(sealed) < reportHeader+smallestPad+chunkOverhead || len(sealed) > reportHeader+largestPad+chunkOverhead ||
		!bytes.HasPrefix(sealed, []byte(reportMagic)) {
		return nil, ErrReport
	}
	gcm, macKey, err := reportKeys(key)
	if err != nil {
		return nil, ErrReport
	}
	nonce := sealed[len(reportMagic):reportHeader]
	padded, err := gcm.Open(nil, nonce, sealed[reportHeader:], reportData(digest))
	if err != nil || !hmac.Equal(nonce, reportIV(macKey, digest, padded)) {
		return nil, ErrReport
	}
	length := uint64(binary.BigEndian.Uint32(padded))
	if length > uint64(len(padded)-lengthSize) || bucket(lengthSize+int(length)) != len(padded) {
		return nil, ErrReport
	}
	report, padding := padded[lengthSize:lengthSize+length], padded[lengthSize+length:]
	if len(bytes.TrimLeft(padding, "\x00")) != 0 {
		return nil, ErrReport
	}
	return report, nil
}

// bucket is the smallest padded size that holds n bytes.
func bucket(n int) int {
	size := smallestPad
	for size < n {
		size *= 2
	}
	return size
}

// reportData is the additional data of a sealed report.
func reportData(digest [32]byte) []byte { return append([]byte(reportTag), digest[:]...) }

// reportKeys splits the report key into one for sealing and one for nonces.
func reportKeys(key secret.Bytes) (gcm cipher.AEAD, macKey []byte, err error) {
	if key.Len() != keySize {
		return nil, nil, fmt.Errorf("envelope: a report key has %d bytes", keySize)
	}
	out, err := hkdf.Key(sha512.New384, key.Expose(), nil, reportTag, 2*keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("envelope: %w", err)
	}
	gcm, err = newGCM(secret.New(out[:keySize:keySize]))
	return gcm, out[keySize:], err
}

// reportIV makes the nonce from the plaintext.
func reportIV(key []byte, digest [32]byte, padded []byte) []byte {
	mac := hmac.New(sha512.New384, key)
	mac.Write(reportData(digest))
	mac.Write(padded)
	return mac.Sum(nil)[:reportNonce]
}
