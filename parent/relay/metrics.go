package relay

import (
	"sync/atomic"

	"github.com/cloisterhq/cloister/parent/metrics"
)

// The outcomes of a connection and the directions of its bytes.
const (
	carried     = "carried"
	unreachable = "unreachable"
	inward      = "in"
	outward     = "out"
)

// Metrics are what a relay counts.
type Metrics struct {
	registry    *metrics.Registry
	connections *metrics.Counter
	bytes       *metrics.Counter
	open        atomic.Int64
}

// NewMetrics makes a relay's metrics.
func NewMetrics(r *metrics.Registry) *Metrics {
	m := &Metrics{
		registry: r,
		connections: r.Counter("cloister_relay_connections_total", "Connections of analysts by what became of them.",
			metrics.Label{Name: "outcome", Values: []string{carried, unreachable}}),
		bytes: r.Counter("cloister_relay_bytes_total", "Bytes of attested TLS that were carried to the enclave (in) and from it (out).",
			metrics.Label{Name: "direction", Values: []string{inward, outward}}),
	}
	r.GaugeFunc("cloister_relay_open", "Connections of analysts that are carried now.", func() float64 { return float64(m.open.Load()) })
	return m
}

// opened counts connections and answers how many are open.
func (m *Metrics) opened(n int64) int64 { return m.open.Add(n) }
