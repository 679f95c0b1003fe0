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

// ErrHeartbeat says that something answered the heartbeat with another byte.
var ErrHeartbeat = errors.New("the peer answered another byte")

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
	err = exchange(conn)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // what closed the connection
	}
	if err != nil {
		return fmt.Errorf("boot: heartbeat: %w", err)
	}
	return nil
}

// exchange sends the byte and reads it back.
func exchange(conn net.Conn) error {
	if _, err := conn.Write([]byte{heartbeat}); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[0] != heartbeat {
		return ErrHeartbeat
	}
	return nil
}
