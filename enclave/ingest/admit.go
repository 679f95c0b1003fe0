package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
)

// Refusal says that an envelope as a whole can't be accepted, now or later.
type Refusal struct {
	// Reason is one of a few constant phrases. The parent reads it.
	Reason string
}

// Error answers the reason.
func (r *Refusal) Error() string { return "ingest: refused: " + r.Reason }

// The reasons.
const (
	ReasonSize       = "the envelope is larger than the deployment allows"
	ReasonMalformed  = "not an envelope of version 1"
	ReasonProducer   = "the producer isn't registered"
	ReasonRetired    = "the producer's key is retired"
	ReasonSignature  = "the signature isn't the producer's"
	ReasonRight      = "the producer has no right to the dataset"
	ReasonDeployment = "the envelope is for another deployment"
	ReasonContract   = "the envelope is for another version of the contract"
	ReasonKey        = "the data key is wrapped by another key than the dataset's"
	ReasonOpen       = "the envelope doesn't open with its data key"
	ReasonContent    = "the content isn't in a known codec"
	ReasonConflict   = "the stream has other records under this number"
)

// ErrReplay says that a stored envelope isn't the one that was accepted.
var ErrReplay = errors.New("ingest: the stored envelope isn't the accepted one")

// which says whose envelopes are admitted.
type which bool

const (
	current    which = false // producers that may send
	retiredToo which = true  // also those that could once
)

// admit checks, in this order, size, form, signature, and the producer's right
// to deployment, dataset and contract. It asks nobody.
func (in *Ingest) admit(raw []byte, who which) (*envelope.Authentic, error) {
	if most := in.config.Bundle.Limits.MaxEnvelope; most > 0 && int64(len(raw)) > most {
		return nil, &Refusal{ReasonSize}
	}
	sealed, err := envelope.Parse(raw)
	if errors.Is(err, envelope.ErrTooLarge) {
		return nil, &Refusal{ReasonSize}
	}
	if err != nil {
		return nil, &Refusal{ReasonMalformed}
	}
	claim := sealed.Header()
	producer, ok := in.config.Bundle.Producer(claim.Producer)
	if !ok {
		return nil, &Refusal{ReasonProducer}
	}
	authentic, err := sealed.Authenticate(producer.Key)
	if err != nil {
		return nil, &Refusal{ReasonSignature}
	}
	if producer.Retired && who == current {
		return nil, &Refusal{ReasonRetired}
	}
	if err := in.entitled(authentic.Header(), producer.Datasets); err != nil {
		return nil, err
	}
	return authentic, nil
}

// entitled compares what a producer signed with what the bundle says.
func (in *Ingest) entitled(h envelope.Header, datasets []string) error {
	if h.Deployment != in.config.Bundle.Deployment {
		return &Refusal{ReasonDeployment}
	}
	dataset, ok := in.config.Bundle.Dataset(h.Dataset)
	if !ok || !slices.Contains(datasets, h.Dataset) {
		return &Refusal{ReasonRight}
	}
	if h.Contract != dataset.Contract.Version {
		return &Refusal{ReasonContract}
	}
	if h.Wrap.Key != dataset.KeyARN || h.Wrap.Epoch != dataset.KeyEpoch {
		return &Refusal{ReasonKey}
	}
	return nil
}

// open asks for the data key and opens the envelope with it.
func (in *Ingest) open(ctx context.Context, a *envelope.Authentic) (*envelope.Opened, error) {
	dek, err := in.config.Keys.Open(ctx, a.Header())
	if err != nil {
		return nil, fmt.Errorf("ingest: data key: %w", err)
	}
	defer dek.Wipe()
	opened, err := a.Open(dek)
	if err != nil {
		return nil, &Refusal{ReasonOpen}
	}
	return opened, nil
}

// decode judges the records by the contract of their dataset.
func (in *Ingest) decode(o *envelope.Opened) (*record.Batch, *receipt.Report, error) {
	batch, report, err := record.Decode(o, in.validators[o.Header().Dataset])
	if err != nil {
		return nil, nil, &Refusal{ReasonContent}
	}
	return batch, report, nil
}
