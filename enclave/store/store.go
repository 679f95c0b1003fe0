// Package store holds the accepted records of all datasets in memory, one table
// for each contract. It takes whole batches, which only package record makes,
// and shows snapshots, which package table defines: whoever runs queries knows
// tables and can't reach batches or envelopes.
package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// ErrContract says that a batch was judged by another contract than its
// dataset's here.
var ErrContract = errors.New("store: the batch isn't of a dataset's contract")

// Snapshot is an unchanging view of one dataset.
type Snapshot = table.Snapshot

// Store is the tables of a deployment. It is safe for use by several
// goroutines.
type Store struct {
	tables map[string]*table.Table
	rests  map[string]*rest
	memory *table.Memory
}

// New makes an empty table for each contract. The contracts passed Check, have
// different datasets and mustn't change afterwards.
func New(contracts []*contract.Contract) *Store { return NewLimited(contracts, table.Unlimited()) }

// NewLimited is New with a limit of the memory of all tables together.
func NewLimited(contracts []*contract.Contract, m *table.Memory) *Store {
	s := &Store{tables: make(map[string]*table.Table, len(contracts)), rests: make(map[string]*rest, len(contracts)), memory: m}
	for _, c := range contracts {
		s.tables[c.Dataset] = table.New(c, m)
		s.rests[c.Dataset] = &rest{table: s.tables[c.Dataset]}
	}
	return s
}

// Append puts a batch before queries, all of it or nothing. Snapshots that were
// taken before don't show it. Errors: ErrContract, table.ErrFull,
// table.ErrMemory.
func (s *Store) Append(b *record.Batch) error {
	t, columns, err := s.columns(b)
	if err != nil {
		return err
	}
	if err := t.Append(b.Len(), columns); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	s.rests[b.Dataset()].came()
	return nil
}

// Room answers the error that Append would answer now. It is for whoever must
// know before a batch is durable; another batch may take the room meanwhile.
func (s *Store) Room(b *record.Batch) error {
	t, columns, err := s.columns(b)
	if err != nil {
		return err
	}
	if err := t.Room(b.Len(), columns); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// columns answers the table of a batch's dataset and the batch as it takes it.
func (s *Store) columns(b *record.Batch) (*table.Table, []table.Values, error) {
	t, ok := s.tables[b.Dataset()]
	if !ok || b.Contract() != t.Contract() && !reflect.DeepEqual(b.Contract(), t.Contract()) {
		return nil, nil, ErrContract
	}
	columns := make([]table.Values, len(t.Contract().Fields))
	for i := range columns {
		columns[i] = table.Values(b.Column(i))
	}
	return t, columns, nil
}

// Snapshot answers the newest view of a dataset, false when there is no such
// dataset. It never waits for Append, and Append never waits for a reader.
func (s *Store) Snapshot(dataset string) (*Snapshot, bool) {
	t, ok := s.tables[dataset]
	if !ok {
		return nil, false
	}
	return t.Snapshot(), true
}

// Reading says whether a query reads some table.
func (s *Store) Reading() bool {
	for _, t := range s.tables {
		if t.Reading() {
			return true
		}
	}
	return false
}

// Quiet waits until no query reads a table, but not longer than it may, nor than
// ctx.
func (s *Store) Quiet(ctx context.Context, most time.Duration) {
	ctx, stop := context.WithTimeout(ctx, most)
	defer stop()
	for s.Reading() && ctx.Err() == nil {
		for _, t := range s.tables {
			t.Quiet(ctx, most)
		}
	}
}

// Settle waits until no table merges what came, or memory is short.
func (s *Store) Settle() {
	for _, t := range s.tables {
		t.Settle()
	}
}

// Held is the memory that all tables hold, in bytes.
func (s *Store) Held() int64 { return s.memory.Held() }
