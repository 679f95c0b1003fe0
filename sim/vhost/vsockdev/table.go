package vsockdev

import (
	"container/list"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

const (
	// window is how many bytes the guest may send ahead of the host's reading.
	window = 256 << 10
	// maxPayload bounds a packet's payload (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE of
	// Linux).
	maxPayload = 64 << 10
	// maxConns bounds the connections of a guest, with those that drain.
	maxConns = 1024
	// maxResets bounds the resets that wait for the guest's buffers. Those of a
	// guest that takes none are dropped.
	maxResets = 4 * maxConns
	// firstPort is where the ports of the host's ends begin.
	firstPort = 1 << 30
)

// table is the state of all connections of one life of the guest's driver. It
// does no input or output and waits for nothing; a lock of its owner guards it.
type table struct {
	guest  uint64
	lock   sync.Locker
	wake   func() // there is something to send
	count  *counters
	conns  map[key]*conn
	all    map[*conn]struct{} // those that drain too
	ready  *list.List         // of *conn: who has something to send, in turns
	resets []key
	port   uint32
}

func newTable(guest uint32, lock sync.Locker, wake func(), count *counters) *table {
	return &table{
		guest: uint64(guest), lock: lock, wake: wake, count: count,
		conns: map[key]*conn{}, all: map[*conn]struct{}{}, ready: list.New(), port: firstPort,
	}
}

func (t *table) add(k key, s state) *conn {
	c := &conn{key: k, state: s, moved: sync.NewCond(t.lock)}
	t.conns[k] = c
	t.all[c] = struct{}{}
	return c
}

// request makes a connection to a port of the guest's.
func (t *table) request(port uint32, cid uint32, stream net.Conn) (*conn, error) {
	if len(t.all) >= maxConns {
		t.count.refused.Add(1)
		return nil, syscall.EAGAIN
	}
	k := key{cid: uint64(cid), guestPort: port}
	for {
		k.host = t.port
		if t.port++; t.port == 0 {
			t.port = firstPort
		}
		if _, taken := t.conns[k]; !taken {
			break
		}
	}
	c := t.add(k, requested)
	c.stream, c.answer, c.say = stream, make(chan error, 1), opRequest
	t.enlist(c)
	return c, nil
}

// accept says that the host has answered the guest's request.
func (t *table) accept(c *conn, stream net.Conn) {
	c.state, c.stream, c.say = open, stream, opResponse
	t.enlist(c)
}

// enlist lets a connection that has something to send have its turn.
func (t *table) enlist(c *conn) {
	if c.place == nil && c.state != over && c.pending() {
		c.place = t.ready.PushBack(c)
		t.wake()
	}
}

// next takes the next packet for the guest, of at most room bytes of payload,
// unless the table is idle. The payload is good until the lock is released.
func (t *table) next(room int) (h header, payload []byte) {
	if len(t.resets) > 0 {
		k := t.resets[0]
		if t.resets = t.resets[1:]; len(t.resets) == 0 {
			t.resets = nil
		}
		return header{
			source: k.cid, destination: t.guest, sourcePort: k.host, destinationPort: k.guestPort,
			kind: typeStream, op: opReset,
		}, nil
	}
	c := t.ready.Remove(t.ready.Front()).(*conn)
	c.place = nil
	h, payload = c.packet(t.guest, room)
	if len(payload) > 0 && len(c.out) == 0 {
		c.moved.Broadcast()
	}
	t.enlist(c)
	t.settle(c)
	return h, payload
}

// idle says that there is nothing to send.
func (t *table) idle() bool { return len(t.resets) == 0 && t.ready.Len() == 0 }

// reset tells the guest that there is no such connection.
func (t *table) reset(k key) {
	if len(t.resets) >= maxResets {
		t.count.dropped.Add(1)
		return
	}
	t.resets = append(t.resets, k)
	t.wake()
}

// offered takes bytes of the host's for the guest, which has got all before
// them. An err is the end of what the host sends, and unless it is io.EOF, of
// what it takes too. A host that waits for room learns only when it gets some
// that the guest takes no more, so its bytes are taken even then.
func (t *table) offered(c *conn, b []byte, err error) {
	if err != nil && !errors.Is(err, io.EOF) {
		t.deafen(c)
	}
	if !c.guestDeaf {
		c.out, c.hostDone = b, err != nil
	}
	t.enlist(c)
	t.settle(c)
}

// delivered counts n bytes that the host took, 0 without an error for their
// end.
func (t *table) delivered(c *conn, n int, err error) {
	c.drained(n)
	switch {
	case err != nil:
		t.deafen(c)
	case n == 0:
		c.flushed = true
	}
	t.enlist(c)
	t.settle(c)
}

// deafen is a host that takes no more.
func (t *table) deafen(c *conn) {
	c.hostDeaf = true
	c.drained(len(c.in))
	c.in = nil
	c.moved.Broadcast()
}

// settle ends a connection that is over in both directions.
func (t *table) settle(c *conn) {
	if c.state != open && c.state != draining {
		return
	}
	toHost := c.flushed || c.hostDeaf
	toGuest := c.guestDeaf || c.hostDone && len(c.out) == 0
	if toHost && toGuest {
		t.drop(c, c.state == open, nil)
	}
}

// drop ends a connection at once. What waits for the host is lost.
func (t *table) drop(c *conn, tell bool, why error) {
	if c.state == over {
		return
	}
	c.state = over
	t.forget(c)
	delete(t.all, c)
	if tell {
		t.reset(c.key)
	}
	if c.stream != nil {
		c.stream.Close()
	}
	if c.answer != nil {
		select {
		case c.answer <- why:
		default: // it was answered long ago
		}
	}
	c.in, c.out = nil, nil
	c.moved.Broadcast()
}

// forget takes away the connection's name and its turn.
func (t *table) forget(c *conn) {
	if t.conns[c.key] == c {
		delete(t.conns, c.key)
	}
	if c.place != nil {
		t.ready.Remove(c.place)
		c.place = nil
	}
}

// close ends all connections: the guest is gone.
func (t *table) close() {
	for c := range t.all {
		t.drop(c, false, syscall.ECONNRESET)
	}
	t.resets = nil
}
