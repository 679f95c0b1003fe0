package kms

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// tripAfter is how many calls in a row, each with all its attempts, must
	// find KMS away before it is left alone.
	tripAfter = 3
	// rest is how long it is left alone.
	rest = 3 * time.Second
)

// breaker keeps a KMS that is away from being asked by everybody at once. Once
// several calls in a row have failed it lets none through for a while, and then
// one, whose outcome decides for all. Only ErrUnavailable counts: a refusal is
// an answer.
type breaker struct {
	now func() time.Time

	mu       sync.Mutex
	failures int // calls in a row
	until    time.Time
	probing  bool
}

// enter lets a call through, or answers ErrUnavailable at once. Whoever is let
// through calls leave.
func (b *breaker) enter() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < tripAfter {
		return nil
	}
	if b.probing || b.now().Before(b.until) {
		return fmt.Errorf("%w: it was away a moment ago and isn't asked", ErrUnavailable)
	}
	b.probing = true
	return nil
}

// leave tells what became of a call. One that its caller gave up says nothing
// about KMS.
func (b *breaker) leave(err error, gaveUp bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch {
	case gaveUp:
	case errors.Is(err, ErrUnavailable):
		b.failures++
		b.until = b.now().Add(rest)
	default:
		b.failures = 0
	}
}
