package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/internal/vsock"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/vm"
	"github.com/cloisterhq/cloister/sim/vm/qemu"
)

// QEMU is the virtual machine's own process among those of a Status: a child of
// VM, which ends with it.
const QEMU = "qemu"

// Machine says in what the enclave of tier two runs. Empty fields keep what the
// deployment had.
type Machine struct {
	// Image is the image file.
	Image string `json:"image"`
	// QEMU is a QEMU 11.1 or later: a program, or a directory that qemu.Prepare
	// made. Empty fetches one.
	QEMU string `json:"qemu"`
	// Memory is the machine's, in MiB.
	Memory int `json:"memory"`
}

// machine takes over what the options say; nil is tier one.
func (f *facts) machine(o *Machine) error {
	if o == nil {
		f.Machine = nil
		return nil
	}
	m := Machine{Memory: vm.DefaultMemory}
	if f.Machine != nil {
		m = *f.Machine
	}
	for _, path := range []struct{ given, kept *string }{{&o.Image, &m.Image}, {&o.QEMU, &m.QEMU}} {
		if *path.given == "" {
			continue
		}
		abs, err := filepath.Abs(*path.given)
		if err != nil {
			return fmt.Errorf("stack: %w", err)
		}
		if _, err := os.Stat(abs); err != nil {
			return fmt.Errorf("stack: %w", err)
		}
		*path.kept = abs
	}
	if o.Memory != 0 {
		m.Memory = o.Memory
	}
	if m.Image == "" {
		return errors.New("no virtual machine yet in this state directory: give --image FILE, an enclave image file")
	}
	f.Machine = &m
	return nil
}

// prepare refuses a bad image, and finds or fetches QEMU.
func (m *Machine) prepare(ctx context.Context, out io.Writer) error {
	image, err := vm.Open(ctx, m.Image)
	if err != nil {
		return err
	}
	image.Close()
	if m.QEMU != "" {
		if _, err := qemu.Open(ctx, m.QEMU); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	cache, err := qemu.CacheDir()
	if err != nil {
		return err
	}
	p, err := qemu.Prepare(ctx, cache, func(line string) { fmt.Fprintf(out, "  qemu      %s\n", line) })
	if err != nil {
		return err
	}
	m.QEMU = p.Path()
	return nil
}

// image is the deployment's copy of the image that runs.
func (l Layout) image() string { return l.sim("image.eif") }

// adopt reads the image strictly, answers its measurements, and keeps a copy to
// run: of another image with the same programs when a label is given.
func (l Layout) adopt(ctx context.Context, f *facts) (nsmsim.Image, error) {
	image, err := vm.Open(ctx, f.Machine.Image)
	if err != nil {
		return nsmsim.Image{}, err
	}
	defer image.Close()
	next := l.image() + ".new"
	out, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nsmsim.Image{}, fmt.Errorf("stack: %w", err)
	}
	defer out.Close()
	if f.ImageLabel == "" {
		err = image.Copy(out)
	} else {
		err = image.Relabel(out, f.ImageLabel)
	}
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		err = os.Rename(next, l.image())
	}
	if err != nil {
		return nsmsim.Image{}, fmt.Errorf("stack: %w", err)
	}
	return image.Measured(), nil
}

// runMachine is the process of the virtual machine: its devices, and QEMU.
func (l Layout) runMachine(ctx context.Context, f *facts) error {
	if f.Machine == nil {
		return errors.New("stack: this deployment has no virtual machine")
	}
	root, err := l.root(f.Deployment)
	if err != nil {
		return err
	}
	program, err := qemu.Open(ctx, f.Machine.QEMU)
	if err != nil {
		return err
	}
	console, err := vm.OpenConsole(l.Console())
	if err != nil {
		return err
	}
	defer console.Close()
	return vm.Run(ctx, vm.Config{
		Image: l.image(), QEMU: program, Root: root, Dir: l.machineDir(), Sockets: l.Sockets(),
		Ports: []uint32{vsock.PortAttested, vsock.PortIngest}, Memory: f.Machine.Memory, Console: console,
		Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
}

// machineDir is the virtual machine's run directory.
func (l Layout) machineDir() string { return filepath.Join(l.dir, "run", "machine") }

// QEMU answers the process id of the QEMU that runs now, or 0.
func (l Layout) QEMU() int {
	b, err := os.ReadFile(filepath.Join(l.machineDir(), vm.PIDFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0
	}
	// Another program may have the number by now.
	if at, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "cwd")); err != nil || at != l.machineDir() {
		return 0
	}
	return pid
}

// patience answers how long Up waits, and whose log tells why in vain.
func (l Layout) patience() (time.Duration, string) {
	if f, err := l.loadFacts(); err == nil && f.Machine != nil {
		return machineWait, VM
	}
	return upWait, Enclave
}
