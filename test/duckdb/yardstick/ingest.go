package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/duckdb"
	"github.com/cloisterhq/cloister/test/genuine"
)

// path is the record path of an enclave whose objects are in memory.
type path struct {
	letters *letters
	store   *store.Store
	in      *ingest.Ingest
}

// accept hands one envelope in.
func (p *path) accept(ctx context.Context, raw []byte) error {
	_, err := p.in.Accept(ctx, raw)
	return err
}

func newPath(ctx context.Context, l *letters) (*path, error) {
	s, err := genuine.State(ctx, &shelf{objects: map[string][]byte{}})
	if err != nil {
		return nil, err
	}
	p := &path{letters: l, store: store.New([]*contract.Contract{&l.bundle.Datasets[0].Contract})}
	p.in, err = ingest.New(ingest.Config{Bundle: l.bundle, Keys: ring{l}, State: s, Store: p.store, Now: time.Now})
	return p, err
}

// shelf keeps objects in memory.
type shelf struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (s *shelf) PutIfAbsent(_ context.Context, name string, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; ok {
		return state.ErrExists
	}
	s.objects[name] = content
	return nil
}

func (s *shelf) Get(_ context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if content, ok := s.objects[name]; ok {
		return content, nil
	}
	return nil, state.ErrNotFound
}

func (s *shelf) List(context.Context, string, string, int) ([]string, error) { return nil, nil }

// each works on all envelopes with so many goroutines.
func (l *letters) each(workers int, work func(raw []byte) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		all.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(l.sealed) {
					return
				}
				errs[w] = work(l.sealed[i])
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Intake is the record path with envelopes of one size, beside its limits and
// its peer.
type Intake struct {
	EnvelopeRows int     `json:"rows_an_envelope"`
	Workers      int     `json:"envelopes_at_a_time"`
	Rows         int     `json:"rows"`
	Bytes        float64 `json:"bytes_a_row"`
	// Open is hash, opening and decoding alone. Hashes has the second hash of the
	// content too, by which a repeated batch is recognised.
	Open   *Timing `json:"open"`
	Hashes *Timing `json:"open_with_both_hashes"`
	// Accepted is until the last receipt, Merged until no run waits to be merged.
	Accepted *Timing `json:"accepted"`
	Merged   *Timing `json:"merged"`
	// Theirs is DuckDB's compressed append of the same rows, without anything
	// before it.
	Theirs *Timing `json:"duckdb"`
}

// measureIntake runs all sides in turns.
func (r *Ingestion) measureIntake(ctx context.Context, rows, envelope, workers, repeats int) error {
	l, err := newLetters(rows, envelope, sixColumns)
	if err != nil {
		return err
	}
	var open, hashes, accepted, merged, theirs stopwatch
	limit := func(watch *stopwatch, digest bool) func() error {
		return func() error {
			runtime.GC()
			return watch.run(func() error { return l.each(workers, func(raw []byte) error { return l.open(raw, digest) }) })
		}
	}
	sides := []func() error{
		limit(&open, false), limit(&hashes, true),
		func() error { return l.accept(ctx, workers, &accepted, &merged) },
		func() error { return l.appendTheirs(&theirs) },
	}
	for turn := range repeats {
		for i := range sides { // each comes after each other one
			if err := sides[(i+turn)%len(sides)](); err != nil {
				return err
			}
		}
	}
	i := &Intake{
		EnvelopeRows: envelope, Workers: workers, Rows: rows, Bytes: float64(l.bytes) / float64(rows),
		Open: open.timing(), Hashes: hashes.timing(), Accepted: accepted.timing(), Merged: merged.timing(), Theirs: theirs.timing(),
	}
	fmt.Println(i.line())
	r.Intakes = append(r.Intakes, i)
	return nil
}

// accept takes all envelopes into a new table.
func (l *letters) accept(ctx context.Context, workers int, accepted, merged *stopwatch) error {
	p, err := newPath(ctx, l)
	if err != nil {
		return err
	}
	runtime.GC()
	if err := merged.run(func() error {
		if err := accepted.run(func() error {
			return l.each(workers, func(raw []byte) error { return p.accept(ctx, raw) })
		}); err != nil {
			return err
		}
		p.store.Settle()
		return nil
	}); err != nil {
		return err
	}
	if snap, _ := p.store.Snapshot(l.contract.Dataset); snap.Rows() != l.rows {
		return errors.New("not all rows arrived")
	}
	return nil
}

// checkpointRows is how many rows DuckDB compresses at a time, or a few more.
const checkpointRows = 1_000_000

// appendTheirs appends the rows of all envelopes to a new table of DuckDB.
func (l *letters) appendTheirs(watch *stopwatch) error {
	b, err := duckdb.OpenBulk(l.contract, threads)
	if err != nil {
		return err
	}
	defer b.Close()
	if l.native == nil {
		for _, batch := range l.batches {
			n, err := b.Native(len(batch[person].Ints), batch)
			if err != nil {
				return err
			}
			l.native = append(l.native, n)
		}
	}
	runtime.GC()
	step := max(1, checkpointRows/len(l.batches[0][person].Ints))
	if err := watch.run(func() error {
		for from := 0; from < len(l.native); from += step {
			if err := b.Append(l.native[from:min(from+step, len(l.native))]); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	n, err := b.Int("SELECT count(*) FROM data." + l.contract.Dataset)
	if err == nil && n != int64(l.rows) {
		err = errors.New("not all rows arrived at DuckDB")
	}
	return err
}

// line is for whoever watches.
func (i *Intake) line() string {
	return fmt.Sprintf("envelopes of %6d rows, %d at a time: open %5.1f M rows/s (CPU a row %3.0f ns), both hashes %5.1f (%3.0f), accepted %5.1f (%3.0f), merged %5.1f (%3.0f), DuckDB appends %5.1f (%3.0f)",
		i.EnvelopeRows, i.Workers, i.speed(i.Open), i.cost(i.Open), i.speed(i.Hashes), i.cost(i.Hashes), i.speed(i.Accepted), i.cost(i.Accepted),
		i.speed(i.Merged), i.cost(i.Merged), i.speed(i.Theirs), i.cost(i.Theirs))
}

// speed is in millions of rows a second.
func (i *Intake) speed(t *Timing) float64 { return float64(i.Rows) / t.Median / 1000 }

// cost is the processor's time of a row, in nanoseconds.
func (i *Intake) cost(t *Timing) float64 { return t.CPU * 1e6 / float64(i.Rows) }
