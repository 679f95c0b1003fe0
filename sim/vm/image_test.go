package vm_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/internal/cmdline"
	"github.com/cloisterhq/cloister/sim/vm"
)

func TestImageIsMeasured(t *testing.T) {
	p := parts(t)
	for _, signed := range []bool{false, true} {
		m := open(t, write(t, signed)).Measured()
		if m.PCR0 != pcr(p.Kernel, []byte(cmdline.Line), p.Ramdisks[0], p.Ramdisks[1]) {
			t.Errorf("signed %t: PCR0 is %s", signed, m.PCR0)
		}
		if m.PCR1 != pcr(p.Kernel, []byte(cmdline.Line), p.Ramdisks[0]) {
			t.Errorf("signed %t: PCR1 is %s", signed, m.PCR1)
		}
		if m.PCR2 != pcr(p.Ramdisks[1]) {
			t.Errorf("signed %t: PCR2 is %s", signed, m.PCR2)
		}
		if m.PCR8.IsZero() == signed {
			t.Errorf("signed %t: PCR8 is %s", signed, m.PCR8)
		}
	}
}

func TestImageIsRefused(t *testing.T) {
	good := read(t, write(t, true))
	change := func(at int, b byte) []byte {
		bad := bytes.Clone(good)
		bad[at] ^= b
		return bad
	}
	for name, content := range map[string][]byte{
		"empty":             {},
		"not an image":      []byte("#!/bin/sh\nexec qemu\n"),
		"truncated":         good[:len(good)-1],
		"longer":            append(bytes.Clone(good), 0),
		"another byte":      change(len(good)/2, 1),
		"another checksum":  change(0x220, 1),
		"another machine":   change(7, 1),
		"another version":   change(5, 1),
		"another signature": change(len(good)-1, 1),
	} {
		path := filepath.Join(t.TempDir(), "bad.eif")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vm.Open(t.Context(), path); !errors.Is(err, vm.ErrImage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := vm.Open(t.Context(), t.TempDir()); !errors.Is(err, vm.ErrImage) {
		t.Errorf("a directory: %v", err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vm.Open(t.Context(), pipe); !errors.Is(err, vm.ErrImage) {
		t.Errorf("a pipe that nobody writes into: %v", err)
	}
	if _, err := vm.Open(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestCopy(t *testing.T) {
	path := write(t, true)
	m := open(t, path)
	var b bytes.Buffer
	if err := m.Copy(&b); err != nil || !bytes.Equal(b.Bytes(), read(t, path)) || int64(b.Len()) != m.Size() {
		t.Errorf("%d bytes of %d: %v", b.Len(), m.Size(), err)
	}
}

func TestRelabel(t *testing.T) {
	m := open(t, write(t, true))
	seen := map[string]bool{m.Measured().PCR0.String(): true}
	for _, label := range []string{"one", "two"} {
		path := filepath.Join(t.TempDir(), "other.eif")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Relabel(f, label); err != nil {
			t.Fatal(err)
		}
		f.Close()
		other := open(t, path).Measured()
		if seen[other.PCR0.String()] || other.PCR1 != m.Measured().PCR1 || other.PCR2 == m.Measured().PCR2 || !other.PCR8.IsZero() {
			t.Errorf("%s: %+v, of %+v", label, other, m.Measured())
		}
		seen[other.PCR0.String()] = true
	}
}
