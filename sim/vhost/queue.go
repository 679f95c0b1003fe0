package vhost

import (
	"encoding/binary"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Queue is one queue of a device that lives. One goroutine at a time uses it.
type Queue struct {
	ring
	kicks chan struct{}
	call  caller
	setup setup
}

// setup is what the front end has said of a queue. It changes between lives.
type setup struct {
	size    uint16
	at      *addresses
	base    uint16
	enabled bool
	kick    *kicker
}

func newQueue() *Queue {
	return &Queue{kicks: make(chan struct{}, 1), call: caller{fd: -1}}
}

// Pop takes the next chain that the driver offers into c, false when there is
// none. A chain that breaks the rules is ErrDriver.
func (q *Queue) Pop(c *Chain) (bool, error) { return q.pop(c) }

// Push gives a chain back, with what was put into it. Chains go back in the
// order in which they came. The driver may not look before [Queue.Notify].
func (q *Queue) Push(c *Chain) { q.push(c.head, uint32(c.written)) }

// Notify interrupts the driver, if it wants that.
func (q *Queue) Notify() {
	if q.interruptible() {
		q.call.signal()
	}
}

// Arm asks the driver for a kick when it offers the next chain, and says
// whether one is there already, or the queue broken, as Pop will say. The next
// chain that is popped disarms the queue.
func (q *Queue) Arm() bool {
	q.hush(0)
	n, err := q.waiting()
	return n > 0 || err != nil
}

// Kicks answers the channel of the driver's kicks. A kick may come for nothing.
func (q *Queue) Kicks() <-chan struct{} { return q.kicks }

// ready says whether the front end has said all that a life takes.
func (q *Queue) ready() bool {
	s := &q.setup
	return s.size > 0 && s.at != nil && s.enabled && s.kick != nil
}

// begin opens the ring for a life. Its first look at the ring needs no kick.
func (q *Queue) begin(m *memory) error {
	var err error
	q.ring, err = openRing(m, *q.setup.at, q.setup.size, q.setup.base)
	return err
}

// end keeps what the next life goes on with: chains that weren't given back
// come again.
func (q *Queue) end() {
	q.setup.base = q.done
	q.ring = ring{}
}

// listen takes the file that the driver's kicks arrive at, or -1 for none.
func (q *Queue) listen(fd int) {
	if q.setup.kick != nil {
		q.setup.kick.close()
		q.setup.kick = nil
	}
	if fd >= 0 {
		q.setup.kick = newKicker(fd, q.kicks)
	}
}

// close gives back the queue's files.
func (q *Queue) close() {
	q.listen(-1)
	q.call.set(-1)
}

// kicker waits for kicks.
type kicker struct {
	file *os.File
	done chan struct{}
}

// newKicker owns fd. An event descriptor answers eight bytes; whatever answers
// something else is no event descriptor and never kicks again.
func newKicker(fd int, kicks chan<- struct{}) *kicker {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		fd = -1
	}
	k := &kicker{file: os.NewFile(uintptr(fd), "kick"), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		var count [8]byte
		for {
			if n, err := k.file.Read(count[:]); err != nil || n != len(count) {
				return
			}
			poke(kicks)
		}
	}()
	return k
}

func (k *kicker) close() {
	k.file.Close()
	<-k.done
}

// poke leaves a signal unless there is one.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// caller interrupts the driver. The front end may exchange its file at any time.
type caller struct {
	mu sync.Mutex
	fd int
}

// set owns fd, which may be -1. It interrupts once for what happened before.
func (c *caller) set(fd int) {
	c.mu.Lock()
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
	c.fd = fd
	c.mu.Unlock()
	if fd >= 0 {
		c.signal()
	}
}

// signal never waits: the file is made non-blocking, and one that takes no more
// has something to be read.
func (c *caller) signal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return
	}
	var one [8]byte
	binary.LittleEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(c.fd, one[:])
}
