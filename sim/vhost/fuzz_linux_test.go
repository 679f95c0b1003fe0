package vhost_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/vhosttest"
	"golang.org/x/sys/unix"
)

// socketpair answers a connection and its other end.
func socketpair(t testing.TB) (near, far *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

// script writes requests one after another: request, flags, number of files,
// size of the payload, payload.
func script(requests ...[]byte) []byte { return bytes.Join(requests, nil) }

func line(request, flags, files byte, payload []byte) []byte {
	return append([]byte{request, flags, files, byte(len(payload))}, payload...)
}

// FuzzSession lets a monitor say anything, with files of memory for every
// purpose. The session ends when the monitor hangs up, all its answers are well
// formed, and no file is left open.
func FuzzSession(f *testing.F) {
	begin := script(
		line(vhosttest.GetFeatures, 1, 0, nil), line(vhosttest.SetProtocolFeatures, 1, 0, vhosttest.Longs(1<<3)),
		line(vhosttest.SetMemTable, 9, 1, append(vhosttest.Words(1, 0), vhosttest.Longs(0x1000, 1<<16, 0x1000, 0)...)),
		line(vhosttest.SetVringNum, 1, 0, vhosttest.Words(0, 8)), line(vhosttest.SetVringBase, 1, 0, vhosttest.Words(0, 0)),
		line(vhosttest.SetVringAddr, 9, 0, append(vhosttest.Words(0, 0), vhosttest.Longs(0x1000, 0x3000, 0x2000, 0)...)),
		line(vhosttest.SetVringCall, 9, 1, vhosttest.Longs(0)), line(vhosttest.SetVringKick, 9, 1, vhosttest.Longs(0)),
		line(vhosttest.SetVringEnable, 9, 0, vhosttest.Words(0, 1)),
	)
	f.Add(begin)
	f.Add(append(bytes.Clone(begin), line(vhosttest.GetVringBase, 1, 0, vhosttest.Words(0, 0))...))
	f.Add(append(bytes.Clone(begin), begin...))
	f.Add(line(vhosttest.GetConfig, 1, 0, append(vhosttest.Words(0, 8, 0), make([]byte, 8)...)))
	f.Add(line(vhosttest.SetMemTable, 1, 8, append(vhosttest.Words(8, 0), make([]byte, 200)...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		fd, err := vhosttest.MemFD(1<<16, true)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		before := files(t)
		near, far := socketpair(t)
		answers := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(near)
			answers <- b
		}()
		go func() {
			defer near.CloseWrite()
			for len(b) >= 4 {
				n := min(int(b[3]), len(b)-4)
				frame := vhosttest.Frame(uint32(b[0]), uint32(b[1]), b[4:4+n])
				var passed []int
				for range b[2] % 16 {
					passed = append(passed, fd)
				}
				if _, _, err := near.WriteMsgUnix(frame, unix.UnixRights(passed...), nil); err != nil {
					return
				}
				b = b[4+n:]
			}
		}()
		err = vhost.ServeConn(context.Background(), far, newMirror(1, 1, 2, 3), slog.New(slog.DiscardHandler))
		for rest := <-answers; len(rest) > 0; {
			if len(rest) < 12 || binary.LittleEndian.Uint32(rest[4:]) != 5 {
				t.Fatalf("an answer begins %x, after %v", rest[:min(len(rest), 12)], err)
			}
			n := 12 + int(binary.LittleEndian.Uint32(rest[8:]))
			if n > len(rest) {
				t.Fatalf("an answer of %d bytes, but %d are there", n, len(rest))
			}
			rest = rest[n:]
		}
		near.Close()
		if after := files(t); after > before {
			t.Fatalf("%d files before, %d after: %v", before, after, err)
		}
	})
}

// FuzzChain lets a driver write anything into its memory. What Pop answers lies
// in memory, is no longer than the queue allows, and is as often as the driver
// said; whatever else is ErrDriver.
func FuzzChain(f *testing.F) {
	const table, avail, used, data = 0, 128, 256, 512
	image := func(descriptors [][4]uint64, index uint16, heads ...uint16) []byte {
		b := make([]byte, 1024)
		for i, d := range descriptors {
			binary.LittleEndian.PutUint64(b[table+16*i:], d[0])
			binary.LittleEndian.PutUint32(b[table+16*i+8:], uint32(d[1]))
			binary.LittleEndian.PutUint16(b[table+16*i+12:], uint16(d[2]))
			binary.LittleEndian.PutUint16(b[table+16*i+14:], uint16(d[3]))
		}
		binary.LittleEndian.PutUint16(b[avail+2:], index)
		for i, h := range heads {
			binary.LittleEndian.PutUint16(b[avail+4+2*i:], h)
		}
		return b
	}
	f.Add(image([][4]uint64{{vhost.ImageGuest + data, 100, 1, 1}, {vhost.ImageGuest + data + 100, 50, 2, 0}}, 1, 0))
	f.Add(image([][4]uint64{{vhost.ImageGuest + data, 1, 1, 1}, {vhost.ImageGuest + data, 1, 1, 0}}, 2, 0, 1))
	f.Add(image([][4]uint64{{vhost.ImageGuest + 1020, 8, 2, 0}}, 1, 0))
	f.Add(image([][4]uint64{{vhost.ImageGuest + table, 1024, 2, 0}}, 8, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(image(nil, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		const size = 8
		memory := make([]byte, 1024) // eight-byte aligned, unlike what a fuzzer has
		copy(memory, b)
		offered := binary.LittleEndian.Uint16(memory[avail+2:])
		q, err := vhost.OpenImage(memory, table, avail, used, size, 0)
		if err != nil {
			t.Fatal(err)
		}
		var c vhost.Chain
		for n := 0; ; n++ {
			ok, err := q.Pop(&c)
			if err != nil {
				if ok || !errors.Is(err, vhost.ErrDriver) {
					t.Fatalf("%v, %v", ok, err)
				}
				return
			}
			if !ok {
				return
			}
			if n >= 2*size && offered <= size { // a driver may overwrite its index through its own buffers
				return
			}
			if n > 1<<16 {
				t.Fatal("a queue without an end")
			}
			readable, writable := c.Readable(), c.Writable()
			if readable+writable == 0 || readable+writable > size*len(memory) {
				t.Fatalf("a chain of %d and %d bytes", readable, writable)
			}
			room := make([]byte, readable+1)
			if got := c.Take(room); got != readable || c.Readable() != 0 {
				t.Fatalf("took %d of %d bytes", got, readable)
			}
			if writable < 64 {
				if got := c.Put(make([]byte, writable+1)); got != writable || c.Writable() != 0 {
					t.Fatalf("put %d of %d bytes", got, writable)
				}
			}
			q.Push(&c)
			q.Notify()
		}
	})
}
