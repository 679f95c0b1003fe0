package vsockdev_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/sim/vhost/vhosttest"
)

// Operations, as the specification numbers them.
const (
	request = 1 + iota
	response
	reset
	shutdown
	data
	creditUpdate
	creditRequest
)

// packet is what travels, in the guest's own encoding.
type packet struct {
	source, destination         uint64
	sourcePort, destinationPort uint32
	length                      uint32
	kind, op                    uint16
	flags                       uint32
	allocated, forwarded        uint32
	payload                     []byte
}

func (p *packet) header() []byte {
	b := binary.LittleEndian.AppendUint64(nil, p.source)
	b = binary.LittleEndian.AppendUint64(b, p.destination)
	b = append(b, vhosttest.Words(p.sourcePort, p.destinationPort, p.length, uint32(p.op)<<16|uint32(p.kind))...)
	return append(b, vhosttest.Words(p.flags, p.allocated, p.forwarded)...)
}

func decode(b []byte) packet {
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(b[i:]) }
	return packet{
		source: binary.LittleEndian.Uint64(b), destination: binary.LittleEndian.Uint64(b[8:]),
		sourcePort: word(16), destinationPort: word(20), length: word(24), kind: uint16(word(28)), op: uint16(word(28) >> 16),
		flags: word(32), allocated: word(36), forwarded: word(40), payload: append([]byte(nil), b[44:]...),
	}
}

const (
	guestCID  = 16
	rxBuffers = 64
	rxSize    = 4 << 10 // as Linux has them
	txSlots   = 32
	txSize    = 64 << 10
	guestSize = 256 << 10 // of a stream's buffer
)

// guest is the socket layer of a guest's kernel: as much of it as streams need.
type guest struct {
	front  *vhosttest.FrontEnd
	rx, tx *vhosttest.Queue
	rxAt   int
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
	inbox  chan packet // takes all packets instead of the streams when it is there

	mu      sync.Mutex
	moved   *sync.Cond
	queue   []packet // to be sent
	streams map[name]*stream
	accepts map[uint32]func(*stream)
	port    uint32
	gone    bool
}

// name is a stream's.
type name struct {
	cid        uint64
	host, port uint32
}

// boot starts a guest at a device's socket. It ends with the test, or before.
func boot(t testing.TB, path string, inbox chan packet) *guest {
	t.Helper()
	f, err := vhosttest.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Negotiate(); err != nil {
		t.Fatal(err)
	}
	if err := f.Share(8 << 20); err != nil {
		t.Fatal(err)
	}
	g := &guest{front: f, inbox: inbox, streams: map[name]*stream{}, accepts: map[uint32]func(*stream){}, port: 1000}
	g.moved = sync.NewCond(&g.mu)
	g.ctx, g.cancel = context.WithCancel(context.Background())
	for i, q := range []**vhosttest.Queue{&g.rx, &g.tx} {
		if *q, err = f.NewQueue(uint32(i), rxBuffers); err != nil {
			t.Fatal(err)
		}
	}
	g.rxAt = f.Alloc(rxBuffers * rxSize)
	for i := range uint16(rxBuffers) {
		g.rx.Describe(i, g.rxAt+int(i)*rxSize, rxSize, vhosttest.Write, 0)
		g.rx.Offer(i)
	}
	for _, q := range []*vhosttest.Queue{g.rx, g.tx} {
		if err := q.Start(); err != nil {
			t.Fatal(err)
		}
	}
	g.group.Go(g.receive)
	g.group.Go(g.transmit)
	t.Cleanup(g.kill)
	return g
}

// kill is the end of a virtual machine.
func (g *guest) kill() {
	g.halt()
	g.front.Close()
}

// halt stops the guest's kernel, as before a reboot.
func (g *guest) halt() {
	g.cancel()
	g.mu.Lock()
	g.gone = true
	for _, s := range g.streams {
		s.dead = true
	}
	g.moved.Broadcast()
	g.mu.Unlock()
	g.group.Wait()
}

// receive takes packets and gives the buffers back.
func (g *guest) receive() {
	for {
		head, n, err := g.rx.Next(g.ctx)
		if err != nil {
			return
		}
		p := decode(g.front.Bytes(g.rxAt+int(head)*rxSize, n))
		g.rx.Offer(head)
		g.rx.Kick()
		if g.inbox != nil {
			select {
			case g.inbox <- p:
			case <-g.ctx.Done():
			}
			continue
		}
		g.mu.Lock()
		g.take(p)
		g.moved.Broadcast()
		g.mu.Unlock()
	}
}

// transmit sends what is queued.
func (g *guest) transmit() {
	at := g.front.Alloc(txSlots * (44 + txSize))
	free := make([]uint16, txSlots)
	for i := range free {
		free[i] = uint16(2 * i)
	}
	for {
		g.mu.Lock()
		for len(g.queue) == 0 && !g.gone {
			g.moved.Wait()
		}
		if g.gone {
			g.mu.Unlock()
			return
		}
		queue := g.queue
		g.queue = nil
		g.mu.Unlock()
		for _, p := range queue {
			for head, _, ok := g.tx.Used(); ok; head, _, ok = g.tx.Used() {
				free = append(free, head)
			}
			for len(free) == 0 {
				g.tx.Kick()
				head, _, err := g.tx.Next(g.ctx)
				if err != nil {
					return
				}
				free = append(free, head)
			}
			slot := free[len(free)-1]
			free = free[:len(free)-1]
			where := at + int(slot/2)*(44+txSize)
			copy(g.front.Memory[where:], p.header())
			copy(g.front.Memory[where+44:], p.payload)
			if len(p.payload) == 0 {
				g.tx.Describe(slot, where, 44, 0, 0)
			} else {
				g.tx.Describe(slot, where, 44, vhosttest.Next, slot+1)
				g.tx.Describe(slot+1, where+44, uint32(len(p.payload)), 0, 0)
			}
			g.tx.Offer(slot)
		}
		g.tx.Kick()
	}
}

// send queues packets as they are.
func (g *guest) send(packets ...packet) {
	g.mu.Lock()
	g.queue = append(g.queue, packets...)
	g.moved.Broadcast()
	g.mu.Unlock()
}

// take is one packet for the streams.
func (g *guest) take(p packet) {
	n := name{p.source, p.sourcePort, p.destinationPort}
	s := g.streams[n]
	if s == nil {
		accept := g.accepts[p.destinationPort]
		if p.op == reset {
			return
		}
		if p.op != request || accept == nil {
			g.queue = append(g.queue, packet{source: guestCID, destination: p.source, sourcePort: p.destinationPort, destinationPort: p.sourcePort, kind: 1, op: reset})
			return
		}
		s = g.open(n)
		s.learn(p)
		s.state = response
		s.say(response, 0)
		g.group.Go(func() { accept(s) })
		return
	}
	s.learn(p)
	switch p.op {
	case response:
		s.state = response
	case reset:
		s.dead = true
		delete(g.streams, n)
	case shutdown:
		s.eof = s.eof || p.flags&2 != 0
		s.deaf = s.deaf || p.flags&1 != 0
	case data:
		if uint32(len(s.in))+p.length > guestSize {
			s.overrun = true
		}
		s.in = append(s.in, p.payload...)
	case creditRequest:
		s.say(creditUpdate, 0)
	}
}

func (g *guest) open(n name) *stream {
	s := &stream{g: g, name: n, pieces: txSize}
	g.streams[n] = s
	return s
}

// listen lets a function have the streams to a port.
func (g *guest) listen(port uint32, accept func(*stream)) {
	g.mu.Lock()
	g.accepts[port] = accept
	g.mu.Unlock()
}

// dial asks the host for a stream.
func (g *guest) dial(cid uint64, port uint32) (*stream, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.port++
	s := g.open(name{cid, port, g.port})
	s.say(request, 0)
	for s.state == 0 && !s.dead {
		g.moved.Wait()
	}
	if s.dead {
		return nil, syscall.ECONNRESET
	}
	return s, nil
}

// stream is one socket of the guest's.
type stream struct {
	g      *guest
	name   name
	pieces int // largest packet that Write makes

	state                    int // response when it is open
	in                       []byte
	eof, deaf, dead, overrun bool
	forwarded, told          uint32
	sent, size, drained      uint32
}

func (s *stream) learn(p packet) { s.size, s.drained = p.allocated, p.forwarded }

// packet makes a packet of the stream's.
func (s *stream) packet(op uint16, flags uint32) packet {
	s.told = s.forwarded
	return packet{
		source: guestCID, destination: s.name.cid, sourcePort: s.name.port, destinationPort: s.name.host,
		kind: 1, op: op, flags: flags, allocated: guestSize, forwarded: s.forwarded,
	}
}

// say queues a packet. The guest's lock is held.
func (s *stream) say(op uint16, flags uint32) {
	s.g.queue = append(s.g.queue, s.packet(op, flags))
	s.g.moved.Broadcast()
}

func (s *stream) Read(b []byte) (int, error) {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	for len(s.in) == 0 && !s.eof && !s.dead {
		s.g.moved.Wait()
	}
	if s.overrun {
		return 0, errors.New("the device sent more than the guest allowed")
	}
	if len(s.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	s.forwarded += uint32(n)
	if s.forwarded-s.told > guestSize/4 {
		s.say(creditUpdate, 0)
	}
	return n, nil
}

func (s *stream) Write(b []byte) (int, error) {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	done := 0
	for done < len(b) {
		for s.size-(s.sent-s.drained) == 0 && !s.dead && !s.deaf {
			s.g.moved.Wait()
		}
		if s.dead || s.deaf {
			return done, syscall.EPIPE
		}
		n := min(len(b)-done, s.pieces, int(s.size-(s.sent-s.drained)))
		p := s.packet(data, 0)
		p.payload, p.length = append([]byte(nil), b[done:done+n]...), uint32(n)
		s.g.queue = append(s.g.queue, p)
		s.g.moved.Broadcast()
		s.sent += uint32(n)
		done += n
	}
	return done, nil
}

// shut sends a shutdown: 1 to receive no more, 2 to send no more.
func (s *stream) shut(flags uint32) {
	s.g.mu.Lock()
	s.say(shutdown, flags)
	s.g.mu.Unlock()
}

func (s *stream) CloseWrite() error { s.shut(2); return nil }

// Close tells the host and waits until it has answered.
func (s *stream) Close() error {
	s.shut(3)
	s.wait()
	return nil
}

// abort forgets the stream without a word before.
func (s *stream) abort() {
	s.g.mu.Lock()
	s.say(reset, 0)
	s.dead = true
	delete(s.g.streams, s.name)
	s.g.mu.Unlock()
}

// wait waits for the stream's end.
func (s *stream) wait() {
	s.g.mu.Lock()
	for !s.dead {
		s.g.moved.Wait()
	}
	s.g.mu.Unlock()
}

// echo sends back what it gets, and then its end.
func echo(s *stream) {
	_, _ = io.Copy(s, s)
	_ = s.CloseWrite()
	s.wait()
}
