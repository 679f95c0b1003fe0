package table

import (
	"context"
	"sync"
	"time"
)

// readers counts the queries that read a table.
type readers struct {
	mu    sync.Mutex
	n     int
	quiet chan struct{} // closed when there is none any more; nil when there is none
}

// begin counts a query until end is called.
func (r *readers) begin() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n++; r.quiet == nil {
		r.quiet = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.n--; r.n == 0 {
			close(r.quiet)
			r.quiet = nil
		}
	})
}

// left answers a channel that is closed when there is no query any more, nil
// when there is none.
func (r *readers) left() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.quiet
}

// Read says that a query reads the snapshot, until end is called. It keeps
// nobody out: whoever adds rows may leave the processor to the query.
func (s *Snapshot) Read() (end func()) { return s.readers.begin() }

// Reading says whether a query reads some snapshot of the table.
func (t *Table) Reading() bool { return t.readers.left() != nil }

// Quiet waits until no query reads the table, but not longer than it may, nor
// than ctx.
func (t *Table) Quiet(ctx context.Context, most time.Duration) {
	ctx, stop := context.WithTimeout(ctx, most)
	defer stop()
	for left := t.readers.left(); left != nil; left = t.readers.left() {
		select {
		case <-left:
		case <-ctx.Done():
			return
		}
	}
}
