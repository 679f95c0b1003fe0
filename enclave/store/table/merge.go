package table

import "math/bits"

const (
	// fanIn is how many runs of about a size become one: after n rows each was
	// written again log n / log fanIn times at most.
	fanIn = 8
	// maxFanIn is how many runs are merged at a time when more are waiting.
	maxFanIn = 16
)

// class puts runs of about a size together: fanIn of one make one of a higher
// class.
func (r *run) class() int { return (bits.Len(uint(r.rows)) + 2) / 3 }

// due answers runs that should become one, nil when there are none: runs of
// about a size, or all of them when the largest one is smaller than the others
// together. So each row is written again for that twice at most, and half of
// the rows are in one run.
func due(runs []*run) []*run {
	byClass := map[int][]*run{}
	total, largest := 0, 0
	for _, r := range runs {
		byClass[r.class()] = append(byClass[r.class()], r)
		total, largest = total+r.rows, max(largest, r.rows)
	}
	for class := range 64 {
		if same := byClass[class]; len(same) >= fanIn {
			return same[:min(len(same), maxFanIn)]
		}
	}
	if len(runs) > 1 && largest < total-largest {
		return runs
	}
	return nil
}

// merge starts the merging of what is due, unless it goes on already. t.mu is
// held.
func (t *Table) merge() {
	if t.merging != nil {
		return
	}
	if _, old := t.next(); old != nil {
		t.merging = make(chan struct{})
		go t.mergeDue()
	}
}

// next answers runs of the newest snapshot that should become one.
func (t *Table) next() (partition int, old []*run) {
	for i, runs := range t.newest.Load().runs {
		if old := due(runs); old != nil {
			return i, old
		}
	}
	return 0, nil
}

// mergeDue merges until nothing is due, or memory is short: then the next
// Append starts it again.
func (t *Table) mergeDue() {
	for {
		t.mu.Lock()
		partition, old := t.next()
		if old == nil {
			t.stop()
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		if !t.replace(partition, old) {
			t.mu.Lock()
			t.stop()
			t.mu.Unlock()
			return
		}
	}
}

// stop says that no merge goes on. t.mu is held.
func (t *Table) stop() {
	close(t.merging)
	t.merging = nil
}

// replace shows one run in the place of others, false when memory is short.
func (t *Table) replace(partition int, old []*run) bool {
	need := t.unpacked(Partition{runs: old}.Rows(), 1)
	if !t.memory.take(need) {
		return false
	}
	merged := t.mergeRuns(old)
	held := merged.held()
	for _, r := range old {
		held -= r.held()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newest.Store(t.newest.Load().merged(partition, old, merged))
	t.held += held
	t.memory.give(need - held)
	return true
}

// Settle waits until no merge is due, or memory is short.
func (t *Table) Settle() {
	t.mu.Lock()
	merging := t.merging
	t.mu.Unlock()
	if merging != nil {
		<-merging
	}
}

// Compact makes one run of each partition, as memory allows. It is for a table
// that rests for a while, as after a replay: queries are fastest then.
func (t *Table) Compact() {
	t.mu.Lock()
	for t.merging != nil {
		t.mu.Unlock()
		t.Settle()
		t.mu.Lock()
	}
	t.merging = make(chan struct{})
	t.mu.Unlock()
	for i, runs := range t.newest.Load().runs {
		if len(runs) > 1 && !t.replace(i, runs) {
			break
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	t.merge() // what came meanwhile
}
