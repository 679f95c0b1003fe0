package nsmdev_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/vhost"
	"github.com/cloisterhq/cloister/sim/vhost/nsmdev"
	"github.com/cloisterhq/cloister/sim/vhost/vhosttest"
)

// background ends with the test, and long before the test binary does.
func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// driver does what Linux's does, on one request at a time.
type driver struct {
	front      *vhosttest.FrontEnd
	queue      *vhosttest.Queue
	where, got int // offsets of the request and of the response
	logged     lines
	mu         sync.Mutex
}

// lines are what the device's server logs, one at a time.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// boot starts a guest before the device of a module.
func boot(t testing.TB, module nsm.Device) *driver {
	t.Helper()
	dir, err := os.MkdirTemp("", "nsmdev")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "n.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, logged := make(chan error, 1), make(lines, 10)
	go func() {
		done <- vhost.Serve(ctx, l, nsmdev.New(module), slog.New(slog.NewTextHandler(logged, nil)))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v", err)
		}
		os.RemoveAll(dir)
	})
	f, err := vhosttest.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if err := errors.Join(f.Negotiate(), f.Share(2<<20)); err != nil {
		t.Fatal(err)
	}
	d := &driver{front: f, logged: logged, where: f.Alloc(1 << 20), got: f.Alloc(nsm.MaxResponse)}
	if d.queue, err = f.NewQueue(0, 16); err != nil {
		t.Fatal(err)
	}
	if err := d.queue.Start(); err != nil {
		t.Fatal(err)
	}
	d.queue.Interrupted() // the device interrupts once when it gets the file
	return d
}

// ask offers a request of n bytes and room for a response, as two chains.
func (d *driver) ask(request []byte, room int) {
	copy(d.front.Memory[d.where:], request)
	d.queue.Describe(0, d.where, uint32(len(request)), 0, 0)
	d.queue.Describe(1, d.got, uint32(room), vhosttest.Write, 0)
	d.queue.Offer(0)
	d.queue.Offer(1)
	d.queue.Kick()
}

// answer waits for one interrupt and demands that both chains are there then.
func (d *driver) answer(ctx context.Context) ([]byte, error) {
	if err := d.queue.Wait(ctx); err != nil {
		return nil, err
	}
	first, written, ok := d.queue.Used()
	second, n, both := d.queue.Used()
	if !ok || !both || first != 0 || second != 1 || written != 0 {
		return nil, errors.New("wrong response buffer") // the driver's words
	}
	return bytes.Clone(d.front.Bytes(d.got, n)), nil
}

// Exchange makes the driver what a client uses.
func (d *driver) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ask(request, nsm.MaxResponse)
	return d.answer(ctx)
}

// TestClient uses the simulated module through the device with the client that
// the enclave has.
func TestClient(t *testing.T) {
	now := time.Now()
	root, err := nsmsim.NewRoot(now, "test")
	if err != nil {
		t.Fatal(err)
	}
	measured := attestation.PCR(sha512.Sum384([]byte("image")))
	module, err := nsmsim.New(nsmsim.Config{Root: root, Image: nsmsim.Image{PCR0: measured, PCR1: measured, PCR2: measured}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := background(t)
	guest, direct := nsm.NewClient(boot(t, module)), nsm.NewClient(module)
	got, err := guest.Describe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want, err := direct.Describe(ctx); err != nil || got.ModuleID != want.ModuleID || got.Registers != 32 {
		t.Errorf("the module is %+v, want %+v", got, want)
	}
	value, err := guest.Extend(ctx, 16, []byte("bundle"))
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Lock(ctx, 16); err != nil {
		t.Fatal(err)
	}
	if _, err := guest.Extend(ctx, 16, []byte("more")); !errors.Is(err, nsm.ReadOnlyIndex) {
		t.Errorf("extending a locked register: %v", err)
	}
	if stored, locked, err := direct.DescribePCR(ctx, 16); err != nil || stored != value || !locked {
		t.Errorf("the module holds %x, locked %v, %v; the guest was told %x", stored, locked, err, value)
	}
	for range 50 {
		if random, err := guest.Random(ctx); err != nil || len(random) == 0 {
			t.Fatalf("random: %d bytes, %v", len(random), err)
		}
	}
}

// module is a function as a module.
type module func(ctx context.Context, request []byte) ([]byte, error)

func (m module) Exchange(ctx context.Context, request []byte) ([]byte, error) { return m(ctx, request) }

// sized answers how long a request was, and room bytes in all.
func sized(room int) module {
	return func(_ context.Context, request []byte) ([]byte, error) {
		b := make([]byte, room)
		copy(b, []byte{byte(len(request) >> 8), byte(len(request))})
		return b, nil
	}
}

func TestSizes(t *testing.T) {
	const tooLarge, tooSmall, broken = "\xa1\x65Error\x6dInputTooLarge", "\xa1\x65Error\x6eBufferTooSmall", "\xa1\x65Error\x6dInternalError"
	tests := []struct {
		name          string
		module        module
		request, room int
		want          string
	}{
		{"shortest request", sized(2), 1, nsm.MaxResponse, "\x00\x01"},
		{"longest request", sized(2), nsm.MaxRequest, nsm.MaxResponse, "\x10\x00"},
		{"request too long", sized(2), nsm.MaxRequest + 1, nsm.MaxResponse, tooLarge},
		{"request of a mebibyte", sized(2), 1 << 20, nsm.MaxResponse, tooLarge},
		{"longest response", sized(nsm.MaxResponse), 1, nsm.MaxResponse, "\x00\x01" + string(make([]byte, nsm.MaxResponse-2))},
		{"response that just fits", sized(100), 1, 100, "\x00\x01" + string(make([]byte, 98))},
		{"response too long", sized(nsm.MaxResponse + 1), 1, nsm.MaxResponse, tooSmall},
		{"no room even for the refusal", sized(100), 1, 20, ""},
		{"no response", sized(0), 1, 100, ""},
		{"module that fails", func(context.Context, []byte) ([]byte, error) { return nil, io.ErrUnexpectedEOF }, 1, nsm.MaxResponse, broken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := boot(t, test.module)
			d.ask(make([]byte, test.request), test.room)
			if got, err := d.answer(background(t)); err != nil || string(got) != test.want {
				t.Errorf("%q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// TestOneInterrupt counts, after the device has ended.
func TestOneInterrupt(t *testing.T) {
	d := boot(t, sized(2))
	before := d.queue.Interrupts
	if _, err := d.Exchange(background(t), []byte("?")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.queue.Stop(); err != nil {
		t.Fatal(err)
	}
	d.queue.Interrupted()
	if n := d.queue.Interrupts - before; n != 1 {
		t.Errorf("%d interrupts for one exchange", n)
	}
}

// TestRequestFirst offers the response's buffer only after the device has seen
// the request.
func TestRequestFirst(t *testing.T) {
	d := boot(t, sized(2))
	d.queue.Describe(0, d.where, 5, 0, 0)
	d.queue.Describe(1, d.got, 100, vhosttest.Write, 0)
	d.queue.Offer(0)
	d.queue.Force()
	if _, _, ok := d.queue.Used(); ok {
		t.Error("the request alone was given back")
	}
	d.queue.Offer(1)
	d.queue.Force()
	if got, err := d.answer(background(t)); err != nil || string(got) != "\x00\x05" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestHostileDriver offers chains of the wrong kind. Nothing reaches the module
// or comes back, and a reset makes the device good again.
func TestHostileDriver(t *testing.T) {
	for name, flags := range map[string][2]uint16{
		"response first": {vhosttest.Write, 0}, "two requests": {0, 0}, "two responses": {vhosttest.Write, vhosttest.Write},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			d := boot(t, module(func(context.Context, []byte) ([]byte, error) {
				asked.Add(1)
				return []byte("yes"), nil
			}))
			d.queue.Describe(0, d.where, 5, flags[0], 0)
			d.queue.Describe(1, d.got, 100, flags[1], 0)
			d.queue.Offer(0)
			d.queue.Offer(1)
			d.queue.Force()
			if line := <-d.logged; !strings.Contains(line, vhost.ErrDriver.Error()) {
				t.Errorf("logged %s", line)
			}
			base, err := d.queue.Stop()
			if err != nil || base != 0 || asked.Load() != 0 {
				t.Errorf("stopped at %d, %v, with %d requests to the module", base, err, asked.Load())
			}
			d.queue.Begin(0)
			if err := d.queue.Start(); err != nil {
				t.Fatal(err)
			}
			d.queue.Interrupted()
			if got, err := d.Exchange(background(t), []byte("?")); err != nil || string(got) != "yes" {
				t.Errorf("after the reset: %q, %v", got, err)
			}
		})
	}
}

// TestResetDuringAnExchange stops the queue while the module works and ignores
// that nobody waits. The monitor is answered at once; the next exchange begins
// when the last is over.
func TestResetDuringAnExchange(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	var running, together atomic.Int32
	d := boot(t, module(func(_ context.Context, request []byte) ([]byte, error) {
		if running.Add(1) > 1 {
			together.Add(1)
		}
		defer running.Add(-1)
		entered <- struct{}{}
		<-release
		return request, nil
	}))
	d.ask([]byte("first"), 100)
	<-entered
	if base, err := d.queue.Stop(); err != nil || base != 0 {
		t.Fatalf("stopped at %d, %v", base, err)
	}
	if running.Load() != 1 {
		t.Fatal("the exchange ended with the queue")
	}
	d.queue.Begin(0)
	if err := d.queue.Start(); err != nil {
		t.Fatal(err)
	}
	d.queue.Interrupted()
	d.ask([]byte("second"), 100)
	close(release)
	if got, err := d.answer(background(t)); err != nil || string(got) != "second" {
		t.Errorf("%q, %v", got, err)
	}
	if together.Load() != 0 {
		t.Error("two exchanges at once")
	}
}
