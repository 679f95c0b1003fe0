package host

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
)

// Egress dials the hosts on the bundle's allowlist through the parent's egress
// on vsock port 8000. The parent carries opaque bytes: whoever dials speaks
// TLS and checks the peer.
type Egress struct {
	dialer Dialer
	allow  []string
}

// NewEgress makes an egress that reaches the given host:port pairs and nothing
// else.
func NewEgress(dialer Dialer, allow []string) *Egress {
	return &Egress{dialer: dialer, allow: slices.Clone(allow)}
}

// DialContext opens a connection to address, a host:port pair. It has the
// shape of http.Transport.DialContext.
func (e *Egress) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	if !slices.Contains(e.allow, address) {
		return nil, fmt.Errorf("host: the bundle's egress list doesn't name this address")
	}
	conn, err := e.dialer.Dial(ctx, vsock.HostCID, vsock.PortEgress)
	if err != nil {
		return nil, fmt.Errorf("host: egress: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(deadline)
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s\n", address); err != nil {
		conn.Close()
		return nil, fmt.Errorf("host: egress: %w", err)
	}
	_ = conn.SetWriteDeadline(time.Time{}) // lifted
	return conn, nil
}
