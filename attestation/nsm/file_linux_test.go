package nsm_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/attestation/nsm"
)

func TestOpen(t *testing.T) {
	f, err := nsm.Open()
	if _, there := os.Stat("/dev/nsm"); there == nil {
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d, err := nsm.NewClient(f).Describe(t.Context())
		if err != nil || d.Registers != 32 {
			t.Fatalf("the module describes itself as %+v, %v", d, err)
		}
		return
	}
	if !errors.Is(err, fs.ErrNotExist) || f != nil {
		t.Fatalf("without a device: %v, %v; want fs.ErrNotExist", f, err)
	}
}

// TestIoctl holds the number and the layout against the kernel's interface:
// _IOWR(0x0A, 0, struct nsm_raw) with two pairs of 64-bit address and length.
func TestIoctl(t *testing.T) {
	const readWrite, size, magic, number = 3, 32, 0x0A, 0
	if want := readWrite<<30 | size<<16 | magic<<8 | number; nsm.IoctlRaw != want {
		t.Errorf("ioctl %#x, want %#x", nsm.IoctlRaw, want)
	}
	if nsm.RawSize != size || nsm.ResponseOffset != 16 || nsm.LengthOffset != 8 {
		t.Errorf("argument of %d bytes, response at %d, length %d behind; want 32, 16, 8", nsm.RawSize, nsm.ResponseOffset, nsm.LengthOffset)
	}
}

// TestFileSurfacesErrno asks files that take no such ioctl.
func TestFileSurfacesErrno(t *testing.T) {
	regular := filepath.Join(t.TempDir(), "regular")
	if err := os.WriteFile(regular, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/dev/null", regular} {
		f, err := nsm.OpenPath(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Exchange(t.Context(), []byte("\x69GetRandom")); !errors.Is(err, syscall.ENOTTY) {
			t.Errorf("%s: %v, want ENOTTY", path, err)
		}
		if random, err := nsm.NewClient(f).Random(t.Context()); !errors.Is(err, syscall.ENOTTY) || random != nil {
			t.Errorf("%s through a client: %v, want ENOTTY", path, err)
		}
	}
}

func TestFileEnds(t *testing.T) {
	f, err := nsm.OpenPath("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Exchange(ctx, []byte{0x60}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Exchange(t.Context(), []byte{0x60}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v, want fs.ErrClosed", err)
	}
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed twice: %v, want fs.ErrClosed", err)
	}
}
