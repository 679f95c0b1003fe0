package vhost_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/vhosttest"
)

// TestIndicesWrap passes many more chains than a queue has, across the end of
// its 16-bit indices.
func TestIndicesWrap(t *testing.T) {
	f := connect(t, serve(t, newMirror(1)))
	q, err := f.NewQueue(0, 4)
	if err != nil {
		t.Fatal(err)
	}
	q.Begin(0xfff0)
	if err := q.Start(); err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if got := exchange(t, f, q, "tide"); got != "edit" {
			t.Fatalf("%q came back", got)
		}
	}
	if base, err := q.Stop(); err != nil || base != 0xfff0+64-0x10000 {
		t.Errorf("stopped at %d, %v; want 48", base, err)
	}
}

// TestSegments cuts what the device reads and what it writes at random places,
// several chains at a time, and holds what comes back against a model.
func TestSegments(t *testing.T) {
	const size = 64
	f := connect(t, serve(t, newMirror(1)))
	q := start(t, f, 0, size)
	random := rand.New(rand.NewPCG(1, 2))
	at := f.Alloc(size * 600)
	type chain struct {
		want []byte
		out  [][]byte
	}
	for range 200 {
		next := uint16(0)
		var heads []uint16
		chains := map[uint16]chain{}
		for range 1 + random.IntN(4) {
			head, c := next, chain{}
			reads, writes := 1+random.IntN(5), 1+random.IntN(5)
			for i := range reads + writes {
				n := 1 + random.IntN(300)
				where := at + int(next)*600 + random.IntN(300)
				flags := uint16(vhosttest.Next)
				if i == reads+writes-1 {
					flags = 0
				}
				if i >= reads {
					flags |= vhosttest.Write
					c.out = append(c.out, f.Bytes(where, n))
				} else {
					b := f.Bytes(where, n)
					for i := range b {
						b[i] = byte(random.Uint32())
					}
					c.want = append(c.want, b...)
				}
				q.Describe(next, where, uint32(n), flags, next+1)
				next++
			}
			slices.Reverse(c.want)
			heads, chains[head] = append(heads, head), c
		}
		for _, h := range heads {
			q.Offer(h)
		}
		q.Kick()
		for _, want := range heads {
			head, n, err := q.Next(background(t))
			if err != nil || head != want {
				t.Fatalf("chain %d came back, %v; want %d", head, err, want)
			}
			c := chains[head]
			got := bytes.Join(c.out, nil)
			if n != min(len(c.want), len(got)) || !bytes.Equal(got[:n], c.want[:n]) {
				t.Fatalf("%d bytes came back in %d, of %d; or others", n, len(got), len(c.want))
			}
		}
	}
}

// TestInterruptsOnlyWhenWanted looks after the device has ended, so that nothing
// is on its way.
func TestInterruptsOnlyWhenWanted(t *testing.T) {
	f := connect(t, serve(t, newMirror(1)))
	for _, wanted := range []bool{true, false} {
		q := start(t, f, 0, 4)
		q.Interrupted() // the device interrupts once when it gets the file
		q.Want(wanted)
		q.Describe(0, f.Alloc(16), 16, vhosttest.Write, 0)
		q.Offer(0)
		q.Force()
		for used := false; !used; {
			_, _, used = q.Used()
		}
		if _, err := q.Stop(); err != nil {
			t.Fatal(err)
		}
		if got := q.Interrupted(); got != wanted {
			t.Errorf("interrupted: %v, want %v", got, wanted)
		}
	}
}

// TestHostileDrivers lets drivers break every rule. The device ends with
// ErrDriver and gives nothing back, and it lives again after a reset.
func TestHostileDrivers(t *testing.T) {
	const size = 8
	tests := []struct {
		name string
		do   func(f *vhosttest.FrontEnd, q *vhosttest.Queue, at int)
		want string
	}{
		{"index jumps over the queue", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, _ int) { q.Jump(size + 1) }, "9 chains in a queue of 8"},
		{"index jumps back", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, _ int) { q.Jump(0xffff) }, "65535 chains"},
		{"head outside of the table", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, _ int) { q.Offer(size) }, "descriptor 8 of 8"},
		{"next outside of the table", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			q.Describe(0, at, 1, vhosttest.Next, 0xffff)
			q.Offer(0)
		}, "descriptor 65535 of 8"},
		{"loop of one", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			q.Describe(0, at, 1, vhosttest.Next, 0)
			q.Offer(0)
		}, "without an end"},
		{"loop of all", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			for i := range uint16(size) {
				q.Describe(i, at, 1, vhosttest.Next, (i+1)%size)
			}
			q.Offer(3)
		}, "without an end"},
		{"indirect", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			q.Describe(0, at, 16, vhosttest.Indirect, 0)
			q.Offer(0)
		}, "indirect"},
		{"empty buffer", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			q.Describe(0, at, 0, 0, 0)
			q.Offer(0)
		}, "empty buffer"},
		{"readable behind writable", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			q.Describe(0, at, 1, vhosttest.Next|vhosttest.Write, 1)
			q.Describe(1, at, 1, 0, 0)
			q.Offer(0)
		}, "readable buffer behind"},
		{"below memory", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, _ int) {
			q.DescribeAt(0, vhosttest.GuestBase-1, 2, 0, 0)
			q.Offer(0)
		}, "outside of memory"},
		{"across the end of memory", func(f *vhosttest.FrontEnd, q *vhosttest.Queue, _ int) {
			q.Describe(0, len(f.Memory)-1, 2, vhosttest.Write, 0)
			q.Offer(0)
		}, "outside of memory"},
		{"longer than memory", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			q.Describe(0, at, 0xffffffff, vhosttest.Write, 0)
			q.Offer(0)
		}, "outside of memory"},
		{"around the end of addresses", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, _ int) {
			q.DescribeAt(0, 0xffffffff_fffffff0, 0x20, vhosttest.Write, 0)
			q.Offer(0)
		}, "outside of memory"},
		{"an address of the front end's", func(_ *vhosttest.FrontEnd, q *vhosttest.Queue, at int) {
			q.DescribeAt(0, vhosttest.UserBase+uint64(at), 1, 0, 0)
			q.Offer(0)
		}, "outside of memory"},
	}
	d := newMirror(1)
	f := connect(t, serve(t, d))
	q := start(t, f, 0, size)
	at := f.Alloc(16)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.do(f, q, at)
			q.Force()
			err := <-d.ended
			if !errors.Is(err, vhost.ErrDriver) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the device ended with %v, want %q", err, test.want)
			}
			if head, _, ok := q.Used(); ok {
				t.Errorf("chain %d was given back", head)
			}
			base, err := q.Stop()
			if err != nil {
				t.Fatal(err)
			}
			q.Begin(base)
			if err := q.Start(); err != nil {
				t.Fatal(err)
			}
			if got := exchange(t, f, q, "stressed"); got != "desserts" {
				t.Errorf("%q came back after the reset", got)
			}
			if _, err := q.Stop(); err != nil {
				t.Fatal(err)
			}
			<-d.ended
			q.Begin(0)
			if err := q.Start(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
