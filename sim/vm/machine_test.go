package vm_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/cmdline"
	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/vm"
	"github.com/cloisterhq/cloister/sim/vm/qemu"
)

// program is a QEMU that answers what qemu.Open asks, and does what the test
// wants as a machine.
func program(t *testing.T, does string) *qemu.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	text := `#!/bin/sh
case "$*" in
--version) echo 'QEMU emulator version 12.0.0'; exit ;;
'-device help') echo 'name "vhost-user-vsock-device"'; echo 'name "vhost-user-test-device"'; exit ;;
esac
` + does
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := qemu.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// world is a Config with what the test looks at.
type world struct {
	vm.Config
	dir string
	log *page
}

func newWorld(t *testing.T, does string) *world {
	t.Helper()
	// Longer than a socket's path may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	w := &world{dir: dir, log: &page{}}
	if err := os.MkdirAll(filepath.Join(dir, "vsock"), 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := nsmsim.NewRoot(time.Now(), "machines")
	if err != nil {
		t.Fatal(err)
	}
	w.Config = vm.Config{
		Image: write(t, true), QEMU: program(t, does), Root: root, Dir: filepath.Join(dir, "run"), Sockets: filepath.Join(dir, "vsock"),
		Ports: []uint32{vsock.PortAttested}, Console: console(t, filepath.Join(dir, "console")), Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	return w
}

func (w *world) console(t *testing.T) string {
	t.Helper()
	all, err := vm.ReadConsole(filepath.Join(w.dir, "console"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// clean demands that nothing of a machine is left.
func (w *world) clean(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(w.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the run directory: %v", err)
	}
	if left, err := os.ReadDir(w.Sockets); err != nil || len(left) != 0 {
		t.Errorf("%d sockets are left: %v", len(left), err)
	}
}

// TestFiles looks at what QEMU is given.
func TestFiles(t *testing.T) {
	out := t.TempDir()
	w := newWorld(t, `cp kernel ramdisk `+out+`/; pwd >`+out+`/pwd; env >`+out+`/env
for word in "$@"; do echo "$word"; done >`+out+`/words
test -S vsock.sock && test -S nsm.sock || exit 9
`)
	if err := vm.Run(t.Context(), w.Config); !errors.Is(err, vm.ErrEnded) || strings.Contains(err.Error(), "exit status") {
		t.Errorf("the end: %v", err)
	}
	p := parts(t)
	if !bytes.Equal(read(t, filepath.Join(out, "kernel")), p.Kernel) {
		t.Error("another kernel than the image's")
	}
	disks := read(t, filepath.Join(out, "ramdisk"))
	at := bytes.Index(disks, p.Ramdisks[1])
	if !bytes.HasPrefix(disks, p.Ramdisks[0]) || at < len(p.Ramdisks[0]) || at%4 != 0 || len(disks)%4 != 0 {
		t.Errorf("the second ramdisk of %d bytes begins at byte %d of %d", len(p.Ramdisks[1]), at, len(disks))
	}
	words := string(read(t, filepath.Join(out, "words")))
	for _, want := range []string{"-append\n" + cmdline.Line + "\n", "-accel\ntcg,thread=multi\n", "-no-reboot\n", "-m\n1024\n", "size=1024M,share=on"} {
		if !strings.Contains(words, want) {
			t.Errorf("the command line has no %q:\n%s", want, words)
		}
	}
	for _, never := range []string{"kvm", "vhost-vsock", "-netdev", "-drive"} {
		if strings.Contains(words, never) {
			t.Errorf("the command line has %q", never)
		}
	}
	if got := strings.TrimSpace(string(read(t, filepath.Join(out, "pwd")))); got != w.Dir {
		t.Errorf("QEMU runs in %s, not %s", got, w.Dir)
	}
	if env := string(read(t, filepath.Join(out, "env"))); strings.Contains(env, "HOME=") {
		t.Errorf("QEMU has our environment: %s", env)
	}
	w.clean(t)
}

func TestEnds(t *testing.T) {
	for name, c := range map[string]struct{ does, want string }{
		"by itself":    {"exit 0\n", "its init or its kernel ended it"},
		"with a fault": {"echo 'no\nmemory' >&2; exit 1\n", "exit status 1: no memory"},
		"killed":       {"kill -9 $$\n", "signal: killed"},
	} {
		w := newWorld(t, c.does)
		if err := vm.Run(t.Context(), w.Config); !errors.Is(err, vm.ErrEnded) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		w.clean(t)
	}
}

func TestIsStopped(t *testing.T) {
	for name, does := range map[string]string{
		"when it is asked": "echo running; exec sleep 300\n",
		"when it must":     "trap '' TERM; echo running; while :; do sleep 0.1; done\n",
	} {
		w := newWorld(t, does)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- vm.Run(ctx, w.Config) }()
		pidFile := filepath.Join(w.Dir, vm.PIDFile)
		for deadline := time.Now().Add(30 * time.Second); !strings.Contains(w.console(t), "running") || !exists(pidFile); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it doesn't run: %s", name, w.log)
			}
		}
		pid := strings.TrimSpace(string(read(t, pidFile)))
		if _, err := os.Stat(filepath.Join("/proc", pid, "stat")); err != nil {
			t.Fatalf("%s: process %q isn't there while it runs: %v", name, pid, err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join("/proc", pid)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: process %s is still there", name, pid)
		}
		w.clean(t)
	}
}

const uncalibrated = "echo '[    0.020000] tsc: Marking TSC unstable due to could not calculate TSC khz'; exec sleep 300\n"

// TestUncalibrated starts a machine again when its kernel found no clock, and
// not forever.
func TestUncalibrated(t *testing.T) {
	w := newWorld(t, "if mkdir first; then "+uncalibrated+"fi; echo second; exit 0\n")
	if err := vm.Run(t.Context(), w.Config); !errors.Is(err, vm.ErrEnded) {
		t.Errorf("%v", err)
	}
	if n := strings.Count(w.log.String(), vm.Started); n != 2 || !strings.Contains(w.console(t), "second") {
		t.Errorf("%d starts: %s", n, w.log)
	}
	w = newWorld(t, uncalibrated)
	err := vm.Run(t.Context(), w.Config)
	if err == nil || errors.Is(err, vm.ErrEnded) || !strings.Contains(err.Error(), "couldn't calibrate") {
		t.Errorf("%v", err)
	}
	w.clean(t)
}

func TestRefuses(t *testing.T) {
	w := newWorld(t, "exit 0\n")
	w.Image = filepath.Join(t.TempDir(), "bad.eif")
	if err := os.WriteFile(w.Image, []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := vm.Run(t.Context(), w.Config); !errors.Is(err, vm.ErrImage) {
		t.Errorf("a bad image: %v", err)
	}
	w = newWorld(t, "exit 0\n")
	l, err := vsock.Unix(w.Sockets, vsock.EnclaveCID).Listen(vsock.PortAttested)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := vm.Run(t.Context(), w.Config); err == nil || errors.Is(err, vm.ErrEnded) {
		t.Errorf("a port that another machine has: %v", err)
	}
	if strings.Contains(w.log.String(), vm.Started) {
		t.Error("QEMU was started")
	}
}
