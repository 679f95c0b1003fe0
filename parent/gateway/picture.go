package gateway

import (
	"github.com/cloisterhq/cloister/parent/metrics"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// enclaveMetrics are what the parent knows of the enclave: its phase, and the
// coarse counters that it shows (enclave/counters). After a boot they begin
// anew.
type enclaveMetrics struct {
	phase, ready             *metrics.Gauge
	envelopes, queries, keys *metrics.Counter
	hits                     *metrics.Counter
}

func newEnclaveMetrics(r *metrics.Registry) *enclaveMetrics {
	const coarse = " since it booted, in steps of 10, renewed once a minute."
	outcome := func(values ...string) metrics.Label { return metrics.Label{Name: "outcome", Values: values} }
	m := &enclaveMetrics{
		phase:     r.Gauge("cloister_enclave_phase", "1 for the phase that the enclave is in.", metrics.Label{Name: "phase", Values: phases()}),
		ready:     r.Gauge("cloister_enclave_ready", "Whether the enclave takes records and queries."),
		envelopes: r.Counter("cloister_enclave_envelopes_total", "Envelopes that the enclave judged"+coarse, outcome("accepted", "refused")),
		queries:   r.Counter("cloister_enclave_queries_total", "Queries that the enclave judged"+coarse, outcome("answered", "refused")),
		keys:      r.Counter("cloister_enclave_kms_calls_total", "Calls of the enclave to KMS"+coarse, outcome("granted", "denied", "unavailable")),
		hits:      r.Counter("cloister_enclave_keyring_hits_total", "Data keys that the enclave had without asking KMS"+coarse),
	}
	m.stands(unreachable)
	return m
}

// stands shows a phase.
func (m *enclaveMetrics) stands(phase string) {
	for _, p := range append(phases(), metrics.Other) {
		m.phase.Set(truth(p == phase), p)
	}
	m.ready.Set(truth(phase == ready))
}

// truth is 1 for what is true.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// counts shows the enclave's counters.
func (m *enclaveMetrics) counts(c *cloisterv1.CountersResponse) {
	m.envelopes.Store(c.GetEnvelopesAccepted(), "accepted")
	m.envelopes.Store(c.GetEnvelopesRefused(), "refused")
	m.queries.Store(c.GetQueriesAnswered(), "answered")
	m.queries.Store(c.GetQueriesRefused(), "refused")
	m.keys.Store(c.GetKmsGranted(), "granted")
	m.keys.Store(c.GetKmsDenied(), "denied")
	m.keys.Store(c.GetKmsUnavailable(), "unavailable")
	m.hits.Store(c.GetKeyringHits())
}
