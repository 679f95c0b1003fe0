package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

// path is the record path of an enclave whose objects are in memory.
type path struct {
	letters *letters
	store   *store.Store
	in      *ingest.Ingest
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

// intakes are runs of the record path and of its limits, in turns.
type intakes struct {
	limit, digest, whole, settled stopwatch
}

// measureIntake runs both sides in turns.
func (l *letters) measureIntake(ctx context.Context, repeats, workers int) (*intakes, error) {
	var all intakes
	for range repeats {
		runtime.GC()
		if err := all.limit.run(func() error { return l.each(workers, func(raw []byte) error { return l.open(raw, false) }) }); err != nil {
			return nil, err
		}
		if err := all.digest.run(func() error { return l.each(workers, func(raw []byte) error { return l.open(raw, true) }) }); err != nil {
			return nil, err
		}
		p, err := newPath(ctx, l)
		if err != nil {
			return nil, err
		}
		runtime.GC()
		if err := all.settled.run(func() error {
			if err := all.whole.run(func() error {
				return l.each(workers, func(raw []byte) error { _, err := p.in.Accept(ctx, raw); return err })
			}); err != nil {
				return err
			}
			p.store.Settle()
			return nil
		}); err != nil {
			return nil, err
		}
		if snap, _ := p.store.Snapshot(l.contract.Dataset); snap.Rows() != l.rows {
			return nil, errors.New("yardstick: not all rows arrived")
		}
	}
	return &all, nil
}
