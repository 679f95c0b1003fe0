package kms

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	// refreshBefore is how long before they expire credentials are renewed, and
	// refreshEvery how long those without an end are kept.
	refreshBefore = time.Minute
	refreshEvery  = 5 * time.Minute
)

// credentials keeps the parent's credentials while they are good, by the
// enclave's clock. One caller at a time fetches; the others wait for it.
type credentials struct {
	fetch func(context.Context) (aws.Credentials, error)
	now   func() time.Time

	// turn is held while what follows is used.
	turn  chan struct{}
	held  aws.Credentials
	until time.Time
}

func newCredentials(fetch func(context.Context) (aws.Credentials, error), now func() time.Time) *credentials {
	return &credentials{fetch: fetch, now: now, turn: make(chan struct{}, 1)}
}

// Retrieve answers credentials that are good for a while yet.
func (c *credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	select {
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	case c.turn <- struct{}{}:
	}
	defer func() { <-c.turn }()
	if c.held.HasKeys() && c.now().Before(c.until) {
		return c.held, nil
	}
	fresh, err := c.fetch(ctx)
	if err != nil || !fresh.HasKeys() {
		return aws.Credentials{}, errCredentials
	}
	c.held, c.until = fresh, c.now().Add(refreshEvery)
	if fresh.CanExpire {
		c.until = fresh.Expires.Add(-refreshBefore)
	}
	return fresh, nil
}

// forget drops credentials that KMS didn't take.
func (c *credentials) forget() {
	c.turn <- struct{}{}
	c.held = aws.Credentials{}
	<-c.turn
}
