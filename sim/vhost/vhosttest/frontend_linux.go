// Package vhosttest is the other side of a vhost-user device, for tests: a
// front end with memory of its own, and what a guest's driver does with queues.
// It is as honest or dishonest as its caller.
package vhosttest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Requests of vhost-user that tests send.
const (
	GetFeatures         = 1
	SetFeatures         = 2
	SetOwner            = 3
	SetMemTable         = 5
	SetVringNum         = 8
	SetVringAddr        = 9
	SetVringBase        = 10
	GetVringBase        = 11
	SetVringKick        = 12
	SetVringCall        = 13
	GetProtocolFeatures = 15
	SetProtocolFeatures = 16
	GetQueueNum         = 17
	SetVringEnable      = 18
	GetConfig           = 24
)

const (
	// GuestBase is where the guest has its memory.
	GuestBase = 0x1_0000_0000
	// UserBase is where the front end says that it has it.
	UserBase = 0x7f00_0000_0000

	// needReply asks for an acknowledgement.
	needReply = 1 << 3
)

// ErrRefused is an acknowledgement that says no.
var ErrRefused = errors.New("vhosttest: refused")

// FrontEnd is one connection to a device. Its methods aren't safe for
// concurrent use.
type FrontEnd struct {
	// Memory is what the guest has, from GuestBase on; nil before Share.
	Memory []byte

	conn  *net.UnixConn
	free  int // of Memory
	files []*os.File
}

// Dial connects to a device's socket.
func Dial(path string) (*FrontEnd, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	return &FrontEnd{conn: conn}, nil
}

// Close hangs up and gives back the memory, which nobody may use any more.
func (f *FrontEnd) Close() {
	f.conn.Close()
	for _, file := range f.files {
		file.Close()
	}
	if f.Memory != nil {
		_ = unix.Munmap(f.Memory)
		f.Memory = nil
	}
}

// Hang closes the connection alone, as a monitor that is killed does.
func (f *FrontEnd) Hang() { f.conn.Close() }

// Raw writes bytes and files to the connection.
func (f *FrontEnd) Raw(b []byte, files ...int) error {
	var control []byte
	if len(files) > 0 {
		control = unix.UnixRights(files...)
	}
	_, _, err := f.conn.WriteMsgUnix(b, control, nil)
	return err
}

// Send sends a request that has no answer.
func (f *FrontEnd) Send(request uint32, payload []byte, files ...int) error {
	return f.Raw(Frame(request, 1, payload), files...)
}

// Ask sends a request and answers what comes back.
func (f *FrontEnd) Ask(request uint32, payload []byte, files ...int) ([]byte, error) {
	if err := f.Send(request, payload, files...); err != nil {
		return nil, err
	}
	return f.answer(request)
}

// Do sends a request and waits for its acknowledgement.
func (f *FrontEnd) Do(request uint32, payload []byte, files ...int) error {
	if err := f.Raw(Frame(request, 1|needReply, payload), files...); err != nil {
		return err
	}
	b, err := f.answer(request)
	if err == nil && (len(b) != 8 || binary.LittleEndian.Uint64(b) != 0) {
		err = ErrRefused
	}
	return err
}

func (f *FrontEnd) answer(request uint32) ([]byte, error) {
	var header [12]byte
	if _, err := io.ReadFull(f.conn, header[:]); err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint32(header[:]); got != request || binary.LittleEndian.Uint32(header[4:]) != 5 {
		return nil, fmt.Errorf("vhosttest: answer to %d with flags %#x", got, binary.LittleEndian.Uint32(header[4:]))
	}
	b := make([]byte, binary.LittleEndian.Uint32(header[8:]))
	_, err := io.ReadFull(f.conn, b)
	return b, err
}

// Frame makes a message.
func Frame(request, flags uint32, payload []byte) []byte {
	return append(Words(request, flags, uint32(len(payload))), payload...)
}

// Words makes a payload of 32-bit numbers.
func Words(words ...uint32) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// Longs makes a payload of 64-bit numbers.
func Longs(longs ...uint64) []byte {
	var b []byte
	for _, l := range longs {
		b = binary.LittleEndian.AppendUint64(b, l)
	}
	return b
}

// Negotiate does what a monitor does first.
func (f *FrontEnd) Negotiate() error {
	features, err := f.Ask(GetFeatures, nil)
	if err != nil {
		return err
	}
	protocol, err := f.Ask(GetProtocolFeatures, nil)
	if err != nil {
		return err
	}
	return errors.Join(f.Send(SetProtocolFeatures, protocol), f.Send(SetOwner, nil), f.Do(SetFeatures, features))
}

// Share makes guest memory of a number of bytes and tells the device.
func (f *FrontEnd) Share(size int) error {
	fd, err := MemFD(size, true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if f.Memory, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	return f.Do(SetMemTable, append(Words(1, 0), Longs(GuestBase, uint64(size), UserBase, 0)...), fd)
}

// Reshare moves the guest to another file of memory, with all that it holds.
// Queues go with it; slices of Memory from before are gone.
func (f *FrontEnd) Reshare() error {
	old := f.Memory
	fd, err := MemFD(len(old), true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if f.Memory, err = unix.Mmap(fd, 0, len(old), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	copy(f.Memory, old)
	return errors.Join(unix.Munmap(old), f.Do(SetMemTable, append(Words(1, 0), Longs(GuestBase, uint64(len(old)), UserBase, 0)...), fd))
}

// MemFD makes a file of memory, sealed as a monitor's is or not at all.
func MemFD(size int, sealed bool) (int, error) {
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, err
	}
	err = unix.Ftruncate(fd, int64(size))
	if err == nil && sealed {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Alloc answers the offset of fresh bytes of guest memory, at a multiple of 16.
// It panics when there are none left.
func (f *FrontEnd) Alloc(size int) int {
	at := f.free
	f.free += (size + 15) &^ 15
	if f.free > len(f.Memory) {
		panic("vhosttest: the guest has too little memory")
	}
	return at
}
