package vhosttest

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/cloisterhq/cloister/sim/vhost/internal/shared"
	"golang.org/x/sys/unix"
)

// Flags of a descriptor.
const (
	Next     = 1
	Write    = 2
	Indirect = 4
)

// Queue is a queue from the driver's side. One goroutine at a time uses it.
type Queue struct {
	// Interrupts counts the interrupts that were taken, each by itself.
	Interrupts uint64

	front      *FrontEnd
	index      uint32
	size       uint16
	at         [3]int // descriptors, available ring, used ring
	next, seen uint16
	kick, call *os.File
}

// NewQueue makes a queue in guest memory. The device learns of it from Start.
func (f *FrontEnd) NewQueue(index uint32, size uint16) (*Queue, error) {
	q := &Queue{front: f, index: index, size: size}
	for i, n := range []int{16 * int(size), 6 + 2*int(size), 6 + 8*int(size)} {
		q.at[i] = f.Alloc(n)
		clear(f.Memory[q.at[i] : q.at[i]+n])
	}
	var err error
	if q.kick, err = event(); err != nil {
		return nil, err
	}
	f.files = append(f.files, q.kick)
	if q.call, err = event(); err != nil {
		return nil, err
	}
	f.files = append(f.files, q.call)
	return q, nil
}

// Begin lets the queue begin as if so many chains had passed, before Start.
func (q *Queue) Begin(base uint16) {
	q.next, q.seen = base, base
	shared.Store(q.avail(), 0, base)
	shared.Store(q.used(), 0, base)
}

// Interrupted takes an interrupt that is there.
func (q *Queue) Interrupted() bool {
	var count [8]byte
	raw, err := q.call.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	_ = raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), count[:]) })
	q.Interrupts += binary.LittleEndian.Uint64(count[:])
	return n == len(count)
}

func (q *Queue) avail() []byte { return q.front.Memory[q.at[1]:] }

func (q *Queue) used() []byte { return q.front.Memory[q.at[2]:] }

func event() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return os.NewFile(uintptr(fd), "event"), err
}

// Start tells the device of the queue and lets it run, as a monitor does when
// the driver is ready.
func (q *Queue) Start() error {
	f := q.front
	return errors.Join(
		f.Do(SetVringNum, Words(q.index, uint32(q.size))),
		f.Do(SetVringBase, Words(q.index, uint32(q.seen))),
		f.Do(SetVringAddr, append(Words(q.index, 0), Longs(UserBase+uint64(q.at[0]), UserBase+uint64(q.at[2]), UserBase+uint64(q.at[1]), 0)...)),
		withFD(q.kick, func(fd int) error { return f.Do(SetVringKick, Longs(uint64(q.index)), fd) }),
		withFD(q.call, func(fd int) error { return f.Do(SetVringCall, Longs(uint64(q.index)), fd) }),
		f.Do(SetVringEnable, Words(q.index, 1)),
	)
}

// Rekick lets a stopped queue run again where it stands.
func (q *Queue) Rekick() error {
	return withFD(q.kick, func(fd int) error { return q.front.Do(SetVringKick, Longs(uint64(q.index)), fd) })
}

func withFD(file *os.File, do func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = do(int(fd)) }), inner)
}

// Stop stops the queue and answers how many chains the device has given back.
func (q *Queue) Stop() (uint16, error) {
	b, err := q.front.Ask(GetVringBase, Words(q.index, 0))
	if err != nil || len(b) != 8 {
		return 0, errors.Join(err, errors.New("vhosttest: no base"))
	}
	return uint16(binary.LittleEndian.Uint32(b[4:])), nil
}

// Describe writes a descriptor: n bytes at an offset of guest memory.
func (q *Queue) Describe(i uint16, offset int, n uint32, flags, next uint16) {
	q.DescribeAt(i, GuestBase+uint64(offset), n, flags, next)
}

// DescribeAt writes a descriptor of any address.
func (q *Queue) DescribeAt(i uint16, address uint64, n uint32, flags, next uint16) {
	d := q.front.Memory[q.at[0]+16*int(i):]
	binary.LittleEndian.PutUint64(d, address)
	binary.LittleEndian.PutUint32(d[8:], n)
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], next)
}

// Offer offers the chain that begins with a descriptor.
func (q *Queue) Offer(head uint16) {
	binary.LittleEndian.PutUint16(q.avail()[4+2*int(q.next%q.size):], head)
	q.Jump(1)
}

// Jump moves the available index on without writing entries.
func (q *Queue) Jump(n uint16) {
	q.next += n
	flags, _ := shared.Load(q.avail())
	shared.Store(q.avail(), flags, q.next)
}

// Want says whether the driver wants interrupts.
func (q *Queue) Want(wanted bool) {
	flags := uint16(1)
	if wanted {
		flags = 0
	}
	shared.Store(q.avail(), flags, q.next)
}

// Kick kicks the device, if it wants that.
func (q *Queue) Kick() {
	if flags, _ := shared.Load(q.used()); flags&1 == 0 {
		q.Force()
	}
}

// Force kicks the device.
func (q *Queue) Force() {
	_, _ = q.kick.Write(binary.LittleEndian.AppendUint64(nil, 1))
}

// Used takes the next chain that the device gave back, false when there is none.
func (q *Queue) Used() (head uint16, written int, ok bool) {
	if _, index := shared.Load(q.used()); index == q.seen {
		return 0, 0, false
	}
	entry := q.used()[4+8*int(q.seen%q.size):]
	q.seen++
	return uint16(binary.LittleEndian.Uint32(entry)), int(binary.LittleEndian.Uint32(entry[4:])), true
}

// Wait waits for an interrupt. It may come for nothing.
func (q *Queue) Wait(ctx context.Context) error {
	_ = q.call.SetReadDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { _ = q.call.SetReadDeadline(time.Unix(1, 0)) })()
	var count [8]byte
	if _, err := q.call.Read(count[:]); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	q.Interrupts += binary.LittleEndian.Uint64(count[:])
	return nil
}

// Next waits for the next chain that the device gives back.
func (q *Queue) Next(ctx context.Context) (head uint16, written int, err error) {
	for {
		if head, written, ok := q.Used(); ok {
			return head, written, nil
		}
		if err := q.Wait(ctx); err != nil {
			return 0, 0, err
		}
	}
}

// Bytes answers n bytes of guest memory.
func (f *FrontEnd) Bytes(offset, n int) []byte { return f.Memory[offset : offset+n : offset+n] }
