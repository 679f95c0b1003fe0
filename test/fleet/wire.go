package fleet

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/stack"
)

// Wire stands between two ends of sockets, carries every byte and shows it to
// the test.
type Wire struct {
	t testing.TB
	// see may be called by several goroutines.
	see func(port uint32, piece []byte)

	ctx    context.Context
	carry  sync.WaitGroup
	mu     sync.Mutex
	record bytes.Buffer
}

// NewWire makes a wire that records what it carries, and calls see, which may
// be nil, with every piece before it is carried on, behind the last bytes that
// came before it on the same way. It ends with the test.
func NewWire(t testing.TB, see func(port uint32, piece []byte)) *Wire {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Wire{t: t, see: see, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		w.carry.Wait()
	})
	return w
}

// Recorded answers everything that was carried, in the order of its coming;
// pieces of different connections stand between each other.
func (w *Wire) Recorded() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.record.Bytes())
}

// Between puts the wire between the parent and the enclave of a deployment
// whose processes don't run yet. The enclave gets a state directory of its own
// with the same files and other sockets.
func (w *Wire) Between(f *Fleet) {
	w.t.Helper()
	own := filepath.Join(filepath.Dir(f.layout.Dir()), "enclave")
	layout, err := stack.At(own)
	if err == nil {
		err = os.MkdirAll(layout.Sockets(), 0o700)
	}
	if err == nil {
		err = os.Symlink(filepath.Join(f.layout.Dir(), "sim"), filepath.Join(own, "sim"))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	f.Enclave = own
	parents, enclaves := f.layout.Sockets(), layout.Sockets()
	for _, port := range []uint32{vsock.PortIngest, vsock.PortAttested} {
		w.join(vsock.Unix(parents, vsock.EnclaveCID), vsock.Unix(enclaves, vsock.HostCID), vsock.EnclaveCID, port)
	}
	for _, port := range []uint32{vsock.PortHost, vsock.PortEgress, vsock.PortHeartbeat} {
		w.join(vsock.Unix(enclaves, vsock.HostCID), vsock.Unix(parents, vsock.EnclaveCID), vsock.HostCID, port)
	}
}

// join carries what comes to a port of one directory's sockets to the same port
// of the other's.
func (w *Wire) join(near, far vsock.Transport, cid, port uint32) {
	w.t.Helper()
	l, err := near.Listen(port)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Serve(l, port, func(ctx context.Context) (net.Conn, error) { return far.Dial(ctx, cid, port) })
}

// Serve carries what comes to a listener to where dial leads.
func (w *Wire) Serve(l net.Listener, port uint32, dial func(context.Context) (net.Conn, error)) {
	context.AfterFunc(w.ctx, func() { l.Close() })
	w.carry.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			w.carry.Go(func() { w.connect(near, port, dial) })
		}
	})
}

// TCP carries what comes to a new local address to another one, and answers the
// new one.
func (w *Wire) TCP(to string) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.Serve(l, 0, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", to) })
	return l.Addr().String()
}

func (w *Wire) connect(near net.Conn, port uint32, dial func(context.Context) (net.Conn, error)) {
	defer near.Close()
	far, err := dial(w.ctx)
	if err != nil {
		return // as if nobody listened
	}
	defer far.Close()
	stop := context.AfterFunc(w.ctx, func() { near.Close(); far.Close() })
	defer stop()
	var other sync.WaitGroup
	other.Go(func() { w.oneWay(near, far, port) })
	w.oneWay(far, near, port)
	other.Wait()
}

// oneWay carries one direction to its end and passes that on.
func (w *Wire) oneWay(to, from net.Conn, port uint32) {
	_, err := io.Copy(to, &tap{wire: w, from: from, port: port})
	if half, ok := to.(interface{ CloseWrite() error }); err == nil && ok {
		_ = half.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}

// overlap is how much of what came before is shown with a piece, in bytes, so
// that a word in two pieces is seen.
const overlap = 256

// tap shows what is read.
type tap struct {
	wire *Wire
	from net.Conn
	port uint32
	last []byte
}

// Read reads a piece, records it and shows it.
func (t *tap) Read(b []byte) (int, error) {
	n, err := t.from.Read(b)
	if n == 0 {
		return n, err
	}
	t.wire.mu.Lock()
	t.wire.record.Write(b[:n])
	t.wire.mu.Unlock()
	if t.wire.see != nil {
		t.last = append(t.last, b[:n]...)
		t.wire.see(t.port, t.last)
		t.last = slices.Clone(t.last[max(0, len(t.last)-overlap):])
	}
	return n, err
}
