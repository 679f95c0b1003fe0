package vsockdev

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/vhost"
)

const (
	// batch is how many packets go before the driver is interrupted.
	batch = 32
	// piece is how much is read from or written to the host at once.
	piece = 32 << 10
)

// traffic is one life of the guest's driver.
type traffic struct {
	host  Dialler
	count *counters
	wake  chan struct{}
	group sync.WaitGroup // all that dials, reads and writes

	mu    sync.Mutex
	table *table
	ended bool
}

func newTraffic(guest uint32, host Dialler, count *counters) *traffic {
	t := &traffic{host: host, count: count, wake: make(chan struct{}, 1)}
	t.table = newTable(guest, &t.mu, func() {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}, count)
	return t
}

// run carries packets until ctx ends or the driver breaks a queue.
func (t *traffic) run(ctx context.Context, receive, transmit *vhost.Queue) error {
	ctx, cancel := context.WithCancel(ctx)
	defer t.group.Wait()
	defer t.end()
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		defer cancel()
		failed <- t.toGuest(ctx, receive)
	}()
	err := t.fromGuest(ctx, transmit)
	cancel()
	return errors.Join(err, <-failed)
}

// end drops all connections and lets no more begin.
func (t *traffic) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.table.close()
}

// fromGuest takes the guest's packets.
func (t *traffic) fromGuest(ctx context.Context, q *vhost.Queue) error {
	var c vhost.Chain
	for taken := 0; ctx.Err() == nil; {
		ok, err := q.Pop(&c)
		if err != nil {
			return err
		}
		if ok {
			t.packet(ctx, &c)
			q.Push(&c)
			taken++
		}
		if taken > 0 && (!ok || taken%batch == 0) {
			q.Notify()
			taken = 0
		}
		if ok || q.Arm() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.Kicks():
		}
	}
	return nil
}

// packet takes one packet of the guest's.
func (t *traffic) packet(ctx context.Context, c *vhost.Chain) {
	var b [headerSize]byte
	if c.Writable() > 0 || c.Take(b[:]) < headerSize {
		t.count.malformed.Add(1)
		return
	}
	h := parse(&b)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e, c := t.table.receive(&h, c); e {
	case dial:
		t.group.Go(func() { t.dial(ctx, c) })
	case opened:
		t.carry(c)
	}
}

// toGuest fills the guest's buffers.
func (t *traffic) toGuest(ctx context.Context, q *vhost.Queue) error {
	var c vhost.Chain
	for given := 0; ctx.Err() == nil; {
		ok, err := t.fill(q, &c)
		if err != nil {
			return err
		}
		if ok {
			given++
		}
		if given > 0 && (!ok || given == batch) {
			q.Notify()
			given = 0
		}
		if ok || !t.idle() && q.Arm() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-t.wake:
		case <-q.Kicks():
		}
	}
	return nil
}

// idle says that there is nothing to send.
func (t *traffic) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table.idle()
}

// fill gives back one buffer with the next packet, false when there is no
// packet or no buffer. A buffer that no payload fits into goes back empty.
func (t *traffic) fill(q *vhost.Queue, c *vhost.Chain) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.table.idle() {
		return false, nil
	}
	if ok, err := q.Pop(c); !ok {
		return false, err
	}
	defer q.Push(c)
	if c.Readable() > 0 || c.Writable() <= headerSize {
		t.count.malformed.Add(1)
		return true, nil
	}
	h, payload := t.table.next(c.Writable() - headerSize)
	var b [headerSize]byte
	h.encode(&b)
	c.Put(b[:])
	c.Put(payload)
	return true, nil
}

// dial asks the host for what the guest asked for.
func (t *traffic) dial(ctx context.Context, c *conn) {
	stream, err := t.host.Dial(ctx, uint32(c.cid), c.host)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err != nil:
		t.table.drop(c, true, nil)
	case c.state == over: // the guest has thought better of it
		stream.Close()
	default:
		t.table.accept(c, stream)
		t.carry(c)
	}
}

// connect asks the guest for a connection and makes stream its host's end. A
// refusal is syscall.ECONNREFUSED, a guest that ends ECONNRESET, too many
// connections EAGAIN. The stream is the caller's unless it succeeds.
func (t *traffic) connect(ctx context.Context, stream net.Conn, port uint32) error {
	t.mu.Lock()
	c, err := t.request(stream, port)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case err := <-c.answer:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case err := <-c.answer:
		return err
	default:
		t.table.drop(c, true, nil)
		return ctx.Err()
	}
}

func (t *traffic) request(stream net.Conn, port uint32) (*conn, error) {
	if t.ended {
		return nil, syscall.ECONNRESET
	}
	return t.table.request(port, vsock.HostCID, stream)
}

// carry starts both directions. The lock is held.
func (t *traffic) carry(c *conn) {
	t.group.Go(func() { t.read(c) })
	t.group.Go(func() { t.write(c) })
}

// read carries bytes from the host to the guest. One buffer is filled while the
// guest takes the other.
func (t *traffic) read(c *conn) {
	buffers := [2][]byte{make([]byte, piece), make([]byte, piece)}
	for i := 0; ; i ^= 1 {
		n, err := c.stream.Read(buffers[i])
		if !t.offer(c, buffers[i][:n], err) {
			return
		}
	}
}

// offer waits until the guest has got what was read before, and offers what
// was read now, or drops it when the guest takes no more. It answers false when
// no more is to be read.
func (t *traffic) offer(c *conn, b []byte, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c.state == open && !c.guestDeaf && len(c.out) > 0 {
		c.moved.Wait()
	}
	if c.state == over {
		return false
	}
	t.table.offered(c, b, err)
	return err == nil
}

// write carries bytes from the guest to the host, and then their end.
func (t *traffic) write(c *conn) {
	var spare []byte
	for {
		b, ok := t.collect(c, spare)
		if !ok {
			return
		}
		if len(b) == 0 {
			if s, ok := c.stream.(interface{ CloseWrite() error }); ok {
				_ = s.CloseWrite()
			}
			t.delivered(c, 0, nil)
			return
		}
		for rest := b; len(rest) > 0; {
			n, err := c.stream.Write(rest[:min(len(rest), piece)])
			if !t.delivered(c, n, err) {
				return
			}
			rest = rest[n:]
		}
		if spare = b[:0]; cap(b) > 2*piece { // one burst is no reason to keep a large buffer
			spare = nil
		}
	}
}

// collect waits for bytes of the guest's and takes all that are there; none
// is their end. What it took before becomes the buffer for those to come.
func (t *traffic) collect(c *conn, spare []byte) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(c.in) == 0 && !c.guestDone && c.state != over && !c.hostDeaf {
		c.moved.Wait()
	}
	if c.state == over || c.hostDeaf {
		return nil, false
	}
	b := c.in
	c.in = spare
	return b, true
}

// delivered counts n bytes that the host took, 0 without an error for their
// end. It answers false when the host takes no more.
func (t *traffic) delivered(c *conn, n int, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.state == over {
		return false
	}
	t.table.delivered(c, n, err)
	return err == nil
}
