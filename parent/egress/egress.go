// Package egress lets the enclave reach the few hosts that an operator allows.
// It carries opaque bytes: TLS to those hosts ends inside the enclave, which
// trusts this package with nothing but the way. It trusts the enclave with
// nothing either, and connects to the listed hosts alone.
package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/parent/relay"
)

const (
	// maxLine is the longest first line, its end included, in bytes.
	maxLine = 512
	// lineTimeout bounds the wait for the first line.
	lineTimeout = 5 * time.Second
	// dialTimeout bounds the way to a host.
	dialTimeout = 10 * time.Second
	// idle ends a connection on which neither side sends.
	idle = 5 * time.Minute
)

var (
	// errLine says that a connection didn't begin with a CONNECT line.
	errLine = errors.New("egress: the first line isn't CONNECT host:port")
	// errHost says that the operator doesn't allow what the enclave wants.
	errHost = errors.New("egress: the enclave asked for a host that isn't on the list")
)

// Config says where the enclave may go.
type Config struct {
	// Allow lists host:port pairs. A request must name one of them exactly.
	Allow []string
	// Dial reaches a host; nil is a plain TCP dial.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Metrics count; nil counts for nobody.
	Metrics *Metrics
	// Log takes events that name allowed hosts and no data. Required.
	Log *slog.Logger
}

// Check answers an error when an entry of the list isn't a host:port pair.
func Check(allow []string) error {
	for _, address := range allow {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" || strings.ContainsAny(address, " \r\n") || len("CONNECT "+address+"\n") > maxLine {
			return fmt.Errorf("egress: %q isn't host:port", address)
		}
	}
	return nil
}

// Serve carries connections of the enclave until ctx ends or the listener
// fails.
func Serve(ctx context.Context, listener net.Listener, c Config) error {
	if err := Check(c.Allow); err != nil {
		listener.Close()
		return err
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(metrics.NewRegistry(), c.Allow)
	}
	copier := relay.NewCopier(idle)
	pool := admission.New(admission.Config{Permits: limits.EgressConnections})
	c.Metrics.registry.Pool("egress_connections", pool)
	return relay.Each(ctx, listener, pool, func(ctx context.Context, near net.Conn) {
		if err := c.carry(ctx, copier, near); err != nil {
			c.failed(err)
		}
	})
}

// failed counts and logs what wasn't carried.
func (c Config) failed(err error) {
	if reason := reasonOf(err); reason != "" {
		c.Metrics.refusals.Inc(reason)
		c.Log.Warn("egress: refused", slog.String("reason", reason))
		return
	}
	c.Log.Warn("egress: not carried", slog.String("error", err.Error()))
}

// carry serves one connection.
func (c Config) carry(ctx context.Context, copier *relay.Copier, near net.Conn) error {
	if err := near.SetReadDeadline(time.Now().Add(lineTimeout)); err != nil {
		return err
	}
	address, rest, err := readLine(near)
	if err != nil {
		return err
	}
	if !slices.Contains(c.Allow, address) {
		return errHost
	}
	far, err := c.reach(ctx, address, rest)
	if err != nil {
		c.Metrics.connections.Inc(address, unreachable)
		return err
	}
	defer far.Close()
	c.Metrics.connections.Inc(address, carried)
	c.Metrics.open.Add(1, address)
	defer c.Metrics.open.Add(-1, address)
	c.Metrics.bytes.Add(uint64(len(rest)), address, outward)
	copier.Join(ctx, near, far, func(fromFirst bool, n int) {
		direction := inward
		if fromFirst {
			direction = outward
		}
		c.Metrics.bytes.Add(uint64(n), address, direction) //nolint:gosec // lengths are positive
	})
	return nil
}

// reach connects to an allowed host and sends what came behind the line.
func (c Config) reach(ctx context.Context, address string, rest []byte) (net.Conn, error) {
	dialled, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	far, err := c.Dial(dialled, address)
	if err != nil {
		return nil, fmt.Errorf("egress: %s can't be reached: %w", address, err)
	}
	if len(rest) == 0 {
		return far, nil
	}
	err = far.SetWriteDeadline(time.Now().Add(dialTimeout))
	if err == nil {
		_, err = far.Write(rest)
	}
	if err != nil {
		far.Close()
		return nil, fmt.Errorf("egress: %s: %w", address, err)
	}
	return far, nil
}

// readLine answers the address of the first line and the bytes that came
// behind it. It never reads more than maxLine bytes.
func readLine(r io.Reader) (address string, rest []byte, err error) {
	buffer := make([]byte, 0, maxLine)
	for {
		n, err := r.Read(buffer[len(buffer):maxLine])
		buffer = buffer[:len(buffer)+n]
		if line, rest, ok := bytes.Cut(buffer, []byte{'\n'}); ok {
			address, ok := strings.CutPrefix(string(line), "CONNECT ")
			if !ok {
				return "", nil, errLine
			}
			return address, rest, nil
		}
		if err != nil || len(buffer) == maxLine {
			return "", nil, errLine
		}
	}
}
