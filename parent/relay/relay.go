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
	"time"
)

const (
	// MaxConnections is how many connections are carried at once.
	MaxConnections = 1024
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
	copier := NewCopier(c.Idle)
	return Each(ctx, listener, c.MaxConnections, func(ctx context.Context, near net.Conn) {
		dialled, cancel := context.WithTimeout(ctx, dialTimeout)
		far, err := c.Dial(dialled)
		cancel()
		if err != nil {
			c.Log.Warn("relay: the enclave can't be reached", slog.String("error", err.Error()))
			return
		}
		defer far.Close()
		copier.Join(ctx, near, far)
	})
}

// Each accepts connections and handles each in a goroutine of its own, at most
// limit at a time; one more is closed at once, so that its sender knows. A
// handler's connection is closed when it returns and when ctx ends. Each closes
// the listener and returns when ctx has ended or the listener has failed, and
// all handlers have returned.
func Each(ctx context.Context, listener net.Listener, limit int, handle func(context.Context, net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	defer listener.Close()
	var handlers sync.WaitGroup
	defer handlers.Wait()
	defer cancel()
	slots := make(chan struct{}, limit)
	for {
		conn, err := accept(ctx, listener)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		select {
		case slots <- struct{}{}:
		default:
			conn.Close()
			continue
		}
		handlers.Go(func() {
			defer func() { <-slots }()
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
