package server

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/contract"
)

// Querier answers protected queries and what can be told of them before.
type Querier interface {
	// Query answers one statement with a signed answer; bound are the values of
	// its placeholders.
	Query(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*answer.Answer, []byte, error)
	// Check answers what Query would begin to answer, without beginning.
	Check(ctx context.Context, who *identity.Principal, text string, bound ...sql.Parameter) (*query.Description, error)
	// Prepare is Check before the values are known.
	Prepare(ctx context.Context, who *identity.Principal, text string) (*query.Description, error)
	// Tables answers the contracts of the datasets that somebody may query, in
	// the order of their names.
	Tables(who *identity.Principal) []*contract.Contract
}

// queries serves Flight SQL. Between calls it keeps nothing but what runs: the
// ticket carries the statement, and DoGet alone runs it, whoever made the
// ticket.
type queries struct {
	flightsql.BaseServer
	paths   *Paths
	running running
}

func newQueries(paths *Paths) (*queries, error) {
	q := &queries{paths: paths}
	q.Alloc = memory.DefaultAllocator
	for id, value := range information() {
		if err := q.RegisterSqlInfo(flightsql.SqlInfo(id), value); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// querier answers the query path, or why there is none.
func (q *queries) querier() (Querier, error) {
	open := q.paths.open.Load()
	if open == nil {
		return nil, errLocked
	}
	return open.querier, nil
}

// GetFlightInfoStatement checks a statement and answers its ticket. Nothing is
// charged until the ticket is presented.
func (q *queries) GetFlightInfoStatement(ctx context.Context, cmd flightsql.StatementQuery, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if len(cmd.GetTransactionId()) > 0 {
		return nil, errReadOnly
	}
	return q.info(ctx, statement{text: cmd.GetQuery()}, desc)
}

// GetSchemaStatement is the dry run of a statement.
func (q *queries) GetSchemaStatement(ctx context.Context, cmd flightsql.StatementQuery, _ *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	if len(cmd.GetTransactionId()) > 0 {
		return nil, errReadOnly
	}
	return q.schema(ctx, statement{text: cmd.GetQuery()})
}

// PollFlightInfoStatement answers what GetFlightInfoStatement does, as complete.
func (q *queries) PollFlightInfoStatement(ctx context.Context, cmd flightsql.StatementQuery, desc *flight.FlightDescriptor) (*flight.PollInfo, error) {
	info, err := q.GetFlightInfoStatement(ctx, cmd, desc)
	if err != nil {
		return nil, err
	}
	return &flight.PollInfo{Info: info}, nil
}

// DoGetStatement runs the ticket's statement and streams the signed answer.
func (q *queries) DoGetStatement(ctx context.Context, ticket flightsql.StatementQueryTicket) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	s, err := readStatement(ticket.GetStatementHandle())
	if err != nil {
		return nil, nil, err
	}
	return q.run(ctx, s)
}

// run runs a statement. It ends as soon as the caller goes away or cancels it.
func (q *queries) run(ctx context.Context, s statement) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	querier, err := q.querier()
	if err != nil {
		return nil, nil, err
	}
	who := callerOf(ctx)
	ctx, end := q.running.begin(ctx, execution{who.Issuer(), who.Subject(), s.id})
	a, signature, err := querier.Query(ctx, who, s.text, s.bound...)
	end()
	if err != nil {
		return nil, nil, queryStatus(err)
	}
	record, err := arrowform.Record(a, signature)
	if err != nil {
		return nil, nil, status.Error(codes.Internal, "PQ500: the answer can't be encoded")
	}
	defer record.Release()
	return record.Schema(), cut(record, a.Rows), nil
}

// check answers the schema of a statement's answer, or its refusal.
func (q *queries) check(ctx context.Context, s statement) (*arrow.Schema, error) {
	querier, err := q.querier()
	if err != nil {
		return nil, err
	}
	d, err := querier.Check(ctx, callerOf(ctx), s.text, s.bound...)
	if err != nil {
		return nil, queryStatus(err)
	}
	return schemaOf(d)
}

func schemaOf(d *query.Description) (*arrow.Schema, error) {
	schema, err := arrowform.Schema(d.Columns)
	if err != nil {
		return nil, status.Error(codes.Internal, "PQ500: the answer would have no Arrow form")
	}
	return schema, nil
}

// info answers the ticket of a statement that would be answered. The schema
// isn't in it: ADBC's drivers show that one in place of the answer's, whose
// metadata says what the answer is worth and has the signature. GetSchema and a
// prepared statement tell it before.
func (q *queries) info(ctx context.Context, s statement, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	if _, err := q.check(ctx, s); err != nil {
		return nil, err
	}
	ticket, err := flightsql.CreateStatementQueryTicket(s.named().write())
	if err != nil {
		return nil, status.Error(codes.Internal, "the query can't be made into a ticket")
	}
	return newInfo(desc, nil, ticket), nil
}

func (q *queries) schema(ctx context.Context, s statement) (*flight.SchemaResult, error) {
	schema, err := q.check(ctx, s)
	if err != nil {
		return nil, err
	}
	return &flight.SchemaResult{Schema: flight.SerializeSchema(schema, memory.DefaultAllocator)}, nil
}

// newInfo answers a FlightInfo of one endpoint; schema may be nil. It names no
// location, so that clients stay on the connection whose evidence was judged.
func newInfo(desc *flight.FlightDescriptor, schema *arrow.Schema, ticket []byte) *flight.FlightInfo {
	var serialized []byte
	if schema != nil {
		serialized = flight.SerializeSchema(schema, memory.DefaultAllocator)
	}
	return &flight.FlightInfo{
		Schema:           serialized,
		FlightDescriptor: desc,
		Endpoint:         []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: ticket}}},
		TotalRecords:     -1,
		TotalBytes:       -1,
	}
}

// CancelFlightInfo ends the caller's query that runs under a ticket of the
// info, and answers when it has ended. A cancelled query stays charged.
func (q *queries) CancelFlightInfo(ctx context.Context, req *flight.CancelFlightInfoRequest) (flight.CancelFlightInfoResult, error) {
	who, found := callerOf(ctx), 0
	for _, e := range req.GetInfo().GetEndpoint() {
		ticket, err := flightsql.GetStatementQueryTicket(&flight.Ticket{Ticket: e.GetTicket().GetTicket()})
		if err != nil {
			continue
		}
		s, err := readStatement(ticket.GetStatementHandle())
		if err != nil || s.id == "" {
			continue
		}
		n, err := q.running.cancel(ctx, execution{who.Issuer(), who.Subject(), s.id})
		if err != nil {
			return flight.CancelFlightInfoResult{Status: flight.CancelStatusCancelling}, nil
		}
		found += n
	}
	if found == 0 {
		return flight.CancelFlightInfoResult{Status: flight.CancelStatusNotCancellable}, nil
	}
	return flight.CancelFlightInfoResult{Status: flight.CancelStatusCancelled}, nil
}
