package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
)

// domain is that of every ErrorInfo.
const domain = "cloister/query"

// whoQueries begins the phrases with which the query path turns requests away.
const whoQueries = "the enclave's query path"

// errReadOnly refuses everything that would change something.
var errReadOnly = status.Error(codes.FailedPrecondition,
	"read-only: queries are all that is answered here. Fix: hand records over with `cloister submit`, and send SELECT statements without transactions.")

// queryStatus maps the query path's errors to gRPC codes. A refusal carries
// its violations; whatever else went wrong after data was touched is opaque.
// Clients show the message alone, so its first line says code, rule and fix.
func queryStatus(err error) error {
	var (
		refusal *sql.Refusal
		full    *admission.Full
	)
	switch {
	case errors.As(err, &full):
		return grpcform.Status(whoQueries, full)
	case errors.As(err, &refusal):
		return refusalStatus(refusal)
	case errors.Is(err, identity.ErrNotAllowed):
		return detailed(codes.PermissionDenied,
			"PQ300_NOT_ALLOWED: the token's roles don't allow queries on this dataset. Fix: ask the data owner for the role. No budget was charged.",
			&errdetails.ErrorInfo{Reason: "PQ300_NOT_ALLOWED", Domain: domain})
	case errors.Is(err, exec.ErrLimit):
		return detailed(codes.ResourceExhausted,
			"PQ502_LIMIT: the query needs more memory or rows than the deployment allows. Fix: group by fewer or coarser dimensions, or filter by one.",
			&errdetails.ErrorInfo{Reason: "PQ502_LIMIT", Domain: domain})
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the query ran out of time")
	case errors.Is(err, audit.ErrUnsettled):
		return status.Error(codes.Unavailable, "the audit log can't be written now, and without it nothing is answered; try again")
	case errors.Is(err, audit.ErrFork):
		return status.Error(codes.FailedPrecondition, "another enclave writes to the audit log of this state, and without the log nothing is answered")
	default:
		return status.Errorf(codes.Internal, "PQ500, reference %s", reference())
	}
}

func refusalStatus(refusal *sql.Refusal) error {
	code := codes.InvalidArgument
	var details []protoadapt.MessageV1
	for _, v := range refusal.Violations {
		details = append(details, &errdetails.ErrorInfo{Reason: v.Code + "_" + v.Name, Domain: domain, Metadata: v.Metadata()})
		code = refusalCode(v.Code, code)
	}
	return detailed(code, refusal.Error(), details...)
}

// detailed is a status with details for programs.
func detailed(code codes.Code, message string, details ...protoadapt.MessageV1) error {
	st := status.New(code, message)
	if with, err := st.WithDetails(details...); err == nil {
		st = with
	}
	return st.Err()
}

// refusalCode is the mapping of protected-query codes to gRPC codes: PQ3xx are
// about rights, PQ402 about budget, PQ403 and PQ404 about what isn't there.
func refusalCode(code string, otherwise codes.Code) codes.Code {
	switch {
	case strings.HasPrefix(code, "PQ3"):
		return codes.PermissionDenied
	case code == "PQ402":
		return codes.ResourceExhausted
	case code == "PQ403", code == "PQ404":
		return codes.FailedPrecondition
	default:
		return otherwise
	}
}

func reference() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
