package server

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/server/binding"
	"github.com/cloisterhq/cloister/internal/contract"
)

// maxMessages bounds the messages that carry values: a schema, a dictionary for
// each, and the row.
const maxMessages = 2048

// CreatePreparedStatement checks a statement before its values are known. The
// handle is the statement itself.
func (q *queries) CreatePreparedStatement(ctx context.Context, req flightsql.ActionCreatePreparedStatementRequest) (flightsql.ActionCreatePreparedStatementResult, error) {
	var none flightsql.ActionCreatePreparedStatementResult
	if len(req.GetTransactionId()) > 0 {
		return none, errReadOnly
	}
	d, schema, err := q.prepare(ctx, req.GetQuery())
	if err != nil {
		return none, err
	}
	update := false
	return flightsql.ActionCreatePreparedStatementResult{
		Handle: statement{text: req.GetQuery()}.write(), DatasetSchema: schema, ParameterSchema: parameterSchema(d), IsUpdate: &update,
	}, nil
}

func (q *queries) prepare(ctx context.Context, text string) (*query.Description, *arrow.Schema, error) {
	querier, err := q.querier()
	if err != nil {
		return nil, nil, err
	}
	d, err := querier.Prepare(ctx, callerOf(ctx), text)
	if err != nil {
		return nil, nil, queryStatus(err)
	}
	schema, err := schemaOf(d)
	return d, schema, err
}

// parameterSchema has a field for each placeholder, named by its number. An
// instant is one in milliseconds: JDBC's driver writes those whatever the unit.
// What is bound may be of any type that fits.
func parameterSchema(d *query.Description) *arrow.Schema {
	fields := make([]arrow.Field, len(d.Placeholders))
	for i, p := range d.Placeholders {
		fields[i] = arrow.Field{Name: "$" + strconv.Itoa(i+1), Type: arrowType(p.Type, p.Scale), Nullable: true}
		if p.Type == contract.Timestamp {
			fields[i].Type = arrow.FixedWidthTypes.Timestamp_ms
		}
	}
	return arrow.NewSchema(fields, nil)
}

// bind answers the handle of a prepared statement with the values that the
// stream carries. They take the place of earlier ones.
func (q *queries) bind(handle []byte, first *flight.FlightData, stream flight.FlightService_DoPutServer) error {
	s, err := readStatement(handle)
	if err != nil {
		return err
	}
	var values binding.Reader
	data := first
	for range maxMessages {
		if len(data.GetDataHeader()) > 0 {
			if err := values.Read(data.GetDataHeader(), data.GetDataBody()); err != nil {
				return queryStatus(err)
			}
		}
		if data, err = stream.Recv(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) {
		return status.Error(codes.InvalidArgument, "the stream of bound values doesn't end")
	}
	if s.bound, err = values.Values(); err != nil {
		return queryStatus(err)
	}
	result, err := proto.Marshal(&pb.DoPutPreparedStatementResult{PreparedStatementHandle: s.write()})
	if err != nil {
		return status.Error(codes.Internal, "the handle can't be encoded")
	}
	return stream.Send(&flight.PutResult{AppMetadata: result})
}

// GetFlightInfoPreparedStatement checks a statement with its values and answers
// its ticket.
func (q *queries) GetFlightInfoPreparedStatement(ctx context.Context, cmd flightsql.PreparedStatementQuery, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	s, err := readStatement(cmd.GetPreparedStatementHandle())
	if err != nil {
		return nil, err
	}
	return q.info(ctx, s, desc)
}

// GetSchemaPreparedStatement is the dry run of a prepared statement, with or
// without its values.
func (q *queries) GetSchemaPreparedStatement(ctx context.Context, cmd flightsql.PreparedStatementQuery, _ *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	s, err := readStatement(cmd.GetPreparedStatementHandle())
	if err != nil {
		return nil, err
	}
	if len(s.bound) > 0 {
		return q.schema(ctx, s)
	}
	_, schema, err := q.prepare(ctx, s.text)
	if err != nil {
		return nil, err
	}
	return &flight.SchemaResult{Schema: flight.SerializeSchema(schema, memory.DefaultAllocator)}, nil
}

// PollFlightInfoPreparedStatement answers what GetFlightInfoPreparedStatement
// does, as complete.
func (q *queries) PollFlightInfoPreparedStatement(ctx context.Context, cmd flightsql.PreparedStatementQuery, desc *flight.FlightDescriptor) (*flight.PollInfo, error) {
	info, err := q.GetFlightInfoPreparedStatement(ctx, cmd, desc)
	if err != nil {
		return nil, err
	}
	return &flight.PollInfo{Info: info}, nil
}

// DoGetPreparedStatement runs a prepared statement whose handle is presented as
// a ticket.
func (q *queries) DoGetPreparedStatement(ctx context.Context, cmd flightsql.PreparedStatementQuery) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	s, err := readStatement(cmd.GetPreparedStatementHandle())
	if err != nil {
		return nil, nil, err
	}
	return q.run(ctx, s)
}

// ClosePreparedStatement has nothing to do: there is no table of statements.
func (q *queries) ClosePreparedStatement(context.Context, flightsql.ActionClosePreparedStatementRequest) error {
	return nil
}
