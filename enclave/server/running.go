package server

import (
	"context"
	"slices"
	"sync"
)

// execution names a query at work: who asked, and the ticket's id.
type execution struct{ issuer, subject, id string }

// running are the queries at work, so that one call can cancel another. It is
// as large as the number of open calls.
type running struct {
	mu    sync.Mutex
	calls map[execution][]*work // guarded by mu
}

// work is one query at work.
type work struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// begin answers the context of a query that begins; end is called when it has
// ended. A query without an id can't be cancelled by another call.
func (r *running) begin(ctx context.Context, e execution) (_ context.Context, end func()) {
	if e.id == "" {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &work{cancel: cancel, done: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[execution][]*work{}
	}
	r.calls[e] = append(r.calls[e], w)
	return ctx, func() {
		cancel()
		close(w.done)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.calls[e] = slices.DeleteFunc(r.calls[e], func(other *work) bool { return other == w }); len(r.calls[e]) == 0 {
			delete(r.calls, e)
		}
	}
}

// cancel ends the queries of a name and waits until they have ended. It answers
// how many there were, and the context's error when that ended first.
func (r *running) cancel(ctx context.Context, e execution) (int, error) {
	r.mu.Lock()
	found := slices.Clone(r.calls[e])
	r.mu.Unlock()
	for _, w := range found {
		w.cancel()
	}
	for _, w := range found {
		select {
		case <-w.done:
		case <-ctx.Done():
			return len(found), ctx.Err()
		}
	}
	return len(found), nil
}
