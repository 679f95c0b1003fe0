package gateway

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/parent/metrics"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// What happens to envelopes.
const (
	eventStored      = "stored"
	eventForwarded   = "forwarded"
	eventReceipted   = "receipted"
	eventRefused     = "refused"
	eventQuarantined = "quarantined"
	eventLost        = "lost"
)

// What submissions are answered.
const (
	answerReceipted = "receipted"
	answerRefused   = "refused"
	answerPending   = "pending"
	answerInvalid   = "invalid"
	answerExhausted = "exhausted"
	answerFailed    = "failed"
)

// Metrics are what a gateway counts. No dataset or producer is named: the
// gateway doesn't know them.
type Metrics struct {
	registry *metrics.Registry
	events   *metrics.Counter
	answers  *metrics.Counter
	bytes    *metrics.Counter
	forward  *metrics.Histogram
	enclave  *enclaveMetrics
}

// NewMetrics makes a gateway's metrics.
func NewMetrics(r *metrics.Registry) *Metrics {
	return &Metrics{
		registry: r,
		events: r.Counter("cloister_gateway_envelopes_total", "What happened to envelopes.",
			metrics.Label{Name: "event", Values: []string{eventStored, eventForwarded, eventReceipted, eventRefused, eventQuarantined, eventLost}}),
		answers: r.Counter("cloister_gateway_submits_total", "Submissions by their answer.",
			metrics.Label{Name: "answer", Values: []string{answerReceipted, answerRefused, answerPending, answerInvalid, answerExhausted, answerFailed}}),
		bytes: r.Counter("cloister_gateway_stored_bytes_total", "Bytes of envelopes that were stored."),
		forward: r.Histogram("cloister_gateway_forward_seconds", "How long the enclave took with envelopes, by what it said.",
			[]float64{0.005, 0.02, 0.1, 0.5, 2, 10, 60}, metrics.Label{Name: "outcome", Values: []string{eventReceipted, eventRefused, answerFailed}}),
		enclave: newEnclaveMetrics(r),
	}
}

// watchQueue shows what is pending.
func (m *Metrics) watchQueue(q *queue) {
	m.registry.GaugeFunc("cloister_gateway_pending", "Envelopes that are stored and have no verdict.", func() float64 {
		n, _ := q.pending()
		return float64(n)
	})
	m.registry.GaugeFunc("cloister_gateway_pending_oldest_seconds", "Age of the oldest of them, 0 when there is none.", func() float64 {
		n, oldest := q.pending()
		if n == 0 {
			return 0
		}
		return time.Since(oldest).Seconds()
	})
}

// answered counts a submission.
func (m *Metrics) answered(resp *cloisterv1.SubmitResponse, err error) {
	m.answers.Inc(answerOf(resp, err))
}

func answerOf(resp *cloisterv1.SubmitResponse, err error) string {
	switch status.Code(err) {
	case codes.OK:
	case codes.InvalidArgument:
		return answerInvalid
	case codes.ResourceExhausted:
		return answerExhausted
	default:
		return answerFailed
	}
	switch resp.GetState() {
	case cloisterv1.SubmitResponse_STATE_RECEIPTED:
		return answerReceipted
	case cloisterv1.SubmitResponse_STATE_REFUSED:
		return answerRefused
	default:
		return answerPending
	}
}
