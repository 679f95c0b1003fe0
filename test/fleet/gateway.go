package fleet

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloisterhq/cloister/internal/limits"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/sim/stack"
)

// Gateway connects to the parent's gateway as any producer may, without the
// client's patience: each call is made once. It ends with the test.
func (f *Fleet) Gateway() cloisterv1.GatewayClient {
	f.t.Helper()
	s, err := stack.Inspect(f.t.Context(), f.layout)
	if err != nil {
		f.t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+s.Gateway,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 2, MaxDelay: 100 * time.Millisecond}, MinConnectTimeout: time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(16*limits.Message), grpc.MaxCallRecvMsgSize(limits.Message)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	return cloisterv1.NewGatewayClient(conn)
}
