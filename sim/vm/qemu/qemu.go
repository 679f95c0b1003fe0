// Package qemu has the QEMU that virtual machines of the simulation run under:
// one of Debian's archive, unpacked into a cache of its own. Nothing is
// installed and nobody needs to be root. It trusts the archive's signatures, as
// apt checks them, and the digests that it records of the versions that were
// tried.
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ErrUnavailable is wrapped by errors that say why there is no QEMU for this
// machine: another system, no apt-get, no network. The text before it is one
// line for people.
var ErrUnavailable = errors.New("QEMU can't be had here")

// Paths in the unpacked root. The machine's own libraries may be older than
// what QEMU wants, so its loader and libraries come along.
const (
	loader    = "usr/lib64/ld-linux-x86-64.so.2"
	libraries = "usr/lib/x86_64-linux-gnu"
	program   = "usr/bin/qemu-system-x86_64"
	firmware  = "usr/share/qemu"
	bios      = "usr/share/seabios"
)

// devices are what a machine of the simulation is made of, beside its memory:
// the second can be made by users since QEMU 11.1.
func devices() []string { return []string{"vhost-user-vsock-device", "vhost-user-test-device"} }

// Program is a QEMU that was found to run and to know our devices.
type Program struct {
	path    string
	command []string
	version string
}

// Open takes a QEMU: a program, or a directory that Prepare made. It is started
// once, to see that it runs and knows the devices.
func Open(ctx context.Context, path string) (*Program, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	p := &Program{path: path, command: []string{path}}
	if info.IsDir() {
		p.command = unpacked(path)
	}
	return p, p.try(ctx)
}

// unpacked answers how the QEMU under a root is started.
func unpacked(root string) []string {
	at := func(name string) string { return filepath.Join(root, name) }
	return []string{at(loader), "--library-path", at(libraries), at(program), "-L", at(firmware), "-L", at(bios)}
}

// try asks for version and devices.
func (p *Program) try(ctx context.Context) error {
	out, err := p.output(ctx, "--version")
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(out, "\n")
	p.version = strings.TrimPrefix(line, "QEMU emulator version ")
	if out, err = p.output(ctx, "-device", "help"); err != nil {
		return err
	}
	for _, name := range devices() {
		if !strings.Contains(out, `name "`+name+`"`) {
			return fmt.Errorf("qemu: version %s doesn't know the device %s; 11.1 and later do", p.version, name)
		}
	}
	return nil
}

func (p *Program) output(ctx context.Context, args ...string) (string, error) {
	argv := p.Command(args...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("qemu: %s doesn't run: %w: %s", p.path, err, firstLine(stderr.String()))
	}
	return string(out), nil
}

// Path is what Open takes to answer the same program.
func (p *Program) Path() string { return p.path }

// Version is what the program calls itself.
func (p *Program) Version() string { return p.version }

// Command answers the words that start QEMU with arguments.
func (p *Program) Command(args ...string) []string { return append(slices.Clone(p.command), args...) }

// CacheDir is where Prepare keeps what it unpacked unless told otherwise: beside the
// user's other caches.
func CacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("qemu: %w", err)
	}
	return filepath.Join(dir, "cloister-sim-qemu"), nil
}

// Find answers a QEMU that an earlier Prepare left in the cache, the one of the
// recorded version first, and an error that wraps fs.ErrNotExist when there is
// none.
func Find(ctx context.Context, cache string) (*Program, error) {
	roots, err := filepath.Glob(filepath.Join(cache, "*", "root"))
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	if recorded := filepath.Join(cache, directory(recordedVersion), "root"); slices.Contains(roots, recorded) {
		return Open(ctx, recorded)
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("qemu: none in %s: %w", cache, fs.ErrNotExist)
	}
	return Open(ctx, roots[len(roots)-1])
}

// directory names the directory of a version. The loader's library path can't
// hold a colon, which stands behind a version's epoch.
func directory(version string) string {
	_, after, ok := strings.Cut(version, ":")
	if !ok {
		after = version
	}
	return after
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
