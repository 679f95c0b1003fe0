package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/receipt"
)

// ErrSuccession says that the bundle's contract doesn't allow all that an older
// one did, of which records are stored. It depends on no record.
var ErrSuccession = errors.New("ingest: the bundle's contract can't succeed one that records are stored under")

// maxEntries bounds the arrays and maps of a contract's encoding.
const maxEntries = max(contract.MaxEnum, limits.Columns)

// era is a contract that a dataset's records are or were judged by.
type era struct {
	validator *contract.Validator
	// encoding is the contract's, and digest its SHA-256, the acceptance's Terms.
	encoding []byte
	digest   [32]byte
	// passage leads to the bundle's contract; nil where this is it.
	passage *record.Passage
	// kept says that the state has the encoding; guarded by Ingest's turn.
	kept bool
}

// newEra answers the era of a contract that is in force.
func newEra(c *contract.Contract) (*era, error) {
	v, err := contract.NewValidator(c)
	if err != nil {
		return nil, err
	}
	encoding, err := canonical.Marshal(c)
	if err != nil {
		return nil, err
	}
	return &era{validator: v, encoding: encoding, digest: sha256.Sum256(encoding)}, nil
}

// decode judges an envelope's records by the era's contract and answers those
// that were accepted under the bundle's.
func (e *era) decode(o *envelope.Opened) (*record.Batch, *receipt.Report, error) {
	batch, report, err := record.Decode(o, e.validator)
	if err == nil && e.passage != nil {
		batch, err = e.passage.Carry(batch)
	}
	return batch, report, err
}

// past holds the eras of contracts that the bundle doesn't hold any more, by
// digest.
type past struct {
	mu   sync.Mutex
	eras map[[32]byte]*era
}

// eraOf answers the era in which an envelope was accepted.
func (in *Ingest) eraOf(ctx context.Context, a state.Acceptance) (*era, error) {
	now, ok := in.eras[a.Dataset]
	if !ok {
		return nil, fmt.Errorf("ingest: the bundle has no dataset %s any more", a.Dataset)
	}
	if now.digest == a.Terms {
		return now, nil
	}
	in.past.mu.Lock()
	defer in.past.mu.Unlock()
	if then, ok := in.past.eras[a.Terms]; ok {
		return then, nil
	}
	then, err := in.revive(ctx, a, now.validator.Contract())
	if err != nil {
		return nil, err
	}
	if in.past.eras == nil {
		in.past.eras = map[[32]byte]*era{}
	}
	in.past.eras[a.Terms] = then
	return then, nil
}

// revive brings back the era of a contract that the state keeps.
func (in *Ingest) revive(ctx context.Context, a state.Acceptance, now *contract.Contract) (*era, error) {
	encoding, err := in.config.State.Contract(ctx, a.Terms)
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	old := new(contract.Contract)
	if canonical.Unmarshal(encoding, maxEntries, old) != nil || old.Dataset != a.Dataset || old.Version != a.Contract {
		return nil, ErrReplay
	}
	then, err := newEra(old)
	if err != nil {
		return nil, fmt.Errorf("%w: dataset %s, version %s: %w", ErrSuccession, old.Dataset, old.Version, err)
	}
	if then.passage, err = record.NewPassage(old, now); err != nil {
		return nil, fmt.Errorf("%w: dataset %s: %w", ErrSuccession, old.Dataset, err)
	}
	return then, nil
}

// keep makes the contract that a new acceptance is judged by durable, once.
func (in *Ingest) keep(ctx context.Context, a state.Acceptance) error {
	now := in.eras[a.Dataset]
	if now.kept {
		return nil
	}
	if _, err := in.config.State.KeepContract(ctx, now.encoding); err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	now.kept = true
	return nil
}
