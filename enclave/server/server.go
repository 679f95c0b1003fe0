// Package server is the enclave's edge: gRPC for the gateway on one vsock
// port, Arrow Flight SQL over attested TLS on another. With host it is the
// only enclave package that knows wire forms; it trusts neither the parent nor
// the caller, and maps every inner error to a code and a constant phrase.
package server

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/enclave/clock"
	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/admission/grpcform"
	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// Phase says how far the enclave has come.
type Phase string

// The phases, in their usual order.
const (
	// Waiting for KMS to release the state key.
	Waiting Phase = "waiting for keys"
	// Refused by KMS: the key policy doesn't name this image with this bundle.
	Refused Phase = "refused by KMS"
	// Replaying what was accepted before.
	Replaying Phase = "replaying"
	// Ready to take records and queries.
	Ready Phase = "ready"
	// Failed for good: the state doesn't fit together.
	Failed Phase = "failed"
)

const (
	// maxHeaders bounds the headers of a request, in bytes: a token and little
	// else.
	maxHeaders = 2 * limits.Token
	// maxRequest is the largest message of the query path, in bytes: a statement
	// with its values, and its frame.
	maxRequest = 4 * limits.Query
	// beginning bounds the time until a connection speaks HTTP/2, the exchange of
	// attested TLS included.
	beginning = 30 * time.Second
	// connectionAge makes clients verify fresh evidence now and then.
	connectionAge = 30 * time.Minute
	// idleAge ends connections that nobody uses.
	idleAge = 5 * time.Minute
)

var errLocked = status.Error(codes.Unavailable, "the enclave has no keys yet; try again")

// Paths are the two walks that the servers serve. They are closed until the
// state is open and replayed.
type Paths struct {
	open   atomic.Pointer[walks]
	phase  atomic.Pointer[state]
	counts atomic.Pointer[counters.Counters]
	keys   atomic.Pointer[published]
	time   atomic.Pointer[timekeeper]
	// probes is gRPC's health service; it follows the phase.
	probes *health.Server
}

type walks struct {
	acceptor Acceptor
	querier  Querier
}

type state struct {
	phase  Phase
	reason string
}

// NewPaths makes closed paths in phase Waiting.
func NewPaths() *Paths {
	p := &Paths{probes: health.NewServer()}
	p.Set(Waiting, "")
	return p
}

// Set changes the phase; reason is a constant phrase.
func (p *Paths) Set(phase Phase, reason string) {
	p.phase.Store(&state{phase, reason})
	serving := healthv1.HealthCheckResponse_NOT_SERVING
	if phase == Ready {
		serving = healthv1.HealthCheckResponse_SERVING
	}
	for _, service := range []string{"", cloisterv1.Intake_ServiceDesc.ServiceName} {
		p.probes.SetServingStatus(service, serving)
	}
}

// Show gives the parent a coarse picture of these counters; without it the
// picture is of zeros.
func (p *Paths) Show(c *counters.Counters) { p.counts.Store(c) }

// Timekeeper tells how the enclave's clock does.
type Timekeeper interface {
	Status() clock.Status
}

type timekeeper struct{ Timekeeper }

// Time tells the parent how this clock does.
func (p *Paths) Time(k Timekeeper) { p.time.Store(&timekeeper{k}) }

// Publish lets anybody on attested TLS fetch the key set.
func (p *Paths) Publish(from Publisher) { p.keys.Store(&published{from}) }

// Phase answers the phase and why it isn't Ready.
func (p *Paths) Phase() (Phase, string) {
	s := p.phase.Load()
	return s.phase, s.reason
}

// Open lets both walks begin.
func (p *Paths) Open(acceptor Acceptor, querier Querier) {
	p.open.Store(&walks{acceptor, querier})
	p.Set(Ready, "")
}

// Shut closes both walks again, for good.
func (p *Paths) Shut(reason string) {
	p.open.Store(nil)
	p.Set(Failed, reason)
}

// ServeIntake serves the record path until ctx ends.
func ServeIntake(ctx context.Context, listener net.Listener, paths *Paths) error {
	in := newIntake(paths)
	gate := grpcform.Gate{Who: whoIntake, Pool: in.pool, Timeout: limits.Reading}
	server := grpc.NewServer(append(options(insecure.NewCredentials(), limits.Message), gate.Options()...)...)
	cloisterv1.RegisterIntakeServer(server, in)
	healthv1.RegisterHealthServer(server, paths.probes)
	return serve(ctx, server, listener, limits.IntakeConnections)
}

// ServeQueries serves Arrow Flight SQL over attested TLS until ctx ends.
func ServeQueries(ctx context.Context, listener net.Listener, attested credentials.TransportCredentials, paths *Paths, who Authenticator) error {
	q, err := newQueries(paths)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	door := newDoor(who)
	requests := admission.New(admission.Config{Permits: limits.AttestedRequests, Retry: limits.Retry})
	gate := grpcform.Gate{Who: whoQueries, Pool: func(string) *admission.Pool { return requests }, Timeout: limits.Reading}
	server := grpc.NewServer(slices.Concat(options(attested, maxRequest), door.options(), gate.Options(), []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: connectionAge, MaxConnectionIdle: idleAge}),
	})...)
	flight.RegisterFlightServiceServer(server, newFront(q))
	cloisterv1.RegisterKeysServer(server, &publicKeys{paths: paths})
	return serve(ctx, server, listener, limits.AttestedConnections)
}

// options bound what a caller may send before anybody knows who it is; request
// is the largest message, in bytes.
func options(creds credentials.TransportCredentials, request int) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(request),
		grpc.MaxSendMsgSize(limits.Message),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(beginning),
		grpc.MaxConcurrentStreams(limits.Streams),
	}
}

// serve serves at most so many connections at once, until ctx ends.
func serve(ctx context.Context, server *grpc.Server, listener net.Listener, connections int) error {
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	places := admission.New(admission.Config{Permits: connections})
	if err := server.Serve(ending{admission.Listen(listener, places), ctx}); err != nil && ctx.Err() == nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// ending is a listener whose connections end with ctx. Without it grpc's Stop
// waits for those that are still in their handshake, as long as they like.
type ending struct {
	net.Listener
	ctx context.Context
}

// Accept answers the next connection.
func (l ending) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &ended{conn, context.AfterFunc(l.ctx, func() { conn.Close() })}, nil
}

// ended is a connection that also ends with its listener's context.
type ended struct {
	net.Conn
	forget func() bool
}

// Close ends the connection.
func (c *ended) Close() error {
	c.forget()
	return c.Conn.Close()
}
