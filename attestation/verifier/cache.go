package verifier

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/attestation"
)

// DefaultChains is how many chains a [Cache] remembers when nothing else is
// said. A leaf signs for three hours; one enclave is one chain at a time.
const DefaultChains = 64

// Cache is [Authenticate] for a program that sees documents of the same few
// enclaves again and again. It remembers chains of certificates that were found
// good under its roots, by the SHA-256 of all their bytes, and then checks the
// documents' own signatures alone, without a second opinion: one operation on
// P-384 in place of five, and of ten with the second verifier.
//
// What is remembered is that names, signatures and constraints chain up, which
// never changes. Everything that time or a document changes is checked at every
// use: the validity of each certificate, the document's form, its signature
// and its consistency. Only chains under a trusted root enter, so no stranger
// can push others out. A Cache is safe for concurrent use.
type Cache struct {
	roots Roots
	size  int

	mu     sync.Mutex
	chains map[chainID]*chain // guarded by mu
	order  []chainID          // guarded by mu; the oldest first
}

type chainID [sha256.Size]byte

// NewCache makes a cache of at most size chains; [DefaultChains] when size is
// 0 or less.
func NewCache(roots Roots, size int) *Cache {
	if size <= 0 {
		size = DefaultChains
	}
	return &Cache{roots: roots, size: size, chains: make(map[chainID]*chain)}
}

// Authenticate is the function of that name under the cache's roots. The
// checks of the result don't list [CheckSecondOpinion] when the chain was
// remembered.
func (c *Cache) Authenticate(raw []byte, at time.Time) (*Authentic, error) {
	var id chainID
	hit := false
	a, err := authenticate(raw, c.roots, at, func(d *attestation.Document) *chain {
		id = identify(d)
		found := c.find(id)
		hit = found != nil
		return found
	})
	if err != nil || hit {
		return a, err
	}
	if err := a.confirm(); err != nil {
		return nil, err
	}
	c.add(id, a.chain)
	return a, nil
}

// Len is the number of chains remembered.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.chains)
}

func (c *Cache) find(id chainID) *chain {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.chains[id]
}

// add remembers a chain, in place of the oldest one when there are too many.
func (c *Cache) add(id chainID, found *chain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, twice := c.chains[id]; twice {
		return
	}
	if len(c.order) >= c.size {
		delete(c.chains, c.order[0])
		c.order = append(c.order[:0], c.order[1:]...)
	}
	c.chains[id] = found
	c.order = append(c.order, id)
}

// identify hashes a document's certificates, each behind its length, so that
// no two lists of certificates are one.
func identify(d *attestation.Document) chainID {
	h := sha256.New()
	var length [8]byte
	for _, der := range append(d.CABundle(), d.Certificate()) {
		binary.BigEndian.PutUint64(length[:], uint64(len(der)))
		h.Write(length[:])
		h.Write(der)
	}
	return chainID(h.Sum(nil))
}
