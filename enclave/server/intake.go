package server

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/ingest"
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
	accepted, err := open.acceptor.Accept(ctx, req.GetEnvelope())
	if err != nil {
		return nil, ingestStatus(err)
	}
	return &cloisterv1.AcceptResponse{Receipt: accepted.Receipt, Report: accepted.Report}, nil
}

// Health answers the phase, one of a few fixed phrases.
func (s *intake) Health(context.Context, *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	phase, reason := s.paths.Phase()
	return &cloisterv1.HealthResponse{Phase: string(phase), Reason: reason}, nil
}

// ingestStatus maps the record path's errors to gRPC codes: a refusal is
// final, everything else may be tried again.
func ingestStatus(err error) error {
	var refusal *ingest.Refusal
	switch {
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
