// Package ingest is the record path: what happens to one envelope between the
// parent that carried it and the receipt that goes back to its producer. It
// trusts the measured bundle for who may send what, and nothing that an
// envelope says of itself. Nothing counts twice, and the order in which
// envelopes are accepted is the order of the manifests and of the snapshots.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

// Keys answers the data key of an envelope, from KMS when it must. It checks
// the wrapping key against the bundle. Each answer is a copy, which Ingest
// wipes.
type Keys interface {
	Open(ctx context.Context, h envelope.Header) (secret.Bytes, error)
}

// Store takes accepted records into the tables that queries see.
type Store interface {
	Append(b *record.Batch) error
}

// Config is what New needs. Every field is required.
type Config struct {
	// Bundle says which producers may send to which datasets.
	Bundle *bundle.Bundle
	Keys   Keys
	State  *state.State
	Store  Store
	// Now is the enclave's clock; it dates receipts.
	Now func() time.Time
}

// Accepted is what goes back to the producer.
type Accepted struct {
	// Receipt is signed by the service key, see internal/receipt.
	Receipt []byte
	// Report says what became of each record, sealed to the producer.
	Report []byte
}

// Ingest is the record path. It is safe for use by several goroutines.
type Ingest struct {
	config     Config
	validators map[string]*contract.Validator

	// turn is held from the look at what was accepted before until the store
	// has the batch. It guards what follows.
	turn   chan struct{}
	held   *commitment
	broken error
}

// New compiles the contracts of the bundle.
func New(c Config) (*Ingest, error) {
	if c.Bundle == nil || c.Keys == nil || c.State == nil || c.Store == nil || c.Now == nil {
		return nil, errors.New("ingest: the configuration isn't complete")
	}
	in := &Ingest{config: c, validators: map[string]*contract.Validator{}, turn: make(chan struct{}, 1)}
	for i := range c.Bundle.Datasets {
		of := &c.Bundle.Datasets[i].Contract
		v, err := contract.NewValidator(of)
		if err != nil {
			return nil, fmt.Errorf("ingest: contract of dataset %s: %w", of.Dataset, err)
		}
		in.validators[of.Dataset] = v
	}
	return in, nil
}

// Accept takes one envelope: it is checked, opened, judged record by record,
// made durable and put before queries. A *Refusal is final for the envelope;
// after any other error it may be sent again. A context that ends before the
// acceptance is being written leaves nothing behind.
func (in *Ingest) Accept(ctx context.Context, raw []byte) (*Accepted, error) {
	authentic, err := in.admit(raw, current)
	if err != nil {
		return nil, err
	}
	opened, err := in.open(ctx, authentic)
	if err != nil {
		return nil, err
	}
	batch, report, err := in.decode(opened)
	if err != nil {
		return nil, err
	}
	done, err := in.commit(ctx, in.acceptance(opened, report), batch)
	if err != nil {
		return nil, err
	}
	return in.receipt(opened, done, report)
}

// Replay puts an envelope that was accepted in an earlier life of the enclave
// before queries again, and nothing else. It must be called in the order of
// the state's acceptances, before Accept is.
func (in *Ingest) Replay(ctx context.Context, a state.Acceptance, raw []byte) error {
	authentic, err := in.admit(raw, retiredToo)
	if err != nil {
		return err
	}
	if authentic.Digest() != a.Envelope {
		return ErrReplay
	}
	opened, err := in.open(ctx, authentic)
	if err != nil {
		return err
	}
	batch, report, err := in.decode(opened)
	if err != nil {
		return err
	}
	again := in.acceptance(opened, report)
	if again.Time = a.Time; again != a {
		return ErrReplay
	}
	return in.restore(ctx, batch)
}
