package vsockdev_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/vsockdev"
)

// world is a device, its socket, and the directory that is the host's side.
type world struct {
	device *vsockdev.Device
	dir    string
	path   string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "vsockdev")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: dir, path: filepath.Join(dir, "v.sock")}
	w.device = vsockdev.New(vsockdev.Config{GuestCID: guestCID, Host: vsock.Unix(dir, guestCID)})
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: w.path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- vhost.Serve(ctx, l, w.device, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v", err)
		}
		os.RemoveAll(dir)
	})
	return w
}

// listen serves a port of the parent's.
func (w *world) listen(t testing.TB, cid, port uint32, serve func(net.Conn)) {
	t.Helper()
	l, err := vsock.Unix(w.dir, cid).Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
}

// mirror sends back what it gets, and then its end.
func mirror(c net.Conn) {
	_, _ = io.Copy(onlyWriter{c}, c)
	_ = closeWrite(c)
}

// onlyWriter keeps io.Copy from splicing two sockets.
type onlyWriter struct{ io.Writer }

func closeWrite(c any) error { return c.(interface{ CloseWrite() error }).CloseWrite() }

// background ends with the test, and long before the test binary does.
func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// random answers n bytes that a seed determines.
func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// through sends bytes in pieces of random size, ends its direction, and demands
// that the same bytes and then their end come back.
func through(c io.ReadWriter, seed uint64, b []byte) error {
	wrote := make(chan error, 1)
	go func() {
		r := rand.New(rand.NewPCG(seed, 0))
		for rest := b; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(1<<(1+r.IntN(17))))
			if _, err := c.Write(rest[:n]); err != nil {
				wrote <- fmt.Errorf("writing: %w", err)
				return
			}
			rest = rest[n:]
		}
		wrote <- closeWrite(c)
	}()
	got, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(got, b) {
		err = fmt.Errorf("%d of %d bytes came back, or others", len(got), len(b))
	}
	return errors.Join(err, <-wrote)
}

// settled waits until the device holds no connection.
func (w *world) settled(t testing.TB) {
	t.Helper()
	w.until(t, func(c vsockdev.Counts) bool { return c.Connections == 0 })
}

// until waits for counters.
func (w *world) until(t testing.TB, done func(vsockdev.Counts) bool) {
	t.Helper()
	for ctx := background(t); !done(w.device.Counts()); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("still %+v", w.device.Counts())
		}
	}
}
