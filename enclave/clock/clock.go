// Package clock is the one clock in the enclave: the last timestamp that the
// Nitro Secure Module signed, plus monotonic time since. It trusts the module
// and the hypervisor's monotonic clock to notice each other's faults; the
// machine's wall clock never counts, and nothing takes time from the parent.
package clock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// slack is the drift that is always adopted. Enclaves have been seen 3 s
	// off after a start and 6 s after a week.
	slack = 2 * time.Second
	// drift is the rate beyond slack: 1/drift of the time since the last signed
	// timestamp, 500 parts in a million, more than any sound oscillator's.
	drift = 2000
	// callTimeout is the longest that one signed timestamp may take. What takes
	// longer says too little about when it was signed.
	callTimeout = 30 * time.Second
)

// ErrTimestamp says that no usable signed timestamp was given.
var ErrTimestamp = errors.New("clock: no signed timestamp")

// Disagreement says that signed time and monotonic time differ by more than
// drift explains: one of the two clocks was stopped, stepped or slowed.
type Disagreement struct {
	// Offset is how far signed time is ahead of the clock; negative is behind.
	Offset time.Duration
	// Elapsed is the monotonic time since the last signed timestamp.
	Elapsed time.Duration
	// Allowed is the largest offset that would have been adopted.
	Allowed time.Duration
}

// Error says how far the clocks are apart.
func (d *Disagreement) Error() string {
	return fmt.Sprintf("clock: signed time is %v from the clock after %v; %v is allowed", d.Offset, d.Elapsed, d.Allowed)
}

// Clock tells the time. It is safe for concurrent use.
type Clock struct {
	signed func(ctx context.Context) (time.Time, error)

	mu sync.Mutex
	reading
	// last is what Now answered last; it answers nothing earlier.
	last time.Time
	// source, compared and lastOffset are what Status tells.
	source     string
	compared   bool
	lastOffset time.Duration
}

// reading is a signed timestamp and the monotonic time that belongs to it. The
// timestamp was signed at some moment of [began, began+took].
type reading struct {
	signedAt time.Time
	began    time.Time
	took     time.Duration
}

// at answers the time that the reading makes of a monotonic time. It counts
// from the beginning of the reading's call, so that it is never behind: what
// has expired is never taken for good.
func (r reading) at(monotonic time.Time) time.Time {
	return r.signedAt.Add(monotonic.Sub(r.began))
}

// New sets the clock by a first signed timestamp.
func New(ctx context.Context, signed func(ctx context.Context) (time.Time, error)) (*Clock, error) {
	c := &Clock{signed: signed}
	r, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	c.reading = r
	return c, nil
}

// Now answers the time in UTC. It never goes backwards.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.at(time.Now()); now.After(c.last) {
		c.last = now
	}
	return c.last
}

// Refresh compares the clock with a fresh signed timestamp. It adopts a
// difference of at most 2 s plus 1/2000 of the time since the last one, plus
// what the two calls themselves leave open; a clock that was ahead stands still
// until signed time has caught up. More is a *Disagreement, and the clock goes
// on as it was. Without a timestamp the error wraps ErrTimestamp.
func (c *Clock) Refresh(ctx context.Context) error {
	r, err := c.read(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.began.Before(c.began) {
		return nil // another call's newer reading is there already
	}
	elapsed := r.began.Sub(c.began)
	allowed := slack + elapsed/drift + c.took
	offset := c.offset(r)
	if offset.Abs() > allowed {
		return &Disagreement{Offset: offset, Elapsed: elapsed, Allowed: allowed}
	}
	c.reading, c.compared, c.lastOffset = r, true, offset
	return nil
}

// offset answers how far a reading's timestamp is outside of what the clock
// showed during the reading's call; 0 when it is inside.
func (c *Clock) offset(r reading) time.Duration {
	first, last := c.at(r.began), c.at(r.began.Add(r.took))
	switch {
	case r.signedAt.Before(first):
		return r.signedAt.Sub(first)
	case r.signedAt.After(last):
		return r.signedAt.Sub(last)
	default:
		return 0
	}
}

// read asks for one signed timestamp.
func (c *Clock) read(ctx context.Context) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	began := time.Now()
	signed, err := c.signed(ctx)
	took := time.Since(began)
	switch {
	case err != nil:
		return reading{}, fmt.Errorf("%w: %w", ErrTimestamp, err)
	case took > callTimeout:
		return reading{}, fmt.Errorf("%w: it took longer than %v", ErrTimestamp, callTimeout)
	case signed.Unix() <= 0:
		return reading{}, fmt.Errorf("%w: it is before 1970", ErrTimestamp)
	}
	// UTC also strips a monotonic reading, which would count as well as ours.
	return reading{signedAt: signed.UTC(), began: began, took: took}, nil
}
