// Package bundle is the one file that holds everything an operator may
// configure, in deterministic CBOR: the enclave measures it into PCR16 before
// anything else, and clients compare it with the evidence. It trusts nothing:
// Decode bounds, checks and re-encodes what it reads, and a bundle is only
// worth what PCR16 in a verified document says.
package bundle

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"slices"

	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// Version is the bundle version that this code writes and reads.
const Version = 1

// The profiles. An enclave stops unless its own evidence goes with the profile:
// AWS's root with Production, another root with Simulation.
const (
	Production = "production"
	Simulation = "simulation"
)

// The sources of freshness, which notice a rolled-back or cloned state. An
// enclave must stop on one that it can't honour.
const (
	// FreshnessNone notices nothing. Simulation only.
	FreshnessNone = "none"
	// FreshnessWitnesses asks witnesses outside the parent's control.
	FreshnessWitnesses = "witnesses"
)

// Bounds of what a bundle may hold.
const (
	// MaxDatasets, MaxProducers, MaxIssuers and MaxEgress bound its lists.
	MaxDatasets  = 256
	MaxProducers = 1024
	MaxIssuers   = 16
	MaxEgress    = 64
	// MaxResultRows bounds Limits.MaxResultRows.
	MaxResultRows = 10_000_000
	// maxItems bounds every array and map before it is allocated.
	maxItems = 1024
)

// ErrBundle is wrapped by every error of Check, Encode and Decode.
var ErrBundle = errors.New("bundle")

// Bundle is everything that an operator may configure. docs/spec/bundle.md
// holds its CBOR form.
type Bundle struct {
	// Version is 1.
	Version uint `cbor:"1,keyasint"`
	// Deployment is the deployment's id, [a-z0-9-]{1,63}.
	Deployment string `cbor:"2,keyasint"`
	// Profile is Production or Simulation.
	Profile string `cbor:"3,keyasint"`
	// Datasets are the datasets and their contracts, at least one.
	Datasets []Dataset `cbor:"4,keyasint"`
	// KMS says where keys are and which of them opens the state.
	KMS KMS `cbor:"5,keyasint"`
	// Producers may submit; retired ones are kept so that old envelopes replay.
	Producers []Producer `cbor:"6,keyasint,omitempty"`
	// Issuers vouch for analysts.
	Issuers []Issuer `cbor:"7,keyasint,omitempty"`
	// Egress lists every host:port that the enclave may reach.
	Egress []string `cbor:"8,keyasint,omitempty"`
	// Freshness is where the enclave learns that its state is the newest.
	Freshness string `cbor:"9,keyasint"`
	// Limits bound single requests.
	Limits Limits `cbor:"10,keyasint"`
}

// Dataset is a contract and the KMS key of its owner.
type Dataset struct {
	// Contract names the dataset and holds all rules.
	Contract contract.Contract `cbor:"1,keyasint"`
	// KeyARN is the dataset KEK; the enclave takes no other.
	KeyARN string `cbor:"2,keyasint"`
	// KeyEpoch is part of the encryption context; it counts up when the owner
	// retires every data key made so far.
	KeyEpoch uint64 `cbor:"3,keyasint"`
}

// KMS says where keys are.
type KMS struct {
	// Region is the AWS region of every key.
	Region string `cbor:"1,keyasint"`
	// Endpoint is an https URL in place of AWS's. Simulation only.
	Endpoint string `cbor:"2,keyasint,omitempty"`
	// CA is PEM, the roots for Endpoint. Simulation only.
	CA []byte `cbor:"3,keyasint,omitempty"`
	// StateKeyARN is the state KEK. No dataset has the same key: a key that a
	// producer could wrap with would let it forge state.
	StateKeyARN string `cbor:"4,keyasint"`
}

// Producer is an upstream service.
type Producer struct {
	// Name is its id, [a-z0-9-]{1,63}.
	Name string `cbor:"1,keyasint"`
	// Key is its Ed25519 public key, 32 bytes.
	Key []byte `cbor:"2,keyasint"`
	// Datasets are the names of those that it may submit to, at least one.
	Datasets []string `cbor:"3,keyasint"`
	// Retired producers submit nothing new.
	Retired bool `cbor:"4,keyasint"`
}

// Issuer is an OpenID Connect issuer.
type Issuer struct {
	// URL is the issuer's https URL, exactly as its tokens name it.
	URL string `cbor:"1,keyasint"`
	// Audience is what tokens must be made for.
	Audience string `cbor:"2,keyasint"`
	// RolesClaim is the claim that lists a person's roles.
	RolesClaim string `cbor:"3,keyasint"`
	// TLSRoots is PEM, the roots for URL; an enclave has no others.
	TLSRoots []byte `cbor:"4,keyasint"`
	// RequireMFA refuses tokens that don't say a second factor was used.
	RequireMFA bool `cbor:"5,keyasint"`
}

// Limits bound single requests.
type Limits struct {
	// MaxEnvelope is the largest envelope, in bytes.
	MaxEnvelope int64 `cbor:"1,keyasint"`
	// MaxResultRows is the largest number of rows of an answer.
	MaxResultRows int64 `cbor:"2,keyasint"`
	// QueryTimeout is how long a query may run, in milliseconds.
	QueryTimeout int64 `cbor:"3,keyasint"`
	// QueryMemory is how much memory a query may take, in bytes.
	QueryMemory int64 `cbor:"4,keyasint"`
}

// DefaultLimits are the limits of a deployment that names none.
func DefaultLimits() Limits {
	return Limits{MaxEnvelope: limits.Envelope, MaxResultRows: 100_000, QueryTimeout: 30_000, QueryMemory: 1 << 30}
}

// Encode answers the bundle's one encoding, or Check's error.
func (b *Bundle) Encode() ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	raw, err := canonical.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if len(raw) > limits.Bundle {
		return nil, fmt.Errorf("%w: over %d bytes", ErrBundle, limits.Bundle)
	}
	return raw, nil
}

// Decode reads a bundle. Bytes that Encode wouldn't write, unknown keys and
// anything that Check refuses are errors that wrap ErrBundle.
func Decode(raw []byte) (*Bundle, error) {
	if len(raw) > limits.Bundle {
		return nil, fmt.Errorf("%w: over %d bytes", ErrBundle, limits.Bundle)
	}
	b := &Bundle{}
	if err := canonical.Unmarshal(raw, maxItems, b); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBundle, err)
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	return b, nil
}

// Digest is the SHA-384 of an encoded bundle: what the enclave extends PCR16
// with and what evidence binds.
func Digest(raw []byte) [48]byte { return sha512.Sum384(raw) }

// PCR16 is the register's value after an enclave measured an encoded bundle:
// SHA-384(48 zero bytes || SHA-384(raw)).
func PCR16(raw []byte) [48]byte {
	digest := Digest(raw)
	return sha512.Sum384(append(make([]byte, sha512.Size384), digest[:]...))
}

// Dataset answers the dataset of a name.
func (b *Bundle) Dataset(name string) (*Dataset, bool) {
	for i := range b.Datasets {
		if b.Datasets[i].Contract.Dataset == name {
			return &b.Datasets[i], true
		}
	}
	return nil, false
}

// Producer answers the producer of a name, retired or not.
func (b *Bundle) Producer(name string) (*Producer, bool) {
	for i := range b.Producers {
		if b.Producers[i].Name == name {
			return &b.Producers[i], true
		}
	}
	return nil, false
}

// May says whether the producer may submit to a dataset now.
func (p *Producer) May(dataset string) bool {
	if p.Retired {
		return false
	}
	return slices.Contains(p.Datasets, dataset)
}
