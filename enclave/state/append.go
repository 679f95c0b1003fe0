package state

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

const (
	// settleTime bounds the attempts to make one manifest durable.
	settleTime = time.Minute
	// attempts and firstPause shape them.
	attempts   = 3
	firstPause = 100 * time.Millisecond
)

// pending is a manifest of which nobody knows whether it is durable. Its bytes
// stay as they are: other bytes under its number would be a fork of our own.
type pending struct {
	manifest *manifest
	raw      []byte
}

// Append makes an acceptance durable as the next manifest and answers that
// manifest's number. A context that ends before leaves nothing; once writing
// has begun it isn't heeded any more. Errors: ErrAccepted, ErrFork (for good),
// ErrUnsettled (append the same again).
func (s *State) Append(ctx context.Context, a Acceptance) (uint64, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.broken != nil {
		return 0, s.broken
	}
	if err := s.prepare(ctx, a); err != nil {
		return 0, err
	}
	p := s.unsettled
	if err := s.put(ctx, manifestName(p.manifest.Number), p.raw); err != nil {
		if errors.Is(err, ErrFork) {
			s.broken = err
		}
		return 0, err
	}
	s.unsettled = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(p.manifest, p.raw)
	return p.manifest.Number, nil
}

// prepare leaves in s.unsettled the manifest that says a. It is the last to
// look at ctx.
func (s *State) prepare(ctx context.Context, a Acceptance) error {
	if s.unsettled != nil {
		if *s.unsettled.manifest.Acceptance != a {
			return ErrUnsettled
		}
		return nil
	}
	if err := a.check(); err != nil {
		return err
	}
	if _, _, taken := s.Lookup(a.Producer, a.Stream, a.Sequence, a.Dataset); taken {
		return ErrAccepted
	}
	m := &manifest{
		Number: s.head + 1, Previous: s.hash, Genesis: s.genesis,
		Time: max(s.time, s.config.Now().UnixMilli()), Acceptance: &a,
	}
	raw, err := writeManifest(s.dek, s.config.Deployment, nil, m)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.unsettled = &pending{m, raw}
	return nil
}

// put makes an object durable. The store's errors don't say whether it is, so
// after each one the object is read back: our bytes are success, others are
// ErrFork, and silence is ErrUnsettled.
func (s *State) put(ctx context.Context, name string, raw []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	var failure error
	for i := range attempts {
		if failure = s.config.Objects.PutIfAbsent(ctx, name, raw); failure == nil {
			return nil
		}
		stored, err := s.config.Objects.Get(ctx, name)
		if err == nil {
			if bytes.Equal(stored, raw) {
				return nil
			}
			return ErrFork
		}
		select {
		case <-ctx.Done():
		case <-time.After(firstPause << i):
		}
	}
	return fmt.Errorf("%w: %w", ErrUnsettled, failure)
}

// advance makes m the head. The caller holds mu, or is the only one.
func (s *State) advance(m *manifest, raw []byte) {
	s.head, s.hash, s.time = m.Number, sha256.Sum256(raw), m.Time
	s.index[m.Acceptance.slot()] = len(s.accepted)
	s.accepted = append(s.accepted, *m.Acceptance)
}
