package exec

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store/table"
)

// rowsPerWorker is how many rows are worth a goroutine of their own.
const rowsPerWorker = 128 << 10

// run is one query, as all its workers see it.
type run struct {
	plan    *sql.Plan
	snap    *table.Snapshot
	memory  *budget
	filters []*filter
	keys    *keys
	columns []column // by field that an aggregate reads
	bounds  *Bounds  // nil for none
	// sketches are the distributions that are counted.
	sketches []sketch
	// gathered takes what units have in groups, in place of the totals; nil
	// leaves it to them.
	gathered func(p *people, whole int) error
}

// column is a field that an aggregate reads.
type column struct {
	field int
	// null says that there is NULL: not every row counts, nor every unit.
	null bool
	// sum says that the values are added up, wide that 64 bits might not hold
	// the sum.
	sum, wide bool
}

// prepare makes everything whose size depends on the plan and the dictionaries.
func (r *run) prepare(ctx context.Context, more More) error {
	r.bounds = more.Bounds
	for _, c := range r.plan.Conditions() {
		f, err := newFilter(ctx, r.memory, c, r.snap)
		if err != nil {
			return err
		}
		r.filters = append(r.filters, f)
	}
	labels := map[int]*labels{}
	for _, l := range more.Lookups {
		found, f, err := l.resolve(ctx, r.memory, r.snap)
		if err != nil {
			return err
		}
		labels[l.field] = found
		if f != nil {
			r.filters = append(r.filters, f)
		}
	}
	r.keys = newKeys(r.snap, r.plan.Keys(), labels)
	for _, a := range r.plan.Aggregates() {
		if a.Func != sql.CountRows && a.Func != sql.CountUnits {
			r.read(a)
		}
	}
	for _, s := range more.Sketches {
		r.sketches = append(r.sketches, s.prepared(r.snap.Contract(), r.needed(s.Field)))
	}
	return nil
}

// needed answers the column of a field, which it makes when there is none.
func (r *run) needed(field int) int {
	i := r.column(field)
	if i < 0 {
		i = len(r.columns)
		r.columns = append(r.columns, column{field: field, null: r.snap.Range(field).Null})
	}
	return i
}

// read makes a column for an aggregate's argument, once for each field.
func (r *run) read(a sql.Aggregate) {
	i := r.needed(a.Field)
	if a.Func == sql.CountValues {
		return
	}
	span := r.snap.Range(a.Field)
	largest := max(magnitude(span.Low), magnitude(span.High))
	if r.bounds != nil {
		bound := r.bounds.Sums[a.Field]
		largest = max(largest, magnitude(bound.Low), magnitude(bound.High))
	}
	high, low := bits.Mul64(largest, uint64(r.snap.Rows()))
	r.columns[i].sum, r.columns[i].wide = true, high > 0 || low > math.MaxInt64
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// column answers the index of a field's column, -1 when there is none.
func (r *run) column(field int) int {
	return slices.IndexFunc(r.columns, func(c column) bool { return c.field == field })
}

// scan works on all partitions and answers what was counted. Several workers
// need more memory than one; when it is too much, one does all.
func (r *run) scan(ctx context.Context) (*totals, error) {
	partitions := r.snap.Partitions()
	n := max(1, min(runtime.GOMAXPROCS(0), len(partitions), r.snap.Rows()/rowsPerWorker))
	left := r.memory.left.Load()
	t, err := r.scanWith(ctx, n, partitions)
	if n > 1 && errors.Is(err, ErrLimit) {
		r.memory.left.Store(left)
		return r.scanWith(ctx, 1, partitions)
	}
	return t, err
}

func (r *run) scanWith(ctx context.Context, n int, partitions []table.Partition) (*totals, error) {
	workers := make([]*worker, n)
	for i := range workers {
		var err error
		if workers[i], err = r.newWorker(func() error { return ended(ctx) }); err != nil {
			return nil, err
		}
	}
	if err := r.share(ctx, workers, partitions); err != nil {
		return nil, err
	}
	for _, w := range workers[1:] {
		if err := workers[0].totals.join(ctx, w.totals); err != nil {
			return nil, err
		}
	}
	return workers[0].totals, nil
}

// share deals the partitions to workers, each to the first that is free, and
// answers when all of them are done. The first one works on this goroutine.
func (r *run) share(ctx context.Context, workers []*worker, partitions []table.Partition) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make([]error, len(workers))
	work := func(i int) {
		for errs[i] == nil && !failed.Load() {
			at := int(next.Add(1)) - 1
			if at >= len(partitions) {
				return
			}
			errs[i] = workers[i].scan(ctx, &failed, partitions[at])
		}
		failed.Store(true)
	}
	var others sync.WaitGroup
	for i := 1; i < len(workers); i++ {
		others.Go(func() { work(i) })
	}
	work(0)
	others.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
