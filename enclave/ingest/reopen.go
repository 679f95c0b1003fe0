package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
)

// ErrReplay says that a stored envelope isn't the one that was accepted.
var ErrReplay = errors.New("ingest: the stored envelope isn't the accepted one")

// reopen opens and judges an envelope as it was when it was accepted. What the
// bundle says of its producer, contract and key today has no part in it: all
// that is needed stands in the acceptance. Its errors are never a *Refusal.
func (in *Ingest) reopen(ctx context.Context, a state.Acceptance, sealed *envelope.Sealed) (*envelope.Opened, *record.Batch, *receipt.Report, error) {
	if sealed.Digest() != a.Envelope {
		return nil, nil, nil, ErrReplay
	}
	authentic, err := sealed.Authenticate(a.Signer[:])
	if err != nil {
		return nil, nil, nil, ErrReplay
	}
	then, err := in.eraOf(ctx, a)
	if err != nil {
		return nil, nil, nil, err
	}
	dek, err := in.config.Keys.Reopen(ctx, authentic.Header(), a.Key, a.Epoch)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("ingest: data key: %w", err)
	}
	defer dek.Wipe()
	opened, err := authentic.Open(dek)
	if err != nil {
		return nil, nil, nil, ErrReplay
	}
	batch, report, err := then.decode(opened)
	if err != nil {
		return nil, nil, nil, ErrReplay
	}
	now := in.acceptance(opened, terms{then, a.Signer[:]}, report)
	if now.Time = a.Time; now != a {
		return nil, nil, nil, ErrReplay
	}
	return opened, batch, report, nil
}
