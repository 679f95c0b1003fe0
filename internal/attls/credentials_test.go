package attls_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/test/rig"
)

// listen serves gRPC's health service on attested TLS and counts the calls.
func listen(t *testing.T, r *rig.Rig) (address string, calls func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	s := grpc.NewServer(grpc.Creds(attls.NewServer(r.Certificate, time.Now, r.Evidence, time.Minute)),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			return handler(ctx, req)
		}))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { s.Stop(); running.Wait() })
	return l.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// call makes one call with a token over the credentials of a client.
func call(t *testing.T, address string, config attls.Config) (*attls.Peer, error) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(attls.NewClient(config)), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer secret")
	var p peer.Peer
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&p)); err != nil {
		return nil, err
	}
	info, ok := p.AuthInfo.(attls.AuthInfo)
	if !ok {
		t.Fatalf("gRPC knows the peer as %T", p.AuthInfo)
	}
	if info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("security level %v", info.SecurityLevel)
	}
	return info.Peer, nil
}

func TestGRPC(t *testing.T) {
	r := rig.New(t, rig.Config{})
	address, calls := listen(t, r)
	p, err := call(t, address, r.Client(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if p == nil || p.Bundle.Deployment != rig.Deployment || calls() != 1 {
		t.Errorf("peer %v after %d calls", p, calls())
	}
}

// TestGRPCRefusal: gRPC keeps the text of a refusal; OnRefusal has the refusal,
// and no call goes out.
func TestGRPCRefusal(t *testing.T) {
	r := rig.New(t, rig.Config{})
	address, calls := listen(t, r)
	config := rig.New(t, rig.Config{Root: r.Root, Label: "another"}).Client(t, nil)
	var mu sync.Mutex
	var refused error
	config.OnRefusal = func(err error) {
		mu.Lock()
		defer mu.Unlock()
		refused = err
	}
	if _, err := call(t, address, config); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if class(refused) != attestation.PolicyMismatch {
		t.Errorf("OnRefusal was told %v", refused)
	}
	if n := calls(); n != 0 {
		t.Errorf("%d calls reached an enclave that was refused", n)
	}
}

// TestWrongEnd: credentials of one side refuse the other.
func TestWrongEnd(t *testing.T) {
	r := rig.New(t, rig.Config{})
	client := attls.NewClient(r.Client(t, nil))
	server := attls.NewServer(r.Certificate, time.Now, r.Evidence, time.Minute)
	near, far := net.Pipe()
	if conn, _, err := client.Clone().ServerHandshake(near); conn != nil || err == nil {
		t.Errorf("a client that serves: %v", err)
	}
	closed(t, "a client that serves", far)
	near, far = net.Pipe()
	if conn, _, err := server.Clone().ClientHandshake(t.Context(), "", near); conn != nil || err == nil {
		t.Errorf("a server that dials: %v", err)
	}
	closed(t, "a server that dials", far)
	for name, c := range map[string]credentials.TransportCredentials{"client": client, "server": server} {
		if c.Info().SecurityProtocol != "tls" || c.OverrideServerName("x") != nil { //nolint:staticcheck // part of the interface
			t.Errorf("%s: %+v", name, c.Info())
		}
	}
	near, _ = net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := client.ClientHandshake(ctx, "", near); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
