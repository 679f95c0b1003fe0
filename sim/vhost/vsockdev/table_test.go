package vsockdev_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cloisterhq/cloister/sim/vhost/vsockdev"
)

// bytesLeft is a payload.
type bytesLeft []byte

func (b *bytesLeft) Readable() int { return len(*b) }

func (b *bytesLeft) Take(p []byte) int {
	n := copy(p, *b)
	*b = (*b)[n:]
	return n
}

// Offsets in a header.
const (
	atSource, atDestination, atSourcePort, atDestinationPort = 0, 8, 16, 20
	atLength, atType, atOp, atFlags, atSize, atForwarded     = 24, 28, 30, 32, 36, 40
)

func header(cid uint64, from, to, length uint32, op uint16, flags, size, forwarded uint32) (b [44]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[atSource:], 16)
	le.PutUint64(b[atDestination:], cid)
	le.PutUint32(b[atSourcePort:], from)
	le.PutUint32(b[atDestinationPort:], to)
	le.PutUint32(b[atLength:], length)
	le.PutUint16(b[atType:], 1)
	le.PutUint16(b[atOp:], op)
	le.PutUint32(b[atFlags:], flags)
	le.PutUint32(b[atSize:], size)
	le.PutUint32(b[atForwarded:], forwarded)
	return b
}

// TestCreditWraps sends more than both windows each way across the end of the
// 32-bit counters, with a guest that counts by itself.
func TestCreditWraps(t *testing.T) {
	const start, total, size = 0xffff_0000, 4 << 20, 100_000
	le := binary.LittleEndian
	table := vsockdev.NewTable(16)
	c, asked := table.Receive(header(3, 1, 7, 0, 1, 0, size, 0), new(bytesLeft))
	if !asked {
		t.Fatal("nobody was asked")
	}
	table.Accept(c)
	if b, _, ok := table.Next(4052); !ok || le.Uint16(b[atOp:]) != 2 {
		t.Fatal("no response")
	}
	c.Shift(start)
	random := rand.New(rand.NewPCG(1, 2))
	var toGuest, fromHost, toHost uint32         // bytes so far
	sent, told := uint32(start), uint32(start)   // by the guest; what the device has taken of it
	got, drained := uint32(start), uint32(start) // by the guest, and what it has read of that
	for steps := 0; toGuest < total || toHost < total; steps++ {
		if steps > 1_000_000 {
			t.Fatalf("stuck at %d and %d bytes of %d", toGuest, toHost, total)
		}
		if n := min(1+random.Uint32N(65536), total-fromHost); n > 0 && table.Offer(c, make([]byte, n), nil) {
			fromHost += n
		}
		if n := min(random.Uint32N(65536), vsockdev.Window-(sent-told), total-(sent-start)); n > 0 {
			payload := bytesLeft(make([]byte, n))
			drained += min(got-drained, random.Uint32N(size))
			table.Receive(header(3, 1, 7, n, 5, 0, size, drained), &payload)
			sent += n
		} else {
			drained = got
			table.Receive(header(3, 1, 7, 0, 6, 0, size, drained), new(bytesLeft))
		}
		if b, _ := table.Collect(c, nil); len(b) > 0 {
			toHost += uint32(len(b))
		}
		for range random.IntN(20) {
			b, payload, ok := table.Next(1 + random.IntN(8000))
			if !ok {
				break
			}
			if op := le.Uint16(b[atOp:]); op != 5 && op != 6 {
				t.Fatalf("operation %d after %d and %d bytes", op, toGuest, toHost)
			}
			told = le.Uint32(b[atForwarded:])
			if sent-told > vsockdev.Window {
				t.Fatalf("the device has taken %#x of %#x bytes", told, sent)
			}
			got += uint32(len(payload))
			toGuest += uint32(len(payload))
			if got-drained > size {
				t.Fatalf("%d bytes for a guest that takes %d", got-drained, size)
			}
		}
	}
	if toGuest != total || toHost != total {
		t.Errorf("%d bytes to the guest and %d to the host of %d", toGuest, toHost, total)
	}
}

// TestTurns gives streams that all have much to say one packet each in turn.
func TestTurns(t *testing.T) {
	const streams = 5
	table := vsockdev.NewTable(16)
	var conns []*vsockdev.Conn
	for i := range uint32(streams) {
		c, _ := table.Receive(header(3, i, 7, 0, 1, 0, 1<<20, 0), new(bytesLeft))
		table.Accept(c)
		if _, _, ok := table.Next(1000); !ok {
			t.Fatal("no response")
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		table.Offer(c, make([]byte, 32<<10), nil)
	}
	for turn := range uint32(4 * streams) {
		b, payload, ok := table.Next(1000)
		if port := binary.LittleEndian.Uint32(b[atDestinationPort:]); !ok || len(payload) != 1000 || port != turn%streams {
			t.Fatalf("turn %d is port %d's, with %d bytes", turn, port, len(payload))
		}
	}
}

// established answers an open connection from the guest's port 1.
func established(t *testing.T) (*vsockdev.Table, *vsockdev.Conn) {
	t.Helper()
	table := vsockdev.NewTable(16)
	c, _ := table.Receive(header(3, 1, 7, 0, 1, 0, 1<<20, 0), new(bytesLeft))
	table.Accept(c)
	if _, _, ok := table.Next(1000); !ok {
		t.Fatal("no response")
	}
	return table, c
}

// TestLastBytes come with their end, after the guest's. The reset that ends the
// connection comes behind them.
func TestLastBytes(t *testing.T) {
	table, c := established(t)
	table.Receive(header(3, 1, 7, 0, 4, 2, 1<<20, 0), new(bytesLeft))
	if b, end := table.Collect(c, nil); len(b) > 0 || !end {
		t.Fatalf("the host got %d bytes, the end %v", len(b), end)
	}
	table.Offer(c, []byte("last"), io.EOF)
	if b, payload, ok := table.Next(1000); !ok || string(payload) != "last" {
		t.Fatalf("%x with %q, want the last bytes", b, payload)
	}
	if b, _, ok := table.Next(1000); !ok || binary.LittleEndian.Uint16(b[atOp:]) != 3 {
		t.Fatalf("%x, %v; want a reset", b, ok)
	}
	if conns, resets := table.Sizes(); conns != 0 || resets != 0 {
		t.Errorf("%d connections and %d resets are left", conns, resets)
	}
}

// TestDeafGuest gets nothing of what the host sends, and still has its say.
func TestDeafGuest(t *testing.T) {
	table, c := established(t)
	table.Offer(c, []byte("on its way"), nil)
	table.Receive(header(3, 1, 7, 0, 4, 1, 1<<20, 0), new(bytesLeft))
	if table.Offer(c, []byte("more"), nil) {
		t.Error("more bytes are on their way")
	}
	if b, payload, ok := table.Next(1000); ok && len(payload) > 0 {
		t.Errorf("%x with %q", b, payload)
	}
	payload := bytesLeft("heard")
	table.Receive(header(3, 1, 7, 5, 5, 0, 1<<20, 0), &payload)
	if b, end := table.Collect(c, nil); string(b) != "heard" || end {
		t.Errorf("the host got %q", b)
	}
}

// FuzzHeader: a header is its fields and nothing else.
func FuzzHeader(f *testing.F) {
	f.Add(make([]byte, 44))
	one := header(3, 1000, 5000, 0, 1, 0, 1<<18, 0)
	f.Add(one[:])
	f.Add(bytes.Repeat([]byte{0xff}, 44))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in [44]byte
		copy(in[:], b)
		if out := vsockdev.Reencode(in); out != in {
			t.Fatalf("%x became %x", in, out)
		}
	})
}

// peer is what the model knows of one connection.
type peer struct {
	toHost, toGuest []byte // what must still arrive, in order
	size, forwarded uint32 // the guest's last word on its credit
	sent            uint32
}

// model watches a table through everything that a guest and a host can do.
type model struct {
	t       *testing.T
	table   *vsockdev.Table
	conns   []*vsockdev.Conn
	asked   []*vsockdev.Conn
	peers   map[*vsockdev.Conn]*peer
	byName  map[[3]uint64]*vsockdev.Conn
	counter byte
}

// FuzzTable reads a script of what guest and host do. No packet breaks the
// guest's credit or its buffers, a reset is never answered, what is held stays
// within its bounds, and every byte arrives in its order or not at all.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 0, 0, 1, 0, 2, 0, 3, 1, 1, 5, 50, 0, 4, 0, 0, 2, 9, 9})
	f.Add([]byte{0, 1, 1, 0, 0, 0, 1, 0, 2, 0, 5, 7, 2, 100, 0, 1, 1, 3, 0, 0, 0, 2, 0})
	f.Add([]byte{6, 3, 2, 9, 0, 1, 3, 2, 0, 0, 0, 0, 1, 3, 4, 0, 3, 0, 2, 9, 4, 0})
	f.Add([]byte{0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 5, 200, 0, 4, 0, 0, 1, 1, 4, 0, 2, 4, 0, 2, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		m := &model{t: t, table: vsockdev.NewTable(16), peers: map[*vsockdev.Conn]*peer{}, byName: map[[3]uint64]*vsockdev.Conn{}}
		read := func() byte {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return b
		}
		for len(script) > 0 {
			switch read() % 8 {
			case 0:
				m.receive(read(), read(), read(), read(), read())
			case 1:
				m.answer(read())
			case 2:
				m.next(int(read()) * 17)
			case 3, 4:
				m.collect(read())
			case 5:
				m.offer(read(), read())
			case 6:
				if c := m.table.Request(uint32(read() % 4)); c != nil {
					m.open(c)
				}
			case 7:
				if c := m.pick(read()); c != nil {
					m.table.Drop(c)
				}
			}
			m.bounds()
		}
	})
}

func (m *model) open(c *vsockdev.Conn) *peer {
	p := &peer{}
	m.conns = append(m.conns, c)
	m.peers[c] = p
	return p
}

func (m *model) pick(n byte) *vsockdev.Conn {
	if len(m.conns) == 0 {
		return nil
	}
	return m.conns[int(n)%len(m.conns)]
}

// receive makes a packet of the guest's: mostly of a connection there is, or to
// one of few ports.
func (m *model) receive(which, where, op, size, flags byte) {
	cid, from, to := uint64(where%5), uint32(which%4), uint32(where%4)
	if c := m.pick(which); c != nil && where > 40 {
		cid, to, from = c.Name()
	}
	n := 0
	if op%9 == 5 {
		n = int(size) * 1030
	}
	payload := make([]byte, n)
	for i := range payload {
		payload[i] = m.counter
		m.counter++
	}
	h := header(cid, from, to, uint32(n), uint16(op%9), uint32(flags%4), uint32(size)*100, uint32(flags/4)*50)
	_, before := m.table.Sizes()
	left := bytesLeft(payload)
	c, asked := m.table.Receive(h, &left)
	if _, after := m.table.Sizes(); op%9 == 3 && after > before {
		m.t.Fatal("a reset was answered")
	}
	if c == nil {
		return
	}
	p := m.peers[c]
	if asked {
		p = m.open(c)
		m.asked = append(m.asked, c)
	}
	p.size, p.forwarded = uint32(size)*100, uint32(flags/4)*50
	if n > 0 && len(left) == 0 {
		p.toHost = append(p.toHost, payload...)
	}
}

// answer is the host's to the guest's request.
func (m *model) answer(n byte) {
	if len(m.asked) == 0 {
		return
	}
	c := m.asked[0]
	m.asked = m.asked[1:]
	switch {
	case c.Over():
	case n%4 == 3:
		m.table.Drop(c)
	default:
		m.table.Accept(c)
	}
}

func (m *model) next(room int) {
	le := binary.LittleEndian
	b, payload, ok := m.table.Next(1 + room)
	if !ok {
		return
	}
	op, length := le.Uint16(b[atOp:]), int(le.Uint32(b[atLength:]))
	if op < 1 || op > 6 || length != len(payload) || length > 1+room || length > 0 && op != 5 || le.Uint64(b[atDestination:]) != 16 {
		m.t.Fatalf("%x with %d bytes", b, len(payload))
	}
	if op != 5 {
		return
	}
	for _, c := range m.conns {
		cid, host, guest := c.Name()
		p := m.peers[c]
		if c.Over() || cid != le.Uint64(b[atSource:]) || host != le.Uint32(b[atSourcePort:]) || guest != le.Uint32(b[atDestinationPort:]) || len(p.toGuest) == 0 {
			continue
		}
		if !bytes.HasPrefix(p.toGuest, payload) {
			continue
		}
		p.toGuest = p.toGuest[len(payload):]
		p.sent += uint32(length)
		if p.sent-p.forwarded > p.size {
			m.t.Fatalf("%d bytes unread in a buffer of %d", p.sent-p.forwarded, p.size)
		}
		return
	}
	m.t.Fatalf("bytes that nobody sent: %x and %d bytes", b, length)
}

func (m *model) collect(n byte) {
	c := m.pick(n)
	if c == nil {
		return
	}
	var err error
	if n > 240 {
		err = io.ErrClosedPipe
	}
	b, end := m.table.Collect(c, err)
	p := m.peers[c]
	if !bytes.HasPrefix(p.toHost, b) || end && err == nil && len(p.toHost) > 0 {
		m.t.Fatalf("the host got %d bytes, the end %v, and not the %d that it should", len(b), end, len(p.toHost))
	}
	p.toHost = p.toHost[len(b):]
	if err != nil && len(b) > 0 {
		p.toHost = nil
	}
}

func (m *model) offer(n, size byte) {
	c := m.pick(n)
	if c == nil {
		return
	}
	var err error
	switch {
	case size > 250:
		err = io.ErrClosedPipe
	case size > 230:
		err = io.EOF
	}
	b := make([]byte, int(size)*100)
	for i := range b {
		b[i] = m.counter
		m.counter += 3
	}
	if m.table.Offer(c, b, err) {
		m.peers[c].toGuest = append(m.peers[c].toGuest, b...)
	}
	if errors.Is(err, io.ErrClosedPipe) {
		m.peers[c].toHost = nil
	}
}

func (m *model) bounds() {
	conns, resets := m.table.Sizes()
	if conns > vsockdev.MaxConns || resets > vsockdev.MaxResets {
		m.t.Fatalf("%d connections and %d resets", conns, resets)
	}
	for _, c := range m.conns {
		if c.Held() > vsockdev.Window {
			m.t.Fatalf("%d bytes are held", c.Held())
		}
	}
}
