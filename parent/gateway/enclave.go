package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

const (
	// ready is the phase in which an enclave takes envelopes.
	ready = "ready"
	// healthTimeout bounds the question for the enclave's phase.
	healthTimeout = time.Second
	// dialTimeout bounds the way to the enclave.
	dialTimeout = 5 * time.Second
	// redialFirst and redialLast bound the pauses between attempts at it.
	redialFirst = 50 * time.Millisecond
	redialLast  = time.Second
)

// enclave is the way to the enclave's intake.
type enclave struct {
	conn   *grpc.ClientConn
	intake cloisterv1.IntakeClient
	// dials counts connections, so that a lost one is noticed.
	dials atomic.Uint64
}

// newEnclave prepares the way; the first call connects.
func newEnclave(dial func(context.Context) (net.Conn, error)) (*enclave, error) {
	e := &enclave{}
	conn, err := grpc.NewClient("passthrough:///enclave",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			e.dials.Add(1)
			return dial(ctx)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: redialFirst, Multiplier: 2, Jitter: 0.2, MaxDelay: redialLast},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limits.Message), grpc.MaxCallSendMsgSize(limits.Message)),
	)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	e.conn, e.intake = conn, cloisterv1.NewIntakeClient(conn)
	return e, nil
}

func (e *enclave) close() { _ = e.conn.Close() }

// accept hands an envelope over.
func (e *enclave) accept(ctx context.Context, envelope []byte) (*cloisterv1.AcceptResponse, error) {
	resp, err := e.intake.Accept(ctx, &cloisterv1.AcceptRequest{Envelope: envelope})
	if err == nil && len(resp.GetReceipt()) == 0 {
		err = errors.New("gateway: the enclave's answer holds no receipt")
	}
	return resp, err
}

// health asks for the enclave's phase.
func (e *enclave) health(ctx context.Context) (*cloisterv1.HealthResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return e.intake.Health(ctx, &cloisterv1.HealthRequest{})
}

// counters asks for the enclave's coarse counters.
func (e *enclave) counters(ctx context.Context) (*cloisterv1.CountersResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return e.intake.Counters(ctx, &cloisterv1.CountersRequest{})
}

// isReady says whether the enclave takes envelopes now, and on which
// connection it said so.
func (e *enclave) isReady(ctx context.Context) (connection uint64, ok bool) {
	health, err := e.health(ctx)
	return e.dials.Load(), err == nil && health.GetPhase() == ready
}

// isGone says whether the enclave has ended or stopped answering since it
// spoke on a connection.
func (e *enclave) isGone(ctx context.Context, connection uint64) bool {
	_, err := e.health(ctx)
	return err != nil || e.dials.Load() != connection
}
