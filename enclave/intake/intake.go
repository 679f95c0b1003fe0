// Package intake keeps the enclave's intake keys: born here, one after the
// other, with lives that overlap, so that a producer may seal to a key that it
// fetched weeks ago. Private halves leave the enclave only sealed under the
// state data key.
//
// It trusts the state for sealing and the parent's store for nothing but
// keeping bytes: a key that the store hides makes envelopes unreadable, and
// nothing worse. Old private halves stay as long as envelopes that were
// accepted under them are read again at every boot.
package intake

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// RenewAfter is the age at which a key gets a successor.
	RenewAfter = 30 * 24 * time.Hour
	// Life is how long a key may be sealed to: whoever fetches one has at least
	// Life less RenewAfter, and an hour.
	Life = 90 * 24 * time.Hour
	// Grace is how much longer new envelopes under a key are accepted, for those
	// that wait in an inbox.
	Grace = 30 * 24 * time.Hour

	// maxKeys bounds the keys of one state: one each RenewAfter for 80 years.
	maxKeys = 1000
	purpose = "keys/intake"
)

var (
	// ErrCorrupt says that a stored key isn't what this state sealed.
	ErrCorrupt = errors.New("intake: a stored intake key isn't this state's")
	// ErrUnknown says that this state has no such key, or that the store hides it.
	ErrUnknown = errors.New("intake: no such intake key")
)

// Objects keeps immutable objects. It isn't trusted for integrity or freshness.
type Objects interface {
	// PutIfAbsent stores content under name. After any error the outcome is
	// unknown.
	PutIfAbsent(ctx context.Context, name string, content []byte) error
	// Get answers an object, or state.ErrNotFound.
	Get(ctx context.Context, name string) ([]byte, error)
}

// Sealer seals for one place of one state.
type Sealer interface {
	Seal(purpose string, number uint64, plaintext []byte) ([]byte, error)
	Unseal(purpose string, number uint64, sealed []byte) ([]byte, error)
}

// Config is what Open needs. Every field is required.
type Config struct {
	Objects Objects
	Sealer  Sealer
	// Now is the enclave's clock.
	Now func() time.Time
}

// stored is what is sealed of a key.
type stored struct {
	Seed     []byte `cbor:"1,keyasint"`
	Born     int64  `cbor:"2,keyasint"` // milliseconds since the epoch
	NotAfter int64  `cbor:"3,keyasint"` // milliseconds since the epoch
}

// key is one key with its life.
type key struct {
	private        *intakekey.Private
	born, notAfter time.Time
}

// Keys are a state's intake keys. They are safe for use by several goroutines.
type Keys struct {
	config Config

	renewing sync.Mutex // held for a whole Renew

	mu     sync.RWMutex
	newest *key // guarded by mu, as are all
	byID   map[string]*key
	count  uint64
}

// Open reads the state's keys, and makes the first one or the next one when it
// is time. ErrCorrupt is final; errors of Objects are wrapped, and Open may be
// called again.
func Open(ctx context.Context, c Config) (*Keys, error) {
	if c.Objects == nil || c.Sealer == nil || c.Now == nil {
		return nil, errors.New("intake: the configuration isn't complete")
	}
	k := &Keys{config: c, byID: map[string]*key{}}
	for k.count < maxKeys {
		next, err := k.load(ctx, k.count)
		if errors.Is(err, state.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		k.add(next)
	}
	if err := k.Renew(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// Renew makes the next key when the newest one has reached RenewAfter, or when
// there is none. After an error the newest one stays the newest.
func (k *Keys) Renew(ctx context.Context) error {
	k.renewing.Lock()
	defer k.renewing.Unlock()
	now := k.config.Now()
	k.mu.RLock()
	number, newest := k.count, k.newest
	k.mu.RUnlock()
	if newest != nil && now.Before(newest.born.Add(RenewAfter)) {
		return nil
	}
	if number >= maxKeys {
		return fmt.Errorf("intake: %d keys at most", maxKeys)
	}
	next, err := k.make(ctx, number, now)
	if err != nil {
		return err
	}
	k.add(next)
	return nil
}

// make makes a key and answers it once it is durable.
func (k *Keys) make(ctx context.Context, number uint64, now time.Time) (*key, error) {
	private, err := intakekey.Generate()
	if err != nil {
		return nil, err
	}
	seed, err := private.Seed()
	if err != nil {
		return nil, err
	}
	defer seed.Wipe()
	plain, err := canonical.Marshal(&stored{Seed: seed.Expose(), Born: now.UnixMilli(), NotAfter: now.Add(Life).UnixMilli()})
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	sealed, err := k.config.Sealer.Seal(purpose, number, plain)
	if err != nil {
		return nil, err
	}
	// Its answer may be lost, and what is stored is what counts.
	failure := k.config.Objects.PutIfAbsent(ctx, objectName(number), sealed)
	made, err := k.load(ctx, number)
	if errors.Is(err, state.ErrNotFound) && failure != nil {
		err = failure
	}
	if err != nil {
		return nil, fmt.Errorf("intake: a new key: %w", err)
	}
	return made, nil
}

// load reads one key.
func (k *Keys) load(ctx context.Context, number uint64) (*key, error) {
	sealed, err := k.config.Objects.Get(ctx, objectName(number))
	if err != nil {
		return nil, fmt.Errorf("intake: key %d: %w", number, err)
	}
	plain, err := k.config.Sealer.Unseal(purpose, number, sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: key %d", ErrCorrupt, number)
	}
	defer clear(plain)
	var s stored
	if canonical.Unmarshal(plain, 16, &s) != nil {
		return nil, fmt.Errorf("%w: key %d", ErrCorrupt, number)
	}
	seed := secret.New(s.Seed)
	defer seed.Wipe()
	private, err := intakekey.ParsePrivate(seed)
	if err != nil {
		return nil, fmt.Errorf("%w: key %d", ErrCorrupt, number)
	}
	return &key{private: private, born: time.UnixMilli(s.Born), notAfter: time.UnixMilli(s.NotAfter)}, nil
}

func objectName(number uint64) string { return fmt.Sprintf("%s/%08d", purpose, number) }

// add makes a key the newest.
func (k *Keys) add(next *key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.newest = next
	k.byID[next.private.Public().ID()] = next
	k.count++
}

// Current answers the key that producers seal to now and its life.
func (k *Keys) Current() (public *intakekey.Public, born, notAfter time.Time) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.newest.private.Public(), k.newest.born, k.newest.notAfter
}

// Takes says whether new envelopes under the key of that name are accepted now.
func (k *Keys) Takes(id string) bool {
	held, ok := k.find(id)
	return ok && !k.config.Now().After(held.notAfter.Add(Grace))
}

// Unwrap opens a data key that was sealed to the key of that name, however old.
// The caller owns it. Errors: ErrUnknown, intakekey.ErrOpen.
func (k *Keys) Unwrap(id string, info, wrapped []byte) (secret.Bytes, error) {
	held, ok := k.find(id)
	if !ok {
		return secret.Bytes{}, ErrUnknown
	}
	return held.private.Unwrap(wrapped, info)
}

func (k *Keys) find(id string) (*key, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	held, ok := k.byID[id]
	return held, ok
}
