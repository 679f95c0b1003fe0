// Package parent wires the untrusted host: the object store, the gateway for
// producers, the relay for analysts, and what the enclave is served over
// vsock. It holds ciphertext only. It trusts the operator's flags; nobody
// trusts it with more than availability.
package parent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/admin"
	"github.com/cloisterhq/cloister/parent/egress"
	"github.com/cloisterhq/cloister/parent/gateway"
	"github.com/cloisterhq/cloister/parent/host"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/parent/objects"
	"github.com/cloisterhq/cloister/parent/relay"
)

// Config is what the operator of a parent decides. None of it reaches the
// enclave but through the bundle, which the enclave measures.
type Config struct {
	// Transport is vsock. Required.
	Transport vsock.Transport
	// EnclaveCID is the enclave's; connections from other machines are closed.
	// Required.
	EnclaveCID uint32
	// Dir holds the objects. It is made when the directory above it is there,
	// and belongs to one parent at a time. Required.
	Dir string
	// BundleFile is handed to the enclave as it is. Required.
	BundleFile string
	// CredentialsFile is read whenever the enclave asks; see host.Credentials.
	// Empty serves none.
	CredentialsFile string
	// GatewayAddr and AttestedAddr are the host:port of the gateway and of the
	// relay to attested TLS. The host must be named. Required.
	GatewayAddr  string
	AttestedAddr string
	// AdminAddr is the loopback address and port of health and metrics; empty
	// serves neither.
	AdminAddr string
	// EgressAllow lists every host:port that the enclave may reach.
	EgressAllow []string
	// NoHeartbeat leaves the heartbeat's port alone: nitro-cli listens there while
	// it starts an enclave, and fails when somebody else does.
	NoHeartbeat bool
	// Log takes events without data. Required.
	Log *slog.Logger
}

// Check says what of a configuration can't be served. Run calls it.
func (c *Config) Check() error {
	switch {
	case c.Transport == nil || c.Log == nil:
		return errors.New("parent: a transport and a log are needed")
	case c.EnclaveCID <= vsock.HostCID:
		return fmt.Errorf("parent: the enclave's CID: 4 or more, not %d", c.EnclaveCID)
	case c.Dir == "" || c.BundleFile == "":
		return errors.New("parent: a directory and a bundle are needed")
	}
	for _, listen := range []struct{ part, address string }{{"gateway", c.GatewayAddr}, {"attested", c.AttestedAddr}} {
		host, port, err := net.SplitHostPort(listen.address)
		if err != nil || host == "" || port == "" {
			return fmt.Errorf("parent: %s: %q isn't host:port with a host in it, such as 127.0.0.1:7400", listen.part, listen.address)
		}
	}
	if err := egress.Check(c.EgressAllow); err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	if c.AdminAddr == "" {
		return nil
	}
	if err := admin.Check(c.AdminAddr); err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	return nil
}

// part is one service: where it listens and what it does there.
type part struct {
	name   string
	listen func() (net.Listener, error)
	serve  func(ctx context.Context, l net.Listener) error
}

// Run serves until ctx ends or a part fails, whose name the error begins with.
// It answers nil when ctx has ended, and an error that wraps objects.ErrLocked
// when another parent has the directory.
func Run(ctx context.Context, c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	dir, err := objects.Open(c.Dir)
	if err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	defer func() { _ = dir.Close() }()
	parts := c.parts(dir)
	listeners := make([]net.Listener, len(parts))
	for i, p := range parts {
		if listeners[i], err = p.listen(); err != nil {
			for _, l := range listeners[:i] {
				l.Close()
			}
			return fmt.Errorf("parent: %s: %w", p.name, err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range parts {
		c.Log.Info("parent: listening", slog.String("part", p.name), slog.String("address", listeners[i].Addr().String()))
		group.Go(func() error {
			if err := p.serve(ctx, listeners[i]); err != nil {
				return fmt.Errorf("parent: %s: %w", p.name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// parts are the services over one store: four, the heartbeat's, and one that
// shows them.
func (c *Config) parts(dir *objects.Dir) []part {
	registry := metrics.NewRegistry()
	registry.Process(time.Now())
	var (
		store    = objects.Measure(dir, registry)
		standing = &gateway.Standing{}
		served   = host.NewMetrics(registry)
		reached  = egress.NewMetrics(registry, c.EgressAllow)
		took     = gateway.NewMetrics(registry)
		relayed  = relay.NewMetrics(registry)
	)
	parts := []part{
		{"host", c.vsock(vsock.PortHost), func(ctx context.Context, l net.Listener) error {
			return host.Serve(ctx, l, host.Config{Store: store, BundleFile: c.BundleFile, CredentialsFile: c.CredentialsFile, Metrics: served, Log: c.Log})
		}},
		{"egress", c.vsock(vsock.PortEgress), func(ctx context.Context, l net.Listener) error {
			return egress.Serve(ctx, l, egress.Config{Allow: c.EgressAllow, Metrics: reached, Log: c.Log})
		}},
		{"gateway", tcp(c.GatewayAddr), func(ctx context.Context, l net.Listener) error {
			return gateway.Serve(ctx, l, gateway.Config{Store: store, Dial: c.dial(vsock.PortIngest), Standing: standing, Metrics: took, Log: c.Log})
		}},
		{"relay", tcp(c.AttestedAddr), func(ctx context.Context, l net.Listener) error {
			return relay.Serve(ctx, l, relay.Config{Dial: c.dial(vsock.PortAttested), Metrics: relayed, Log: c.Log})
		}},
	}
	if !c.NoHeartbeat {
		parts = append(parts, part{"heartbeat", c.vsock(vsock.PortHeartbeat), func(ctx context.Context, l net.Listener) error {
			return host.ServeHeartbeat(ctx, l, c.Log, served)
		}})
	}
	if c.AdminAddr != "" {
		parts = append(parts, part{"admin", tcp(c.AdminAddr), func(ctx context.Context, l net.Listener) error {
			phase := func() (string, bool) { return standing.Phase(), standing.Ready() }
			return admin.Serve(ctx, l, admin.Config{Registry: registry, Phase: phase, Log: c.Log})
		}})
	}
	return parts
}

// vsock listens on a port for the enclave and for nobody else.
func (c *Config) vsock(port uint32) func() (net.Listener, error) {
	return func() (net.Listener, error) {
		l, err := c.Transport.Listen(port)
		if err != nil {
			return nil, err
		}
		return vsock.Only(l, c.EnclaveCID), nil
	}
}

// dial reaches a port of the enclave.
func (c *Config) dial(port uint32) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return c.Transport.Dial(ctx, c.EnclaveCID, port) }
}

func tcp(address string) func() (net.Listener, error) {
	return func() (net.Listener, error) { return net.Listen("tcp", address) }
}
