package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/gateway"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

const (
	pending   = cloisterv1.SubmitResponse_STATE_PENDING
	receipted = cloisterv1.SubmitResponse_STATE_RECEIPTED
	refused   = cloisterv1.SubmitResponse_STATE_REFUSED

	// canary stands in every envelope and must stand in no log.
	canary = "canary-7f3a"
)

// envelope makes bytes that are as opaque to a parent as any others.
func envelope(name string) []byte { return []byte(canary + " " + name) }

func hexOf(envelope []byte) string {
	sum := sha256.Sum256(envelope)
	return hex.EncodeToString(sum[:])
}

// enclave is the other side of the intake: it gives receipts, refuses, waits
// for keys, hangs, and dies, as it is told.
type enclave struct {
	// power is held while it starts or ends.
	power sync.Mutex

	cloisterv1.UnsafeIntakeServer
	t         testing.TB
	transport vsock.Transport

	mu     sync.Mutex
	phase  string
	accept func(ctx context.Context, envelope []byte) (*cloisterv1.AcceptResponse, error)
	got    []string // the names of the envelopes that were handed in
	inside int      // how many are in accept now
	most   int      // the most that ever were
	lives  int
	server *grpc.Server
}

// give is the answer of an enclave that takes an envelope.
func give(envelope []byte) *cloisterv1.AcceptResponse {
	return &cloisterv1.AcceptResponse{Receipt: []byte("receipt of " + hexOf(envelope)), Report: []byte("report on " + hexOf(envelope))}
}

func (e *enclave) Accept(ctx context.Context, req *cloisterv1.AcceptRequest) (*cloisterv1.AcceptResponse, error) {
	e.mu.Lock()
	e.got = append(e.got, hexOf(req.GetEnvelope()))
	e.inside++
	e.most = max(e.most, e.inside)
	accept, phase := e.accept, e.phase
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.inside--
		e.mu.Unlock()
	}()
	if phase != "ready" {
		return nil, status.Error(codes.Unavailable, "the enclave has no keys yet; try again")
	}
	if accept != nil {
		return accept(ctx, req.GetEnvelope())
	}
	return give(req.GetEnvelope()), nil
}

func (e *enclave) Health(context.Context, *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return &cloisterv1.HealthResponse{Phase: e.phase, Reason: "because"}, nil
}

func (e *enclave) Counters(context.Context, *cloisterv1.CountersRequest) (*cloisterv1.CountersResponse, error) {
	return &cloisterv1.CountersResponse{
		EnvelopesAccepted: 10, EnvelopesRefused: 20, QueriesAnswered: 30, QueriesRefused: 40,
		KmsGranted: 50, KmsDenied: 60, KmsUnavailable: 70, KeyringHits: 80,
	}, nil
}

// start brings the enclave up, unless it is.
func (e *enclave) start() {
	e.t.Helper()
	e.power.Lock()
	defer e.power.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		return
	}
	listener, err := e.transport.Listen(vsock.PortIngest)
	if err != nil {
		e.t.Error(err)
		return
	}
	e.lives++
	e.server = grpc.NewServer(grpc.MaxRecvMsgSize(limits.Message))
	cloisterv1.RegisterIntakeServer(e.server, e)
	go func(s *grpc.Server) { _ = s.Serve(listener) }(e.server)
}

// kill ends the enclave with everything that it is doing.
func (e *enclave) kill() {
	e.power.Lock()
	defer e.power.Unlock()
	e.mu.Lock()
	server := e.server
	e.server = nil
	e.mu.Unlock()
	if server != nil {
		server.Stop()
	}
}

// set changes the phase.
func (e *enclave) set(phase string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.phase = phase
}

// behave changes what becomes of envelopes; nil gives receipts.
func (e *enclave) behave(accept func(ctx context.Context, envelope []byte) (*cloisterv1.AcceptResponse, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.accept = accept
}

// seen answers how often an envelope was handed in.
func (e *enclave) seen(envelope []byte) (n int) {
	for _, name := range e.order() {
		if name == hexOf(envelope) {
			n++
		}
	}
	return n
}

// order answers everything that was handed in.
func (e *enclave) order() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string{}, e.got...)
}

// locked is a buffer for several writers.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is a gateway between a producer and an enclave, over a real directory
// and real sockets.
type world struct {
	t       *testing.T
	dir     string
	store   gateway.Store
	enclave *enclave
	log     *locked
	config  gateway.Config // what is zero gets a default

	address string
	client  cloisterv1.GatewayClient
	stop    func()
}

// newWorld makes a world whose enclave isn't up yet, nor the gateway.
func newWorld(t *testing.T) *world {
	t.Helper()
	sockets := t.TempDir()
	w := &world{
		t: t, dir: filepath.Join(t.TempDir(), "parent"), log: &locked{},
		enclave: &enclave{t: t, phase: "ready", transport: vsock.Unix(sockets, vsock.EnclaveCID)},
		config:  gateway.Config{Wait: 2 * time.Second, Pause: 20 * time.Millisecond},
	}
	w.config.Dial = func(ctx context.Context) (net.Conn, error) {
		return vsock.Unix(sockets, vsock.HostCID).Dial(ctx, vsock.EnclaveCID, vsock.PortIngest)
	}
	dir, err := objects.Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	w.store = dir
	t.Cleanup(func() {
		w.down()
		w.enclave.kill()
		dir.Close()
		if bytes.Contains([]byte(w.log.String()), []byte(canary)) {
			t.Errorf("the log holds content:\n%s", w.log)
		}
	})
	return w
}

// up starts the gateway and a producer's connection to it.
func (w *world) up() {
	w.t.Helper()
	c := w.config
	c.Store, c.Log = w.store, slog.New(slog.NewTextHandler(w.log, nil))
	w.serve(c)
}

// serve starts the gateway with a whole configuration.
func (w *world) serve(c gateway.Config) {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- gateway.Serve(ctx, listener, c) }()
	w.address = listener.Addr().String()
	conn := w.dial()
	w.client = cloisterv1.NewGatewayClient(conn)
	w.stop = func() {
		conn.Close()
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the gateway ended with %v", err)
		}
	}
}

func (w *world) dial() *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+w.address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(2*limits.Message), grpc.MaxCallRecvMsgSize(limits.Message)))
	if err != nil {
		w.t.Fatal(err)
	}
	return conn
}

// down stops the gateway, if it is up.
func (w *world) down() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.down()
	w.up()
}

// submit hands an envelope in and demands a state.
func (w *world) submit(envelope []byte, want cloisterv1.SubmitResponse_State) *cloisterv1.SubmitResponse {
	w.t.Helper()
	resp, err := w.client.Submit(w.t.Context(), &cloisterv1.SubmitRequest{Envelope: envelope})
	if err != nil {
		w.t.Fatal(err)
	}
	w.check(envelope, resp, want)
	return resp
}

// check compares an answer with what it must say in a state.
func (w *world) check(envelope []byte, resp *cloisterv1.SubmitResponse, want cloisterv1.SubmitResponse_State) {
	w.t.Helper()
	if resp.GetState() != want {
		w.t.Fatalf("state %v (%q), want %v", resp.GetState(), resp.GetRefusal(), want)
	}
	if hex.EncodeToString(resp.GetDigest()) != hexOf(envelope) {
		w.t.Errorf("the answer names %x", resp.GetDigest())
	}
	given := &cloisterv1.AcceptResponse{}
	if want == receipted {
		given = give(envelope)
	}
	if !bytes.Equal(resp.GetReceipt(), given.GetReceipt()) || !bytes.Equal(resp.GetReport(), given.GetReport()) {
		w.t.Errorf("receipt %q, report %q", resp.GetReceipt(), resp.GetReport())
	}
	if (want == refused) != (resp.GetRefusal() != "") {
		w.t.Errorf("refusal %q", resp.GetRefusal())
	}
}

// ask answers what Receipt says of an envelope.
func (w *world) ask(envelope []byte) *cloisterv1.SubmitResponse {
	w.t.Helper()
	sum := sha256.Sum256(envelope)
	resp, err := w.client.Receipt(w.t.Context(), &cloisterv1.ReceiptRequest{Digest: sum[:]})
	if err != nil {
		w.t.Fatal(err)
	}
	return resp
}

// becomes waits until Receipt answers a state.
func (w *world) becomes(envelope []byte, want cloisterv1.SubmitResponse_State) *cloisterv1.SubmitResponse {
	w.t.Helper()
	var resp *cloisterv1.SubmitResponse
	w.eventually(fmt.Sprintf("%q to be %v", envelope, want), func() bool {
		resp = w.ask(envelope)
		return resp.GetState() == want
	})
	w.check(envelope, resp, want)
	return resp
}

// eventually waits for something that must come.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Fatalf("waited in vain for %s; log:\n%s", what, w.log)
}

// holds demands that an object has these bytes, or with nil that there is none.
func (w *world) holds(name string, want []byte) {
	w.t.Helper()
	got, err := os.ReadFile(filepath.Join(w.dir, name))
	if want == nil {
		if !os.IsNotExist(err) {
			w.t.Errorf("%s is there (%v)", name, err)
		}
		return
	}
	if err != nil || !bytes.Equal(got, want) {
		w.t.Errorf("%s holds %q (%v), want %q", name, got, err, want)
	}
}

// plant puts an object where an earlier process could have left it.
func (w *world) plant(name string, content []byte) {
	w.t.Helper()
	if err := w.store.PutIfAbsent(w.t.Context(), name, content); err != nil {
		w.t.Fatal(err)
	}
}
