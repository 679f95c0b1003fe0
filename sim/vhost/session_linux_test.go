package vhost_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/vhosttest"
	"golang.org/x/sys/unix"
)

func TestHandshake(t *testing.T) {
	f, err := vhosttest.Dial(serve(t, newMirror(2, 1, 2, 3, 4, 5, 6, 7, 8)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, test := range []struct {
		name    string
		request uint32
		want    uint64
	}{
		{"features: version 1, protocol features and nothing else", vhosttest.GetFeatures, 1<<32 | 1<<30},
		{"protocol features: several queues, acknowledgements, configuration", vhosttest.GetProtocolFeatures, 1<<0 | 1<<3 | 1<<9},
		{"queues", vhosttest.GetQueueNum, 2},
	} {
		if b, err := f.Ask(test.request, nil); err != nil || !bytes.Equal(b, vhosttest.Longs(test.want)) {
			t.Errorf("%s: %x, %v; want %x", test.name, b, err, test.want)
		}
	}
	for offset, want := range map[uint32][]byte{0: {1, 2, 3, 4}, 6: {7, 8, 0, 0}, 8: {0, 0, 0, 0}, 252: {0, 0, 0, 0}} {
		b, err := f.Ask(vhosttest.GetConfig, append(vhosttest.Words(offset, 4, 0), 9, 9, 9, 9))
		if err != nil || !bytes.Equal(b, append(vhosttest.Words(offset, 4, 0), want...)) {
			t.Errorf("configuration at %d: %x, %v; want %x behind the question", offset, b, err, want)
		}
	}
	if err := f.Negotiate(); err != nil {
		t.Error(err)
	}
}

// TestHostileFrontEnds lets monitors break every rule. They are told so when
// they ask, lose the connection, and leave no file behind.
func TestHostileFrontEnds(t *testing.T) {
	const size = 1 << 16
	memfd := func(size int, sealed bool) []int {
		fd, err := vhosttest.MemFD(size, sealed)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return []int{fd}
	}
	good := memfd(size, true)
	table := func(regions ...uint64) []byte {
		return append(vhosttest.Words(uint32(len(regions)/4), 0), vhosttest.Longs(regions...)...)
	}
	two := append(append([]int(nil), good...), good...)
	nine := bytes.Repeat(table(0, 1, 0, 0)[8:], 9)
	tests := []struct {
		name    string
		request uint32
		payload []byte
		files   []int
	}{
		{"unknown request", 99, nil, nil},
		{"request 0", 0, nil, nil},
		{"features that weren't offered", vhosttest.SetFeatures, vhosttest.Longs(1 << 29), nil},
		{"half a number", vhosttest.SetFeatures, vhosttest.Words(0), nil},
		{"protocol features that weren't offered", vhosttest.SetProtocolFeatures, vhosttest.Longs(1 << 1), nil},
		{"no regions", vhosttest.SetMemTable, vhosttest.Words(0, 0), nil},
		{"half a table", vhosttest.SetMemTable, vhosttest.Words(1, 0, 0), good},
		{"nine regions", vhosttest.SetMemTable, append(vhosttest.Words(9, 0), nine...), good},
		{"region without a file", vhosttest.SetMemTable, table(0, size, 0, 0), nil},
		{"file without a region", vhosttest.SetMemTable, table(0, size, 0, 0), two},
		{"empty region", vhosttest.SetMemTable, table(0, 0, 0, 0), good},
		{"guest addresses wrap", vhosttest.SetMemTable, table(0xffffffff_ffff0000, 1<<16, 0, 0), good},
		{"front end's addresses wrap", vhosttest.SetMemTable, table(0, 1<<16, 0xffffffff_ffffffff, 0), good},
		{"file offset wraps", vhosttest.SetMemTable, table(0, 1<<16, 0, 0xffffffff_ffff0001), good},
		{"too much memory", vhosttest.SetMemTable, table(0, 1<<41, 0, 0), good},
		{"file too short", vhosttest.SetMemTable, table(0, size+1, 0, 0), good},
		{"file too short for its offset", vhosttest.SetMemTable, table(0, size, 0, 4096), good},
		{"file that can shrink", vhosttest.SetMemTable, table(0, size, 0, 0), memfd(size, false)},
		{"guest addresses overlap", vhosttest.SetMemTable, table(0, 4096, 0, 0, 4095, 4096, 1<<20, 0), two},
		{"front end's addresses overlap", vhosttest.SetMemTable, table(0, 4096, 8192, 0, 1<<20, 8192, 4096, 0), two},
		{"queue that isn't there", vhosttest.SetVringNum, vhosttest.Words(2, 8), nil},
		{"queue -1", vhosttest.GetVringBase, vhosttest.Words(0xffffffff, 0), nil},
		{"empty queue", vhosttest.SetVringNum, vhosttest.Words(0, 0), nil},
		{"queue of seven", vhosttest.SetVringNum, vhosttest.Words(0, 7), nil},
		{"queue of 2048", vhosttest.SetVringNum, vhosttest.Words(0, 2048), nil},
		{"base over 16 bits", vhosttest.SetVringBase, vhosttest.Words(0, 1<<16), nil},
		{"enable 2", vhosttest.SetVringEnable, vhosttest.Words(0, 2), nil},
		{"logging", vhosttest.SetVringAddr, append(vhosttest.Words(0, 1), vhosttest.Longs(0, 0, 0, 0)...), nil},
		{"address cut short", vhosttest.SetVringAddr, vhosttest.Words(0, 0), nil},
		{"kick without a file", vhosttest.SetVringKick, vhosttest.Longs(0), nil},
		{"kick with two files", vhosttest.SetVringKick, vhosttest.Longs(0), two},
		{"kick by polling", vhosttest.SetVringKick, vhosttest.Longs(1 << 8), nil},
		{"kick of no queue", vhosttest.SetVringKick, vhosttest.Longs(7), good},
		{"call of no queue", vhosttest.SetVringCall, vhosttest.Longs(7), good},
		{"call with a file that isn't there", vhosttest.SetVringCall, vhosttest.Longs(1 << 8), good},
		{"call with other bits", vhosttest.SetVringCall, vhosttest.Longs(1 << 9), good},
		{"configuration cut short", vhosttest.GetConfig, vhosttest.Words(0, 4), nil},
		{"configuration of another size", vhosttest.GetConfig, vhosttest.Words(0, 4, 0), nil},
		{"configuration behind its end", vhosttest.GetConfig, vhosttest.Words(253, 4, 0, 0), nil},
	}
	path := serve(t, newMirror(2))
	before := files(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := vhosttest.Dial(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Negotiate(); err != nil {
				t.Fatal(err)
			}
			if err := f.Do(test.request, test.payload, test.files...); !errors.Is(err, vhosttest.ErrRefused) {
				t.Errorf("%v, want a refusal", err)
			}
			if _, err := f.Ask(vhosttest.GetFeatures, nil); err == nil {
				t.Error("the connection is still there")
			}
		})
	}
	// One more connection shows that all others are over, and has two files.
	f := connect(t, path)
	defer f.Close()
	if after := files(t); after > before+2 {
		t.Errorf("%d files before, %d after", before, after)
	}
}

// TestHostileFrames breaks the framing itself.
func TestHostileFrames(t *testing.T) {
	path := serve(t, newMirror(1))
	fd, err := vhosttest.MemFD(1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for name, test := range map[string]struct {
		frame []byte
		files int
	}{
		"version 0":         {vhosttest.Frame(vhosttest.GetFeatures, 0, nil), 0},
		"version 2":         {vhosttest.Frame(vhosttest.GetFeatures, 2, nil), 0},
		"an answer":         {vhosttest.Frame(vhosttest.GetFeatures, 1|4, nil), 0},
		"payload too large": {vhosttest.Words(vhosttest.GetFeatures, 1, 513), 0},
		"payload of 4 GiB":  {vhosttest.Words(vhosttest.GetFeatures, 1, 0xffffffff), 0},
		"nine files":        {vhosttest.Frame(vhosttest.GetFeatures, 1, nil), 9},
		"a hundred files":   {vhosttest.Frame(vhosttest.GetFeatures, 1, nil), 100},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := vhosttest.Dial(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var passed []int
			for range test.files {
				passed = append(passed, fd)
			}
			if err := f.Raw(test.frame, passed...); err != nil {
				t.Fatal(err)
			}
			if b, err := f.Ask(vhosttest.GetFeatures, nil); err == nil {
				t.Errorf("answered %x", b)
			}
		})
	}
}

// TestQueueOutsideOfMemory demands that a queue lies in memory when it starts.
func TestQueueOutsideOfMemory(t *testing.T) {
	const user, size = vhosttest.UserBase, 1 << 20
	for name, at := range map[string][3]uint64{
		"table":                {user + size - 16, user, user},
		"used":                 {user, user + size - 4, user},
		"available":            {user, user, user + size - 4},
		"guest's address":      {vhosttest.GuestBase, user, user},
		"wraps":                {0xffffffff_fffffff8, user, user},
		"available misaligned": {user, user, user + 2},
		"used misaligned":      {user, user + 1, user},
	} {
		t.Run(name, func(t *testing.T) {
			f := connect(t, serve(t, newMirror(1)))
			q, err := f.NewQueue(0, 8)
			if err != nil {
				t.Fatal(err)
			}
			if err := q.Start(); err != nil {
				t.Fatal(err)
			}
			err = f.Do(vhosttest.SetVringAddr, append(vhosttest.Words(0, 0), vhosttest.Longs(at[0], at[1], at[2], 0)...))
			if !errors.Is(err, vhosttest.ErrRefused) {
				t.Errorf("%v, want a refusal", err)
			}
		})
	}
}

// TestFrontEndsComeAndGo kills one monitor after another, with running queues.
func TestFrontEndsComeAndGo(t *testing.T) {
	d := newMirror(2)
	path := serve(t, d)
	before := files(t)
	for i := range 20 {
		f := connect(t, path)
		start(t, f, 0, 4)
		q := start(t, f, 1, 4)
		if got := exchange(t, f, q, "live"); got != "evil" {
			t.Fatalf("%q came back from front end %d", got, i)
		}
		f.Hang()
		if err := <-d.ended; err != nil {
			t.Fatalf("the device ended with %v", err)
		}
		f.Close()
	}
	f := connect(t, path)
	defer f.Close()
	if after := files(t); after > before+2 {
		t.Errorf("%d files before, %d after", before, after)
	}
}

// holder takes chains, and in its first life gives back every second one.
type holder struct {
	lives atomic.Int32
	took  chan struct{}
	over  atomic.Bool // the first life has ended
}

func (*holder) Spec() vhost.Spec { return vhost.Spec{Queues: 1} }

func (h *holder) Run(ctx context.Context, queues []*vhost.Queue) error {
	if h.lives.Add(1) > 1 {
		return reflect(ctx, queues[0])
	}
	var first, second vhost.Chain
	for ctx.Err() == nil {
		if ok, err := queues[0].Pop(&first); err != nil {
			return err
		} else if ok {
			if ok, err := queues[0].Pop(&second); err != nil || !ok {
				return errors.Join(err, errors.New("no second chain"))
			}
			queues[0].Push(&first)
			h.took <- struct{}{}
		}
		if queues[0].Arm() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-queues[0].Kicks():
		}
	}
	h.over.Store(true)
	return nil
}

// TestNothingIsLostBetweenLives: a chain that wasn't given back comes again,
// and a queue has stopped when the monitor reads that it has.
func TestNothingIsLostBetweenLives(t *testing.T) {
	h := &holder{took: make(chan struct{}, 10)}
	f := connect(t, serve(t, h))
	q := start(t, f, 0, 4)
	at := f.Alloc(8)
	copy(f.Memory[at:], "part")
	q.Describe(0, at, 4, vhosttest.Next, 1)
	q.Describe(1, at+4, 4, vhosttest.Write, 0)
	q.Describe(2, at, 4, 0, 0)
	q.Offer(2)
	q.Offer(0)
	q.Force()
	<-h.took
	base, err := q.Stop()
	if err != nil || base != 1 {
		t.Fatalf("stopped at %d, %v; one of two chains was given back", base, err)
	}
	if head, _, ok := q.Used(); !ok || head != 2 {
		t.Fatalf("chain %d was given back, %v; want 2", head, ok)
	}
	if !h.over.Load() {
		t.Error("the monitor was answered while the device lived")
	}
	if err := f.Do(vhosttest.SetVringBase, vhosttest.Words(0, uint32(base))); err != nil {
		t.Fatal(err)
	}
	if err := q.Rekick(); err != nil {
		t.Fatal(err)
	}
	if head, n, err := q.Next(background(t)); err != nil || head != 0 || string(f.Bytes(at+4, n)) != "trap" {
		t.Errorf("chain %d with %d bytes, %v", head, n, err)
	}
}

// TestMemoryMoves changes the memory under a running device.
func TestMemoryMoves(t *testing.T) {
	d := newMirror(1)
	f := connect(t, serve(t, d))
	q := start(t, f, 0, 4)
	if got := exchange(t, f, q, "drawer"); got != "reward" {
		t.Fatalf("%q came back", got)
	}
	if err := f.Reshare(); err != nil {
		t.Fatal(err)
	}
	if err := <-d.ended; err != nil {
		t.Errorf("the first life ended with %v", err)
	}
	if got := exchange(t, f, q, "diaper"); got != "repaid" {
		t.Errorf("%q came back from the new memory", got)
	}
}

// TestForeignFiles gives files that are no event descriptors.
func TestForeignFiles(t *testing.T) {
	path := serve(t, newMirror(1))
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[1])
	fd, err := vhosttest.MemFD(3, false)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Close(pipe[0]) // whoever writes gets EPIPE
	for _, file := range []int{fd, pipe[1]} {
		f := connect(t, path)
		q, err := f.NewQueue(0, 4)
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Start(); err != nil {
			t.Fatal(err)
		}
		for _, request := range []uint32{vhosttest.SetVringKick, vhosttest.SetVringCall} {
			if err := f.Do(request, vhosttest.Longs(0), file); err != nil {
				t.Fatal(err)
			}
		}
		// The device looks once without a kick and can't interrupt.
		if _, err := q.Stop(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func TestServeRefusesImpossibleDevices(t *testing.T) {
	for name, d := range map[string]*mirror{
		"no queues": newMirror(0), "nine queues": newMirror(9), "configuration of 257 bytes": newMirror(1, make([]byte, 257)...),
	} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		if err := vhost.Serve(t.Context(), l, d, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: served", name)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the listener is left open: %v", name, err)
		}
	}
}

// TestServeAnswersAcceptErrors closes the listener under it.
func TestServeAnswersAcceptErrors(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := vhost.Serve(t.Context(), l, newMirror(1), slog.New(slog.DiscardHandler)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v, want net.ErrClosed", err)
	}
}
