package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
)

// commitment is an acceptance and the records that go with it.
type commitment struct {
	acceptance state.Acceptance
	batch      *record.Batch
}

// outcome is an acceptance as the state records it.
type outcome struct {
	acceptance state.Acceptance
	manifest   uint64
	repeat     bool
}

// acceptance says of an envelope what the state keeps.
func (in *Ingest) acceptance(o *envelope.Opened, t terms, r *receipt.Report) state.Acceptance {
	h := o.Header()
	return state.Acceptance{
		Envelope: o.Digest(), Dataset: h.Dataset, Producer: h.Producer, Stream: h.Stream, Sequence: h.Sequence,
		Contract: h.Contract, Content: o.ContentDigest(), Accepted: r.Accepted, Rejected: r.Rejected,
		Time:  in.config.Now().UnixMilli(),
		Terms: t.era.digest, Key: h.Wrap.Key, Epoch: h.Wrap.Epoch, Signer: [32]byte(t.signer),
	}
}

// commit makes an acceptance durable and its records visible, one envelope at
// a time. What was accepted before counts once: the same records are
// recognised, others under the same number are refused.
func (in *Ingest) commit(ctx context.Context, a state.Acceptance, b *record.Batch) (outcome, error) {
	if err := in.begin(ctx); err != nil {
		return outcome{}, err
	}
	defer in.end()
	if _, err := in.finish(ctx); err != nil { // one of an earlier call
		return outcome{}, err
	}
	before, manifest, ok := in.config.State.Lookup(a.Producer, a.Stream, a.Sequence, a.Dataset)
	switch {
	case !ok:
		if err := in.keep(ctx, a); err != nil {
			return outcome{}, err
		}
		in.held = &commitment{a, b}
		manifest, err := in.finish(ctx)
		return outcome{acceptance: a, manifest: manifest}, err
	case before.Envelope == a.Envelope:
		return outcome{acceptance: before, manifest: manifest}, nil
	case before.Content == a.Content && before.Contract == a.Contract:
		return outcome{acceptance: before, manifest: manifest, repeat: true}, nil
	default:
		return outcome{}, &Refusal{ReasonConflict}
	}
}

// finish writes the commitment that is held, if any. When nobody knows whether
// it became durable it stays held, and the next call settles it first: its
// place in the order is taken.
func (in *Ingest) finish(ctx context.Context) (uint64, error) {
	if in.held == nil {
		return 0, nil
	}
	manifest, err := in.config.State.Append(ctx, in.held.acceptance)
	if errors.Is(err, state.ErrUnsettled) {
		return 0, err
	}
	batch := in.held.batch
	if in.held = nil; err != nil {
		return 0, err
	}
	return manifest, in.show(batch)
}

// show puts a durable batch before queries. If that fails the tables lack what
// a receipt will promise: nothing more is accepted until a restart replays it.
func (in *Ingest) show(b *record.Batch) error {
	defer in.work()()
	if err := in.config.Store.Append(b); err != nil {
		in.broken = fmt.Errorf("ingest: the tables can't take an accepted batch: %w", err)
	}
	return in.broken
}

// restore shows a batch that the state has already.
func (in *Ingest) restore(ctx context.Context, a state.Acceptance, b *record.Batch) error {
	if err := in.begin(ctx); err != nil {
		return err
	}
	defer in.end()
	if now := in.eras[a.Dataset]; now.digest == a.Terms {
		now.kept = true // before the acceptance was
	}
	return in.show(b)
}

// begin waits for this envelope's turn, for as long as ctx allows.
func (in *Ingest) begin(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case in.turn <- struct{}{}:
	}
	err := in.broken
	if err == nil {
		err = ctx.Err() // what nobody waits for isn't begun
	}
	if err != nil {
		in.end()
	}
	return err
}

func (in *Ingest) end() { <-in.turn }

// receipt signs what the state records. The same envelope gets the same bytes,
// however often and in whichever life of the enclave it is handed in.
func (in *Ingest) receipt(o *envelope.Opened, done outcome, r *receipt.Report) (*Accepted, error) {
	key := o.ReportKey()
	defer key.Wipe()
	plain, err := r.Encode()
	if err != nil {
		return nil, err
	}
	report, err := envelope.SealReport(key, o.Digest(), plain)
	if err != nil {
		return nil, err
	}
	a := done.acceptance
	signed, err := receipt.Sign(receipt.Receipt{
		Deployment: in.config.Bundle.Deployment, Genesis: in.config.State.Genesis(),
		Dataset: a.Dataset, Producer: a.Producer, Stream: a.Stream, Sequence: a.Sequence,
		Envelope: o.Digest(), Manifest: done.manifest, Repeat: done.repeat,
		Report: sha256.Sum256(report), Time: a.Time,
	}, in.config.State.ServiceKey())
	if err != nil {
		return nil, err
	}
	return &Accepted{Receipt: signed, Report: report}, nil
}
