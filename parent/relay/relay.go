// Package relay carries the bytes of attested TLS between TCP and the
// enclave's vsock port. It parses nothing and trusts nobody: both ends speak
// TLS past it, and all it can do is stop.
package relay

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/metrics"
)

const (
	// MaxConnections is how many connections are carried at once.
	MaxConnections = limits.RelayConnections
	// Idle ends a connection on which neither side has sent anything.
	Idle = 15 * time.Minute
	// dialTimeout bounds the way to the enclave.
	dialTimeout = 5 * time.Second
)

// Config says between which ends a relay stands.
type Config struct {
	// Dial reaches the enclave. Required.
	Dial func(ctx context.Context) (net.Conn, error)
	// Idle ends silent connections; 0 is the constant Idle.
	Idle time.Duration
	// MaxConnections bounds the connections; 0 is the constant MaxConnections.
	MaxConnections int
	// Metrics count; nil counts for nobody.
	Metrics *Metrics
	// Log takes events without addresses or data. Required.
	Log *slog.Logger
}

// Serve carries connections that listener accepts, until ctx ends or the
// listener fails. It closes the listener and returns when every connection has
// ended; ctx ends them.
func Serve(ctx context.Context, listener net.Listener, c Config) error {
	if c.Idle == 0 {
		c.Idle = Idle
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = MaxConnections
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(metrics.NewRegistry())
	}
	copier := NewCopier(c.Idle)
	pool := admission.New(admission.Config{Permits: c.MaxConnections})
	c.Metrics.registry.Pool("relay_connections", pool)
	return Each(ctx, listener, pool, func(ctx context.Context, near net.Conn) { c.carry(ctx, copier, near) })
}

// carry serves one connection.
func (c Config) carry(ctx context.Context, copier *Copier, near net.Conn) {
	dialled, cancel := context.WithTimeout(ctx, dialTimeout)
	far, err := c.Dial(dialled)
	cancel()
	if err != nil {
		c.Metrics.connections.Inc(unreachable)
		c.Log.Warn("relay: the enclave can't be reached", slog.String("error", err.Error()))
		return
	}
	defer far.Close()
	begun := time.Now()
	var in, out atomic.Int64
	c.Metrics.connections.Inc(carried)
	// The end of a connection is logged, with its length; how many are open is a
	// metric. A second line for each would cost as much as opening it.
	c.Log.Debug("relay: opened", slog.Int64("open", c.Metrics.opened(1)))
	copier.Join(ctx, near, far, func(fromFirst bool, n int) {
		direction, bytes := outward, &out
		if fromFirst {
			direction, bytes = inward, &in
		}
		bytes.Add(int64(n))
		c.Metrics.bytes.Add(uint64(n), direction) //nolint:gosec // lengths are positive
	})
	c.Log.Info("relay: closed", slog.Int64("open", c.Metrics.opened(-1)), slog.Int64("bytes_in", in.Load()), slog.Int64("bytes_out", out.Load()),
		slog.Duration("duration", time.Since(begun)))
}

// Each accepts connections and handles each in a goroutine of its own, as many
// as the pool has room for; one more is closed at once, so that its sender
// knows. A
// handler's connection is closed when it returns and when ctx ends. Each closes
// the listener and returns when ctx has ended or the listener has failed, and
// all handlers have returned.
func Each(ctx context.Context, listener net.Listener, pool *admission.Pool, handle func(context.Context, net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer listener.Close()
	var handlers sync.WaitGroup
	defer handlers.Wait()
	defer cancel()
	for {
		conn, err := accept(ctx, listener)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		permit, err := pool.Try("", 0)
		if err != nil {
			conn.Close()
			continue
		}
		handlers.Go(func() {
			defer permit.Release()
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			handle(ctx, conn)
		})
	}
}

// pauseLast is the longest pause after a failed accept.
const pauseLast = time.Second

// accept answers the next connection. Errors that pass, such as too many open
// files, are waited out.
func accept(ctx context.Context, listener net.Listener) (net.Conn, error) {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, pauseLast) {
		conn, err := listener.Accept()
		if err == nil {
			return conn, nil
		}
		if !passing(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}
