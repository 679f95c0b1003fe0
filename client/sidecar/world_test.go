package sidecar_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/client/sidecar"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/test/rig"
)

// bearer is the analyst's token.
const bearer = "the.analysts.token"

// network is where tests listen and dial: TCP, or pipes for a fake clock.
type network interface {
	listen() (net.Listener, error)
	dial(ctx context.Context, address string) (net.Conn, error)
}

type loopback struct{}

func (loopback) listen() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") }
func (loopback) dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// world is an enclave, a proxy in front of it and whoever calls.
type world struct {
	*rig.Rig
	net     network
	service *service
	proxy   *sidecar.Proxy
	// address is where the enclave is; password opens the front at front.
	address  string
	front    string
	password secret.Bytes
	// verified counts connections to the enclave, refused what was refused.
	verified atomic.Int32
	refused  atomic.Int32

	mu     sync.Mutex
	config attls.Config                      // guarded by mu, as are all below
	token  func() (string, time.Time, error) // what Bearer answers
	stop   func()                            // ends the enclave
}

// Dial is an Enclave's.
func (w *world) Dial(ctx context.Context) (net.Conn, *attls.Peer, error) {
	w.mu.Lock()
	address, config := w.address, w.config
	w.mu.Unlock()
	conn, err := w.net.dial(ctx, address)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", client.ErrUnreachable, err)
	}
	return attls.Dial(ctx, conn, config)
}

// Bearer is an Enclave's.
func (w *world) Bearer() (string, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.token()
}

// shows sets the token.
func (w *world) shows(token string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.token = func() (string, time.Time, error) { return token, time.Time{}, err }
}

// trusts makes the proxy accept another enclave than before.
func (w *world) trusts(config attls.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.config = config
}

// start starts a world on n.
func start(t *testing.T, n network) *world {
	t.Helper()
	w := &world{Rig: rig.New(t, rig.Config{}), net: n, service: &service{}, password: sidecar.NewPassword()}
	w.trusts(w.Client(t, nil))
	w.shows(bearer, nil)
	w.boot(t, w.Rig)
	w.proxy = sidecar.New(w, sidecar.Options{
		OnPeer:  func(*attls.Peer) { w.verified.Add(1) },
		OnError: func(error) { w.refused.Add(1) },
	})
	t.Cleanup(w.proxy.Close)
	l, err := n.listen()
	if err != nil {
		t.Fatal(err)
	}
	w.front = l.Addr().String()
	w.serve(t, l, w.password)
	return w
}

// serve runs the proxy on a listener until the test ends.
func (w *world) serve(t *testing.T, l net.Listener, password secret.Bytes) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.proxy.Serve(ctx, l, password) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the proxy ended: %v", err)
		}
	})
}

// boot starts an enclave in place of the one before, if there was one.
func (w *world) boot(t *testing.T, r *rig.Rig) {
	t.Helper()
	w.kill()
	l, err := w.net.listen()
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(attls.NewServer(r.Certificate, time.Now, r.Evidence, 20*time.Second)))
	flight.RegisterFlightServiceServer(server, w.service)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.address, w.stop = l.Addr().String(), sync.OnceFunc(func() { server.Stop(); <-ended })
	t.Cleanup(w.stop)
}

// kill ends the enclave.
func (w *world) kill() {
	w.mu.Lock()
	stop := w.stop
	w.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// client is a stock client of the front.
func (w *world) client(t *testing.T) *flightsql.Client {
	t.Helper()
	return w.clientOf(t, "passthrough:///"+w.front, grpc.WithContextDialer(w.net.dial))
}

// clientOf is a stock client of another listener.
func (w *world) clientOf(t *testing.T, target string, options ...grpc.DialOption) *flightsql.Client {
	t.Helper()
	c, err := flightsql.NewClientCtx(t.Context(), target, nil, nil, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// in is a context that shows the password.
func (w *world) in(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+string(w.password.Expose()))
}

// ask fetches one answer and counts its rows.
func ask(ctx context.Context, c *flightsql.Client, text string) (rows int64, err error) {
	info, err := c.Execute(ctx, text)
	if err != nil {
		return 0, err
	}
	reader, err := c.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
	if err != nil {
		return 0, err
	}
	defer reader.Release()
	for reader.Next() {
		rows += reader.RecordBatch().NumRows()
	}
	return rows, reader.Err()
}

// service is a Flight service that does what the query's text says.
type service struct {
	flight.BaseFlightServer
	// calls counts calls, sent the records of all streams.
	calls, sent atomic.Int64
	// cancelled gets an error for each stream whose client went away.
	cancelled chan error

	mu     sync.Mutex
	tokens []string // guarded by mu
}

// seen answers what the calls showed as their authorization.
func (s *service) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

func (s *service) note(ctx context.Context) {
	s.calls.Add(1)
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, md.Get("authorization")...)
}

// GetFlightInfo answers a ticket with the command's text.
func (s *service) GetFlightInfo(ctx context.Context, d *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	s.note(ctx)
	return &flight.FlightInfo{Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: d.GetCmd()}}}}, nil
}

// records is how many a stream has, rowsEach how many rows in each.
const (
	records  = 4096
	rowsEach = 8 << 10 // 64 KiB
)

// DoGet streams numbers until all are sent or the client goes away.
func (s *service) DoGet(_ *flight.Ticket, stream flight.FlightService_DoGetServer) error {
	s.note(stream.Context())
	_ = stream.SetHeader(metadata.Pairs("cloister-header", "first"))
	stream.SetTrailer(metadata.Pairs("cloister-trailer", "last"))
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range rowsEach {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
	}
	record := b.NewRecordBatch()
	defer record.Release()
	w := flight.NewRecordWriter(stream)
	defer w.Close()
	for range records {
		if err := w.Write(record); err != nil {
			if s.cancelled != nil {
				s.cancelled <- err
			}
			return err
		}
		s.sent.Add(1)
	}
	return nil
}

// DoExchange answers each message before it reads the next.
func (s *service) DoExchange(stream flight.FlightService_DoExchangeServer) error {
	s.note(stream.Context())
	for {
		in, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(in); err != nil {
			return err
		}
	}
}
