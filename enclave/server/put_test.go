package server_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cloisterhq/cloister/enclave/server"
)

// put sends messages by DoPut and answers the error.
func put(ctx context.Context, c *flightsql.Client, all ...*flight.FlightData) error {
	stream, err := c.Client.DoPut(ctx)
	if err != nil {
		return err
	}
	for _, m := range all {
		if stream.Send(m) != nil {
			break
		}
	}
	_ = stream.CloseSend()
	for {
		if _, err := stream.Recv(); err != nil {
			return err
		}
	}
}

func descriptor(t *testing.T, m proto.Message) *flight.FlightDescriptor {
	t.Helper()
	command, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	return &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: b}
}

// TestPut: everything that is put besides values changes something, and is
// refused before it is read.
func TestPut(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	endless := make([]*flight.FlightData, 3000)
	for i := range endless {
		endless[i] = &flight.FlightData{}
	}
	endless[0] = &flight.FlightData{FlightDescriptor: descriptor(t, &pb.CommandPreparedStatementQuery{PreparedStatementHandle: []byte("SELECT 1")})}
	for name, p := range map[string]struct {
		code codes.Code
		sent []*flight.FlightData
	}{
		"an update":          {codes.FailedPrecondition, []*flight.FlightData{{FlightDescriptor: descriptor(t, &pb.CommandStatementUpdate{Query: "DELETE FROM colon"})}}},
		"a prepared update":  {codes.FailedPrecondition, []*flight.FlightData{{FlightDescriptor: descriptor(t, &pb.CommandPreparedStatementUpdate{})}}},
		"records":            {codes.FailedPrecondition, []*flight.FlightData{{FlightDescriptor: descriptor(t, &pb.CommandStatementIngest{Table: "colon"})}}},
		"a plan":             {codes.FailedPrecondition, []*flight.FlightData{{FlightDescriptor: descriptor(t, &pb.CommandStatementSubstraitPlan{})}}},
		"a query":            {codes.InvalidArgument, []*flight.FlightData{{FlightDescriptor: descriptor(t, &pb.CommandStatementQuery{})}}},
		"no command":         {codes.InvalidArgument, []*flight.FlightData{{FlightDescriptor: &flight.FlightDescriptor{Cmd: []byte("garbage")}}}},
		"no descriptor":      {codes.InvalidArgument, []*flight.FlightData{{DataHeader: []byte{1, 2, 3}}}},
		"nothing":            {codes.InvalidArgument, nil},
		"garbage for values": {codes.InvalidArgument, []*flight.FlightData{{FlightDescriptor: endless[0].GetFlightDescriptor(), DataHeader: []byte{16, 0, 0, 0, 0xff}}}},
		"no end of them":     {codes.InvalidArgument, endless},
	} {
		if err := put(ctx, c, p.sent...); status.Code(err) != p.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTransactions: there are none, and no statement is in one.
func TestTransactions(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	if _, err := c.BeginTransaction(ctx); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("begin: %v", err)
	}
	id := []byte("tx")
	for name, call := range map[string]func() error{
		"a query": func() error {
			_, err := c.Client.GetFlightInfo(ctx, descriptor(t, &pb.CommandStatementQuery{Query: "SELECT COUNT(*) FROM colon", TransactionId: id}))
			return err
		},
		"a dry run": func() error {
			_, err := c.Client.GetSchema(ctx, descriptor(t, &pb.CommandStatementQuery{Query: "SELECT COUNT(*) FROM colon", TransactionId: id}))
			return err
		},
		"prepared": func() error {
			return action(ctx, t, c, flightsql.CreatePreparedStatementActionType, &pb.ActionCreatePreparedStatementRequest{TransactionId: id})
		},
		"the end": func() error {
			return action(ctx, t, c, flightsql.EndTransactionActionType, &pb.ActionEndTransactionRequest{TransactionId: id})
		},
		"a savepoint": func() error {
			return action(ctx, t, c, flightsql.BeginSavepointActionType, &pb.ActionBeginSavepointRequest{TransactionId: id})
		},
		"a savepoint's end": func() error {
			return action(ctx, t, c, flightsql.EndSavepointActionType, &pb.ActionEndSavepointRequest{SavepointId: id})
		},
	} {
		if err := call(); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := action(ctx, t, c, flightsql.CreatePreparedSubstraitPlanActionType, &pb.ActionCreatePreparedSubstraitPlanRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a plan: %v", err)
	}
}

func action(ctx context.Context, t *testing.T, c *flightsql.Client, kind string, m proto.Message) error {
	t.Helper()
	stream, err := c.Client.DoAction(ctx, &flight.Action{Type: kind, Body: descriptor(t, m).GetCmd()})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// TestActions: what is listed is what there is.
func TestActions(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	stream, err := c.Client.ListActions(ctx, &flight.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		a, err := stream.Recv()
		if err != nil {
			break
		}
		s, err := c.Client.DoAction(ctx, &flight.Action{Type: a.GetType(), Body: []byte{0xff}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "unable to") {
			t.Errorf("%s: %v", a.GetType(), err)
		}
	}
	if n != 4 {
		t.Errorf("%d actions", n)
	}
}

// TestPoll: nothing has to be waited for before a ticket can be presented.
func TestPoll(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	poll, err := c.ExecutePoll(ctx, "SELECT COUNT(*) FROM colon", nil)
	if err != nil || poll.GetFlightDescriptor() != nil {
		t.Fatalf("%v, %v", poll, err)
	}
	if got, err := rows(ctx, c, poll.GetInfo()); err != nil || !slices.Equal(got, []string{"60|"}) {
		t.Errorf("%v, %v", got, err)
	}
	s, err := c.Prepare(ctx, "SELECT COUNT(*) FROM colon")
	if err != nil {
		t.Fatal(err)
	}
	if poll, err = s.ExecutePoll(ctx, nil); err != nil || len(poll.GetInfo().GetEndpoint()) != 1 {
		t.Errorf("%v, %v", poll, err)
	}
	if _, err := c.ExecutePoll(ctx, "SELECT id FROM colon", nil); status.Code(err) != codes.PermissionDenied {
		t.Errorf("%v", err)
	}
}

// TestBeforeKeys: nothing is told of datasets before the enclave has its keys.
func TestBeforeKeys(t *testing.T) {
	d := deploy(t, nil)
	d.paths.Shut("broken")
	ctx, c := d.client(t)
	for name, call := range map[string]func() error{
		"a query":   func() error { _, err := c.Execute(ctx, "SELECT COUNT(*) FROM colon"); return err },
		"a dry run": func() error { _, err := c.GetExecuteSchema(ctx, "SELECT COUNT(*) FROM colon"); return err },
		"prepared":  func() error { _, err := c.Prepare(ctx, "SELECT COUNT(*) FROM colon"); return err },
		"tables": func() error {
			info, err := c.GetTables(ctx, &flightsql.GetTablesOpts{})
			if err == nil {
				_, err = rows(ctx, c, info)
			}
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
	if phase, _ := d.paths.Phase(); phase != server.Failed {
		t.Errorf("phase %s", phase)
	}
}
