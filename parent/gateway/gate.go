package gateway

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/types/known/durationpb"

	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// retryAfter is what a producer who came at a bad time is told to wait.
const retryAfter = time.Second

// gate bounds what producers can make the parent hold at once.
type gate struct {
	submits, lookups chan struct{} // a place for each request at once

	mu    sync.Mutex
	bytes int64 // of envelopes that may still be taken
}

func newGate(submits, lookups int, bytes int64) *gate {
	return &gate{submits: make(chan struct{}, submits), lookups: make(chan struct{}, lookups), bytes: bytes}
}

// tap admits a request before a byte of its message is read. Its place is free
// again when the request has ended.
func (g *gate) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	places := g.lookups
	if info.FullMethodName == cloisterv1.Gateway_Submit_FullMethodName {
		places = g.submits
	}
	select {
	case places <- struct{}{}:
		context.AfterFunc(ctx, func() { <-places })
		return ctx, nil
	default:
		return ctx, exhausted("the gateway serves as many requests as it can; try again")
	}
}

// take admits the bytes of an envelope, for as long as done isn't called.
func (g *gate) take(n int64) (done func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n > g.bytes {
		return nil, exhausted("the gateway holds as many bytes as it can; try again")
	}
	g.bytes -= n
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.bytes += n
	}, nil
}

// exhausted is RESOURCE_EXHAUSTED with the hint of google.rpc.RetryInfo.
func exhausted(phrase string) error {
	plain := status.New(codes.ResourceExhausted, phrase)
	hinted, err := plain.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	if err != nil {
		return plain.Err()
	}
	return hinted.Err()
}

// bound answers a listener that closes each connection over limit at once, so
// that its sender knows.
func bound(l net.Listener, limit int) net.Listener {
	return &bounded{Listener: l, places: make(chan struct{}, limit)}
}

type bounded struct {
	net.Listener
	places chan struct{}
}

// Accept answers the next connection that there is a place for.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.places <- struct{}{}:
			return &placed{Conn: conn, leave: sync.OnceFunc(func() { <-b.places })}, nil
		default:
			conn.Close()
		}
	}
}

// placed is a connection that gives its place back when it is closed.
type placed struct {
	net.Conn
	leave func()
}

// Close ends the connection.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
