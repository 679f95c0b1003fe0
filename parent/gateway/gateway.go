// Package gateway is the parent's front door for producers: sealed envelopes
// in, signed receipts out. It can open neither. An envelope is bytes with a
// SHA-256 to it, durable before anything is said of them, and what counts is
// the enclave's word alone. It trusts no producer: anybody who reaches the
// listener may hand something in, within limits. Producers trust it with
// carrying and nothing else, and keep their data until they hold a receipt.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/parent/objects"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// Defaults of a Config.
const (
	// Wait is how long a producer waits for a receipt before it is told that
	// its envelope is pending.
	Wait = 10 * time.Second
	// Pause is the longest pause between attempts at what is pending.
	Pause = 2 * time.Second
	// Watch is the time between two questions for the enclave's phase.
	Watch = time.Second
	// MaxSubmits is how many envelopes are received and held at once.
	MaxSubmits = limits.GatewaySubmits
	// MaxBytes is how many bytes of them are held at once.
	MaxBytes = limits.GatewayBytes
	// MaxConnections is how many connections of producers are held at once.
	MaxConnections = limits.GatewayConnections
)

const (
	// maxHeaders bounds the headers of a request, in bytes.
	maxHeaders = 16 << 10
	// handshakeTimeout bounds the beginning of a connection.
	handshakeTimeout = 10 * time.Second
	// idleAge ends connections that nobody uses.
	idleAge = 5 * time.Minute
)

// Store keeps objects. It answers the errors of parent/objects.
type Store interface {
	// PutIfAbsent stores an object durably unless other bytes hold its name.
	PutIfAbsent(ctx context.Context, name string, content []byte) error
	// Get answers an object's bytes.
	Get(ctx context.Context, name string) ([]byte, error)
	// Delete removes an object durably; one that isn't there is no error.
	Delete(ctx context.Context, name string) error
	// Entries answers all objects under prefix in the order of their arrival.
	Entries(ctx context.Context, prefix string) ([]objects.Entry, error)
}

// Config says where envelopes are kept and who takes them.
type Config struct {
	// Store keeps envelopes and receipts. Required.
	Store Store
	// Dial reaches the enclave's intake. Required.
	Dial func(ctx context.Context) (net.Conn, error)
	// Wait bounds the wait for a receipt; 0 is the constant Wait.
	Wait time.Duration
	// Pause is the longest pause between attempts; 0 is the constant Pause.
	Pause time.Duration
	// MaxSubmits, MaxBytes and MaxConnections bound what is held at once; 0 is
	// the constant of the same name.
	MaxSubmits     int
	MaxBytes       int64
	MaxConnections int
	// Watch is the time between two questions for the enclave's phase; 0 is the
	// constant Watch.
	Watch time.Duration
	// Standing shows the enclave's phase to others; nil shows it to nobody.
	Standing *Standing
	// Metrics count; nil counts for nobody.
	Metrics *Metrics
	// Log takes digests, sizes and constant phrases. Required.
	Log *slog.Logger
}

// withDefaults answers the configuration with its zeros filled in.
func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.Dial == nil || c.Log == nil {
		return c, errors.New("gateway: the configuration isn't complete")
	}
	if c.Wait < 0 || c.Pause < 0 || c.Watch < 0 || c.MaxSubmits < 0 || c.MaxBytes < 0 || c.MaxConnections < 0 {
		return c, errors.New("gateway: a limit is negative")
	}
	c.Wait = cmp.Or(c.Wait, Wait)
	c.Pause = cmp.Or(c.Pause, Pause)
	c.Watch = cmp.Or(c.Watch, Watch)
	c.Standing = cmp.Or(c.Standing, &Standing{})
	if c.Metrics == nil {
		c.Metrics = NewMetrics(metrics.NewRegistry())
	}
	c.MaxSubmits = cmp.Or(c.MaxSubmits, MaxSubmits)
	c.MaxBytes = cmp.Or(c.MaxBytes, MaxBytes)
	c.MaxConnections = cmp.Or(c.MaxConnections, MaxConnections)
	return c, nil
}

// gateway is what the requests and the background loop share.
type gateway struct {
	cloisterv1.UnsafeGatewayServer
	config  Config
	shelf   *shelf
	queue   *queue
	enclave *enclave
	gate    *gate
	probes  *health.Server
	// sending is held for reading while an envelope is with the enclave, and
	// for writing when one must be there alone.
	sending sync.RWMutex
}

// Serve answers producers and carries what is pending until ctx ends or the
// listener fails. It closes the listener. What an earlier process left pending
// is found in the store first.
func Serve(ctx context.Context, listener net.Listener, c Config) error {
	defer listener.Close()
	c, err := c.withDefaults()
	if err != nil {
		return err
	}
	shelf, pending, err := openShelf(ctx, c.Store, c.Log)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	enclave, err := newEnclave(c.Dial)
	if err != nil {
		return err
	}
	defer enclave.close()
	g := &gateway{config: c, shelf: shelf, queue: newQueue(pending), enclave: enclave, gate: newGate(c), probes: health.NewServer()}
	setServing(g.probes, healthv1.HealthCheckResponse_NOT_SERVING)
	g.gate.show(c.Metrics)
	c.Metrics.watchQueue(g.queue)
	connections := admission.New(admission.Config{Permits: c.MaxConnections})
	c.Metrics.registry.Pool("gateway_connections", connections)
	if len(pending) > 0 {
		c.Log.Info("gateway: envelopes are pending from before", slog.Int("count", len(pending)))
	}
	ctx, cancel := context.WithCancel(ctx)
	var loop sync.WaitGroup
	defer loop.Wait()
	defer cancel()
	loop.Go(func() { g.drain(ctx) })
	loop.Go(func() { g.watch(ctx) })
	server := g.server()
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(admission.Listen(listener, connections)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// server makes the gRPC server. Its limits hold before a request is read.
func (g *gateway) server() *grpc.Server {
	server := grpc.NewServer(append(g.gate.options(),
		grpc.MaxRecvMsgSize(limits.Message),
		grpc.MaxSendMsgSize(limits.Message),
		grpc.MaxConcurrentStreams(limits.Streams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleAge}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// So that nobody writes to the store once Serve has returned.
		grpc.WaitForHandlers(true),
	)...)
	cloisterv1.RegisterGatewayServer(server, g)
	healthv1.RegisterHealthServer(server, g.probes)
	return server
}
