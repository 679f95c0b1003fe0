package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/limits"
)

// chunkBytes is about how large the pieces of an answer are, in bytes: well
// below limits.Message, as rows differ in size.
const chunkBytes = 2 << 20

// Authenticator turns a bearer token into a principal.
type Authenticator interface {
	Verify(ctx context.Context, bearer string) (*identity.Principal, error)
}

// Querier answers one protected query with a signed answer.
type Querier interface {
	Query(ctx context.Context, who *identity.Principal, text string) (*answer.Answer, []byte, error)
}

// front lets through the two methods of Flight that a query needs. The others
// aren't there: arrow's DoPut, for one, reads the caller's Arrow stream before
// anybody asked for a token, and ends the process on a stream without a
// descriptor.
type front struct {
	flight.BaseFlightServer
	statements flight.FlightServer
}

// GetFlightInfo answers a ticket.
func (f *front) GetFlightInfo(ctx context.Context, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return f.statements.GetFlightInfo(ctx, desc)
}

// DoGet runs a ticket.
func (f *front) DoGet(ticket *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	return f.statements.DoGet(ticket, stream)
}

// queries serves Flight SQL statements. It keeps no state between calls: the
// ticket carries the query's text, and DoGet alone compiles and runs it.
type queries struct {
	flightsql.BaseServer
	paths *Paths
	who   Authenticator
}

// GetFlightInfoStatement answers a ticket that holds the statement's text.
func (q *queries) GetFlightInfoStatement(ctx context.Context, cmd flightsql.StatementQuery, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if _, err := q.authenticate(ctx); err != nil {
		return nil, err
	}
	if len(cmd.GetQuery()) > limits.Query {
		return nil, status.Error(codes.InvalidArgument, "the query text is longer than 64 KiB")
	}
	ticket, err := flightsql.CreateStatementQueryTicket([]byte(cmd.GetQuery()))
	if err != nil {
		return nil, status.Error(codes.Internal, "the query can't be made into a ticket")
	}
	return &flight.FlightInfo{
		FlightDescriptor: desc,
		Endpoint:         []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: ticket}}},
		TotalRecords:     -1,
		TotalBytes:       -1,
	}, nil
}

// DoGetStatement runs the ticket's statement and streams the signed answer.
func (q *queries) DoGetStatement(ctx context.Context, ticket flightsql.StatementQueryTicket) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	who, err := q.authenticate(ctx)
	if err != nil {
		return nil, nil, err
	}
	open := q.paths.open.Load()
	if open == nil {
		return nil, nil, errLocked
	}
	if len(ticket.GetStatementHandle()) > limits.Query {
		return nil, nil, status.Error(codes.InvalidArgument, "the query text is longer than 64 KiB")
	}
	a, signature, err := open.querier.Query(ctx, who, string(ticket.GetStatementHandle()))
	if err != nil {
		return nil, nil, queryStatus(err)
	}
	record, err := arrowform.Record(a, signature)
	if err != nil {
		return nil, nil, status.Error(codes.Internal, "PQ500: the answer can't be encoded")
	}
	defer record.Release()
	return record.Schema(), cut(record), nil
}

// cut answers a record in pieces of about chunkBytes: a large answer is more
// than one message may hold.
func cut(record arrow.RecordBatch) <-chan flight.StreamChunk {
	size := int64(0)
	for _, column := range record.Columns() {
		size += int64(column.Data().SizeInBytes()) //nolint:gosec // it is in memory
	}
	rows := max(record.NumRows()/(size/chunkBytes+1), 1)
	chunks := make(chan flight.StreamChunk, record.NumRows()/rows+1)
	for from := int64(0); from == 0 || from < record.NumRows(); from += rows {
		chunks <- flight.StreamChunk{Data: record.NewSlice(from, min(from+rows, record.NumRows()))}
	}
	close(chunks)
	return chunks
}

// authenticate reads the caller's bearer token from the request's metadata.
func (q *queries) authenticate(ctx context.Context) (*identity.Principal, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("authorization")
	if len(values) != 1 {
		return nil, status.Error(codes.Unauthenticated, "a bearer token is needed: sign in with the identity provider")
	}
	scheme, bearer, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || bearer == "" || len(bearer) > limits.Token {
		return nil, status.Error(codes.Unauthenticated, "a bearer token is needed: sign in with the identity provider")
	}
	who, err := q.who.Verify(ctx, bearer)
	if err != nil {
		return nil, identityStatus(err)
	}
	return who, nil
}

// identityStatus maps identity's errors to gRPC codes.
func identityStatus(err error) error {
	switch {
	case errors.Is(err, identity.ErrIssuerUnavailable):
		return status.Error(codes.Unavailable, "the identity provider can't be reached from the enclave; try again")
	case errors.Is(err, identity.ErrNotAllowed):
		return status.Error(codes.PermissionDenied, "the token's roles don't allow this")
	default:
		return status.Error(codes.Unauthenticated, "the token was refused: "+identity.Reason(err))
	}
}

// queryStatus maps the query path's errors to gRPC codes. A refusal carries
// its violations; whatever else went wrong after data was touched is opaque.
func queryStatus(err error) error {
	var refusal *sql.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusalStatus(refusal)
	case errors.Is(err, identity.ErrNotAllowed):
		return status.Error(codes.PermissionDenied, "PQ300_NOT_ALLOWED: the token's roles don't allow queries on this dataset. No budget was charged.")
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the query ran out of time")
	default:
		return status.Errorf(codes.Internal, "PQ500, reference %s", reference())
	}
}

func refusalStatus(refusal *sql.Refusal) error {
	code := codes.InvalidArgument
	st := status.New(code, refusal.Error())
	var details []*errdetails.ErrorInfo
	for _, v := range refusal.Violations {
		details = append(details, &errdetails.ErrorInfo{Reason: v.Code + "_" + v.Name, Domain: "cloister/query", Metadata: v.Metadata()})
		code = refusalCode(v.Code, code)
	}
	st = status.New(code, refusal.Error())
	for _, d := range details {
		if with, err := st.WithDetails(d); err == nil {
			st = with
		}
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
