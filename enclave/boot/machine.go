package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/cloisterhq/cloister/internal/cmdline"
)

// Errors that say what about the machine an enclave doesn't accept. None has a
// switch that passes it.
var (
	// ErrCommandLine says that the kernel was started with another command line
	// than the image's. It wraps a *cmdline.Error or the error of reading.
	ErrCommandLine = errors.New("boot: the kernel's command line isn't the image's")
	// ErrEntropy says that the kernel's random numbers don't come from the NSM.
	ErrEntropy = errors.New("boot: the kernel's entropy source isn't the NSM")
	// ErrClocksource says that the kernel counts time by something that isn't on
	// the list of Clocksources.
	ErrClocksource = errors.New("boot: the kernel's clock source isn't an accepted one")
	// ErrSetup says that the machine couldn't be made ready: a file system can't
	// be mounted, or a setting can't be made.
	ErrSetup = errors.New("boot: the machine can't be made ready")
)

// Files of the machine, under its root.
const (
	commandLineFile = "proc/cmdline"
	entropyFile     = "sys/class/misc/hw_random/rng_current"
	clocksourceFile = "sys/devices/system/clocksource/clocksource0/current_clocksource"
)

const (
	// entropySource is the hardware generator that the kernel's driver of the
	// NSM registers (Linux, drivers/misc/nsm.c).
	entropySource = "nsm-hwrng"
	// provisional is what the kernel counts by for about a second, until it has
	// measured the processor's counter more exactly: it is named tsc then.
	provisional = "tsc-early"
	// nameMax is the longest name of a source that is read, in bytes: the kernel
	// keeps at most 32 of a clock source's.
	nameMax = 128
	// settleTimes and settlePause are how often and after what pause a
	// provisional clock source is looked at again.
	settleTimes = 100
	settlePause = 100 * time.Millisecond
)

// Clocksources answers the names of the clock sources that are accepted, the
// same on Nitro and in a simulated machine (docs/adr/0004-clock-sources.md):
// both count by themselves, whether or not the machine gets to run.
func Clocksources() []string { return []string{"kvm-clock", "tsc"} }

// Inspect refuses a machine that isn't what the image was made for: another
// command line, another source of entropy, another source of time. It reads
// /proc and /sys under root and waits for at most 10 s while the kernel still
// makes up its mind about the clock. The errors wrap ErrCommandLine, ErrEntropy
// and ErrClocksource.
func Inspect(ctx context.Context, root fs.FS) error {
	line, err := read(root, commandLineFile, cmdline.Max)
	if err == nil {
		err = cmdline.Check(line)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCommandLine, err)
	}
	source, err := name(root, entropyFile)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEntropy, err)
	}
	if source != entropySource {
		return ErrEntropy
	}
	_, err = settled(ctx, root)
	return err
}

// Clocksource answers the name of the kernel's clock source, one of
// Clocksources; another one is ErrClocksource. The kernel may change it at any
// time, when it finds that the one it has is unstable.
func Clocksource(root fs.FS) (string, error) {
	source, err := name(root, clocksourceFile)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrClocksource, err)
	}
	if !slices.Contains(Clocksources(), source) {
		return "", ErrClocksource
	}
	return source, nil
}

// settled answers the clock source once it isn't provisional any more.
func settled(ctx context.Context, root fs.FS) (string, error) {
	for range settleTimes {
		if source, err := name(root, clocksourceFile); err != nil || source != provisional {
			break
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(settlePause):
		}
	}
	return Clocksource(root)
}

// name reads a file of /sys that holds one name and a newline.
func name(root fs.FS, file string) (string, error) {
	content, err := read(root, file, nameMax)
	return string(bytes.TrimSuffix(content, []byte("\n"))), err
}

// errTooLarge says that a file has more than it may have.
var errTooLarge = errors.New("it is too large")

// read answers a file's content, at most so many bytes.
func read(root fs.FS, file string, limit int64) ([]byte, error) {
	f, err := root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("%s: %w", file, errTooLarge)
	}
	return content, nil
}
