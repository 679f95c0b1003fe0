package table

// Hold keeps merges from beginning until Release.
func (t *Table) Hold() {
	t.Settle()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.merging = make(chan struct{})
}

// Release ends Hold.
func (t *Table) Release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	t.merge()
}

// Runs answers the number of rows of each run, by partition.
func (s *Snapshot) Runs() (sizes [partitions][]int) {
	for i, runs := range s.runs {
		for _, r := range runs {
			sizes[i] = append(sizes[i], r.rows)
		}
	}
	return sizes
}

// Due answers the sizes of the runs that would be merged next.
func Due(sizes []int) []int {
	var runs []*run
	for _, n := range sizes {
		runs = append(runs, &run{rows: n})
	}
	var old []int
	for _, r := range due(runs) {
		old = append(old, r.rows)
	}
	return old
}

// Partitions is the number of partitions.
const Partitions = partitions
