package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cloisterhq/cloister/parent/metrics"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// phases are the enclave's words for how far it is, and the parent's own one
// for an enclave that says nothing (proto/cloister/v1/ingest.proto,
// HealthResponse).
func phases() []string {
	return []string{unreachable, "waiting for keys", "refused by KMS", "replaying", ready, "failed"}
}

// known answers a phase, or a word of ours for one that isn't on the list.
func known(phase string) string {
	if slices.Contains(phases(), phase) {
		return phase
	}
	return metrics.Other
}

// Standing is how the enclave stood when the gateway last asked. The zero value
// is an enclave that doesn't answer.
type Standing struct{ phase atomic.Pointer[string] }

// Phase answers one of the phases that HealthResponse lists, or "other".
func (s *Standing) Phase() string {
	if p := s.phase.Load(); p != nil {
		return *p
	}
	return unreachable
}

// Ready says whether the enclave takes envelopes.
func (s *Standing) Ready() bool { return s.Phase() == ready }

// watch asks the enclave how it stands, again and again until ctx ends, and
// tells the health service, the metrics and the log.
func (g *gateway) watch(ctx context.Context) {
	tick := time.NewTicker(g.config.Watch)
	defer tick.Stop()
	for {
		phase := unreachable
		if health, err := g.enclave.health(ctx); err == nil {
			phase = known(health.GetPhase())
		}
		if ctx.Err() != nil {
			return
		}
		g.stands(phase)
		// The enclave renews them once a minute, whenever it is asked.
		if counts, err := g.enclave.counters(ctx); err == nil {
			g.config.Metrics.enclave.counts(counts)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// stands takes over a phase.
func (g *gateway) stands(phase string) {
	g.config.Metrics.enclave.stands(phase)
	if before := g.config.Standing.phase.Swap(&phase); before != nil && *before == phase {
		return
	}
	if phase == ready {
		setServing(g.probes, healthv1.HealthCheckResponse_SERVING)
		g.config.Log.Info("gateway: the enclave is ready")
		return
	}
	setServing(g.probes, healthv1.HealthCheckResponse_NOT_SERVING)
	g.config.Log.Warn("gateway: the enclave isn't ready", slog.String("phase", phase))
}

// setServing changes what gRPC's health service says of the gateway, under its
// own name and under none (github.com/grpc/grpc, doc/health-checking.md).
func setServing(s *health.Server, status healthv1.HealthCheckResponse_ServingStatus) {
	for _, service := range []string{"", cloisterv1.Gateway_ServiceDesc.ServiceName} {
		s.SetServingStatus(service, status)
	}
}
