package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
)

// heartbeat is the byte that Nitro's init sends to the parent and expects
// back once the enclave runs (aws-nitro-enclaves-cli, eif_loader).
const heartbeat = 0xB7

// heartbeatTimeout bounds the exchange.
const heartbeatTimeout = 5 * time.Second

// Dialer opens connections to the parent's vsock ports.
type Dialer interface {
	Dial(ctx context.Context, cid, port uint32) (net.Conn, error)
}

// Heartbeat tells the parent that the enclave has passed its own checks: one
// byte 0xB7 to CID 3 port 9000 and the same byte back.
func Heartbeat(ctx context.Context, dialer Dialer) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	conn, err := dialer.Dial(ctx, vsock.HostCID, vsock.PortHeartbeat)
	if err != nil {
		return fmt.Errorf("boot: heartbeat: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write([]byte{heartbeat}); err != nil {
		return fmt.Errorf("boot: heartbeat: %w", err)
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("boot: heartbeat: %w", err)
	}
	if answer[0] != heartbeat {
		return errors.New("boot: heartbeat: the parent answered another byte")
	}
	return nil
}
