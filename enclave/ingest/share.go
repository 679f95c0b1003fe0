package ingest

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// rest is how many times longer than the last envelope was worked on the next
	// one waits while queries run. What isn't counted as work, hash and opening,
	// is a third of it or so: ingestion has about half of one processor then.
	rest = 1
	// longestRest bounds what one envelope waits for the others.
	longestRest = 250 * time.Millisecond
)

// share is ingestion's part of the processor while queries run. Without queries
// it stands in nobody's way.
type share struct {
	// turn is held by the one envelope that is decoded while queries run.
	turn chan struct{}
	// owed is how long the next one waits, in nanoseconds.
	owed atomic.Int64
}

// enter waits for the envelope's share. leave must be called after the work.
func (in *Ingest) enter(ctx context.Context) (leave func(), err error) {
	if !in.config.Store.Reading() {
		return func() {}, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case in.share.turn <- struct{}{}:
	}
	in.config.Store.Quiet(ctx, min(time.Duration(in.share.owed.Swap(0)), longestRest))
	done := in.work()
	return func() { done(); <-in.share.turn }, nil
}

// work measures a piece of work until done is called. While queries run, it is
// to be rested from.
func (in *Ingest) work() (done func()) {
	if !in.config.Store.Reading() {
		return func() {}
	}
	begin := in.config.Now()
	return func() { in.share.owed.Add(int64(rest * max(0, in.config.Now().Sub(begin)))) }
}
