// Package kernel makes the kernel of the enclave image: a pinned Debian source
// package, a committed configuration, and make. Nothing is taken from the
// machine but its compiler and linker, whose versions are recorded. It trusts
// the pin: a source package with another SHA-256 isn't unpacked, wherever it
// came from.
package kernel

import (
	"context"
	"crypto/sha256"
	_ "embed" // the configuration
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Pin is a source package by name, version and digest.
type Pin struct {
	// Package and Version are Debian's.
	Package, Version string
	// Tarball is the path of the source inside the package.
	Tarball string
	// SHA256 is that of the package's file, in hexadecimal digits.
	SHA256 string
	// Release is the kernel's own version.
	Release string
}

// Pinned answers the source package that images are made from.
func Pinned() Pin {
	return Pin{
		Package: "linux-source-6.12",
		Version: "6.12.117-1~deb12u1",
		Tarball: "usr/src/linux-source-6.12.tar.xz",
		SHA256:  "e849faf31ca3555757f3a8877cb01af92122f744f75d1f3102734651c4e14703",
		Release: "6.12.117",
	}
}

// File is the name of the package's file in Debian's archive.
func (p Pin) File() string { return p.Package + "_" + p.Version + "_all.deb" }

//go:embed config
var config []byte

// Config answers the committed configuration.
func Config() []byte { return config }

// recipe is the version of how this package calls make. It is part of the cache
// key: raise it when the same source would give another kernel.
const recipe = "1"

// Errors that callers branch on.
var (
	// ErrTools says that programs are missing that the build needs.
	ErrTools = errors.New("kernel: build tools are missing")
	// ErrSource says that the source package can't be had, or isn't the pinned one.
	ErrSource = errors.New("kernel: source package")
	// ErrConfig says that the kernel doesn't take the configuration as it stands.
	ErrConfig = errors.New("kernel: configuration")
)

// Command is a program to be run, with exactly this environment.
type Command struct {
	Dir  string
	Env  []string
	Args []string
	// Log takes what it prints.
	Log io.Writer
}

// Run runs a command to its end. Exec is the one that does.
type Run func(ctx context.Context, c Command) error

// Exec runs a command as a process of this machine. When it fails the error
// holds the last lines that it printed.
func Exec(ctx context.Context, c Command) error {
	tail := &tail{}
	out := io.Writer(tail)
	if c.Log != nil {
		out = io.MultiWriter(c.Log, tail)
	}
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, c.Env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that make's compilers end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w: %s", strings.Join(c.Args[:min(2, len(c.Args))], " "), err, strings.TrimSpace(string(tail.last)))
	}
	return nil
}

// tail keeps the last bytes of what is written.
type tail struct{ last []byte }

// maxTail is how many bytes of a failed command's output an error holds.
const maxTail = 2 << 10

// Write keeps the end of b.
func (t *tail) Write(b []byte) (int, error) {
	t.last = append(t.last, b[max(0, len(b)-maxTail):]...)
	t.last = t.last[max(0, len(t.last)-maxTail):]
	return len(b), nil
}

// Kernel is a built kernel and what it was made from.
type Kernel struct {
	// Image is the bzImage.
	Image []byte
	// Pin is the source, Config the SHA-256 of the configuration asked for.
	Pin    Pin
	Config string
	Tools  Toolchain
	// Cached says that it was built before.
	Cached bool
}

// Maker makes kernels.
type Maker struct {
	// Cache is the directory of built kernels, made when it isn't there.
	Cache string
	// Source is a file of the source package; empty fetches it with apt.
	Source string
	// Pin and Config are what to build.
	Pin    Pin
	Config []byte
	// Jobs is how many compilers run at once.
	Jobs int
	// Run runs programs.
	Run Run
	// Say is told what begins, for people.
	Say func(format string, args ...any)
}

// maxImage is the largest kernel that is taken, in bytes.
const maxImage = 64 << 20

// Make answers the kernel: from the cache, or built. Errors wrap ErrTools,
// ErrSource or ErrConfig when they are about these, and are those of programs
// and files otherwise.
func (m Maker) Make(ctx context.Context) (*Kernel, error) {
	tools, err := m.toolchain(ctx)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Pin: m.Pin, Config: sum(m.Config), Tools: tools}
	store := cache{filepath.Join(m.Cache, "kernel", m.key(tools))}
	if k.Image, err = store.load(); err == nil {
		k.Cached = true
		return k, nil
	}
	if err := os.MkdirAll(m.Cache, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(m.Cache, "build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if k.Image, err = m.build(ctx, work); err != nil {
		return nil, err
	}
	return k, store.save(k.Image)
}

// key names everything that a kernel depends on.
func (m Maker) key(tools Toolchain) string {
	return sum([]byte(strings.Join([]string{recipe, m.Pin.SHA256, sum(m.Config), tools.Compiler, tools.Linker}, "\n")))
}

// sum is a SHA-256 in hexadecimal digits.
func sum(b []byte) string {
	digest := sha256.Sum256(b)
	return hex.EncodeToString(digest[:])
}
