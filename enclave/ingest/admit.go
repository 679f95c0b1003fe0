package ingest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
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
	ReasonBlob       = "KMS can't open the data key with this producer's context"
	ReasonIntake     = "the intake key isn't this enclave's, or has expired"
	ReasonSealed     = "the data key wasn't sealed to the intake key for this stream"
	ReasonOpen       = "the envelope doesn't open with its data key"
	ReasonContent    = "the content isn't in a known codec"
	ReasonConflict   = "the stream has other records under this number"
)

// terms are what an envelope is judged under.
type terms struct {
	era    *era
	signer ed25519.PublicKey
}

// parse looks at the form alone.
func parse(raw []byte) (*envelope.Sealed, error) {
	sealed, err := envelope.Parse(raw)
	if errors.Is(err, envelope.ErrTooLarge) {
		return nil, &Refusal{ReasonSize}
	}
	if err != nil {
		return nil, &Refusal{ReasonMalformed}
	}
	return sealed, nil
}

// admit checks, in this order, size, signature, and the producer's right to
// deployment, dataset and contract. It asks nobody.
func (in *Ingest) admit(sealed *envelope.Sealed, size int) (*envelope.Authentic, terms, error) {
	if most := in.config.Bundle.Limits.MaxEnvelope; most > 0 && int64(size) > most {
		return nil, terms{}, &Refusal{ReasonSize}
	}
	claim := sealed.Header()
	producer, ok := in.config.Bundle.Producer(claim.Producer)
	if !ok {
		return nil, terms{}, &Refusal{ReasonProducer}
	}
	authentic, err := sealed.Authenticate(producer.Key)
	if err != nil {
		return nil, terms{}, &Refusal{ReasonSignature}
	}
	if producer.Retired {
		return nil, terms{}, &Refusal{ReasonRetired}
	}
	if err := in.entitled(authentic.Header(), producer.Datasets); err != nil {
		return nil, terms{}, err
	}
	return authentic, terms{in.eras[claim.Dataset], producer.Key}, nil
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
	// Whether an intake key is ours the keyring says.
	if h.Wrap.Kind == envelope.WrapKMS && (h.Wrap.Key != dataset.KeyARN || h.Wrap.Epoch != dataset.KeyEpoch) {
		return &Refusal{ReasonKey}
	}
	return nil
}

// open asks for the data key and opens the envelope with it.
func (in *Ingest) open(ctx context.Context, a *envelope.Authentic) (*envelope.Opened, error) {
	dek, err := in.config.Keys.Open(ctx, a.Header())
	switch {
	case errors.Is(err, kms.ErrCiphertext):
		return nil, &Refusal{ReasonBlob}
	case errors.Is(err, keyring.ErrWrap) && a.Header().Wrap.Kind == envelope.WrapIntake:
		return nil, &Refusal{ReasonIntake}
	case errors.Is(err, intakekey.ErrOpen):
		return nil, &Refusal{ReasonSealed}
	}
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
