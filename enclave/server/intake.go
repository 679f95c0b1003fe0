package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// Acceptor takes one envelope and answers its signed receipt and its sealed
// report. A refusal of the whole envelope is an *ingest.Refusal.
type Acceptor interface {
	Accept(ctx context.Context, envelope []byte) (*ingest.Accepted, error)
}

// intake serves the record path to the parent's gateway.
type intake struct {
	cloisterv1.UnsafeIntakeServer
	paths *Paths
	// envelopes are being read or worked on, opening those of them that may be
	// decrypted, and others are all other requests.
	envelopes, opening, others *admission.Pool
}

// whoIntake begins the phrases with which the intake turns requests away.
const whoIntake = "the enclave's intake"

func newIntake(paths *Paths) *intake {
	return &intake{
		paths:     paths,
		envelopes: admission.New(admission.Config{Permits: limits.IntakeEnvelopes, Retry: limits.Retry}),
		opening: admission.New(admission.Config{
			Permits: limits.IntakeOpening, Weight: limits.IntakeBytes, Queue: limits.IntakeEnvelopes, Wait: limits.IntakeWait, Retry: limits.Retry,
		}),
		others: admission.New(admission.Config{Permits: limits.IntakeProbes, Retry: limits.Retry}),
	}
}

// pool answers the pool that a request is admitted to before it is read.
func (s *intake) pool(method string) *admission.Pool {
	if method == cloisterv1.Intake_Accept_FullMethodName {
		return s.envelopes
	}
	return s.others
}

// Accept hands an envelope to ingest as soon as the enclave is ready.
func (s *intake) Accept(ctx context.Context, req *cloisterv1.AcceptRequest) (*cloisterv1.AcceptResponse, error) {
	open := s.paths.open.Load()
	if open == nil {
		return nil, errLocked
	}
	if len(req.GetEnvelope()) > limits.Envelope {
		return nil, status.Error(codes.InvalidArgument, "the envelope is larger than 16 MiB")
	}
	turn, err := s.opening.Acquire(ctx, "", int64(len(req.GetEnvelope())))
	if err != nil {
		return nil, ingestStatus(err)
	}
	defer turn.Release()
	accepted, err := open.acceptor.Accept(ctx, req.GetEnvelope())
	if err != nil {
		return nil, ingestStatus(err)
	}
	return &cloisterv1.AcceptResponse{Receipt: accepted.Receipt, Report: accepted.Report}, nil
}

// Health answers the phase, one of a few fixed phrases, and how the clock does.
func (s *intake) Health(context.Context, *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	phase, reason := s.paths.Phase()
	out := &cloisterv1.HealthResponse{Phase: string(phase), Reason: reason}
	if k := s.paths.time.Load(); k != nil {
		now := k.Status()
		out.Clock = &cloisterv1.Clock{Source: now.Source, AgeS: int64(now.Age.Seconds())}
		if now.Compared {
			out.Clock.OffsetMs = new(now.Offset.Milliseconds())
		}
	}
	return out, nil
}

// Counters answers the newest coarse picture of what the enclave did.
func (s *intake) Counters(context.Context, *cloisterv1.CountersRequest) (*cloisterv1.CountersResponse, error) {
	var p counters.Published
	if c := s.paths.counts.Load(); c != nil {
		p = c.Published()
	}
	return &cloisterv1.CountersResponse{
		EnvelopesAccepted: p[counters.EnvelopeAccepted], EnvelopesRefused: p[counters.EnvelopeRefused],
		QueriesAnswered: p[counters.QueryAnswered], QueriesRefused: p[counters.QueryRefused],
		KmsGranted: p[counters.KMSGranted], KmsDenied: p[counters.KMSDenied], KmsUnavailable: p[counters.KMSUnavailable],
		KeyringHits: p[counters.KeyringHit],
	}, nil
}

// ingestStatus maps the record path's errors to gRPC codes: a refusal is
// final, everything else may be tried again.
func ingestStatus(err error) error {
	var (
		refusal *ingest.Refusal
		full    *admission.Full
	)
	switch {
	case errors.As(err, &full):
		return grpcform.Status(whoIntake, full)
	case errors.As(err, &refusal):
		return status.Error(codes.FailedPrecondition, refusal.Reason)
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the enclave ran out of time")
	default:
		return status.Error(codes.Unavailable, "the enclave can't take envelopes now")
	}
}
