package exec

// SipHash is the pseudorandom function that ranks groups.
func SipHash(key, input []byte) uint64 {
	k := newSipKey(key)
	return k.sum(input)
}
