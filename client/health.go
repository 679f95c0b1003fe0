package client

import (
	"context"
	"fmt"

	"google.golang.org/grpc/status"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// PhaseReady is the phase of an enclave that takes records and queries.
const PhaseReady = "ready"

// Health asks the gateway, once, how far the enclave is and why no further.
// Both are the parent's words and prove nothing. Errors are ErrUsage for a
// context without a gateway, else ErrUnreachable.
func (c *Client) Health(ctx context.Context) (phase, reason string, err error) {
	g, err := c.Gateway()
	if err != nil {
		return "", "", err
	}
	defer g.Close()
	h, err := g.client.Health(ctx, &cloisterv1.HealthRequest{})
	if err != nil {
		return "", "", fmt.Errorf("%w: gateway: %s", ErrUnreachable, status.Convert(err).Message())
	}
	return h.GetPhase(), h.GetReason(), nil
}
