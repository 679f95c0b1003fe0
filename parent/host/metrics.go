package host

import "github.com/cloisterhq/cloister/parent/metrics"

// What the enclave asks for that isn't an object, and what becomes of it.
const (
	bundle      = "bundle"
	credentials = "credentials"
	answered    = "answered"
	failed      = "failed"
)

// Metrics are what the host service counts; the objects count themselves.
type Metrics struct {
	registry   *metrics.Registry
	requests   *metrics.Counter
	heartbeats *metrics.Counter
}

// NewMetrics makes the host service's metrics.
func NewMetrics(r *metrics.Registry) *Metrics {
	return &Metrics{
		registry: r,
		requests: r.Counter("cloister_host_requests_total", "Requests of the enclave for its bundle and for credentials.",
			metrics.Label{Name: "what", Values: []string{bundle, credentials}}, metrics.Label{Name: "outcome", Values: []string{answered, failed}}),
		heartbeats: r.Counter("cloister_host_heartbeats_total", "Heartbeats of an enclave that has booted."),
	}
}
