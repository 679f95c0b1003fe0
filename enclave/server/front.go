package server

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// front lets through the methods of Flight that Flight SQL needs, to arrow's
// router where that is safe. DoPut is our own: arrow's reads the caller's Arrow
// stream, and ends the process on a stream without a descriptor.
type front struct {
	flight.BaseFlightServer
	router  flight.FlightServer
	queries *queries
}

func newFront(q *queries) *front {
	return &front{router: flightsql.NewFlightServer(q), queries: q}
}

// Handshake answers a bearer header to a user who came with a password, which
// is the token: clients that know users and passwords send the header from then
// on. The door has verified it.
func (f *front) Handshake(stream flight.FlightService_HandshakeServer) error {
	token, ok := bearer(stream.Context())
	if !ok {
		return status.Error(codes.Unauthenticated, "a bearer token is needed as the password")
	}
	return stream.SendHeader(metadata.Pairs(authorization, "Bearer "+token))
}

// GetFlightInfo answers a ticket.
func (f *front) GetFlightInfo(ctx context.Context, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return f.router.GetFlightInfo(ctx, desc)
}

// PollFlightInfo answers a ticket too: nothing has to be waited for before it
// can be presented.
func (f *front) PollFlightInfo(ctx context.Context, desc *flight.FlightDescriptor) (*flight.PollInfo, error) {
	return f.router.PollFlightInfo(ctx, desc)
}

// GetSchema is a dry run.
func (f *front) GetSchema(ctx context.Context, desc *flight.FlightDescriptor) (*flight.SchemaResult, error) {
	return f.router.GetSchema(ctx, desc)
}

// DoGet runs a ticket.
func (f *front) DoGet(ticket *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	return f.router.DoGet(ticket, stream)
}

// DoAction prepares, closes and cancels.
func (f *front) DoAction(action *flight.Action, stream flight.FlightService_DoActionServer) error {
	return f.router.DoAction(action, stream)
}

// ListActions lists what DoAction does.
func (f *front) ListActions(_ *flight.Empty, stream flight.FlightService_ListActionsServer) error {
	for _, a := range []*flight.ActionType{
		{Type: flightsql.CreatePreparedStatementActionType, Description: "prepare a query"},
		{Type: flightsql.ClosePreparedStatementActionType, Description: "close a prepared query"},
		{Type: flight.CancelFlightInfoActionType, Description: "end a running query"},
		{Type: flightsql.CancelQueryActionType, Description: "end a running query"},
	} {
		if err := stream.Send(a); err != nil {
			return err
		}
	}
	return nil
}

// DoPut binds values to a prepared statement; everything else that is put would
// change something.
func (f *front) DoPut(stream flight.FlightService_DoPutServer) error {
	first, err := stream.Recv()
	if err != nil {
		return status.Error(codes.InvalidArgument, "the stream is empty")
	}
	command, err := unpack(first.GetFlightDescriptor().GetCmd())
	if err != nil {
		return err
	}
	switch command := command.(type) {
	case *pb.CommandPreparedStatementQuery:
		return f.queries.bind(command.GetPreparedStatementHandle(), first, stream)
	case *pb.CommandStatementUpdate, *pb.CommandPreparedStatementUpdate, *pb.CommandStatementIngest, *pb.CommandStatementSubstraitPlan:
		return errReadOnly
	}
	return status.Error(codes.InvalidArgument, "the command isn't one that is put")
}

// unpack reads a Flight SQL command.
func unpack(packed []byte) (proto.Message, error) {
	var command anypb.Any
	if err := proto.Unmarshal(packed, &command); err != nil {
		return nil, status.Error(codes.InvalidArgument, "the descriptor holds no Flight SQL command")
	}
	message, err := command.UnmarshalNew()
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the descriptor holds no Flight SQL command")
	}
	return message, nil
}
