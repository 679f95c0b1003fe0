package keyring

import (
	"bytes"
	"container/list"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/internal/secret"
)

// cache holds keys by name. What leaves it is wiped, and what it answers is a
// copy, so that nobody's key is wiped under their hands.
type cache struct {
	max int
	ttl time.Duration
	now func() time.Time

	mu     sync.Mutex
	closed bool
	byName map[name]*held
	// byUse has the key that was used last in front, byAge the one that came
	// last. Both hold all keys; since all live equally long, the last of byAge
	// is the first to expire.
	byUse, byAge *list.List
	// sweep wipes what expires while nobody asks for it. It runs while a key is
	// held.
	sweep *time.Timer
}

// held is a key in the cache.
type held struct {
	name     name
	key      secret.Bytes
	expires  time.Time
	use, age *list.Element
}

func newCache(most int, ttl time.Duration, now func() time.Time) *cache {
	return &cache{max: most, ttl: ttl, now: now, byName: map[name]*held{}, byUse: list.New(), byAge: list.New()}
}

// get answers a copy of a key that is held.
func (c *cache) get(n name) (secret.Bytes, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire()
	h, ok := c.byName[n]
	if !ok {
		return secret.Bytes{}, false
	}
	c.byUse.MoveToFront(h.use)
	return clone(h.key), true
}

// put holds a copy of a key. The one that was used longest ago makes room.
func (c *cache) put(n name, key secret.Bytes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.max <= 0 || c.ttl <= 0 {
		return
	}
	c.expire()
	if old, ok := c.byName[n]; ok {
		c.drop(old)
	}
	for len(c.byName) >= c.max {
		c.drop(c.byUse.Back().Value.(*held))
	}
	h := &held{name: n, key: clone(key), expires: c.now().Add(c.ttl)}
	h.use, h.age = c.byUse.PushFront(h), c.byAge.PushFront(h)
	c.byName[n] = h
	if c.sweep == nil {
		c.sweep = time.AfterFunc(c.ttl, c.swept)
	}
}

// swept wipes what has expired and comes back for what hasn't.
func (c *cache) swept() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire()
	if c.closed || len(c.byName) == 0 {
		c.sweep = nil
		return
	}
	c.sweep = time.AfterFunc(max(time.Second, c.byAge.Back().Value.(*held).expires.Sub(c.now())), c.swept)
}

// expire drops the keys whose time is over. The caller holds mu.
func (c *cache) expire() {
	for now := c.now(); c.byAge.Len() > 0; {
		h := c.byAge.Back().Value.(*held)
		if now.Before(h.expires) {
			return
		}
		c.drop(h)
	}
}

// drop wipes a key and forgets it. The caller holds mu.
func (c *cache) drop(h *held) {
	c.byUse.Remove(h.use)
	c.byAge.Remove(h.age)
	delete(c.byName, h.name)
	h.key.Wipe()
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expire()
	return len(c.byName)
}

// close drops all keys and takes no more.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, h := range c.byName {
		c.drop(h)
	}
	if c.sweep != nil {
		c.sweep.Stop()
		c.sweep = nil
	}
}

// clone copies a key. Wiping one leaves the other.
func clone(key secret.Bytes) secret.Bytes { return secret.New(bytes.Clone(key.Expose())) }
