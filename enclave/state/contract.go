package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// contracts holds the contracts that records were judged by, sealed, each under
// the SHA-256 of its encoding.
const contracts = "contracts/"

// KeepContract makes the encoding of a contract durable and answers its name
// for Acceptance.Terms. The same encoding may be kept any number of times.
func (s *State) KeepContract(ctx context.Context, encoding []byte) ([32]byte, error) {
	digest := sha256.Sum256(encoding)
	name := contractName(digest)
	if _, err := s.Contract(ctx, digest); err == nil {
		return digest, nil
	}
	sealed, err := s.Seal(name, 0, encoding)
	if err != nil {
		return [32]byte{}, err
	}
	if err := s.config.Objects.PutIfAbsent(ctx, name, sealed); err != nil {
		// Its answer may have been lost, and sealing again gives other bytes.
		if _, held := s.Contract(ctx, digest); held != nil {
			return [32]byte{}, fmt.Errorf("state: a contract: %w", err)
		}
	}
	return digest, nil
}

// Contract answers the encoding that KeepContract was given. It answers
// ErrCorrupt when it is gone or changed, for good, and wraps errors of Objects.
func (s *State) Contract(ctx context.Context, digest [32]byte) ([]byte, error) {
	name := contractName(digest)
	sealed, err := s.config.Objects.Get(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("state: a contract: %w", err)
	}
	encoding, broken := s.Unseal(name, 0, sealed)
	if err != nil || broken != nil || sha256.Sum256(encoding) != digest {
		return nil, fmt.Errorf("%w: a contract that records were judged by", ErrCorrupt)
	}
	return encoding, nil
}

func contractName(digest [32]byte) string { return contracts + hex.EncodeToString(digest[:]) }
