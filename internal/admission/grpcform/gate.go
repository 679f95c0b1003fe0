package grpcform

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/tap"

	"github.com/cloisterhq/cloister/internal/admission"
)

// Gate says what a server admits. A request has a place from its headers to its
// end; while its first message is being read it may need a second one, and it
// has little time for that: who opens requests and sends nothing keeps none of
// the places.
type Gate struct {
	// Who begins the phrases of refusals. Required.
	Who string
	// Pool answers the pool for a method, never nil. Required.
	Pool func(method string) *admission.Pool
	// Reading answers the pool for requests of a method whose message is being
	// read, nil when it needs no second place. Optional.
	Reading func(method string) *admission.Pool
	// Timeout bounds the reading. Required.
	Timeout time.Duration
}

// Options put the gate before all methods of a server. Interceptors that are
// given to the server before them still hold the place for reading.
func (g Gate) Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InTapHandle(g.tap),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			arrived(ctx)
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return next(srv, &reading{stream})
		}),
	}
}

// tap admits a request when its headers are there.
func (g Gate) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	permit, err := g.Pool(info.FullMethodName).Try("", 0)
	if err != nil {
		return ctx, Status(g.Who, err)
	}
	var second *admission.Permit
	if pool := g.reading(info.FullMethodName); pool != nil {
		if second, err = pool.Try("", 0); err != nil {
			permit.Release()
			return ctx, Status(g.Who, err)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(g.Timeout, func() { cancel(context.DeadlineExceeded) })
	done := func() {
		timer.Stop()
		if second != nil {
			second.Release()
		}
	}
	context.AfterFunc(ctx, func() {
		done()
		permit.Release()
		cancel(nil)
	})
	return context.WithValue(ctx, message{}, done), nil
}

func (g Gate) reading(method string) *admission.Pool {
	if g.Reading == nil {
		return nil
	}
	return g.Reading(method)
}

// message is the key of what is to be done when a request's message has come.
type message struct{}

// arrived gives back what a request held while its message was being read.
func arrived(ctx context.Context) {
	if done, ok := ctx.Value(message{}).(func()); ok {
		done()
	}
}

// reading is a stream whose first message may still have to come.
type reading struct{ grpc.ServerStream }

// RecvMsg reads a message.
func (r *reading) RecvMsg(m any) error {
	err := r.ServerStream.RecvMsg(m)
	if err == nil {
		arrived(r.Context())
	}
	return err
}
