package gateway

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

const (
	// who begins the phrases of refusals.
	who = "the gateway"
	// healthMethods begin the methods of gRPC's health service.
	healthMethods = "/grpc.health.v1.Health/"
)

// gate bounds what producers can make the parent hold at once.
type gate struct {
	submits   *admission.Pool // submissions, from the first byte to the answer
	receiving *admission.Pool // those of them whose envelope isn't there yet
	bytes     *admission.Pool // of the envelopes that are
	sends     *admission.Pool // envelopes with the enclave; the background loop has one too
	lookups   *admission.Pool // other requests
	probes    *admission.Pool // health checks
}

func newGate(c Config) *gate {
	pool := func(permits int) *admission.Pool {
		return admission.New(admission.Config{Permits: permits, Retry: limits.Retry})
	}
	return &gate{
		submits: pool(c.MaxSubmits), receiving: pool(min(limits.GatewayReceiving, c.MaxSubmits)),
		bytes:   admission.New(admission.Config{Permits: c.MaxSubmits, Weight: c.MaxBytes, Retry: limits.Retry}),
		sends:   admission.New(admission.Config{Permits: limits.GatewaySends, Queue: c.MaxSubmits + 1, Retry: limits.Retry}),
		lookups: pool(limits.GatewayLookups), probes: pool(limits.GatewayProbes),
	}
}

// show registers the pools.
func (g *gate) show(m *Metrics) {
	m.registry.Pool("gateway_submits", g.submits)
	m.registry.Pool("gateway_receiving", g.receiving)
	m.registry.Pool("gateway_bytes", g.bytes)
	m.registry.Pool("gateway_sends", g.sends)
	m.registry.Pool("gateway_lookups", g.lookups)
	m.registry.Pool("gateway_probes", g.probes)
}

// options admit requests before a byte of their messages is read. An envelope
// has a place among those being received until its bytes are admitted.
func (g *gate) options() []grpc.ServerOption {
	return append([]grpc.ServerOption{grpc.ChainUnaryInterceptor(g.weigh)}, grpcform.Gate{
		Who: who, Pool: g.pool, Timeout: limits.GatewayReceive,
		Reading: func(method string) *admission.Pool {
			if method == cloisterv1.Gateway_Submit_FullMethodName {
				return g.receiving
			}
			return nil
		},
	}.Options()...)
}

// pool answers the pool that a request is admitted to.
func (g *gate) pool(method string) *admission.Pool {
	switch {
	case method == cloisterv1.Gateway_Submit_FullMethodName:
		return g.submits
	case strings.HasPrefix(method, healthMethods):
		return g.probes
	default:
		return g.lookups
	}
}

// weigh admits the bytes of an envelope that has come in, for as long as it is
// worked on.
func (g *gate) weigh(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	submission, ok := req.(*cloisterv1.SubmitRequest)
	if !ok {
		return next(ctx, req)
	}
	permit, err := g.bytes.Try("", int64(len(submission.GetEnvelope())))
	if err != nil {
		return nil, grpcform.Status(who, err)
	}
	defer permit.Release()
	return next(ctx, req)
}
