package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// setting is a file under /proc/sys that PID 1 writes.
type setting struct {
	file, value string
	// optional is one that a kernel may be built without.
	optional bool
}

// settings keep the kernel off the console, from which the host reads: what it
// prints about a fault holds registers, and so perhaps data.
func settings() []setting {
	return []setting{
		// Level 0 also silences a kernel that panics, as it does when PID 1 ends.
		{file: "/proc/sys/kernel/printk", value: "0"},
		// The host could ask for registers and memory over the serial line.
		{file: "/proc/sys/kernel/sysrq", value: "0", optional: true},
	}
}

// mount is a file system that PID 1 mounts.
type mount struct {
	kind, at string
	flags    uintptr
}

// mounts are all that the enclave needs: settings and its command line, devices,
// and what the kernel tells of them. Nothing is on a disk, and nothing in them
// can be run.
func mounts() []mount {
	return []mount{
		{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY},
		{"devtmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC},
	}
}

// Mount mounts /proc, /sys and /dev. Only PID 1 of an image may. Its errors
// wrap ErrSetup.
func Mount() error {
	for _, m := range mounts() {
		if err := os.Mkdir(m.at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %w", ErrSetup, err)
		}
		if err := unix.Mount(m.kind, m.at, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSetup, m.at, err)
		}
	}
	return nil
}

// Harden makes the settings that keep memory inside: no core dumps, no debugger,
// and a kernel that prints nothing. It changes
// the machine, not the process alone, so it comes after Inspect. Its errors wrap
// ErrSetup.
func Harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("%w: core dumps: %w", ErrSetup, err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("%w: dumpable: %w", ErrSetup, err)
	}
	for _, s := range settings() {
		if err := s.make(); err != nil && (!s.optional || !errors.Is(err, fs.ErrNotExist)) {
			return fmt.Errorf("%w: %w", ErrSetup, err)
		}
	}
	return nil
}

// make writes the setting to its file, which must be there.
func (s setting) make() error {
	f, err := os.OpenFile(s.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(s.value); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// Console answers the console that the kernel gave to PID 1 as descriptor 1,
// as a descriptor of its own.
func Console() (*os.File, error) {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("%w: console: %w", ErrSetup, err)
	}
	return os.NewFile(uintptr(fd), "console"), nil
}

// Silence points descriptors 0, 1 and 2 at /dev/null. From then on only who
// holds the file of Console can write there: what the Go runtime prints of a
// panic, and what any library prints, goes nowhere. Its errors wrap ErrSetup.
func Silence() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: console: %w", ErrSetup, err)
	}
	defer null.Close()
	for standard := range 3 {
		if err := unix.Dup3(int(null.Fd()), standard, 0); err != nil {
			return fmt.Errorf("%w: console: %w", ErrSetup, err)
		}
	}
	return nil
}

// Mix puts bytes into the kernel's entropy pool, has its generator take them up
// and waits until that has been seeded. Nothing is credited for them.
func Mix(random []byte) error {
	pool, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Write(random); err != nil {
		return err
	}
	// A generator that isn't seeded yet has no data to say so, and will take up
	// the pool when it is (random(4)).
	err = unix.IoctlSetInt(int(pool.Fd()), unix.RNDRESEEDCRNG, 0)
	if err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	_, err = unix.Getrandom(make([]byte, 1), 0)
	return err
}

// Reap waits for processes whose parents ended, which become PID 1's, until ctx
// ends. The enclave starts no programs, so that every child is one of those.
func Reap(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
		}
	}
}

// Restart restarts the machine once the console has shown what was written to
// it. It returns only when the machine can't be restarted.
func Restart(console *os.File) error {
	// Waits for the line to be sent (tcdrain(3)); a console without one has none.
	_ = unix.IoctlSetInt(int(console.Fd()), unix.TCSBRK, 1)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("boot: restart: %w", err)
	}
	return nil
}
