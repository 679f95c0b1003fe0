package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/sim/vm/qemu"
)

const (
	// DefaultMemory is a machine's memory unless told otherwise, in MiB.
	DefaultMemory = 1024
	// cpus is how many processors a machine has; an enclave has at least two.
	cpus = 2
	// stopWait is how long QEMU has to end by itself.
	stopWait = 2 * time.Second
	// calibrations is how often a machine is started anew because its kernel
	// couldn't measure the processor's counter.
	calibrations = 60
	// uncalibrated is what the kernel says then (Linux, arch/x86/kernel/tsc.c).
	uncalibrated = "tsc: Marking TSC unstable due to could not calculate TSC khz"
)

// ErrEnded says that the machine ended by itself: its init ended, its kernel
// panicked, or QEMU was killed.
var ErrEnded = errors.New("vm: the machine ended")

// errUncalibrated says that the kernel found no clock. It counts the
// processor's counter against an interval timer, and an interpreter that had to
// wait in that moment makes it give up. The image's init hasn't run then.
var errUncalibrated = errors.New("vm: the kernel couldn't calibrate the processor's counter")

// Config says what a machine is.
type Config struct {
	// Image is the path of the image file.
	Image string
	// QEMU interprets the machine.
	QEMU *qemu.Program
	// Root signs what the machine's module says.
	Root *nsmsim.Root
	// Dir is the machine's run directory, which is made and emptied.
	Dir string
	// Sockets is the directory of unix sockets that stand for vsock on the host's
	// side (internal/vsock.Unix).
	Sockets string
	// Ports are the guest's ports that the host can reach.
	Ports []uint32
	// Memory is the machine's, in MiB; 0 is DefaultMemory.
	Memory int
	// Console takes what the machine says on its serial line.
	Console *Console
	// Log takes what happens to the machine.
	Log *slog.Logger
}

// machine is a Config with what was read of its image.
type machine struct {
	Config
	measured nsmsim.Image
	line     string
}

// Run starts a machine and serves its devices until ctx ends, which is no
// error, or the machine does, which is one that wraps ErrEnded. The image is
// copied before it is read, so that what is measured is what runs.
func Run(ctx context.Context, c Config) error {
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	defer os.RemoveAll(c.Dir)
	m := &machine{Config: c}
	if err := m.load(ctx); err != nil {
		return err
	}
	for n := 1; ; n++ {
		err := m.boot(ctx)
		if !errors.Is(err, errUncalibrated) || n == calibrations {
			return err
		}
		c.Log.Info("vm: the kernel couldn't calibrate the processor's counter, as happens when this host is busy; starting again", slog.Int("attempt", n))
	}
}

// load copies, reads and measures the image, and writes what QEMU loads.
func (m *machine) load(ctx context.Context) error {
	private := filepath.Join(m.Dir, "image.eif")
	if err := copyFile(m.Image, private); err != nil {
		return err
	}
	defer os.Remove(private)
	image, err := Open(ctx, private)
	if err != nil {
		return err
	}
	defer image.Close()
	m.measured = image.Measured()
	m.Log.Info("vm: the image is measured", slog.String("pcr0", m.measured.PCR0.String()), slog.Bool("signed", !m.measured.PCR8.IsZero()))
	m.line, err = image.extract(m.Dir)
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	defer in.Close()
	out, err := create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	n, err := io.Copy(out, io.LimitReader(in, MaxImage+1))
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	if n > MaxImage {
		return fmt.Errorf("%w: more than %d bytes", ErrImage, int64(MaxImage))
	}
	return out.Close()
}

// boot runs the machine once.
func (m *machine) boot(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var clockless atomic.Bool
	m.Console.watch(func(line string) {
		if strings.HasSuffix(line, uncalibrated) {
			clockless.Store(true)
			cancel()
		}
	})
	group, ctx := errgroup.WithContext(ctx)
	err := m.plug(ctx, group)
	if err == nil {
		group.Go(func() error { return m.interpret(ctx) })
	} else {
		cancel()
	}
	err = errors.Join(err, group.Wait())
	if clockless.Load() {
		return errUncalibrated
	}
	return err
}

// interpret runs QEMU until it ends, or ends it with ctx.
func (m *machine) interpret(ctx context.Context) error {
	argv := m.QEMU.Command(m.arguments()...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = m.Dir, []string{}
	cmd.Stdout = m.Console
	var said tail
	cmd.Stderr = &said
	cmd.SysProcAttr = child()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("vm: start QEMU: %w", err)
	}
	pid := cmd.Process.Pid
	m.Log.Info(Started, slog.Int("qemu", pid), slog.String("version", m.QEMU.Version()))
	if err := m.name(pid); err != nil {
		m.Log.Warn("vm: the process id can't be written", slog.String("error", err.Error()))
	}
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		time.AfterFunc(stopWait, func() { _ = cmd.Process.Kill() })
	})
	err := cmd.Wait()
	if !stop() {
		return nil // ctx has ended
	}
	how := "its init or its kernel ended it"
	if err != nil {
		how = err.Error()
	}
	if text := said.String(); text != "" {
		how += ": " + text
	}
	return fmt.Errorf("%w: %s", ErrEnded, how)
}

// name writes the process id of QEMU where others look for it: whole or not at
// all.
func (m *machine) name(pid int) error {
	path := filepath.Join(m.Dir, PIDFile)
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(pid)+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Started is what the log says when QEMU was started, with its process id.
const Started = "vm: started"

// PIDFile is the file in a machine's run directory with the process id of its
// QEMU.
const PIDFile = "qemu.pid"

// arguments are the machine: no firmware tables, no bus, nothing on it but
// memory, processors, a serial line and the two devices of an enclave, where
// virtio-mmio has them on Nitro too.
func (m *machine) arguments() []string {
	memory := strconv.Itoa(m.Memory)
	return []string{
		"-M", "microvm,acpi=off,memory-backend=m",
		"-object", "memory-backend-memfd,id=m,size=" + memory + "M,share=on",
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(cpus), "-m", memory,
		"-kernel", kernelFile, "-initrd", ramdiskFile, "-append", m.line,
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-chardev", "socket,id=v,path=" + vsockFile, "-chardev", "socket,id=n,path=" + nsmFile,
		"-device", "vhost-user-vsock-device,chardev=v",
		"-device", "vhost-user-test-device,chardev=n,virtio-id=33,num_vqs=1,vq_size=16",
	}
}

// tail keeps the last words of a program's standard error.
type tail struct{ text []byte }

// Write takes more words.
func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-1000):]
	return len(b), nil
}

// String answers them in one line.
func (t *tail) String() string {
	clean := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return printable(r)
	}, string(t.text))
	return strings.TrimSpace(clean)
}
