// Package state is what the enclave remembers across restarts: a chain of
// numbered manifests, each sealed and each holding the hash of the one before.
// It trusts KMS for the data key that seals them and the parent's object store
// for nothing but keeping bytes. A manifest that is missing in the middle,
// changed, swapped or from another deployment stops the enclave; an old end of
// the chain or a second chain can't be noticed here, that is for Freshness and
// for clients that pin the genesis.
package state

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/internal/secret"
)

var (
	// ErrExists says that an object holds the name already.
	ErrExists = errors.New("state: the object exists")
	// ErrNotFound says that no object has the name.
	ErrNotFound = errors.New("state: no such object")
	// ErrFork says that somebody else wrote the next manifest: another enclave
	// runs on this state. Nothing may be accepted any more.
	ErrFork = errors.New("state: another writer took the next manifest")
	// ErrCorrupt says that the stored chain isn't what an enclave wrote.
	ErrCorrupt = errors.New("state: the stored manifests aren't a whole chain")
	// ErrUnsettled says that nobody knows whether the last manifest is durable.
	// The same acceptance must be appended again, before any other.
	ErrUnsettled = errors.New("state: the store doesn't say whether the last manifest is durable")
	// ErrAccepted says that the number of this stream is taken.
	ErrAccepted = errors.New("state: this number of the stream was accepted before")
)

// Objects keeps immutable objects. It isn't trusted for integrity or freshness.
type Objects interface {
	// PutIfAbsent stores content under name and returns after it is durable.
	// ErrExists means that another object has the name. After any other error
	// the outcome is unknown.
	PutIfAbsent(ctx context.Context, name string, content []byte) error
	// Get answers an object, or ErrNotFound.
	Get(ctx context.Context, name string) ([]byte, error)
	// List answers at most limit names with the prefix that come after one, in
	// lexical order.
	List(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// Keys makes and unwraps the state's data key, under a key that is released to
// attested images only.
type Keys interface {
	// Generate answers a new 32-byte key and its wrapped form.
	Generate(ctx context.Context) (key secret.Bytes, wrapped []byte, err error)
	// Decrypt unwraps a key that Generate made.
	Decrypt(ctx context.Context, wrapped []byte) (secret.Bytes, error)
}

// Config is what Open needs. Every field is required.
type Config struct {
	Objects Objects
	Keys    Keys
	// Deployment is the bundle's; manifests of another one don't open.
	Deployment string
	// Now is the enclave's clock.
	Now func() time.Time
}

// Acceptance is what the chain says of one accepted envelope: all that it takes
// to open and judge it again as it was, whatever bundle is in force by then.
type Acceptance struct {
	// Envelope is the SHA-256 of the envelope, its name in the inbox.
	Envelope [32]byte `cbor:"1,keyasint"`
	// Dataset, Producer, Stream and Sequence are the envelope's; together they
	// are accepted once.
	Dataset  string `cbor:"2,keyasint"`
	Producer string `cbor:"3,keyasint"`
	Stream   string `cbor:"4,keyasint"`
	Sequence uint64 `cbor:"5,keyasint"`
	// Contract is the version that the records were judged by.
	Contract string `cbor:"6,keyasint"`
	// Content is the digest of the records, however they were sealed.
	Content [32]byte `cbor:"7,keyasint"`
	// Accepted and Rejected count records.
	Accepted int `cbor:"8,keyasint"`
	Rejected int `cbor:"9,keyasint"`
	// Time of acceptance, in milliseconds since the epoch.
	Time int64 `cbor:"10,keyasint"`
	// Terms names the contract that the records were judged by, see KeepContract.
	Terms [32]byte `cbor:"11,keyasint"`
	// Key is the ARN of the KMS key that wraps the data key, and Epoch its epoch,
	// as the bundle pinned them at the time.
	Key   string `cbor:"12,keyasint"`
	Epoch uint64 `cbor:"13,keyasint"`
	// Signer is the producer's Ed25519 public key at the time.
	Signer [32]byte `cbor:"14,keyasint"`
}

// slot is what is accepted once.
type slot struct {
	dataset, producer, stream string
	sequence                  uint64
}

func (a *Acceptance) slot() slot { return slot{a.Dataset, a.Producer, a.Stream, a.Sequence} }

// State is an open chain. It is safe for use by several goroutines.
type State struct {
	config  Config
	dek     secret.Bytes
	service *serviceKey
	genesis [32]byte

	// writing is held for a whole Append and guards what follows.
	writing   sync.Mutex
	broken    error
	unsettled *pending

	// mu guards what readers see.
	mu       sync.RWMutex
	head     uint64
	hash     [32]byte // of the newest manifest's object
	time     int64    // of the newest manifest
	accepted []Acceptance
	index    map[slot]int // of accepted
}

// Genesis names this state for good: the SHA-256 of its first manifest.
func (s *State) Genesis() [32]byte { return s.genesis }

// Head is the number of the newest manifest; 0 is the genesis.
func (s *State) Head() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.head
}

// Lookup answers what was accepted under this number of a stream, and the
// number of the manifest that says so.
func (s *State) Lookup(producer, stream string, sequence uint64, dataset string) (a Acceptance, manifest uint64, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.index[slot{dataset, producer, stream, sequence}]
	if !ok {
		return Acceptance{}, 0, false
	}
	return s.accepted[i], manifestOf(i), true
}

// Accepted answers all acceptances in their order.
func (s *State) Accepted() []Acceptance {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.accepted)
}

// manifestOf is the number of the manifest with the i-th acceptance: every
// manifest after the genesis holds one.
func manifestOf(i int) uint64 { return uint64(i) + 1 }

// ServiceKey signs receipts and results. Born at genesis, it survives restarts.
func (s *State) ServiceKey() crypto.Signer { return s.service }

// ServicePublicKey is the public half of ServiceKey.
func (s *State) ServicePublicKey() ed25519.PublicKey { return slices.Clone(s.service.public) }

// serviceKey keeps the seed in a type that can't be printed.
type serviceKey struct {
	seed   secret.Bytes
	public ed25519.PublicKey
}

func newServiceKey(seed secret.Bytes) (*serviceKey, error) {
	if seed.Len() != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: service key", ErrCorrupt)
	}
	public, ok := ed25519.NewKeyFromSeed(seed.Expose()).Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: service key", ErrCorrupt)
	}
	return &serviceKey{seed: seed, public: public}, nil
}

// Public answers the ed25519.PublicKey.
func (k *serviceKey) Public() crypto.PublicKey { return k.public }

// Sign signs a message, which Ed25519 takes whole and not hashed.
func (k *serviceKey) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return ed25519.NewKeyFromSeed(k.seed.Expose()).Sign(rand, message, opts)
}
