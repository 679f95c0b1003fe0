package server_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/issuer"
	"github.com/cloisterhq/cloister/test/rig"
)

// data is what no error may show.
const data = "Ada Lovelace"

// querier answers as the test says and counts.
type querier struct {
	rig.Unchecked
	calls  atomic.Int32
	answer func(ctx context.Context, text string) (*answer.Answer, []byte, error)
}

// Query answers one query.
func (q *querier) Query(ctx context.Context, who *identity.Principal, text string, _ ...sql.Parameter) (*answer.Answer, []byte, error) {
	q.calls.Add(1)
	if who == nil {
		return nil, nil, errors.New("nobody asked")
	}
	return q.answer(ctx, text)
}

// enclave is a query path over attested TLS on a unix socket.
type enclave struct {
	*rig.Rig
	issuer  *rig.Issuer
	paths   *server.Paths
	querier *querier
	dial    func(ctx context.Context, _ string) (net.Conn, error)
	// stop ends the server; ended is closed when it has ended.
	stop  func()
	ended chan struct{}
}

func start(t *testing.T) *enclave {
	t.Helper()
	dir := t.TempDir()
	l, err := vsock.Unix(dir, vsock.EnclaveCID).Listen(vsock.PortAttested)
	if err != nil {
		t.Fatal(err)
	}
	e := &enclave{
		Rig: rig.New(t, rig.Config{}), issuer: rig.NewIssuer(t), paths: server.NewPaths(), querier: &querier{}, ended: make(chan struct{}),
		dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return vsock.Unix(dir, vsock.HostCID).Dial(ctx, vsock.EnclaveCID, vsock.PortAttested)
		},
	}
	e.querier.answer = func(_ context.Context, text string) (*answer.Answer, []byte, error) { return e.sign(count(text, 1)) }
	ctx, stop := context.WithCancel(t.Context())
	e.stop = stop
	credentials := attls.NewServer(e.Certificate, time.Now, e.Evidence, 20*time.Second)
	go func() {
		defer close(e.ended)
		if err := server.ServeQueries(ctx, l, credentials, e.paths, e.issuer.Verifier); err != nil {
			t.Errorf("the server ended: %v", err)
		}
	}()
	t.Cleanup(func() { stop(); <-e.ended })
	return e
}

func (e *enclave) sign(a *answer.Answer) (*answer.Answer, []byte, error) {
	signature, err := answer.Sign(a, e.Service)
	return a, signature, err
}

// count is an answer of so many rows.
func count(text string, rows int) *answer.Answer {
	a := &answer.Answer{
		Mode: answer.ModeThreshold, Dataset: rig.Dataset, Floor: 10, Query: answer.QueryDigest(text),
		Columns: []answer.Column{{Name: "rx", Type: answer.String}, {Name: "n", Type: answer.Int64}},
	}
	for i := range rows {
		a.Rows = append(a.Rows, []answer.Cell{{Text: fmt.Sprintf("%01000d", i)}, {Int: int64(i)}})
	}
	return a
}

// connect dials the enclave with gRPC over attested TLS.
func (e *enclave) connect(t *testing.T, config attls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///enclave", grpc.WithTransportCredentials(attls.NewClient(config)),
		grpc.WithContextDialer(e.dial), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limits.Message)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask runs one query with a header for each value of authorization.
func (e *enclave) ask(t *testing.T, conn *grpc.ClientConn, text string, authorization ...string) (*answer.Answer, error) {
	t.Helper()
	ctx := t.Context()
	for _, a := range authorization {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", a)
	}
	c := &flightsql.Client{Client: flight.NewClientFromConn(conn, nil)}
	info, err := c.Execute(ctx, text)
	if err != nil {
		return nil, err
	}
	return e.get(ctx, c, info.GetEndpoint()[0].GetTicket())
}

func (e *enclave) get(ctx context.Context, c *flightsql.Client, ticket *flight.Ticket) (*answer.Answer, error) {
	reader, err := c.DoGet(ctx, ticket)
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	var records []arrow.RecordBatch
	for reader.Next() {
		r := reader.RecordBatch()
		r.Retain()
		defer r.Release()
		records = append(records, r)
	}
	if err := reader.Err(); err != nil {
		return nil, err
	}
	a, signature, err := arrowform.Answer(reader.Schema(), records)
	if err != nil {
		return nil, err
	}
	return a, answer.Verify(a, signature, e.Service.Public().(ed25519.PublicKey))
}

func (e *enclave) bearer(t *testing.T) string { return "Bearer " + e.issuer.Token(t) }

const text = "SELECT rx, COUNT(*) AS n FROM colon GROUP BY rx"

// TestQuery sends answers of all sizes: none, one, and more than one message.
func TestQuery(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	conn := e.connect(t, e.Client(t, nil))
	for _, rows := range []int{0, 1, 2, 20_000} {
		e.querier.answer = func(_ context.Context, text string) (*answer.Answer, []byte, error) { return e.sign(count(text, rows)) }
		a, err := e.ask(t, conn, text, e.bearer(t))
		if err != nil {
			t.Fatalf("%d rows: %v", rows, err)
		}
		if len(a.Rows) != rows || a.Query != answer.QueryDigest(text) {
			t.Errorf("%d rows came as %d", rows, len(a.Rows))
		}
	}
}

func TestUnauthenticated(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	conn := e.connect(t, e.Client(t, nil))
	mint := func(c issuer.Claims) string {
		c.Subject = data
		token, err := e.issuer.Mint(c)
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	good := e.bearer(t)
	for name, c := range map[string]struct {
		headers []string
		reason  string
	}{
		"none":                   {nil, "needed"},
		"empty":                  {[]string{""}, "needed"},
		"two":                    {[]string{good, good}, "needed"},
		"no scheme":              {[]string{strings.TrimPrefix(good, "Bearer ")}, "needed"},
		"another scheme":         {[]string{"Basic " + strings.TrimPrefix(good, "Bearer ")}, "needed"},
		"no token":               {[]string{"Bearer "}, "needed"},
		"too long":               {[]string{"Bearer " + strings.Repeat("a", limits.Token+1)}, "needed"},
		"not a token":            {[]string{"Bearer " + strings.Repeat("a", limits.Token)}, "not a token"},
		"expired":                {[]string{mint(issuer.Claims{Life: -time.Hour})}, "expired"},
		"for another audience":   {[]string{mint(issuer.Claims{Audience: "other"})}, "another audience"},
		"of another issuer":      {[]string{mint(issuer.Claims{Other: map[string]any{"iss": "https://other.example"}})}, "issuer"},
		"with another signature": {[]string{good[:len(good)-8] + "AAAAAAAA"}, "signature"},
	} {
		_, err := e.ask(t, conn, text, c.headers...)
		if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), c.reason) || strings.Contains(err.Error(), data) {
			t.Errorf("%s: %v", name, err)
		}
		// Whoever makes the ticket alone comes no further.
		ticket, err := flightsql.CreateStatementQueryTicket([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		ctx := t.Context()
		for _, h := range c.headers {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", h)
		}
		client := &flightsql.Client{Client: flight.NewClientFromConn(conn, nil)}
		if _, err := e.get(ctx, client, &flight.Ticket{Ticket: ticket}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s, with a ticket: %v", name, err)
		}
	}
	if n := e.querier.calls.Load(); n != 0 {
		t.Errorf("%d queries ran for nobody", n)
	}
	if _, err := e.ask(t, conn, text, "bearer "+strings.TrimPrefix(good, "Bearer ")); err != nil {
		t.Errorf("the scheme in small letters: %v", err)
	}
}

// TestHeaders: a request's headers are bounded before they are looked at.
func TestHeaders(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	conn := e.connect(t, e.Client(t, nil))
	if _, err := e.ask(t, conn, text, "Bearer "+strings.Repeat("a", 64<<10)); err == nil || status.Code(err) == codes.Unauthenticated {
		t.Errorf("64 KiB of token: %v", err)
	}
	if _, err := e.ask(t, conn, text, e.bearer(t)); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestIssuerAway(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	bearer := e.bearer(t)
	e.issuer.Close()
	if _, err := e.ask(t, e.connect(t, e.Client(t, nil)), text, bearer); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

// TestPhases: before and after its open time the path says why.
func TestPhases(t *testing.T) {
	e := start(t)
	conn := e.connect(t, e.Client(t, nil))
	steps := []struct {
		name  string
		do    func()
		code  codes.Code
		phase server.Phase
	}{
		{"at the start", func() {}, codes.Unavailable, server.Waiting},
		{"refused by KMS", func() { e.paths.Set(server.Refused, "no") }, codes.Unavailable, server.Refused},
		{"replaying", func() { e.paths.Set(server.Replaying, "") }, codes.Unavailable, server.Replaying},
		{"open", func() { e.paths.Open(nil, e.querier) }, codes.OK, server.Ready},
		{"shut", func() { e.paths.Shut("broken") }, codes.Unavailable, server.Failed},
	}
	for _, s := range steps {
		s.do()
		_, err := e.ask(t, conn, text, e.bearer(t))
		if phase, _ := e.paths.Phase(); status.Code(err) != s.code || phase != s.phase {
			t.Errorf("%s: %v in phase %s", s.name, err, phase)
		}
	}
}

// TestRefusals maps what the query path answers to codes and words.
func TestRefusals(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	conn := e.connect(t, e.Client(t, nil))
	refuse := func(code string) error { return sql.Refuse(rig.Dataset, code, "it is so", "do otherwise") }
	for name, c := range map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"syntax":               {refuse("PQ100_SYNTAX"), codes.InvalidArgument, "PQ100_SYNTAX: it is so. Fix: do otherwise."},
		"a column's role":      {refuse("PQ301_COLUMN_ROLE"), codes.PermissionDenied, "PQ301_COLUMN_ROLE"},
		"no budget":            {refuse("PQ402_BUDGET"), codes.ResourceExhausted, "PQ402_BUDGET"},
		"no ledger":            {refuse("PQ403_LEDGER"), codes.FailedPrecondition, "PQ403_LEDGER"},
		"a mode":               {refuse("PQ404_MODE_NOT_AVAILABLE"), codes.FailedPrecondition, "PQ404_MODE"},
		"a wrapped refusal":    {fmt.Errorf("query: %w", refuse("PQ100_SYNTAX")), codes.InvalidArgument, "PQ100_SYNTAX"},
		"not allowed":          {fmt.Errorf("query: %w", identity.ErrNotAllowed), codes.PermissionDenied, "PQ300_NOT_ALLOWED"},
		"no audit log":         {fmt.Errorf("protect: %w: %w", audit.ErrUnsettled, errors.New(data)), codes.Unavailable, "the audit log can't be written now"},
		"a second audit log":   {fmt.Errorf("protect: %w", audit.ErrFork), codes.FailedPrecondition, "another enclave writes to the audit log"},
		"cancelled":            {context.Canceled, codes.Canceled, "cancelled"},
		"out of time":          {fmt.Errorf("exec: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "out of time"},
		"whatever else":        {errors.New(data), codes.Internal, "PQ500, reference "},
		"an answer of no form": {nil, codes.Internal, "PQ500"},
	} {
		e.querier.answer = func(context.Context, string) (*answer.Answer, []byte, error) {
			if c.err == nil {
				return &answer.Answer{}, nil, nil
			}
			return nil, nil, c.err
		}
		_, err := e.ask(t, conn, text, e.bearer(t))
		if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), data) {
			t.Errorf("%s: the error shows data: %v", name, err)
		}
	}
}

// TestDetails: a refusal carries its violations for programs.
func TestDetails(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	refusal := sql.Refuse(rig.Dataset, "PQ203_COLUMN_RESTRICTED", "it is so", "do otherwise")
	refusal.Violations = append(refusal.Violations, sql.Violation{Code: "PQ301", Name: "COLUMN_ROLE", Offset: 7, Length: 2, Message: "a", Fix: "b"})
	e.querier.answer = func(context.Context, string) (*answer.Answer, []byte, error) { return nil, nil, refusal }
	_, err := e.ask(t, e.connect(t, e.Client(t, nil)), text, e.bearer(t))
	s := status.Convert(err)
	if s.Code() != codes.PermissionDenied {
		t.Errorf("code %s", s.Code())
	}
	var reasons []string
	for _, d := range s.Details() {
		info, ok := d.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != "cloister/query" {
			t.Fatalf("a detail %T of domain %s", d, info.GetDomain())
		}
		b, err := json.Marshal(info.GetMetadata())
		if err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, info.GetReason()+string(b))
	}
	want := []string{`PQ203_COLUMN_RESTRICTED{"fix":"do otherwise","length":"0","offset":"0"}`, `PQ301_COLUMN_ROLE{"fix":"b","length":"2","offset":"7"}`}
	if !slices.Equal(reasons, want) {
		t.Errorf("%v", reasons)
	}
}

func TestLongQuery(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	conn := e.connect(t, e.Client(t, nil))
	if _, err := e.ask(t, conn, strings.Repeat("x", limits.Query), e.bearer(t)); err != nil {
		t.Errorf("as long as may be: %v", err)
	}
	for _, n := range []int{limits.Query + 1, 1 << 20} {
		long := strings.Repeat("x", n)
		if _, err := e.ask(t, conn, long, e.bearer(t)); err == nil {
			t.Errorf("a query of %d bytes runs", n)
		}
		ticket, err := flightsql.CreateStatementQueryTicket([]byte(long))
		if err != nil {
			t.Fatal(err)
		}
		c := &flightsql.Client{Client: flight.NewClientFromConn(conn, nil)}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", e.bearer(t))
		if _, err := e.get(ctx, c, &flight.Ticket{Ticket: ticket}); err == nil {
			t.Errorf("a ticket of %d bytes runs", n)
		}
	}
	if n := e.querier.calls.Load(); n != 1 {
		t.Errorf("%d queries ran", n)
	}
}

// TestNothingElse: whatever else Flight has isn't there, and nothing that is
// sent in place of a command ends the process.
func TestNothingElse(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	conn := e.connect(t, e.Client(t, nil))
	c := flight.NewClientFromConn(conn, nil)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", e.bearer(t))
	first := func(recv func() error, err error) error {
		if err != nil {
			return err
		}
		return recv()
	}
	for name, call := range map[string]struct {
		code codes.Code
		do   func() error
	}{
		"DoPut": {codes.InvalidArgument, func() error {
			s, err := c.DoPut(ctx)
			return first(func() error {
				_ = s.Send(&flight.FlightData{DataHeader: []byte{1, 2, 3}, DataBody: []byte{4}})
				_, err := s.Recv()
				return err
			}, err)
		}},
		"DoExchange": {codes.Unimplemented, func() error {
			s, err := c.DoExchange(ctx)
			return first(func() error { _, err := s.Recv(); return err }, err)
		}},
		"DoAction": {codes.InvalidArgument, func() error {
			s, err := c.DoAction(ctx, &flight.Action{Type: flightsql.CreatePreparedStatementActionType})
			return first(func() error { _, err := s.Recv(); return err }, err)
		}},
		"ListFlights": {codes.Unimplemented, func() error {
			s, err := c.ListFlights(ctx, &flight.Criteria{})
			return first(func() error { _, err := s.Recv(); return err }, err)
		}},
		"GetSchema":      {codes.InvalidArgument, func() error { _, err := c.GetSchema(ctx, &flight.FlightDescriptor{}); return err }},
		"PollFlightInfo": {codes.Unimplemented, func() error { _, err := c.PollFlightInfo(ctx, &flight.FlightDescriptor{}); return err }},
	} {
		if err := call.do(); status.Code(err) != call.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range [][]byte{nil, {0xff}, []byte("garbage"), make([]byte, 1<<10)} {
		if _, err := c.GetFlightInfo(ctx, &flight.FlightDescriptor{Type: flight.DescriptorCMD, Cmd: b}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("the command %x: %v", b, err)
		}
		s, err := c.DoGet(ctx, &flight.Ticket{Ticket: b})
		if err := first(func() error { _, err := s.Recv(); return err }, err); status.Code(err) != codes.InvalidArgument {
			t.Errorf("the ticket %x: %v", b, err)
		}
	}
	if _, err := e.ask(t, conn, text, e.bearer(t)); err != nil || e.querier.calls.Load() != 1 {
		t.Errorf("after all that: %v, %d queries", err, e.querier.calls.Load())
	}
}

// TestCancelled: a caller who goes away ends the query.
func TestCancelled(t *testing.T) {
	e := start(t)
	e.paths.Open(nil, e.querier)
	began, ended := make(chan struct{}), make(chan error, 1)
	e.querier.answer = func(ctx context.Context, _ string) (*answer.Answer, []byte, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, nil, ctx.Err()
	}
	conn := e.connect(t, e.Client(t, nil))
	var asking sync.WaitGroup
	asking.Go(func() { _, _ = e.ask(t, conn, text, e.bearer(t)) })
	<-began
	conn.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	asking.Wait()
}
