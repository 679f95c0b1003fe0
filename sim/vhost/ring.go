package vhost

import (
	"encoding/binary"
	"fmt"

	"github.com/cloisterhq/cloister/sim/vhost/internal/shared"
)

const (
	// maxSize bounds the descriptors of a queue.
	maxSize = 1024

	descriptorSize = 16
	flagNext       = 1
	flagWrite      = 2
	flagIndirect   = 4

	// flagQuiet is "no interrupt" in the available ring and "no notify" in the
	// used ring.
	flagQuiet = 1
)

// ring is a split queue in guest memory, from the device's side.
type ring struct {
	memory                *memory
	size                  uint16
	table, avail, used    []byte
	next, done, published uint16 // chains taken, chains given back, index of the used ring
	quiet                 uint16 // flags of the used ring
}

// addresses are where the front end has the parts of a queue.
type addresses struct{ table, avail, used uint64 }

// openRing finds a queue in memory. It goes on behind the first base chains.
func openRing(m *memory, at addresses, size, base uint16) (ring, error) {
	r := ring{memory: m, size: size, next: base, done: base}
	var ok [3]bool
	r.table, ok[0] = m.atUser(at.table, descriptorSize*uint64(size))
	r.avail, ok[1] = m.atUser(at.avail, 4+2*uint64(size))
	r.used, ok[2] = m.atUser(at.used, 4+8*uint64(size))
	if ok != [3]bool{true, true, true} {
		return ring{}, fmt.Errorf("%w: a queue outside of memory", ErrFrontEnd)
	}
	if !shared.Aligned(r.avail) || !shared.Aligned(r.used) {
		return ring{}, fmt.Errorf("%w: a queue that isn't aligned", ErrFrontEnd)
	}
	_, r.published = shared.Load(r.used)
	r.hush(0)
	return r, nil
}

// waiting answers how many chains the driver offers.
func (r *ring) waiting() (uint16, error) {
	_, index := shared.Load(r.avail)
	n := index - r.next
	if n > r.size {
		return 0, fmt.Errorf("%w: %d chains in a queue of %d", ErrDriver, n, r.size)
	}
	return n, nil
}

// pop takes the next chain into c.
func (r *ring) pop(c *Chain) (bool, error) {
	n, err := r.waiting()
	if n == 0 || err != nil {
		return false, err
	}
	if r.quiet == 0 {
		r.hush(flagQuiet)
	}
	c.reset(binary.LittleEndian.Uint16(r.avail[4+2*int(r.next%r.size):]))
	if err := r.walk(c); err != nil {
		return false, err
	}
	r.next++
	return true, nil
}

// walk follows a chain. Each descriptor is read once, since the driver may
// change it at any time.
func (r *ring) walk(c *Chain) error {
	index := c.head
	for range r.size {
		if index >= r.size {
			return fmt.Errorf("%w: descriptor %d of %d", ErrDriver, index, r.size)
		}
		var d [descriptorSize]byte
		copy(d[:], r.table[descriptorSize*int(index):])
		flags := binary.LittleEndian.Uint16(d[12:])
		if flags&flagIndirect != 0 {
			return fmt.Errorf("%w: indirect descriptor", ErrDriver)
		}
		length := binary.LittleEndian.Uint32(d[8:])
		buffer, ok := r.memory.atGuest(binary.LittleEndian.Uint64(d[:]), length)
		if !ok || length == 0 {
			return fmt.Errorf("%w: empty buffer, or one outside of memory", ErrDriver)
		}
		if err := c.add(buffer, flags&flagWrite != 0); err != nil {
			return err
		}
		if flags&flagNext == 0 {
			return nil
		}
		index = binary.LittleEndian.Uint16(d[14:])
	}
	return fmt.Errorf("%w: chain without an end", ErrDriver)
}

// push gives a chain back: first the entry, then the index.
func (r *ring) push(head uint16, written uint32) {
	entry := r.used[4+8*int(r.published%r.size):]
	binary.LittleEndian.PutUint32(entry, uint32(head))
	binary.LittleEndian.PutUint32(entry[4:], written)
	r.published++
	r.done++
	shared.Store(r.used, r.quiet, r.published)
}

// hush tells the driver whether kicks are wanted.
func (r *ring) hush(flags uint16) {
	r.quiet = flags
	shared.Store(r.used, flags, r.published)
}

// interruptible says whether the driver wants to be interrupted.
func (r *ring) interruptible() bool {
	flags, _ := shared.Load(r.avail)
	return flags&flagQuiet == 0
}
