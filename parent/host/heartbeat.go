package host

import (
	"context"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/cloisterhq/cloister/internal/admission"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/parent/metrics"
	"github.com/cloisterhq/cloister/parent/relay"
)

const (
	// heartbeat is the byte that an enclave sends when it has booted and wants
	// back (aws-nitro-enclaves-cli, its init process).
	heartbeat = 0xB7
	// heartbeatTimeout bounds one exchange.
	heartbeatTimeout = 5 * time.Second
)

// ServeHeartbeat answers boot heartbeats until ctx ends or the listener fails.
// Metrics may be nil.
func ServeHeartbeat(ctx context.Context, listener net.Listener, log *slog.Logger, m *Metrics) error {
	if m == nil {
		m = NewMetrics(metrics.NewRegistry())
	}
	return relay.Each(ctx, listener, admission.New(admission.Config{Permits: limits.Heartbeats}), func(_ context.Context, conn net.Conn) {
		var b [1]byte
		if err := conn.SetDeadline(time.Now().Add(heartbeatTimeout)); err != nil {
			return
		}
		if _, err := io.ReadFull(conn, b[:]); err != nil || b[0] != heartbeat {
			log.Warn("host: something else than a heartbeat on the heartbeat port")
			return
		}
		if _, err := conn.Write(b[:]); err != nil {
			return
		}
		m.heartbeats.Inc()
		log.Info("host: the enclave has booted")
	})
}
