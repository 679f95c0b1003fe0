package boot_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/parent/host"
)

// TestHeartbeatWithTheParent runs the exchange against the parent's own code.
func TestHeartbeatWithTheParent(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := vsock.Unix(dir, vsock.HostCID).Listen(vsock.PortHeartbeat)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- host.ServeHeartbeat(ctx, listener, slog.New(slog.DiscardHandler), nil) }()
	enclave := vsock.Unix(dir, vsock.EnclaveCID)
	for range 2 { // an enclave that restarts says so again
		if err := boot.Heartbeat(ctx, enclave); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("the parent: %v", err)
	}
	if err := boot.Heartbeat(context.Background(), enclave); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("nobody listens: %v", err)
	}
}

// peer is the other end of a connection in memory; it also is its dialler.
type peer struct {
	answer func(net.Conn)
	ended  sync.WaitGroup
}

func (p *peer) Dial(_ context.Context, cid, port uint32) (net.Conn, error) {
	if cid != vsock.HostCID || port != vsock.PortHeartbeat {
		return nil, errors.New("dialled somewhere else")
	}
	near, far := net.Pipe()
	p.ended.Go(func() {
		p.answer(far)
		far.Close()
	})
	return near, nil
}

// takes reads the one byte that an enclave sends.
func takes(t *testing.T, c net.Conn) {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil || b[0] != 0xb7 {
		t.Errorf("the enclave sends %#x, %v", b[0], err)
	}
}

func TestHeartbeatPeers(t *testing.T) {
	tests := []struct {
		name   string
		answer func(*testing.T, net.Conn)
		want   error
	}{
		{"right", func(t *testing.T, c net.Conn) { takes(t, c); _, _ = c.Write([]byte{0xb7}) }, nil},
		{"more than one byte", func(t *testing.T, c net.Conn) { takes(t, c); _, _ = c.Write([]byte{0xb7, 0}) }, nil},
		{"another byte", func(t *testing.T, c net.Conn) { takes(t, c); _, _ = c.Write([]byte{0xb8}) }, boot.ErrHeartbeat},
		{"no answer", func(t *testing.T, c net.Conn) { takes(t, c) }, io.EOF},
		{"silent", func(t *testing.T, c net.Conn) { takes(t, c); _, _ = c.Read(make([]byte, 1)) }, context.DeadlineExceeded},
		{"deaf", func(*testing.T, net.Conn) { time.Sleep(time.Minute) }, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{answer: func(c net.Conn) { tt.answer(t, c) }}
				if err := boot.Heartbeat(context.Background(), p); !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
				p.ended.Wait()
			})
		})
	}
}

// TestHeartbeatEndsWithItsContext cancels while the parent says nothing.
func TestHeartbeatEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		p := &peer{answer: func(c net.Conn) {
			takes(t, c)
			cancel()
			_, _ = c.Read(make([]byte, 1))
		}}
		if err := boot.Heartbeat(ctx, p); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want context.Canceled", err)
		}
		p.ended.Wait()
	})
}
