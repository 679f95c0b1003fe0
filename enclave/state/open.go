package state

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/internal/secret"
)

// Open recovers the chain, or begins one when the store holds no manifest at
// all. Errors: ErrCorrupt and ErrFork are final; those of Keys and Objects are
// wrapped, and Open may be called again.
func Open(ctx context.Context, c Config) (*State, error) {
	if c.Objects == nil || c.Keys == nil || c.Deployment == "" || c.Now == nil {
		return nil, errors.New("state: the configuration isn't complete")
	}
	s := &State{config: c, index: map[slot]int{}}
	first, err := c.Objects.Get(ctx, manifestName(0))
	switch {
	case errors.Is(err, ErrNotFound):
		err = s.begin(ctx)
	case err != nil:
		err = fmt.Errorf("state: the first manifest: %w", err)
	default:
		err = s.recover(ctx, first)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// begin writes the genesis: a new data key, wrapped, and the service key,
// sealed under it.
func (s *State) begin(ctx context.Context) error {
	if err := s.nothingAfter(ctx, ""); err != nil {
		return err
	}
	dek, wrapped, err := s.config.Keys.Generate(ctx)
	if err != nil {
		return fmt.Errorf("state: a new data key: %w", err)
	}
	if dek.Len() != keySize || len(wrapped) == 0 || len(wrapped) > maxWrapped {
		return errors.New("state: the new data key has the wrong size")
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	m := &manifest{Previous: sha256.Sum256(clearPart(wrapped)), Time: s.config.Now().UnixMilli(), ServiceKey: seed}
	raw, err := writeManifest(dek, s.config.Deployment, wrapped, m)
	if err != nil {
		return err
	}
	if err := s.put(ctx, manifestName(0), raw); err != nil {
		return err
	}
	return s.start(dek, m, raw)
}

// start takes over the first manifest.
func (s *State) start(dek secret.Bytes, m *manifest, raw []byte) error {
	service, err := newServiceKey(secret.New(m.ServiceKey))
	if err != nil {
		return err
	}
	s.dek, s.service = dek, service
	s.genesis = sha256.Sum256(raw)
	s.hash, s.time = s.genesis, m.Time
	return nil
}

// recover follows the chain from its first manifest to the last one there is.
func (s *State) recover(ctx context.Context, first []byte) error {
	_, wrapped, _, err := splitManifest(first)
	if err != nil {
		return err
	}
	if len(wrapped) == 0 {
		return fmt.Errorf("%w: manifest 0", ErrCorrupt)
	}
	dek, err := s.config.Keys.Decrypt(ctx, wrapped)
	if err != nil {
		return fmt.Errorf("state: the data key: %w", err)
	}
	if dek.Len() != keySize {
		return fmt.Errorf("%w: data key", ErrCorrupt)
	}
	m, err := readManifest(dek, s.config.Deployment, 0, [32]byte{}, first)
	if err != nil {
		return err
	}
	if err := s.start(dek, m, first); err != nil {
		return err
	}
	for number := uint64(1); ; number++ {
		raw, err := s.config.Objects.Get(ctx, manifestName(number))
		if errors.Is(err, ErrNotFound) {
			return s.nothingAfter(ctx, manifestName(number))
		}
		if err != nil {
			return fmt.Errorf("state: manifest %d: %w", number, err)
		}
		if err := s.load(number, raw); err != nil {
			return err
		}
	}
}

// load adds the next manifest of the chain.
func (s *State) load(number uint64, raw []byte) error {
	m, err := readManifest(s.dek, s.config.Deployment, number, s.hash, raw)
	if err != nil {
		return err
	}
	_, taken := s.index[m.Acceptance.slot()]
	if m.Genesis != s.genesis || m.Time < s.time || taken {
		return fmt.Errorf("%w: manifest %d", ErrCorrupt, number)
	}
	s.advance(m, raw)
	return nil
}

// nothingAfter refuses a chain with a hole: a name after the one that is
// missing. The store may hide names, but not so by accident.
func (s *State) nothingAfter(ctx context.Context, name string) error {
	names, err := s.config.Objects.List(ctx, prefix, name, 1)
	if err != nil {
		return fmt.Errorf("state: list of manifests: %w", err)
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: a manifest is missing", ErrCorrupt)
	}
	return nil
}
