package client

import (
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc/status"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// PhaseReady is the phase of an enclave that takes records and queries.
const PhaseReady = "ready"

// maxSource is the longest name of a clock source that is believed, in bytes;
// Linux keeps at most 32.
const maxSource = 32

// Health is how far an enclave is, in the words of the parent, which prove
// nothing.
type Health struct {
	// Phase is how far, and Reason why no further.
	Phase, Reason string
	// Clock is how its clock does, nil when the parent doesn't say.
	Clock *Clock
}

// Clock is how an enclave's clock does.
type Clock struct {
	// Source is what the kernel counts time by, empty where no machine is the
	// enclave's own.
	Source string
	// Offset is how far signed time was ahead of the clock in the last comparison;
	// negative is behind, nil before there was one.
	Offset *time.Duration
	// Age is the time since the clock was set or compared.
	Age time.Duration
}

// Health asks the gateway, once, how far the enclave is and why no further.
// Errors are ErrUsage for a context without a gateway, else ErrUnreachable.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	g, err := c.Gateway()
	if err != nil {
		return nil, err
	}
	defer g.Close()
	h, err := g.client.Health(ctx, &cloisterv1.HealthRequest{})
	if err != nil {
		return nil, fmt.Errorf("%w: gateway: %s", ErrUnreachable, status.Convert(err).Message())
	}
	return &Health{Phase: h.GetPhase(), Reason: h.GetReason(), Clock: newClock(h.GetClock())}, nil
}

// newClock answers what a gateway says of a clock, nil when it says nothing or
// what can't be.
func newClock(k *cloisterv1.Clock) *Clock {
	const longest = int64(math.MaxInt64 / time.Second)
	if k == nil || len(k.GetSource()) > maxSource || k.GetAgeS() < 0 || k.GetAgeS() > longest {
		return nil
	}
	out := &Clock{Source: k.GetSource(), Age: time.Duration(k.GetAgeS()) * time.Second}
	if k.OffsetMs != nil {
		if k.GetOffsetMs() < -longest || k.GetOffsetMs() > longest {
			return nil
		}
		out.Offset = new(time.Duration(k.GetOffsetMs()) * time.Millisecond)
	}
	return out
}
