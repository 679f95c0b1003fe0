package keyring

// Memory answers the bytes of the keys that are held, not copies and without
// dropping what has expired, so that tests can see them wiped.
func Memory(k *Keyring) [][]byte {
	k.cache.mu.Lock()
	defer k.cache.mu.Unlock()
	var all [][]byte
	for _, h := range k.cache.byName {
		all = append(all, h.key.Expose())
	}
	return all
}

// Flying answers how many calls to KMS are under way.
func Flying(k *Keyring) int {
	k.calls.mu.Lock()
	defer k.calls.mu.Unlock()
	return len(k.calls.flying)
}
