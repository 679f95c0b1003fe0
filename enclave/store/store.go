// Package store holds the accepted records of all datasets in memory, one table
// for each contract. It takes whole batches, which only package record makes,
// and shows snapshots, which package table defines: whoever runs queries knows
// tables and can't reach batches or envelopes.
package store

import (
	"errors"
	"fmt"
	"reflect"

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
}

// New makes an empty table for each contract. The contracts passed Check, have
// different datasets and mustn't change afterwards.
func New(contracts []*contract.Contract) *Store {
	s := &Store{tables: make(map[string]*table.Table, len(contracts))}
	for _, c := range contracts {
		s.tables[c.Dataset] = table.New(c)
	}
	return s
}

// Append puts a batch before queries, all of it or nothing. Snapshots that were
// taken before don't show it. Errors: ErrContract, table.ErrFull.
func (s *Store) Append(b *record.Batch) error {
	t, ok := s.tables[b.Dataset()]
	if !ok || b.Contract() != t.Contract() && !reflect.DeepEqual(b.Contract(), t.Contract()) {
		return ErrContract
	}
	columns := make([]table.Values, len(t.Contract().Fields))
	for i := range columns {
		columns[i] = table.Values(b.Column(i))
	}
	if err := t.Append(b.Len(), columns); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
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
