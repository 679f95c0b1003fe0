package keyring

import (
	"context"
	"sync"

	"github.com/cloisterhq/cloister/internal/secret"
)

// calls makes one call to KMS for all who want the same key at the same time.
// Unlike x/sync's singleflight it knows how many wait, so that each gets a copy
// and the last one to go leaves nothing behind.
type calls struct {
	cache *cache

	mu     sync.Mutex
	flying map[name]*flight
}

// flight is one call. Its key and error are written before done is closed.
type flight struct {
	done chan struct{}
	key  secret.Bytes
	err  error
	// waiting, under the lock of calls, counts the call itself too.
	waiting int
}

func newCalls(held *cache) *calls { return &calls{cache: held, flying: map[name]*flight{}} }

// fetcher asks KMS for one key. It must end by itself.
type fetcher func(context.Context) (secret.Bytes, error)

// do answers a copy of the key of that name, from the cache, from a call that
// is under way, or from a new one. A caller whose ctx ends goes; the call goes
// on for the others and for the cache.
func (c *calls) do(ctx context.Context, n name, fetch fetcher) (secret.Bytes, error) {
	key, f := c.join(ctx, n, fetch)
	if f == nil {
		return key, nil
	}
	defer c.leave(f)
	select {
	case <-ctx.Done():
		return secret.Bytes{}, ctx.Err()
	case <-f.done:
	}
	if f.err != nil {
		return secret.Bytes{}, f.err
	}
	return clone(f.key), nil
}

// join answers a key that is held, or the call that will answer it.
func (c *calls) join(ctx context.Context, n name, fetch fetcher) (secret.Bytes, *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f, ok := c.flying[n]; ok {
		f.waiting++
		return secret.Bytes{}, f
	}
	// A call ends after the cache has its key, so that it is in one of the two.
	if key, ok := c.cache.get(n); ok {
		return key, nil
	}
	f := &flight{done: make(chan struct{}), waiting: 2}
	c.flying[n] = f
	go c.fly(context.WithoutCancel(ctx), n, f, fetch)
	return secret.Bytes{}, f
}

// fly makes the call.
func (c *calls) fly(ctx context.Context, n name, f *flight, fetch fetcher) {
	defer c.leave(f)
	if f.key, f.err = fetch(ctx); f.err == nil {
		c.cache.put(n, f.key)
	}
	c.mu.Lock()
	delete(c.flying, n)
	c.mu.Unlock()
	close(f.done)
}

// leave wipes the call's key when nobody needs it any more.
func (c *calls) leave(f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.key.Wipe()
	}
}
