package egress

import (
	"errors"

	"github.com/cloisterhq/cloister/parent/metrics"
)

// The outcomes of a connection to an allowed host, the reasons for which others
// are refused, and the directions of bytes.
const (
	carried     = "carried"
	unreachable = "unreachable"
	reasonHost  = "host"
	reasonLine  = "line"
	outward     = "out"
	inward      = "in"
)

// Metrics are what an egress counts. Hosts that the operator doesn't allow have
// no name here.
type Metrics struct {
	registry    *metrics.Registry
	connections *metrics.Counter
	refusals    *metrics.Counter
	bytes       *metrics.Counter
	open        *metrics.Gauge
}

// NewMetrics makes an egress's metrics for the allowed hosts.
func NewMetrics(r *metrics.Registry, allow []string) *Metrics {
	host := metrics.Label{Name: "host", Values: allow}
	return &Metrics{
		registry: r,
		connections: r.Counter("cloister_egress_connections_total", "Connections of the enclave to allowed hosts by what became of them.",
			host, metrics.Label{Name: "outcome", Values: []string{carried, unreachable}}),
		refusals: r.Counter("cloister_egress_refused_total", "Connections of the enclave that were refused: to a host that isn't allowed, or without a CONNECT line.",
			metrics.Label{Name: "reason", Values: []string{reasonHost, reasonLine}}),
		bytes: r.Counter("cloister_egress_bytes_total", "Bytes that were carried from the enclave (out) and to it (in).",
			host, metrics.Label{Name: "direction", Values: []string{outward, inward}}),
		open: r.Gauge("cloister_egress_open", "Connections to allowed hosts that are carried now.", host),
	}
}

// reasonOf answers why a connection is refused, "" when it isn't.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, errHost):
		return reasonHost
	case errors.Is(err, errLine):
		return reasonLine
	default:
		return ""
	}
}
