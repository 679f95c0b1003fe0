package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// ClassIntake says that the enclave was verified, but the intake key isn't the
// one that its evidence names, or is of another deployment or state.
const ClassIntake attestation.Class = "intake key"

// errRotated says that the intake key changed between evidence and answer, which
// happens once a month.
var errRotated = attestation.NewError(ClassIntake, "the key set doesn't hold the key that the evidence names", nil)

// FetchKeys verifies the enclave and fetches the intake key that its evidence
// names, signed by its service key. Without keys the enclave is ErrLocked.
func (c *Client) FetchKeys(ctx context.Context) (*intakekey.Set, error) {
	var set *intakekey.Set
	rotated := false
	err := c.retry(ctx, func() error {
		var err error
		if set, err = c.fetchKeys(ctx); errors.Is(err, errRotated) && !rotated {
			rotated = true
			set, err = c.fetchKeys(ctx)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return set, nil
}

// fetchKeys fetches the key set on a connection of its own, whose evidence
// vouches for it.
func (c *Client) fetchKeys(ctx context.Context) (*intakekey.Set, error) {
	var refused refusal
	conn, err := grpc.NewClient("passthrough:///"+c.config.Attested, c.dialOptions(&refused)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer conn.Close()
	var from peer.Peer
	resp, err := cloisterv1.NewKeysClient(conn).Fetch(ctx, &cloisterv1.FetchRequest{}, grpc.WaitForReady(false), grpc.Peer(&from))
	attested := attestedPeer(&from)
	if err != nil {
		if refusal := refused.get(); refusal != nil {
			return nil, refusal
		}
		return nil, keysFailure(err, attested != nil)
	}
	if attested == nil || attested.ServiceKey == nil || attested.IntakeKey == nil {
		return nil, ErrLocked
	}
	set, err := intakekey.Verify(resp.GetKeySet(), attested.ServiceKey)
	if err != nil {
		return nil, attestation.NewError(ClassIntake, "the key set isn't the enclave's", err)
	}
	if digest := set.Public().Digest(); !bytes.Equal(digest[:], attested.IntakeKey) {
		return nil, errRotated
	}
	return set, c.checkKeys(set, attested.Bundle, attested)
}

// keysFailure tells outages from an enclave that has no such service.
func keysFailure(err error, verified bool) error {
	switch s, _ := status.FromError(err); s.Code() {
	case codes.Unavailable, codes.ResourceExhausted:
		if verified {
			return &unavailable{s.Message()}
		}
	case codes.Unimplemented, codes.Unauthenticated:
		if verified {
			return errors.New("this enclave gives no intake keys: seal with --key kms")
		}
	case codes.Canceled:
		return context.Canceled
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// checkKeys holds a key set against the bundle that is sealed under, the
// context, the time, and the verified enclave, nil while that is away.
func (c *Client) checkKeys(set *intakekey.Set, b *bundle.Bundle, with *attls.Peer) error {
	genesis := set.Genesis()
	switch {
	case set.Deployment() != b.Deployment:
		return attestation.NewError(ClassIntake, "the intake key is of another deployment", nil)
	case len(c.genesis) > 0 && !bytes.Equal(c.genesis, genesis[:]):
		return attestation.NewError(ClassIntake, "the intake key is of another state than the pinned one", nil)
	case with != nil && (!bytes.Equal(with.Genesis, genesis[:]) || !with.ServiceKey.Equal(set.Service())):
		return attestation.NewError(ClassIntake, "the intake key is of another state than the enclave's", nil)
	case set.Expired(time.Now()):
		return mistakef("the intake key expired at %s: fetch a new one with `cloister keys fetch`", set.NotAfter().UTC().Format(time.RFC3339))
	}
	return nil
}

// LoadKeys reads a key file that `cloister keys fetch` wrote. It trusts the file
// as it trusts the context.
func LoadKeys(path string) (*intakekey.Set, error) {
	b, err := readAtMost(path, intakekey.MaxFile)
	if err != nil {
		return nil, mistakef("the key file: %w", err)
	}
	set, err := intakekey.ParseFile(b)
	if err != nil {
		return nil, mistakef("%s: %w; fetch it again with `cloister keys fetch`", path, err)
	}
	return set, nil
}

// intakeWrap makes a stream's data key and seals it to the intake key, once for
// the whole stream.
func (c *Client) intakeWrap(set *intakekey.Set, b *bundle.Bundle, dataset, stream string) (envelope.Wrap, secret.Bytes, error) {
	key := make([]byte, dataKeySize)
	if _, err := rand.Read(key); err != nil {
		return envelope.Wrap{}, secret.Bytes{}, err
	}
	dek := secret.New(key)
	id := set.Public().ID()
	blob, err := set.Public().Wrap(dek, envelope.IntakeInfo(b.Deployment, dataset, c.config.Producer.Name, stream, id))
	if err != nil {
		dek.Wipe()
		return envelope.Wrap{}, secret.Bytes{}, err
	}
	return envelope.Wrap{Kind: envelope.WrapIntake, Key: id, Blob: blob}, dek, nil
}
