package client

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/limits"
)

// DefaultWait is how long a client keeps trying while the enclave restarts.
const DefaultWait = 20 * time.Second

// Errors that callers tell apart, for exit codes.
var (
	// ErrUnreachable says that no evidence could be had.
	ErrUnreachable = errors.New("the enclave can't be reached")
	// ErrLocked says that the enclave runs but KMS has not released its keys.
	ErrLocked = errors.New("the enclave has no keys yet")
)

// Classes of refusals on top of those of evidence: the enclave was verified,
// but the context file pins another one.
const (
	// ClassGenesis: another state than the pinned one, or a second copy.
	ClassGenesis attestation.Class = "genesis"
	// ClassDeployment: the bundle of another deployment.
	ClassDeployment attestation.Class = "deployment"
)

// Client talks to one deployment. Every connection to the enclave is verified
// before anything is sent on it.
type Client struct {
	config  *Config
	attls   attls.Config
	genesis []byte
	// Wait is how long calls keep trying while the enclave is away.
	Wait time.Duration
}

// New makes a client from a context file's content.
func New(c *Config) (*Client, error) {
	roots, p, err := c.Trust()
	if err != nil {
		return nil, err
	}
	genesis, err := c.genesis()
	if err != nil {
		return nil, err
	}
	cl := &Client{config: c, genesis: genesis, Wait: DefaultWait}
	cl.attls = attls.Config{Roots: roots, Policy: p, Now: time.Now, OnPeer: cl.pinned}
	return cl, nil
}

// pinned refuses another genesis or another deployment than the pinned ones. An
// enclave without keys has no genesis yet, and nothing is sent to it.
func (c *Client) pinned(peer *attls.Peer) error {
	if len(c.genesis) > 0 && len(peer.Genesis) > 0 && !bytes.Equal(c.genesis, peer.Genesis) {
		return attestation.NewError(ClassGenesis, "another state than the pinned one, or a second copy", nil)
	}
	if c.config.Deployment != "" && peer.Bundle.Deployment != c.config.Deployment {
		return attestation.NewError(ClassDeployment, "the bundle is of another deployment than the pinned one", nil)
	}
	return nil
}

// Verify dials the enclave once, appraises its evidence with a fresh nonce and
// answers what was established. Errors of the network are ErrUnreachable; a
// refusal is an *attestation.Error.
func (c *Client) Verify(ctx context.Context) (*attls.Peer, error) {
	var peer *attls.Peer
	err := c.retry(ctx, func() error {
		conn, verified, err := c.dial(ctx)
		if err != nil {
			return err
		}
		peer = verified
		return conn.Close()
	})
	if err != nil {
		return nil, err
	}
	return peer, nil
}

// unlocked is Verify, but waits until the enclave has its service key.
func (c *Client) unlocked(ctx context.Context) (*attls.Peer, error) {
	var peer *attls.Peer
	err := c.retry(ctx, func() error {
		var err error
		if peer, err = c.Verify(ctx); err != nil {
			return err
		}
		if peer.ServiceKey == nil {
			return ErrLocked
		}
		return nil
	})
	return peer, err
}

// retry repeats f while the enclave is away, until Wait is over.
func (c *Client) retry(ctx context.Context, f func() error) error {
	deadline := time.Now().Add(c.Wait)
	pause := 100 * time.Millisecond
	for {
		err := f()
		if err == nil || !transient(err) || time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, 2*time.Second)
	}
}

// transient says whether an error can go away by itself. A refusal never does.
func transient(err error) bool {
	return errors.Is(err, ErrUnreachable) || errors.Is(err, ErrLocked)
}

// refusal keeps the first refusal of a gRPC connection, which itself keeps
// only the text of errors and dials again.
type refusal struct {
	mu  sync.Mutex
	err error // guarded by mu
}

func (r *refusal) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *refusal) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// dialOptions are those of a gRPC connection on attested TLS, which tells
// refused about a peer that was refused.
func (c *Client) dialOptions(refused *refusal) []grpc.DialOption {
	config := c.attls
	config.OnRefusal = refused.set
	config.OnPeer = func(p *attls.Peer) error {
		if p.ServiceKey == nil {
			// Nothing says yet that it is the pinned state.
			return ErrLocked
		}
		return c.pinned(p)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(attls.NewClient(config)),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limits.Message)),
	}
}
