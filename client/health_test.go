package client_test

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/cloisterhq/cloister/client"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/test/rig"
)

// teller is a gateway that says how the enclave is.
type teller struct {
	cloisterv1.UnimplementedGatewayServer
	says *cloisterv1.HealthResponse
}

func (g *teller) Health(context.Context, *cloisterv1.HealthRequest) (*cloisterv1.HealthResponse, error) {
	return g.says, nil
}

// told answers a client of a gateway and of an enclave that nobody asks.
func told(t *testing.T, r *rig.Rig, gateway string) *client.Client {
	t.Helper()
	dir := t.TempDir()
	policy, err := r.PolicyFile().Marshal()
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "policy.json"), policy, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "root.pem"), r.Root.PEM(), 0o600))
	path := filepath.Join(dir, "context.json")
	config := &client.Config{Version: 1, Deployment: rig.Deployment, Attested: "127.0.0.1:1", Gateway: gateway, Policy: "policy.json", TrustRoot: "root.pem"}
	check(t, config.Save(path))
	config, err = client.Load(path)
	check(t, err)
	c, err := client.New(config)
	check(t, err)
	return c
}

// TestHealthClock: what a gateway says of the clock comes as it is, and what
// can't be doesn't come at all.
func TestHealthClock(t *testing.T) {
	const longest = int64(math.MaxInt64 / time.Second)
	tests := []struct {
		name string
		says *cloisterv1.Clock
		want *client.Clock
	}{
		{"nothing", nil, nil},
		{"a process", &cloisterv1.Clock{AgeS: 3}, &client.Clock{Age: 3 * time.Second}},
		{"a machine", &cloisterv1.Clock{Source: "kvm-clock", AgeS: 60}, &client.Clock{Source: "kvm-clock", Age: time.Minute}},
		{"compared", &cloisterv1.Clock{Source: "tsc", OffsetMs: new(int64(-12))}, &client.Clock{Source: "tsc", Offset: new(-12 * time.Millisecond)}},
		{"compared, without a difference", &cloisterv1.Clock{OffsetMs: new(int64(0))}, &client.Clock{Offset: new(time.Duration(0))}},
		{"the longest name", &cloisterv1.Clock{Source: strings.Repeat("x", 32)}, &client.Clock{Source: strings.Repeat("x", 32)}},
		{"a longer name", &cloisterv1.Clock{Source: strings.Repeat("x", 33)}, nil},
		{"the longest times", &cloisterv1.Clock{AgeS: longest, OffsetMs: new(-longest)}, &client.Clock{Age: time.Duration(longest) * time.Second, Offset: new(time.Duration(-longest) * time.Millisecond)}},
		{"compared later than now", &cloisterv1.Clock{AgeS: -1}, nil},
		{"too long ago", &cloisterv1.Clock{AgeS: longest + 1}, nil},
		{"too far ahead", &cloisterv1.Clock{OffsetMs: new(longest + 1)}, nil},
		{"too far behind", &cloisterv1.Clock{OffsetMs: new(-longest - 1)}, nil},
	}
	gateway := &teller{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	server := grpc.NewServer()
	cloisterv1.RegisterGatewayServer(server, gateway)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	r := rig.New(t, rig.Config{})
	c := told(t, r, l.Addr().String())
	for _, tt := range tests {
		gateway.says = &cloisterv1.HealthResponse{Phase: "ready", Reason: "none", Clock: tt.says}
		got, err := c.Health(t.Context())
		if want := (&client.Health{Phase: "ready", Reason: "none", Clock: tt.want}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, want)
		}
	}
	server.Stop()
	if got, err := c.Health(t.Context()); got != nil || !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("nobody there: %+v, %v", got, err)
	}
	if got, err := told(t, r, "").Health(t.Context()); got != nil || !errors.Is(err, client.ErrUsage) {
		t.Errorf("no gateway: %+v, %v", got, err)
	}
}
