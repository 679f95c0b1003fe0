package vsockdev

import (
	"container/list"
	"net"
	"sync"
)

// state is how far a connection is.
type state int

const (
	requested state = iota // the guest has been asked
	dialling               // the host is being asked
	open
	draining // the guest has forgotten it; the host still gets what it sent
	over
)

// key names a connection, as the guest does.
type key struct {
	cid             uint64 // the host's, one of two
	host, guestPort uint32
}

// conn is one stream. The device's lock guards it.
type conn struct {
	key
	state  state
	stream net.Conn   // the host's end, nil until dialled
	answer chan error // what became of a request to the guest
	moved  *sync.Cond // that its buffers or ends changed
	place  *list.Element

	// To the guest.
	out                      []byte // a buffer of the reader's, as far as it is unsent
	sent, peerSize, peerDone uint32 // the guest's credit: bytes sent, its buffer, bytes it has drained
	hostDone                 bool   // nothing comes behind out
	guestDeaf                bool   // the guest takes no more

	// From the guest.
	in                              []byte // what the writer hasn't taken
	received, forwarded, advertised uint32 // bytes that came, that the host took, that the guest knows of
	guestDone                       bool   // nothing comes behind in
	flushed                         bool   // all of it is with the host, its end too
	hostDeaf                        bool   // the host takes no more

	// What the guest must be told.
	say    uint16 // opRequest or opResponse, before anything else
	credit bool
	told   uint32 // flags of shutdowns that it knows
}

// learn takes the guest's credit from a packet.
func (c *conn) learn(h *header) { c.peerSize, c.peerDone = h.allocated, h.forwarded }

// allowance answers how many bytes the guest can take. A guest that claims to
// have drained more than was sent has none.
func (c *conn) allowance() uint32 {
	if unread := c.sent - c.peerDone; unread < c.peerSize {
		return c.peerSize - unread
	}
	return 0
}

// shut answers the flags of the shutdown that the guest doesn't know yet.
func (c *conn) shut() uint32 {
	var flags uint32
	if c.hostDone && len(c.out) == 0 {
		flags |= shutSend
	}
	if c.hostDeaf {
		flags |= shutReceive
	}
	return flags &^ c.told
}

// pending says whether there is something to send now.
func (c *conn) pending() bool {
	if c.say != 0 {
		return true
	}
	return c.state == open && (c.credit || c.shut() != 0 || len(c.out) > 0 && c.allowance() > 0)
}

// packet takes the next packet of at most room bytes of payload, while pending.
func (c *conn) packet(guest uint64, room int) (h header, payload []byte) {
	h = header{
		source: c.cid, destination: guest, sourcePort: c.host, destinationPort: c.guestPort,
		kind: typeStream, op: opCreditUpdate, allocated: window, forwarded: c.forwarded,
	}
	c.advertised, c.credit = c.forwarded, false
	n := min(len(c.out), room, maxPayload, int(c.allowance()))
	switch flags := c.shut(); {
	case c.say != 0:
		h.op, c.say = c.say, 0
	case n > 0:
		h.op, h.length = opData, uint32(n)
		payload, c.out = c.out[:n], c.out[n:]
		c.sent += uint32(n)
	case flags != 0:
		h.op, h.flags = opShutdown, flags
		c.told |= flags
	}
	return h, payload
}

// drained counts n bytes that the host took.
func (c *conn) drained(n int) {
	c.forwarded += uint32(n)
	if c.forwarded-c.advertised >= window/4 {
		c.credit = true
	}
}
