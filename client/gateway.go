package client

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
)

// Gateway is a connection to the parent's front door. It sees sealed bytes.
type Gateway struct {
	conn    *grpc.ClientConn
	client  cloisterv1.GatewayClient
	address string
	wait    time.Duration
}

// Gateway connects to the context's gateway.
func (c *Client) Gateway() (*Gateway, error) {
	if c.config.Gateway == "" {
		return nil, mistakef("the context names no gateway")
	}
	conn, err := grpc.NewClient("passthrough:///"+c.config.Gateway,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(limits.Message), grpc.MaxCallRecvMsgSize(limits.Message)))
	if err != nil {
		return nil, mistakef("the context's gateway %q: %w", c.config.Gateway, err)
	}
	return &Gateway{conn: conn, client: cloisterv1.NewGatewayClient(conn), address: c.config.Gateway, wait: c.Wait}, nil
}

// Close ends the connection.
func (g *Gateway) Close() error { return g.conn.Close() }

// Submit hands over one envelope as it is and waits a while for its verdict.
func (g *Gateway) Submit(ctx context.Context, raw []byte) (*cloisterv1.SubmitResponse, error) {
	deadline := time.Now().Add(g.wait)
	resp, err := g.hand(ctx, raw)
	if err != nil {
		return nil, err
	}
	for pause := firstPause; resp.GetState() == cloisterv1.SubmitResponse_STATE_PENDING && time.Now().Add(pause).Before(deadline); pause = min(2*pause, lastPause) {
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
		if again, err := g.look(ctx, digest(raw)); err == nil {
			resp = again
		}
	}
	return resp, nil
}

// hand hands over one envelope as it is. While the gateway is away or busy it
// tries again, until the wait is over; then the gateway is ErrUnreachable. What
// it answers may be pending.
func (g *Gateway) hand(ctx context.Context, raw []byte) (*cloisterv1.SubmitResponse, error) {
	deadline := time.Now().Add(g.wait)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		resp, err := g.client.Submit(ctx, &cloisterv1.SubmitRequest{Envelope: raw})
		if err == nil {
			return resp, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err = g.failure(err); !transient(err) || time.Now().Add(pause).After(deadline) {
			return nil, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// look asks once what became of an envelope.
func (g *Gateway) look(ctx context.Context, digest [32]byte) (*cloisterv1.SubmitResponse, error) {
	resp, err := g.client.Receipt(ctx, &cloisterv1.ReceiptRequest{Digest: digest[:]})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, g.failure(err)
	}
	return resp, nil
}

// unknownError says that the gateway has no such envelope.
type unknownError struct{}

func (unknownError) Error() string { return "the gateway doesn't know this batch" }

// failure tells outages from answers.
func (g *Gateway) failure(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		return outagef("the gateway at %s can't be reached: %s", g.address, s.Message())
	case codes.NotFound:
		return unknownError{}
	default:
		return fmt.Errorf("gateway: %s", s.Message())
	}
}

const (
	// firstPause and lastPause bound the pauses between attempts.
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// sleep waits unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
