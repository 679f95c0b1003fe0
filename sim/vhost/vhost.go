// Package vhost is the device side of virtio over vhost-user: the queues of a
// device that is this process, for a machine monitor such as QEMU. It trusts
// neither the guest's driver nor the monitor: every number, address, length and
// file of theirs is checked before use, and both can do no more than break
// their own device.
//
// It implements what such a device needs of "Vhost-user Protocol" (QEMU,
// docs/interop/vhost-user.rst) and split virtqueues (Virtual I/O Device
// version 1.2, section 2.7), with neither indirect descriptors nor event
// indices, neither packed queues nor migration. It runs on Linux alone; Serve
// fails elsewhere.
package vhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
)

const (
	// maxQueues bounds the queues of a device.
	maxQueues = 8
	// maxConfig bounds a device's configuration space, in bytes
	// (VHOST_USER_MAX_CONFIG_SIZE).
	maxConfig = 256
)

// ErrDriver says that the guest's driver broke the rules of its queues. Such a
// device does nothing more until the driver resets it.
var ErrDriver = errors.New("the driver broke its queue")

// ErrFrontEnd says that the monitor broke the rules of vhost-user. Its
// connection is closed.
var ErrFrontEnd = errors.New("the front end broke the protocol")

// Spec is what the monitor may know of a device. Its virtio id is the
// monitor's own business.
type Spec struct {
	// Queues is the number of queues, 1 to 8.
	Queues int
	// Config is the configuration space, at most 256 bytes.
	Config []byte
}

// Device is what a guest's driver talks to.
type Device interface {
	// Spec answers the same at every call.
	Spec() Spec
	// Run is one life of the device, from when all its queues run to when one
	// of them stops: at a reset, when memory changes, when the monitor is gone.
	// Queues and chains are good that long and no longer. Run returns soon
	// after ctx ends, since the monitor waits for it; one life ends before
	// the next begins. A device that returns earlier is dead until the driver
	// resets it.
	Run(ctx context.Context, queues []*Queue) error
}

// Serve accepts one monitor after another and serves it the device, until ctx
// ends. It closes l. Every life that ends with an error and every connection
// that does goes to log. The error is that of accepting, or of a Spec that
// isn't possible; an ended ctx is none.
func Serve(ctx context.Context, l *net.UnixListener, d Device, log *slog.Logger) error {
	defer l.Close()
	spec := d.Spec()
	if spec.Queues < 1 || spec.Queues > maxQueues || len(spec.Config) > maxConfig {
		return errors.New("vhost: a device has 1 to 8 queues and at most 256 bytes of configuration")
	}
	if !supported {
		return fmt.Errorf("vhost: %w on this system; it takes Linux on amd64 or arm64", errors.ErrUnsupported)
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("vhost: %w", err)
		}
		if err := serve(ctx, conn, d, log); err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelWarn, "vhost: front end dropped", slog.String("error", err.Error()))
		}
	}
}

// serve is one connection. Everything that came through it is given back.
func serve(ctx context.Context, conn *net.UnixConn, d Device, log *slog.Logger) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := newSession(d, log)
	defer s.close()
	for {
		m, err := receive(conn)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, errHungUp) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := s.handle(ctx, m)
		m.close()
		if answer == nil && m.needsReply() && s.acknowledges() {
			answer = status(err)
		}
		if answer != nil {
			if _, err := conn.Write(m.reply(answer)); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
