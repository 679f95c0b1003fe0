package vsockdev

import "sync"

// Limits of a device.
const (
	Window     = window
	MaxPayload = maxPayload
	MaxConns   = maxConns
	MaxResets  = maxResets
)

// Reencode parses a header and encodes it again.
func Reencode(b [headerSize]byte) (out [headerSize]byte) {
	h := parse(&b)
	h.encode(&out)
	return out
}

// Table is the state of a device without its input and output.
type Table struct {
	t     *table
	count counters
}

// Conn is one connection of a Table.
type Conn = conn

// NewTable makes the table of a guest.
func NewTable(guest uint32) *Table {
	t := &Table{}
	t.t = newTable(guest, &sync.Mutex{}, func() {}, &t.count)
	return t
}

// Receive takes a packet, and says whether the host must be asked for a
// connection.
func (t *Table) Receive(b [headerSize]byte, payload source) (c *Conn, asked bool) {
	h := parse(&b)
	e, c := t.t.receive(&h, payload)
	return c, e == dial
}

// Next takes the next packet for the guest, false when there is none.
func (t *Table) Next(room int) (b [headerSize]byte, payload []byte, ok bool) {
	if t.t.idle() {
		return b, nil, false
	}
	h, payload := t.t.next(room)
	h.encode(&b)
	return b, payload, true
}

// Request asks the guest for a connection, nil when there are too many.
func (t *Table) Request(port uint32) *Conn {
	c, _ := t.t.request(port, 3, nil)
	return c
}

// Accept and Drop are the host's answers to the guest's request.
func (t *Table) Accept(c *Conn) { t.t.accept(c, nil) }

// Drop gives a connection up.
func (t *Table) Drop(c *Conn) { t.t.drop(c, true, nil) }

// Offer has the host send bytes, unless it has ended or others still wait. It
// says whether they are on their way.
func (t *Table) Offer(c *Conn, b []byte, err error) bool {
	if c.state != open && c.state != draining || c.hostDone || len(c.out) > 0 {
		return false
	}
	t.t.offered(c, b, err)
	return len(c.out) > 0
}

// Collect has the host take what is there. It says whether that is the end.
func (t *Table) Collect(c *Conn, err error) (b []byte, end bool) {
	if c.state != open && c.state != draining || c.hostDeaf || c.flushed || len(c.in) == 0 && !c.guestDone {
		return nil, false
	}
	b, c.in = c.in, nil
	t.t.delivered(c, len(b), err)
	return b, len(b) == 0
}

// Held answers how many bytes wait for the host.
func (c *conn) Held() int { return len(c.in) }

// Over says whether the connection has ended.
func (c *conn) Over() bool { return c.state == over }

// Sizes answers how many connections there are and how many resets wait.
func (t *Table) Sizes() (conns, resets int) { return len(t.t.all), len(t.t.resets) }

// Shift moves all counters of a connection, as if so many bytes had passed.
func (c *conn) Shift(n uint32) {
	c.sent, c.peerDone, c.received, c.forwarded, c.advertised = c.sent+n, c.peerDone+n, c.received+n, c.forwarded+n, c.advertised+n
}

// Name answers the connection's addresses.
func (c *conn) Name() (cid uint64, host, guest uint32) { return c.cid, c.host, c.guestPort }
