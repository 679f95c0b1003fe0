package vsockdev

import (
	"slices"
	"syscall"

	"github.com/cloisterhq/cloister/internal/vsock"
)

// hypervisorCID is the host's other address (VMADDR_CID_HOST of vsock(7)).
const hypervisorCID = 2

// event is what a packet of the guest's starts.
type event int

const (
	nothing event = iota
	dial          // the host must be asked, then accept or drop
	opened        // the stream must be carried
)

// source is the payload of a packet: what is left of it, and the next bytes.
type source interface {
	Readable() int
	Take(p []byte) int
}

// receive takes one packet of the guest's.
func (t *table) receive(h *header, payload source) (event, *conn) {
	if h.source != t.guest {
		t.count.malformed.Add(1) // nobody to answer
		return nothing, nil
	}
	k := key{cid: h.destination, host: h.destinationPort, guestPort: h.sourcePort}
	c := t.conns[k]
	if !h.sound(payload.Readable()) {
		t.count.malformed.Add(1)
		if c != nil {
			t.drop(c, true, syscall.ECONNRESET)
		}
		return nothing, nil
	}
	if c == nil {
		return t.unknown(h, k)
	}
	if h.kind != typeStream {
		t.drop(c, true, syscall.ECONNRESET)
		return nothing, nil
	}
	c.learn(h)
	switch {
	case h.op == opReset:
		t.gone(c)
	case h.op == opResponse && c.state == requested:
		c.state = open
		c.answer <- nil
		t.enlist(c)
		return opened, c
	case c.state != open || h.op == opRequest || h.op == opResponse:
		t.drop(c, true, syscall.ECONNRESET)
	case h.op == opData:
		t.data(c, payload)
	case h.op == opShutdown:
		t.shutdown(c, h.flags)
	case h.op == opCreditRequest:
		c.credit = true
	}
	t.enlist(c)
	return nothing, c
}

// unknown is a packet of no connection.
func (t *table) unknown(h *header, k key) (event, *conn) {
	known := k.cid == uint64(vsock.HostCID) || k.cid == hypervisorCID
	switch {
	case h.op == opReset: // a reset is never answered
		return nothing, nil
	case h.op != opRequest || h.kind != typeStream || !known:
	case len(t.all) >= maxConns:
		t.count.refused.Add(1)
	default:
		c := t.add(k, dialling)
		c.learn(h)
		return dial, c
	}
	t.reset(k)
	return nothing, nil
}

// data takes bytes of the guest's, as many as it was allowed.
func (t *table) data(c *conn, payload source) {
	n := payload.Readable()
	if c.guestDone || uint64(c.received-c.advertised)+uint64(n) > window {
		t.count.malformed.Add(1)
		t.drop(c, true, syscall.ECONNRESET)
		return
	}
	c.received += uint32(n)
	if c.hostDeaf {
		c.drained(n)
		return
	}
	at := len(c.in)
	c.in = slices.Grow(c.in, n)[:at+n]
	payload.Take(c.in[at:])
	c.moved.Broadcast()
}

// shutdown takes that the guest sends no more, or receives no more.
func (t *table) shutdown(c *conn, flags uint32) {
	if flags&shutSend != 0 {
		c.guestDone = true
	}
	if flags&shutReceive != 0 && !c.guestDeaf {
		c.guestDeaf, c.out = true, nil
		if s, ok := c.stream.(interface{ CloseRead() error }); ok {
			_ = s.CloseRead()
		}
	}
	c.moved.Broadcast()
	t.settle(c)
}

// gone takes that the guest has forgotten the connection. What it sent before
// still reaches the host.
func (t *table) gone(c *conn) {
	if c.state != open {
		t.drop(c, false, syscall.ECONNREFUSED)
		return
	}
	c.state = draining
	t.forget(c)
	c.say, c.credit = 0, false
	t.shutdown(c, shutSend|shutReceive)
}
