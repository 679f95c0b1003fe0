// Package audit is the log of decisions: who asked, about which dataset, and
// whether the answer was yes. Entries are sealed, numbered and chained by hash,
// and each is durable before Append answers. They hold no data value and no
// query text. The log trusts the parent's object store for nothing but keeping
// bytes: an entry that is changed, swapped or missing in the middle stops it.
// That the store hides the newest entries can't be noticed here, as with the
// state's manifests.
package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrCorrupt says that the stored entries aren't what a log wrote.
	ErrCorrupt = errors.New("audit: the stored entries aren't a whole chain")
	// ErrFork says that somebody else wrote the next entry: another enclave
	// runs on this state. Nothing is logged any more.
	ErrFork = errors.New("audit: another writer took the next entry")
	// ErrUnsettled says that nobody knows whether the entry is durable. It keeps
	// its place in the chain; what it allows must not be done.
	ErrUnsettled = errors.New("audit: the store doesn't say whether the entry is durable")
)

// Objects keeps immutable objects. It isn't trusted for integrity or freshness.
type Objects interface {
	// PutIfAbsent stores content under name and returns after it is durable. It
	// fails when other content has the name. After an error the outcome is
	// unknown.
	PutIfAbsent(ctx context.Context, name string, content []byte) error
	// Get answers an object's content.
	Get(ctx context.Context, name string) ([]byte, error)
	// List answers at most limit names with the prefix that come after one, in
	// lexical order.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// Sealer seals for one place, a purpose and a number, and hides the size of
// what it seals. Nothing opens at another place.
type Sealer interface {
	Seal(purpose string, number uint64, plaintext []byte) ([]byte, error)
	Unseal(purpose string, number uint64, sealed []byte) ([]byte, error)
}

// Config is what Open needs. Every field is required.
type Config struct {
	Objects Objects
	Sealer  Sealer
	// Now is the enclave's clock; it dates entries.
	Now func() time.Time
}

// Log is an open log. It is safe for use by several goroutines.
type Log struct {
	config Config

	// turn is held for a whole Append and guards what follows.
	turn    chan struct{}
	next    uint64   // number of the next entry
	hash    [32]byte // of the newest sealed entry, zero before the first
	time    int64    // of the newest entry, in milliseconds since the epoch
	pending []byte   // the next entry, sealed, while nobody knows whether it is durable
	written int64    // time in pending
	broken  error
}

// Append makes an entry durable and answers its id: 32 hex digits, the first
// half of the sealed entry's SHA-256, which commits to the whole chain before
// it. Errors: ErrFork (for good), ErrUnsettled, and that of ctx.
func (l *Log) Append(ctx context.Context, e Entry) (id string, err error) {
	if err := e.check(); err != nil {
		return "", err
	}
	if err := l.begin(ctx); err != nil {
		return "", err
	}
	defer l.end()
	if err := l.settle(ctx); err != nil { // one of an earlier call
		return "", err
	}
	l.written = max(l.time, l.config.Now().UnixMilli())
	plain, err := encode(&stored{Number: l.next, Previous: l.hash, Time: l.written, Entry: e})
	if err != nil {
		return "", err
	}
	sealed, err := l.config.Sealer.Seal(purpose, l.next, plain)
	if err != nil {
		return "", fmt.Errorf("audit: %w", err)
	}
	l.pending = sealed
	if err := l.settle(ctx); err != nil {
		return "", err
	}
	return entryID(l.hash), nil
}

// begin waits for this entry's turn, for as long as ctx allows.
func (l *Log) begin(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case l.turn <- struct{}{}:
	}
	if l.broken != nil {
		l.end()
		return l.broken
	}
	return nil
}

func (l *Log) end() { <-l.turn }

// settle makes the pending entry durable, if there is one. The store's errors
// don't say whether it is, so after one the object is read back: our bytes are
// success, others are ErrFork, and silence is ErrUnsettled. A pending entry
// keeps its bytes: others under its number would be a fork of our own.
func (l *Log) settle(ctx context.Context) error {
	if l.pending == nil {
		return nil
	}
	name := entryName(l.next)
	if failure := l.config.Objects.PutIfAbsent(ctx, name, l.pending); failure != nil {
		found, err := l.config.Objects.Get(ctx, name)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUnsettled, failure)
		case !bytes.Equal(found, l.pending):
			l.broken = ErrFork
			return ErrFork
		}
	}
	l.advance(l.pending, l.written)
	l.pending = nil
	return nil
}
