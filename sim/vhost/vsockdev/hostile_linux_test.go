package vsockdev_test

import (
	"io"
	"net"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/vhost/vhosttest"
	"github.com/cloisterhq/cloister/sim/vhost/vsockdev"
)

// stranger makes a packet of the guest's from port 900 to the parent's port 7.
func stranger(op uint16, change ...func(*packet)) packet {
	p := packet{source: guestCID, destination: 3, sourcePort: 900, destinationPort: 7, kind: 1, op: op, allocated: guestSize}
	for _, c := range change {
		c(&p)
	}
	return p
}

// with gives a packet a payload.
func with(n int) func(*packet) {
	return func(p *packet) { p.payload, p.length = make([]byte, n), uint32(n) }
}

// sentinel is a packet whose answer shows that all before it are answered.
func sentinel() packet {
	return stranger(request, func(p *packet) { p.sourcePort, p.destinationPort = 901, 1 })
}

func isSentinel(p packet) bool { return p.destinationPort == 901 }

// TestHostilePackets sends what no guest should. The answer is a reset of that
// connection and of no other, or none.
func TestHostilePackets(t *testing.T) {
	// What precedes the packets: nothing, or an open connection.
	const strange, known = false, true
	tests := []struct {
		name    string
		open    bool
		packets []packet
		answers []uint16 // operations, for port 900
		counts  uint64   // of malformed packets
	}{
		{"data of no connection", strange, []packet{stranger(data, with(10))}, []uint16{reset}, 0},
		{"response to no request", strange, []packet{stranger(response)}, []uint16{reset}, 0},
		{"shutdown of no connection", strange, []packet{stranger(shutdown)}, []uint16{reset}, 0},
		{"credit of no connection", strange, []packet{stranger(creditUpdate), stranger(creditRequest)}, []uint16{reset, reset}, 0},
		{"reset of no connection", strange, []packet{stranger(reset)}, nil, 0},
		{"request to a third machine", strange, []packet{stranger(request, func(p *packet) { p.destination = 17 })}, []uint16{reset}, 0},
		{"request to a machine over 32 bits", strange, []packet{stranger(request, func(p *packet) { p.destination = 1<<32 | 3 })}, []uint16{reset}, 0},
		{"datagram", strange, []packet{stranger(request, func(p *packet) { p.kind = 3 })}, []uint16{reset}, 0},
		{"sequenced packets", strange, []packet{stranger(request, func(p *packet) { p.kind = 2 })}, []uint16{reset}, 0},
		{"from another guest", strange, []packet{stranger(request, func(p *packet) { p.source = 17 })}, nil, 1},
		{"operation 0", strange, []packet{stranger(0)}, nil, 1},
		{"operation 8", strange, []packet{stranger(8)}, nil, 1},
		{"request with a payload", strange, []packet{stranger(request, with(1))}, nil, 1},
		{"length without a payload", strange, []packet{stranger(request, func(p *packet) { p.length = 1 })}, nil, 1},
		{"length of 4 GiB", strange, []packet{stranger(data, func(p *packet) { p.length = 0xffffffff })}, nil, 1},

		{"second request", known, []packet{stranger(request)}, []uint16{reset}, 0},
		{"response to nothing", known, []packet{stranger(response)}, []uint16{reset}, 0},
		{"other type", known, []packet{stranger(data, with(1), func(p *packet) { p.kind = 2 })}, []uint16{reset}, 0},
		{"unknown operation", known, []packet{stranger(77)}, []uint16{reset}, 1},
		{"payload shorter than its length", known, []packet{stranger(data, with(10), func(p *packet) { p.length = 11 })}, []uint16{reset}, 1},
		{"payload longer than its length", known, []packet{stranger(data, with(10), func(p *packet) { p.length = 9 })}, []uint16{reset}, 1},
		{"data behind the end", known, []packet{stranger(shutdown, func(p *packet) { p.flags = 2 }), stranger(data, with(1))}, []uint16{reset}, 1},
		{"reset", known, []packet{stranger(reset)}, nil, 0},
		{"credit question", known, []packet{stranger(creditRequest)}, []uint16{creditUpdate}, 0},
		{"data of no bytes", known, []packet{stranger(data)}, nil, 0},
		{"all flags there are", known, []packet{stranger(shutdown, func(p *packet) { p.flags = 0xfffffffe })}, []uint16{}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			hold := make(chan struct{})
			w.listen(t, vsock.HostCID, 7, func(net.Conn) { <-hold }) // reads nothing
			t.Cleanup(func() { close(hold) })
			inbox := make(chan packet, 100)
			g := boot(t, w.path, inbox)
			if test.open {
				g.send(stranger(request))
				if p := <-inbox; p.op != response || p.allocated != 256<<10 || p.forwarded != 0 || p.kind != 1 {
					t.Fatalf("the request was answered with %+v", p)
				}
			}
			before := w.device.Counts().Malformed
			g.send(append(test.packets, sentinel())...)
			var got []uint16
			for answered := false; !answered || len(got) < len(test.answers); {
				p := <-inbox
				if isSentinel(p) {
					answered = true
					continue
				}
				if p.destinationPort != 900 || p.destination != guestCID || p.sourcePort != 7 || len(p.payload) > 0 {
					t.Errorf("unasked for: %+v", p)
				}
				got = append(got, p.op)
			}
			if !slices.Equal(got, test.answers) {
				t.Errorf("answers %v, want %v", got, test.answers)
			}
			if n := w.device.Counts().Malformed - before; n != test.counts {
				t.Errorf("%d malformed packets, want %d", n, test.counts)
			}
		})
	}
}

// TestWindow sends more than the guest is allowed, to a host that reads nothing:
// that connection is reset once, and is unknown from then on.
func TestWindow(t *testing.T) {
	const sent = 40
	w := newWorld(t)
	hold := make(chan struct{})
	defer close(hold)
	w.listen(t, vsock.HostCID, 7, func(net.Conn) { <-hold })
	inbox := make(chan packet, 2*sent)
	g := boot(t, w.path, inbox)
	g.send(stranger(request))
	if p := <-inbox; p.op != response {
		t.Fatalf("%+v", p)
	}
	for range sent {
		g.send(stranger(data, with(txSize)))
	}
	g.send(sentinel())
	resets := 0
	for p := <-inbox; !isSentinel(p); p = <-inbox {
		switch {
		case p.op == reset:
			resets++
		case p.op != creditUpdate || resets > 0:
			t.Errorf("%+v after %d resets", p, resets)
		}
	}
	if resets == 0 || resets > sent-256<<10/txSize {
		t.Errorf("%d of %d packets were answered with a reset", resets, sent)
	}
	if c := w.device.Counts(); c.Malformed != 1 || c.Connections != 0 {
		t.Errorf("%+v, want one malformed packet and no connection", c)
	}
}

// TestHostileBuffers offers buffers that aren't for packets. They come back
// empty, and those beside them are used.
func TestHostileBuffers(t *testing.T) {
	w := newWorld(t)
	inbox := make(chan packet, 10)
	g := boot(t, w.path, inbox)
	g.send(sentinel()) // the guest's own loops run
	if p := <-inbox; !isSentinel(p) {
		t.Fatalf("%+v", p)
	}
	g.halt()
	at := g.front.Alloc(rxSize)
	p := sentinel()
	copy(g.front.Memory[at:], p.header())
	before := w.device.Counts().Malformed
	// Transmit: too short, and one that can be written.
	g.tx.Describe(40, at, 43, 0, 0)
	g.tx.Describe(41, at, 44, vhosttest.Write, 0)
	g.tx.Describe(42, at, 44, 0, 0) // good
	for _, head := range []uint16{40, 41, 42} {
		g.tx.Offer(head)
	}
	g.tx.Kick()
	for w.device.Counts().Malformed < before+2 {
		if _, _, err := g.tx.Next(background(t)); err != nil {
			t.Fatal(err)
		}
	}
	// Receive: the good packet's answer comes behind whatever can't hold it.
	head, n, err := g.rx.Next(background(t))
	if err != nil || n != 44 {
		t.Fatalf("%d bytes came, %v", n, err)
	}
	if p := decode(g.front.Bytes(g.rxAt+int(head)*rxSize, n)); !isSentinel(p) {
		t.Errorf("%+v came", p)
	}
}

// TestSmallBuffers gives only buffers that a packet doesn't fit into, and then
// good ones.
func TestSmallBuffers(t *testing.T) {
	w := newWorld(t)
	f, err := vhosttest.Dial(w.path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Negotiate(); err != nil {
		t.Fatal(err)
	}
	if err := f.Share(1 << 20); err != nil {
		t.Fatal(err)
	}
	var queues [2]*vhosttest.Queue
	for i := range queues {
		if queues[i], err = f.NewQueue(uint32(i), 8); err != nil {
			t.Fatal(err)
		}
	}
	rx, tx := queues[0], queues[1]
	at := f.Alloc(rxSize)
	rx.Describe(0, at, 44, vhosttest.Write, 0)
	rx.Describe(1, at, 44, vhosttest.Next, 2) // readable
	rx.Describe(2, at, 100, vhosttest.Write, 0)
	rx.Describe(3, at, 40, vhosttest.Write|vhosttest.Next, 4) // in two parts
	rx.Describe(4, at+40, 60, vhosttest.Write, 0)
	for _, head := range []uint16{0, 1, 3} {
		rx.Offer(head)
	}
	p := sentinel()
	packet := f.Alloc(44)
	copy(f.Memory[packet:], p.header())
	tx.Describe(0, packet, 44, 0, 0)
	tx.Offer(0)
	for _, q := range queues {
		if err := q.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range [][2]int{{0, 0}, {1, 0}, {3, 44}} {
		head, n, err := rx.Next(background(t))
		if err != nil || int(head) != want[0] || n != want[1] {
			t.Fatalf("buffer %d came with %d bytes, %v; want %v", head, n, err, want)
		}
	}
	if p := decode(f.Bytes(at, 44)); p.op != reset || !isSentinel(p) {
		t.Errorf("%+v came", p)
	}
	if c := w.device.Counts(); c.Malformed != 2 {
		t.Errorf("%+v, want 2 malformed", c)
	}
}

// TestFlood sends more than a guest takes back: the device keeps no more than
// its bounds, and goes on when the guest does.
func TestFlood(t *testing.T) {
	const strangers = 6000
	w := newWorld(t)
	hold := make(chan struct{})
	defer close(hold)
	w.listen(t, vsock.HostCID, 7, func(net.Conn) { <-hold })
	inbox := make(chan packet) // the guest takes a packet only when the test does
	g := boot(t, w.path, inbox)
	var flood []packet
	for i := range uint32(strangers) {
		flood = append(flood, stranger(creditUpdate, func(p *packet) { p.sourcePort = 10000 + i }))
	}
	g.send(flood...)
	// 64 buffers, two packets on their way to the test, 4096 resets.
	w.until(t, func(c vsockdev.Counts) bool { return c.Dropped > 0 })
	g.send(sentinel())
	answers := 0
	for {
		p := <-inbox
		if isSentinel(p) {
			break
		}
		if p.op != reset {
			t.Fatalf("%+v", p)
		}
		if answers++; answers+int(w.device.Counts().Dropped) == strangers {
			break // the sentinel's may be among the dropped
		}
	}
	if dropped := int(w.device.Counts().Dropped); answers+dropped < strangers || dropped < strangers-4096-rxBuffers-2-answers {
		t.Errorf("%d answers and %d dropped of %d", answers, dropped, strangers)
	}
}

// TestTooManyConnections opens one more than there may be, from both sides.
func TestTooManyConnections(t *testing.T) {
	const limit = 1024
	w := newWorld(t)
	w.listen(t, vsock.HostCID, 7, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	inbox := make(chan packet, limit+1)
	g := boot(t, w.path, inbox)
	for i := range uint32(limit + 1) {
		g.send(stranger(request, func(p *packet) { p.sourcePort = 10000 + i }))
	}
	var responses, resets int
	for range limit + 1 {
		switch p := <-inbox; p.op {
		case response:
			responses++
		case reset:
			resets++
		}
	}
	if responses != limit || resets != 1 {
		t.Errorf("%d responses and %d resets, want %d and 1", responses, resets, limit)
	}
	if c := w.device.Counts(); c.Connections != limit || c.Refused != 1 {
		t.Errorf("%+v", c)
	}
	if c, err := w.device.Dial(background(t), 9); err == nil {
		c.Close()
		t.Error("the host got one more")
	}
	// A place that is given back is one.
	g.send(stranger(reset, func(p *packet) { p.sourcePort = 10000 }))
	w.until(t, func(c vsockdev.Counts) bool { return c.Connections < limit })
	g.send(stranger(request))
	if p := <-inbox; p.op != response {
		t.Errorf("%+v", p)
	}
}
