package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/nsmdev"
	"github.com/cloisterhq/cloister/sim/vhost/vsockdev"
)

// The sockets of the devices, in the run directory.
const (
	vsockFile = "vsock.sock"
	nsmFile   = "nsm.sock"
)

// plug makes the devices of one boot, a module of its own among them, and
// serves them in the group until ctx ends.
func (m *machine) plug(ctx context.Context, group *errgroup.Group) error {
	module, err := nsmsim.New(nsmsim.Config{Root: m.Root, Image: m.measured})
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	sockets := vsockdev.New(vsockdev.Config{GuestCID: vsock.EnclaveCID, Host: &outward{
		Transport: vsock.Unix(m.Sockets, vsock.EnclaveCID), log: m.Log, began: time.Now(),
	}})
	for _, d := range []struct {
		file   string
		device vhost.Device
	}{{nsmFile, nsmdev.New(module)}, {vsockFile, sockets}} {
		l, err := m.listen(d.file)
		if err != nil {
			return err
		}
		group.Go(func() error { return vhost.Serve(ctx, l, d.device, m.Log) })
	}
	group.Go(func() error {
		<-ctx.Done()
		return module.Close()
	})
	for _, port := range m.Ports {
		l, err := vsock.Unix(m.Sockets, vsock.EnclaveCID).Listen(port)
		if err != nil {
			return fmt.Errorf("vm: %w", err)
		}
		// To the guest every connection comes from its parent.
		group.Go(func() error { return sockets.Forward(ctx, vsock.Only(l, vsock.HostCID), port) })
	}
	return nil
}

// listen makes a socket for QEMU in the run directory, whose path may be longer
// than a socket's may.
func (m *machine) listen(name string) (*net.UnixListener, error) {
	if err := os.Remove(filepath.Join(m.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("vm: %w", err)
	}
	dir, err := os.Open(m.Dir)
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	defer dir.Close()
	path := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), name)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	l.SetUnlinkOnClose(false) // by a path that is gone then; the directory goes as a whole
	return l, nil
}

// outward is what a guest can connect to, and notices its heartbeat.
type outward struct {
	vsock.Transport
	log   *slog.Logger
	began time.Time
}

// Dial connects to a port of the host's side.
func (o *outward) Dial(ctx context.Context, cid, port uint32) (net.Conn, error) {
	conn, err := o.Transport.Dial(ctx, cid, port)
	if cid == vsock.HostCID && port == vsock.PortHeartbeat {
		o.log.Info(Heartbeat, slog.Duration("after", time.Since(o.began)), slog.Bool("answered", err == nil))
	}
	return conn, err
}

// Heartbeat is what the log says when an image has booted and tells its parent
// so, with how long that took in nanoseconds.
const Heartbeat = "vm: heartbeat"
