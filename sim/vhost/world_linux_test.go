package vhost_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/vhosttest"
)

// mirror is a device that writes back what it reads, the other way round, as
// far as there is room.
type mirror struct {
	spec  vhost.Spec
	ended chan error // what each life ended with
}

func newMirror(queues int, config ...byte) *mirror {
	return &mirror{vhost.Spec{Queues: queues, Config: config}, make(chan error, 1000)}
}

func (m *mirror) Spec() vhost.Spec { return m.spec }

func (m *mirror) Run(ctx context.Context, queues []*vhost.Queue) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(queues))
	for _, q := range queues {
		go func() {
			results <- reflect(ctx, q)
			cancel()
		}()
	}
	var err error
	for range queues {
		err = errors.Join(err, <-results)
	}
	select {
	case m.ended <- err:
	default:
	}
	return err
}

func reflect(ctx context.Context, q *vhost.Queue) error {
	var c vhost.Chain
	for ctx.Err() == nil {
		ok, err := q.Pop(&c)
		if err != nil {
			return err
		}
		if ok {
			b := make([]byte, c.Readable())
			c.Take(b)
			slices.Reverse(b)
			c.Put(b)
			q.Push(&c)
			q.Notify()
			continue
		}
		if q.Arm() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.Kicks():
		}
	}
	return nil
}

// background ends with the test, and long before the test binary does.
func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// serve serves a device on a socket until the test ends.
func serve(t testing.TB, d vhost.Device) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "d.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- vhost.Serve(ctx, l, d, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v", err)
		}
	})
	return path
}

// connect is a front end that has negotiated and shares memory.
func connect(t testing.TB, path string) *vhosttest.FrontEnd {
	t.Helper()
	f, err := vhosttest.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if err := f.Negotiate(); err != nil {
		t.Fatal(err)
	}
	if err := f.Share(1 << 20); err != nil {
		t.Fatal(err)
	}
	return f
}

// start is a running queue of a front end.
func start(t testing.TB, f *vhosttest.FrontEnd, index uint32, size uint16) *vhosttest.Queue {
	t.Helper()
	q, err := f.NewQueue(index, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Start(); err != nil {
		t.Fatal(err)
	}
	return q
}

// exchange offers a text and room for its mirror image as descriptors 0 and 1,
// and answers what comes.
func exchange(t testing.TB, f *vhosttest.FrontEnd, q *vhosttest.Queue, text string) string {
	t.Helper()
	at := f.Alloc(2 * len(text))
	copy(f.Memory[at:], text)
	q.Describe(0, at, uint32(len(text)), vhosttest.Next, 1)
	q.Describe(1, at+len(text), uint32(len(text)), vhosttest.Write, 0)
	q.Offer(0)
	q.Kick()
	head, n, err := q.Next(background(t))
	if err != nil || head != 0 || n != len(text) {
		t.Fatalf("chain %d with %d bytes, %v; want 0 with %d", head, n, err, len(text))
	}
	return string(f.Bytes(at+len(text), n))
}

// files answers the open files of this process.
func files(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
