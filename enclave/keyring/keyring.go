// Package keyring opens the data keys of envelopes and holds the ones in use:
// a bounded number, each for a bounded time, wiped when it goes.
//
// It trusts the measured bundle for the KMS key and the epoch of a dataset, the
// state for those of what was accepted under an older bundle, and KMS for the
// rest. Of an envelope's header it believes nothing but the wrapped
// key: the encryption context that the key must be bound to is built here, from
// names that the header was already held against.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

// ErrWrap says that a data key isn't wrapped as the bundle says for its
// dataset, or said when the envelope was accepted: another KMS key, epoch or
// deployment, or no dataset of that name; or to an intake key that isn't this
// enclave's, or has expired. KMS wasn't asked.
var ErrWrap = errors.New("keyring: not wrapped by the dataset's key")

// KMS unwraps data keys.
type KMS interface {
	// Decrypt unwraps a data key that was wrapped under the KMS key arn with
	// this encryption context. The caller owns the answer.
	Decrypt(ctx context.Context, arn string, context map[string]string, blob []byte) (secret.Bytes, error)
}

// Intake opens data keys that were sealed to an intake key.
type Intake interface {
	// Takes says whether new envelopes under the intake key of that name are
	// accepted now.
	Takes(key string) bool
	// Unwrap opens a data key that is bound to info. The caller owns the answer.
	Unwrap(key string, info, blob []byte) (secret.Bytes, error)
}

// Config is what New needs.
type Config struct {
	// KMS is asked for keys that aren't held. Required.
	KMS KMS
	// Intake has the intake keys. Without it none is known.
	Intake Intake
	// Deployment is the bundle's name of the deployment. Required.
	Deployment string
	// Dataset answers the KMS key and the epoch that the bundle pins for a
	// dataset, and false when there is no such dataset. Required.
	Dataset func(name string) (arn string, epoch uint64, ok bool)
	// Max is how many keys are held at most. Zero holds none.
	Max int
	// TTL is how long a key is held after KMS released it, used or not. Zero
	// holds none.
	TTL time.Duration
	// Now is the enclave's clock. Required.
	Now func() time.Time
}

// Keyring opens data keys. It is safe for use by several goroutines.
type Keyring struct {
	config Config
	cache  *cache
	calls  *calls
}

// New makes an empty keyring.
func New(c Config) *Keyring {
	held := newCache(c.Max, c.TTL, c.Now)
	return &Keyring{config: c, cache: held, calls: newCalls(held)}
}

// Open answers the data key of an envelope, a copy that the caller wipes. It
// asks KMS when the key isn't held, once for all who want it at the same time.
// It answers ErrWrap, an error of KMS, or that ctx ended.
func (k *Keyring) Open(ctx context.Context, h envelope.Header) (secret.Bytes, error) {
	arn, epoch, ok := k.config.Dataset(h.Dataset)
	if !ok {
		return secret.Bytes{}, ErrWrap
	}
	if h.Wrap.Kind == envelope.WrapIntake {
		if k.config.Intake == nil || !k.config.Intake.Takes(h.Wrap.Key) {
			return secret.Bytes{}, ErrWrap
		}
		return k.unseal(ctx, h)
	}
	return k.open(ctx, h, arn, epoch)
}

// Reopen is Open for an envelope that was accepted while the bundle pinned
// another key or an older epoch for its dataset. The caller vouches for arn and
// epoch as the state has them; an epoch that is yet to come is ErrWrap.
func (k *Keyring) Reopen(ctx context.Context, h envelope.Header, arn string, epoch uint64) (secret.Bytes, error) {
	_, newest, ok := k.config.Dataset(h.Dataset)
	if !ok || epoch > newest {
		return secret.Bytes{}, ErrWrap
	}
	if h.Wrap.Kind == envelope.WrapIntake {
		if h.Wrap.Key != arn || h.Wrap.Epoch != epoch {
			return secret.Bytes{}, ErrWrap
		}
		return k.unseal(ctx, h)
	}
	return k.open(ctx, h, arn, epoch)
}

// open answers the data key if it is wrapped under arn in this epoch.
func (k *Keyring) open(ctx context.Context, h envelope.Header, arn string, epoch uint64) (secret.Bytes, error) {
	if h.Deployment != k.config.Deployment || h.Wrap.Kind != envelope.WrapKMS || h.Wrap.Key != arn || h.Wrap.Epoch != epoch {
		return secret.Bytes{}, ErrWrap
	}
	encryption := envelope.KMSContext(k.config.Deployment, h.Dataset, h.Producer, epoch)
	key, err := k.calls.do(ctx, nameOf(arn, encryption, h.Wrap.Blob), func(ctx context.Context) (secret.Bytes, error) {
		return k.config.KMS.Decrypt(ctx, arn, encryption, h.Wrap.Blob)
	})
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("keyring: %w", err)
	}
	return key, nil
}

// unseal answers the data key that is sealed to an intake key, with the info
// that is built here.
func (k *Keyring) unseal(ctx context.Context, h envelope.Header) (secret.Bytes, error) {
	if h.Deployment != k.config.Deployment || k.config.Intake == nil {
		return secret.Bytes{}, ErrWrap
	}
	info := envelope.IntakeInfo(k.config.Deployment, h.Dataset, h.Producer, h.Stream, h.Wrap.Key)
	key, err := k.calls.do(ctx, nameOf(h.Wrap.Key, map[string]string{"intake": string(info)}, h.Wrap.Blob), func(context.Context) (secret.Bytes, error) {
		return k.config.Intake.Unwrap(h.Wrap.Key, info, h.Wrap.Blob)
	})
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("keyring: %w", err)
	}
	return key, nil
}

// Len answers how many keys are held.
func (k *Keyring) Len() int { return k.cache.len() }

// Close wipes all keys and holds none from now on. Open still works.
func (k *Keyring) Close() { k.cache.close() }
