package keyring

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
)

// nameTag is the version of the encoding that names are hashes of.
const nameTag = "cloister keyring v1\x00"

// name identifies a data key by everything that KMS is asked with, so that a
// key is found only by those who could have had it from KMS.
type name [sha256.Size]byte

// nameOf hashes the KMS key, the encryption context in the order of its names,
// and the wrapped key, each text behind its length.
func nameOf(arn string, encryption map[string]string, blob []byte) name {
	h := sha256.New()
	h.Write([]byte(nameTag))
	add := func(text string) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(text))))
		h.Write([]byte(text))
	}
	add(arn)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(encryption))))
	for _, key := range slices.Sorted(maps.Keys(encryption)) {
		add(key)
		add(encryption[key])
	}
	add(string(blob))
	return name(h.Sum(nil))
}
