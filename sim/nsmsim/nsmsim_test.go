package nsmsim_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// start is when the tests' clocks begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC)

// clock is a clock that tests set.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func newRoot(t testing.TB) *nsmsim.Root {
	t.Helper()
	root, err := nsmsim.NewRoot(start, "test-deployment")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func image(t testing.TB) nsmsim.Image {
	t.Helper()
	i, err := nsmsim.Measure(strings.NewReader("a program"), "")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// newDevice starts a module with what c leaves out filled in.
func newDevice(t testing.TB, c nsmsim.Config) *nsmsim.Device {
	t.Helper()
	if c.Root == nil {
		c.Root = newRoot(t)
	}
	if c.Image == (nsmsim.Image{}) {
		c.Image = image(t)
	}
	if c.Now == nil {
		c.Now = (&clock{start}).now
	}
	d, err := nsmsim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// unhex reads hexadecimal digits in any number of parts, and text in quotes.
func unhex(t testing.TB, parts ...string) []byte {
	t.Helper()
	var all []byte
	for _, part := range strings.Fields(strings.Join(parts, " ")) {
		if text, ok := strings.CutPrefix(part, `"`); ok {
			text = strings.TrimSuffix(text, `"`)
			if len(text) > 23 {
				all = append(all, 0x78)
				all = append(all, byte(len(text)))
			} else {
				all = append(all, 0x60|byte(len(text)))
			}
			all = append(all, text...)
			continue
		}
		b, err := hex.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func exchange(t testing.TB, d *nsmsim.Device, request []byte) []byte {
	t.Helper()
	response, err := d.Exchange(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func TestNewRefuses(t *testing.T) {
	root, now := newRoot(t), func() time.Time { return start }
	tests := map[string]nsmsim.Config{
		"no root":             {Image: image(t), Now: now},
		"no image":            {Root: root, Now: now},
		"PCR2 not measured":   {Root: root, Now: now, Image: nsmsim.Image{PCR0: attestation.PCR{1}, PCR1: attestation.PCR{1}}},
		"instance":            {Root: root, Image: image(t), Now: now, Instance: "i-"},
		"instance, upper":     {Root: root, Image: image(t), Now: now, Instance: "i-0123ABCD"},
		"instance, enclave":   {Root: root, Image: image(t), Now: now, Instance: "i-01234567-enc0"},
		"root not yet valid":  {Root: root, Image: image(t), Now: func() time.Time { return start.Add(-2 * time.Hour) }},
		"root not valid long": {Root: root, Image: image(t), Now: func() time.Time { return start.AddDate(30, 0, -1) }},
	}
	for name, c := range tests {
		if d, err := nsmsim.New(c); err == nil || d != nil {
			t.Errorf("%s: no error", name)
		}
	}
	d, err := nsmsim.New(nsmsim.Config{Root: root, Image: image(t)})
	if err != nil {
		t.Fatalf("with the machine's clock: %v", err)
	}
	d.Close()
}

func TestModuleID(t *testing.T) {
	form := regexp.MustCompile(`^i-[0-9a-f]{17}-enc[0-9a-f]{16}$`)
	root, seen := newRoot(t), map[string]bool{}
	for range 4 {
		id := newDevice(t, nsmsim.Config{Root: root}).ModuleID()
		if !form.MatchString(id) || seen[id] {
			t.Errorf("module id %q, which is of another form or was there before", id)
		}
		seen[id] = true
	}
	if id := newDevice(t, nsmsim.Config{Root: root, Instance: "i-0809849710bf1b61b"}).ModuleID(); !strings.HasPrefix(id, "i-0809849710bf1b61b-enc") {
		t.Errorf("module id %q of another instance", id)
	}
}

// TestRequestSize checks the driver's limit on both sides.
func TestRequestSize(t *testing.T) {
	d := newDevice(t, nsmsim.Config{})
	head := unhex(t, `a1 "ExtendPCR" a2 "index" 10 "data" 590000`)
	for size, want := range map[int]error{nsm.MaxRequest: nil, nsm.MaxRequest + 1: syscall.EMSGSIZE} {
		n := size - len(head)
		request := append(bytes.Clone(head), make([]byte, n)...)
		request[len(head)-2], request[len(head)-1] = byte(n>>8), byte(n)
		response, err := d.Exchange(t.Context(), request)
		if !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", size, err, want)
		}
		if err == nil && !bytes.HasPrefix(response, unhex(t, `a1 "ExtendPCR"`)) {
			t.Errorf("%d bytes: %x", size, response)
		}
	}
}

func TestClose(t *testing.T) {
	d := newDevice(t, nsmsim.Config{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed twice: %v, want fs.ErrClosed", err)
	}
	if _, err := d.Exchange(t.Context(), unhex(t, `"GetRandom"`)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("an exchange after the end: %v, want fs.ErrClosed", err)
	}
}

// TestStall checks the three ways out of an exchange with a module that
// doesn't answer, and that others wait behind it meanwhile.
func TestStall(t *testing.T) {
	tests := map[string]struct {
		end  func(cancel context.CancelFunc, d *nsmsim.Device)
		want error
	}{
		"driver": {func(context.CancelFunc, *nsmsim.Device) {}, syscall.ETIMEDOUT},
		"caller": {func(cancel context.CancelFunc, _ *nsmsim.Device) { cancel() }, context.Canceled},
		"close":  {func(_ context.CancelFunc, d *nsmsim.Device) { d.Close() }, fs.ErrClosed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice(t, nsmsim.Config{Faults: func(request string) nsmsim.Fault {
					if request == "GetRandom" {
						return nsmsim.Stalled
					}
					return nsmsim.Healthy
				}})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var group sync.WaitGroup
				group.Go(func() {
					if _, err := d.Exchange(ctx, unhex(t, `"GetRandom"`)); !errors.Is(err, test.want) {
						t.Errorf("%v, want %v", err, test.want)
					}
				})
				synctest.Wait()
				behind, leave := context.WithTimeout(t.Context(), time.Second)
				defer leave()
				if _, err := d.Exchange(behind, unhex(t, `"DescribeNSM"`)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("behind it: %v, want DeadlineExceeded", err)
				}
				test.end(cancel, d)
				group.Wait()
			})
		})
	}
}

// TestConcurrentUse extends one register from many goroutines: none is lost.
func TestConcurrentUse(t *testing.T) {
	d := newDevice(t, nsmsim.Config{})
	c := nsm.NewClient(d)
	const callers, each = 8, 25
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range each {
				if _, err := c.Extend(t.Context(), 16, []byte{1}); err != nil {
					t.Error(err)
				}
				if _, err := d.Exchange(t.Context(), unhex(t, `"DescribeNSM"`)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	var want attestation.PCR
	for range callers * each {
		want = want.Extend([]byte{1})
	}
	if got, _, err := c.DescribePCR(t.Context(), 16); err != nil || got != want {
		t.Errorf("PCR16 is %s, %v; want %s", got, err, want)
	}
}
