package vm_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/sim/vm"
)

// bzImage answers a kernel that is as long as its header says.
func bzImage(fill byte) []byte {
	b := bytes.Repeat([]byte{fill}, 2*512+32*16)
	b[0x1f1] = 1
	binary.LittleEndian.PutUint32(b[0x1f4:], 32)
	copy(b[0x202:], "HdrS")
	return b
}

// parts are a small image.
func parts(t *testing.T) image.Parts {
	t.Helper()
	disks, err := image.Ramdisks([]byte("init!")) // five bytes, so that padding shows
	if err != nil {
		t.Fatal(err)
	}
	return image.Parts{Kernel: bzImage('k'), Release: "6", Ramdisks: disks, Date: time.Unix(0, 0)}
}

// write writes an image, signed or not.
func write(t *testing.T, signed bool) string {
	t.Helper()
	dir := t.TempDir()
	path, p := filepath.Join(dir, "unsigned.eif"), parts(t)
	unsigned, err := p.Write(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if !signed {
		return path
	}
	signer, err := image.Development(filepath.Join(dir, "signer"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "signed.eif")
	if _, err := p.WriteSigned(t.Context(), path, unsigned, signer); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens an image for the test's duration.
func open(t *testing.T, path string) *vm.Image {
	t.Helper()
	m, err := vm.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// pcr is a register by its definition: SHA-384(48 zero bytes || SHA-384(content)).
func pcr(content ...[]byte) [sha512.Size384]byte {
	digest := sha512.Sum384(bytes.Join(content, nil))
	return sha512.Sum384(append(make([]byte, sha512.Size384), digest[:]...))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
