package clock

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Between comparisons with signed time: soon after the clock was set, so that a
// clock that goes wrong from the start is found out before much hangs on it,
// then every hour.
const (
	second = time.Minute
	third  = 4 * time.Minute
	hourly = time.Hour
	// again is the pause after a comparison that had no timestamp.
	again = time.Minute
	// longest is how long the clock may go without a comparison.
	longest = 90 * time.Minute
)

// ErrTooLong says that no comparison with signed time succeeded for 90 minutes.
var ErrTooLong = errors.New("clock: not compared with signed time for too long")

// Status is how the clock does.
type Status struct {
	// Source is the machine's clock source when it was last looked at, empty when
	// none is.
	Source string
	// Compared says whether the clock was compared with signed time since it was
	// set.
	Compared bool
	// Offset is how far signed time was ahead of the clock in the last comparison;
	// negative is behind, and 0 is within what the call itself left open.
	Offset time.Duration
	// Age is the monotonic time since the clock was set or compared.
	Age time.Duration
}

// Status answers how the clock does.
func (c *Clock) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{Source: c.source, Compared: c.compared, Offset: c.lastOffset, Age: time.Since(c.began)}
}

// Keep compares the clock with signed time 1 and 5 minutes after it begins and
// then every hour, until ctx ends, which is no error. What it answers otherwise
// means that the clock must not be used any longer: a *Disagreement, ErrTooLong,
// or the error of source, which answers what the machine counts time by; it is
// asked at once and before each comparison, and nil asks nobody.
func (c *Clock) Keep(ctx context.Context, source func() (string, error)) error {
	pauses := []time.Duration{second, third}
	for {
		if err := c.look(source); err != nil {
			return err
		}
		pause := hourly
		if len(pauses) > 0 {
			pause, pauses = pauses[0], pauses[1:]
		}
		if err := c.after(ctx, pause, source); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// after compares once the pause is over, as often as it takes to have a
// timestamp, within the longest time.
func (c *Clock) after(ctx context.Context, pause time.Duration, source func() (string, error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if err := c.look(source); err != nil {
			return err
		}
		err := c.Refresh(ctx)
		if !errors.Is(err, ErrTimestamp) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if c.Status().Age > longest {
			return fmt.Errorf("%w: %w", ErrTooLong, err)
		}
		pause = again
	}
}

// look asks what the machine counts time by.
func (c *Clock) look(source func() (string, error)) error {
	if source == nil {
		return nil
	}
	name, err := source()
	if err != nil {
		return fmt.Errorf("clock: source: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.source = name
	return nil
}
