package exec

import (
	"encoding/binary"
	"math/bits"
)

// sipKey is a key of SipHash-2-4, a pseudorandom function for short inputs
// (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
type sipKey struct{ k0, k1 uint64 }

// newSipKey reads a key of 16 bytes.
func newSipKey(key []byte) sipKey {
	return sipKey{binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[8:])}
}

// sum answers the function's value.
func (k sipKey) sum(input []byte) uint64 {
	v0, v1, v2, v3 := k.k0^0x736f6d6570736575, k.k1^0x646f72616e646f6d, k.k0^0x6c7967656e657261, k.k1^0x7465646279746573
	last := uint64(len(input)) << 56
	for ; len(input) >= 8; input = input[8:] {
		word := binary.LittleEndian.Uint64(input)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3^word)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= word
	}
	for i, b := range input {
		last |= uint64(b) << (8 * i)
	}
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3^last)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v2 = v0^last, v2^0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0, v2 = v0+v1, v2+v3
	v1, v3 = bits.RotateLeft64(v1, 13)^v0, bits.RotateLeft64(v3, 16)^v2
	v0, v2 = bits.RotateLeft64(v0, 32)+v3, v2+v1
	v1, v3 = bits.RotateLeft64(v1, 17)^v2, bits.RotateLeft64(v3, 21)^v0
	return v0, v1, bits.RotateLeft64(v2, 32), v3
}
