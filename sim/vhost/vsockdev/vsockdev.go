// Package vsockdev is a virtio socket device (virtio id 19): a guest's AF_VSOCK,
// carried over connections of this process. It trusts its host side. The guest
// can do no more than break its own connections: what it can make the device
// hold is bounded, and one that breaks the rules of a connection loses it.
//
// It implements stream sockets of the Virtual I/O Device specification, version
// 1.2, section 5.10, and answers as context ids 2 and 3, the parent of a Nitro
// enclave. Its queues are the receive and the transmit queue; the monitor keeps
// the third, for events.
package vsockdev

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloisterhq/cloister/sim/vhost"
)

// answerWithin bounds the wait for the guest's answer to a forwarded
// connection.
const answerWithin = 10 * time.Second

// errNoGuest is a guest whose driver doesn't run.
var errNoGuest = errors.New("vsockdev: no guest")

// Dialler connects a guest to the host's side: a port of context id 2 or 3. It
// returns soon after ctx ends. The guest's half-close needs connections with a
// CloseWrite method.
type Dialler interface {
	Dial(ctx context.Context, cid, port uint32) (net.Conn, error)
}

// Config says what a Device is.
type Config struct {
	// GuestCID is the guest's context id, 3 or more.
	GuestCID uint32
	// Host is asked for what the guest connects to. An error is a reset.
	Host Dialler
}

// Device is a guest's socket device. It is safe for concurrent use.
type Device struct {
	config Config
	count  counters

	mu   sync.Mutex
	life *traffic
	up   chan struct{} // closed while there is a life
}

var _ vhost.Device = (*Device)(nil)

// New makes a device.
func New(c Config) *Device { return &Device{config: c, up: make(chan struct{})} }

// counters count what a well-behaved guest and host never cause.
type counters struct{ malformed, refused, dropped atomic.Uint64 }

// Counts is what went wrong so far, and what is there.
type Counts struct {
	// Connections are those there are, with those being made and ended.
	Connections int
	// Malformed counts packets and buffers that break the rules.
	Malformed uint64
	// Refused counts connections over the limit of 1024.
	Refused uint64
	// Dropped counts resets that the guest had no buffers for.
	Dropped uint64
}

// Counts answers the counters.
func (d *Device) Counts() Counts {
	c := Counts{Malformed: d.count.malformed.Load(), Refused: d.count.refused.Load(), Dropped: d.count.dropped.Load()}
	if t, _ := d.current(); t != nil {
		t.mu.Lock()
		c.Connections = len(t.table.all)
		t.mu.Unlock()
	}
	return c
}

// Spec answers two queues, and the guest's context id as configuration.
func (d *Device) Spec() vhost.Spec {
	return vhost.Spec{Queues: 2, Config: binary.LittleEndian.AppendUint64(nil, uint64(d.config.GuestCID))}
}

// Run carries the connections of one life of the guest's driver. All end with
// it.
func (d *Device) Run(ctx context.Context, queues []*vhost.Queue) error {
	t := newTraffic(d.config.GuestCID, d.config.Host, &d.count)
	d.mu.Lock()
	d.life = t
	close(d.up)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.life, d.up = nil, make(chan struct{})
		d.mu.Unlock()
	}()
	return t.run(ctx, queues[0], queues[1])
}

// current answers the life there is, or what is closed when one begins.
func (d *Device) current() (*traffic, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.life, d.up
}

// Dial connects to a port of the guest's, as context id 3. It waits for a guest
// as long as ctx lasts. The error wraps syscall.ECONNREFUSED when nobody
// listens there, ECONNRESET when the guest ends, EAGAIN when there are too many
// connections.
func (d *Device) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	t, up := d.current()
	for t == nil {
		select {
		case <-up:
		case <-ctx.Done():
			return nil, fmt.Errorf("vsockdev: port %d: %w", port, ctx.Err())
		}
		t, up = d.current()
	}
	near, far, err := pair()
	if err != nil {
		return nil, fmt.Errorf("vsockdev: %w", err)
	}
	if err := t.connect(ctx, far, port); err != nil {
		near.Close()
		far.Close()
		return nil, fmt.Errorf("vsockdev: port %d: %w", port, err)
	}
	return near, nil
}

// Forward connects what l accepts to a port of the guest's, until ctx ends. It
// closes l. A connection is closed at once when there is no guest or the guest
// refuses it. The error is that of accepting; an ended ctx is none. Connections
// that are there stay until they end or the guest does.
func (d *Device) Forward(ctx context.Context, l net.Listener, port uint32) error {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var group sync.WaitGroup
	defer group.Wait()
	for {
		stream, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				stream.Close()
			}
			return nil
		case err != nil:
			return fmt.Errorf("vsockdev: %w", err)
		}
		group.Go(func() {
			if d.forward(ctx, stream, port) != nil {
				stream.Close()
			}
		})
	}
}

func (d *Device) forward(ctx context.Context, stream net.Conn, port uint32) error {
	t, _ := d.current()
	if t == nil {
		return errNoGuest
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return t.connect(ctx, stream, port)
}
