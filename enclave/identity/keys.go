package identity

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// keysFresh is how long fetched keys are used without asking again.
	keysFresh = 15 * time.Minute
	// keysLife is how long fetched keys are used while the issuer is away. A
	// parent that cuts the issuer off can keep a withdrawn key alive that long.
	keysLife = 4 * time.Hour
	// refreshEvery is the pause between fetches, whatever tokens ask for; a new
	// key is known that much later at worst.
	refreshEvery = 30 * time.Second
	// retryEvery is the pause after a failed fetch when there is no key at all.
	retryEvery = 5 * time.Second
	// fetchTimeout bounds one fetch.
	fetchTimeout = 10 * time.Second
)

// keySet is the cache of one issuer's keys. One fetch runs at a time and
// everybody waits for it.
type keySet struct {
	fetch func(ctx context.Context) ([]jose.JSONWebKey, error)
	now   func() time.Time

	mu sync.Mutex
	// keys were fetched at a time; nil before the first success.
	keys    []jose.JSONWebKey
	fetched time.Time
	// err is the last fetch's, and next the earliest time of another.
	err  error
	next time.Time
	// flight is closed when the fetch that is under way ends; nil without one.
	flight chan struct{}
}

// named answers the keys with an id. It fetches the set when the id is unknown
// or the set isn't fresh, unless the last fetch was just now. Its errors are
// UnknownKey, or wrap ErrIssuerUnavailable.
func (s *keySet) named(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	if keys, _ := s.cached(id, keysFresh); len(keys) > 0 {
		return keys, nil
	}
	if flight := s.refresh(ctx); flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrIssuerUnavailable, ctx.Err())
		}
	}
	keys, err := s.cached(id, keysLife)
	switch {
	case len(keys) > 0:
		return keys, nil
	case err != nil:
		return nil, err
	default:
		return nil, UnknownKey
	}
}

// cached answers the keys with an id if the set is younger than a time. The
// error says that another answer could come from a fetch that failed.
func (s *keySet) cached(id string, younger time.Duration) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil || s.now().Sub(s.fetched) >= younger {
		if s.err == nil {
			return nil, ErrIssuerUnavailable
		}
		return nil, s.err
	}
	var found []jose.JSONWebKey
	for _, k := range s.keys {
		if k.KeyID == id {
			found = append(found, k)
		}
	}
	return found, s.err
}

// refresh begins a fetch if none is under way and the pause is over, and
// answers what tells its end; nil when there is nothing to wait for. The fetch
// outlives the request that began it: others wait for it too.
func (s *keySet) refresh(ctx context.Context) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil && !s.now().Before(s.next) {
		s.flight = make(chan struct{})
		go s.run(context.WithoutCancel(ctx), s.flight)
	}
	return s.flight
}

// run fetches once and keeps what came.
func (s *keySet) run(ctx context.Context, flight chan<- struct{}) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	keys, err := s.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if err == nil {
		s.keys, s.fetched = keys, now
	}
	s.err, s.next = err, now.Add(refreshEvery)
	if s.keys == nil {
		s.next = now.Add(retryEvery)
	}
	s.flight = nil
	close(flight)
}
