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

	"github.com/cloisterhq/cloister/parent/relay"
)

const (
	// maxLine is the longest first line, its end included, in bytes.
	maxLine = 512
	// maxConnections is how many connections are carried at once.
	maxConnections = 64
	// lineTimeout bounds the wait for the first line.
	lineTimeout = 5 * time.Second
	// dialTimeout bounds the way to a host.
	dialTimeout = 10 * time.Second
	// idle ends a connection on which neither side sends.
	idle = 5 * time.Minute
)

// errLine says that a connection didn't begin with a CONNECT line.
var errLine = errors.New("egress: the first line isn't CONNECT host:port")

// Config says where the enclave may go.
type Config struct {
	// Allow lists host:port pairs. A request must name one of them exactly.
	Allow []string
	// Dial reaches a host; nil is a plain TCP dial.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Log takes events that name hosts and no data. Required.
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
	copier := relay.NewCopier(idle)
	return relay.Each(ctx, listener, maxConnections, func(ctx context.Context, near net.Conn) {
		if err := c.carry(ctx, copier, near); err != nil {
			c.Log.Warn("egress: refused", slog.String("error", err.Error()))
		}
	})
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
		return errors.New("egress: the enclave asked for a host that isn't on the list")
	}
	dialled, cancel := context.WithTimeout(ctx, dialTimeout)
	far, err := c.Dial(dialled, address)
	cancel()
	if err != nil {
		return fmt.Errorf("egress: %s can't be reached: %w", address, err)
	}
	defer far.Close()
	if len(rest) > 0 {
		if err := far.SetWriteDeadline(time.Now().Add(dialTimeout)); err != nil {
			return err
		}
		if _, err := far.Write(rest); err != nil {
			return fmt.Errorf("egress: %s: %w", address, err)
		}
	}
	copier.Join(ctx, near, far)
	return nil
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
