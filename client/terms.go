package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
)

// terms are what a producer seals under.
type terms struct {
	// bundle is measured by a verified enclave or, while that is away, by a
	// release of the pinned policy.
	bundle *bundle.Bundle
	// peer is the verified enclave; nil while it is away.
	peer *attls.Peer
}

// terms verifies the enclave and takes its bundle. If the enclave is away for
// longer than Wait, the bundle that the context pins serves; without one the
// enclave is ErrUnreachable or ErrLocked.
func (c *Client) terms(ctx context.Context) (terms, error) {
	peer, err := c.unlocked(ctx)
	if err == nil {
		return terms{bundle: peer.Bundle, peer: peer}, nil
	}
	if !transient(err) || ctx.Err() != nil {
		return terms{}, err
	}
	if c.config.Bundle == "" {
		return terms{}, fmt.Errorf("%w; the context pins no bundle to seal under meanwhile", err)
	}
	b, err := c.pinnedBundle(time.Now())
	if err != nil {
		return terms{}, err
	}
	return terms{bundle: b}, nil
}

// pinnedBundle reads the bundle that the context names and believes it only if
// a current release of the pinned policy measures it.
func (c *Client) pinnedBundle(now time.Time) (*bundle.Bundle, error) {
	path := c.config.path(c.config.Bundle)
	raw, err := readAtMost(path, limits.Bundle)
	if err != nil {
		return nil, mistakef("the pinned bundle: %w", err)
	}
	if pcr := attestation.PCR(bundle.PCR16(raw)); !measured(c.attls.Policy, pcr, now) {
		return nil, attestation.NewPCRError(attestation.PolicyMismatch, policy.BundlePCR, "no current release of the policy measures the pinned bundle "+path)
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return nil, mistakef("the pinned bundle %s: %w", path, err)
	}
	if c.config.Deployment != "" && b.Deployment != c.config.Deployment {
		return nil, attestation.NewError(ClassDeployment, "the pinned bundle is of another deployment than the context", nil)
	}
	if environment := c.attls.Policy.Environment(); (b.Profile == bundle.Simulation) != (environment == policy.Simulation) && environment != policy.Other {
		return nil, attestation.NewError(attestation.Inconsistent, "the pinned bundle's profile doesn't go with the policy's environment", nil)
	}
	return b, nil
}

// measured says whether a release that is current has this PCR16.
func measured(p *policy.Policy, pcr attestation.PCR, now time.Time) bool {
	return slices.ContainsFunc(p.Releases(), func(r policy.Release) bool {
		want, ok := r.PCRs[policy.BundlePCR]
		return ok && want == pcr && r.Current(now)
	})
}

// NotEntitledError says that the deployment's bundle doesn't let the producer
// submit, which the enclave would refuse.
type NotEntitledError struct{ reason string }

// Error says why, and what to do.
func (e *NotEntitledError) Error() string { return e.reason }

// entitled checks what the enclave will check of a producer, before anything
// is sealed.
func (c *Client) entitled(b *bundle.Bundle, dataset string, key ed25519.PublicKey) error {
	name := c.config.Producer.Name
	public := "ed25519:" + base64.StdEncoding.EncodeToString(key)
	p, ok := b.Producer(name)
	switch {
	case !ok:
		return &NotEntitledError{fmt.Sprintf("producer %s isn't in the bundle of deployment %s: have it registered there with key %s", name, b.Deployment, public)}
	case !bytes.Equal(p.Key, key):
		return &NotEntitledError{fmt.Sprintf("the key in %s isn't the one that deployment %s knows for producer %s: name the right key_file in the context, or have %s registered",
			c.config.path(c.config.Producer.KeyFile), b.Deployment, name, public)}
	case p.Retired:
		return &NotEntitledError{fmt.Sprintf("producer %s is retired in the bundle of deployment %s: submit as another one", name, b.Deployment)}
	case !p.May(dataset):
		return &NotEntitledError{fmt.Sprintf("producer %s has no right to dataset %s in deployment %s: have the dataset added to the producer there", name, dataset, b.Deployment)}
	}
	return nil
}
