package store

import (
	"context"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/enclave/store/table"
)

const (
	// restFirst and restEach are how long nothing must come before a table is
	// compacted: 2 s and a microsecond for each of its rows. Compacting takes a
	// small part of that, so a table into which something drips now and then
	// spends little on it.
	restFirst = 2 * time.Second
	restEach  = time.Microsecond
	// restQuery is how long compacting waits for the queries of the moment.
	restQuery = 10 * time.Second
)

// rest compacts a table once nothing has come for a while: after a replay, and
// whenever its producers pause. Queries are fastest then.
type rest struct {
	table *table.Table
	mu    sync.Mutex
	timer *time.Timer
}

// came says that rows were appended.
func (r *rest) came() {
	pause := restFirst + time.Duration(r.table.Snapshot().Rows())*restEach
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer == nil {
		r.timer = time.AfterFunc(pause, r.compact)
		return
	}
	r.timer.Reset(pause)
}

// compact makes one run of each partition, when no query would wait for it.
func (r *rest) compact() {
	r.table.Quiet(context.Background(), restQuery)
	r.table.Compact()
}
