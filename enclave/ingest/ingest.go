// Package ingest is the record path: what happens to one envelope between the
// parent that carried it and the receipt that goes back to its producer. It
// trusts the measured bundle for who may send what, the state for what was
// accepted under an older bundle, and nothing that an envelope says of itself.
// Nothing counts twice, and the order in which envelopes are accepted is the
// order of the manifests and of the snapshots.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

// Keys answers the data key of an envelope, from KMS when it must. Each answer
// is a copy, which Ingest wipes. An error that wraps kms.ErrCiphertext says that
// the wrapped key never opens.
type Keys interface {
	// Open checks the wrapping key and its epoch against the bundle.
	Open(ctx context.Context, h envelope.Header) (secret.Bytes, error)
	// Reopen checks them against what was recorded when the envelope was
	// accepted.
	Reopen(ctx context.Context, h envelope.Header, arn string, epoch uint64) (secret.Bytes, error)
}

// Store takes accepted records into the tables that queries see.
type Store interface {
	Append(b *record.Batch) error
	// Reading says whether a query reads some table.
	Reading() bool
	// Quiet waits until none does, but not longer than most.
	Quiet(ctx context.Context, most time.Duration)
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
	config Config
	// eras are those of the bundle's contracts, by dataset.
	eras map[string]*era
	past past

	// turn is held from the look at what was accepted before until the store
	// has the batch. It guards what follows.
	turn   chan struct{}
	held   *commitment
	broken error

	share share
}

// New compiles the contracts of the bundle.
func New(c Config) (*Ingest, error) {
	if c.Bundle == nil || c.Keys == nil || c.State == nil || c.Store == nil || c.Now == nil {
		return nil, errors.New("ingest: the configuration isn't complete")
	}
	in := &Ingest{config: c, eras: map[string]*era{}, turn: make(chan struct{}, 1), share: share{turn: make(chan struct{}, 1)}}
	for i := range c.Bundle.Datasets {
		of := &c.Bundle.Datasets[i].Contract
		e, err := newEra(of)
		if err != nil {
			return nil, fmt.Errorf("ingest: contract of dataset %s: %w", of.Dataset, err)
		}
		in.eras[of.Dataset] = e
	}
	return in, nil
}

// Accept takes one envelope: it is checked, opened, judged record by record,
// made durable and put before queries. A *Refusal is final for the envelope;
// after any other error it may be sent again. A context that ends before the
// acceptance is being written leaves nothing behind.
//
// What was accepted before is never refused, whatever bundle is in force: it
// gets its receipt again. While queries run, envelopes wait for their share of
// the processor.
func (in *Ingest) Accept(ctx context.Context, raw []byte) (*Accepted, error) {
	sealed, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if before, manifest, ok := in.before(sealed); ok {
		return in.again(ctx, sealed, outcome{acceptance: before, manifest: manifest})
	}
	authentic, under, err := in.admit(sealed, len(raw))
	if err != nil {
		return nil, err
	}
	opened, err := in.open(ctx, authentic)
	if err != nil {
		return nil, err
	}
	leave, err := in.enter(ctx)
	if err != nil {
		return nil, err
	}
	batch, report, err := under.era.decode(opened)
	leave()
	if err != nil {
		return nil, &Refusal{ReasonContent}
	}
	done, err := in.commit(ctx, in.acceptance(opened, under, report), batch)
	if err != nil {
		return nil, err
	}
	return in.receipt(opened, done, report)
}

// before answers what the state says of this very envelope.
func (in *Ingest) before(s *envelope.Sealed) (a state.Acceptance, manifest uint64, ok bool) {
	h := s.Header()
	a, manifest, ok = in.config.State.Lookup(h.Producer, h.Stream, h.Sequence, h.Dataset)
	return a, manifest, ok && a.Envelope == s.Digest()
}

// again gives an envelope that was accepted its receipt once more.
func (in *Ingest) again(ctx context.Context, s *envelope.Sealed, done outcome) (*Accepted, error) {
	opened, _, report, err := in.reopen(ctx, done.acceptance, s)
	if err != nil {
		return nil, err
	}
	if err := in.begin(ctx); err != nil { // queries may lack what a receipt promises
		return nil, err
	}
	in.end()
	return in.receipt(opened, done, report)
}

// Replay puts an envelope that was accepted in an earlier life of the enclave
// before queries again, and nothing else. It must be called in the order of
// the state's acceptances, before Accept is. Errors that are final: ErrReplay,
// ErrSuccession, state.ErrCorrupt, and those of the store.
func (in *Ingest) Replay(ctx context.Context, a state.Acceptance, raw []byte) error {
	sealed, err := parse(raw)
	if err != nil {
		return ErrReplay
	}
	_, batch, _, err := in.reopen(ctx, a, sealed)
	if err != nil {
		return err
	}
	return in.restore(ctx, a, batch)
}
