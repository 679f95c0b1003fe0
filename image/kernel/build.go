package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// build fetches, verifies, unpacks, configures and compiles in a directory of
// its own, and answers the bzImage.
func (m Maker) build(ctx context.Context, work string) ([]byte, error) {
	source, err := m.source(ctx)
	if err != nil {
		return nil, err
	}
	m.Say("unpacking %s", m.Pin.File())
	tree, err := m.unpack(ctx, work, source)
	if err != nil {
		return nil, err
	}
	m.Say("configuring Linux %s", m.Pin.Release)
	if err := m.configure(ctx, tree); err != nil {
		return nil, err
	}
	m.Say("compiling Linux %s with %d jobs; this takes minutes", m.Pin.Release, m.Jobs)
	stop := m.waiting(ctx)
	defer stop()
	if err := m.make(ctx, tree, "-j"+strconv.Itoa(m.Jobs), "bzImage"); err != nil {
		return nil, err
	}
	return readLimited(filepath.Join(tree, "arch", "x86", "boot", "bzImage"), maxImage)
}

// waiting says every half minute that the compiler still runs, until stopped.
func (m Maker) waiting(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		began := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(30 * time.Second):
				m.Say("still compiling, %s so far", time.Since(began).Round(time.Second))
			}
		}
	}()
	return func() { cancel(); <-done }
}

// source answers a file of the source package that is the pinned one.
func (m Maker) source(ctx context.Context) (string, error) {
	if m.Source == "" {
		return m.Fetch(ctx)
	}
	return m.Source, m.verify(m.Source)
}

// verify demands that a file is the pinned package.
func (m Maker) verify(file string) error {
	got, err := fileSum(file)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSource, err)
	}
	if got != m.Pin.SHA256 {
		return fmt.Errorf("%w: %s has SHA-256 %s; pinned is %s", ErrSource, file, got, m.Pin.SHA256)
	}
	return nil
}

// Fetch answers the file of the pinned package in the cache. When it isn't
// there it has apt download it, which checks Debian's signatures too. Errors
// about the package wrap ErrSource.
func (m Maker) Fetch(ctx context.Context) (string, error) {
	kept := filepath.Join(m.Cache, m.Pin.File())
	if m.verify(kept) == nil {
		return kept, nil
	}
	if err := os.MkdirAll(m.Cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(m.Cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	m.Say("fetching %s %s with apt", m.Pin.Package, m.Pin.Version)
	args := []string{"apt-get", "-q"}
	if os.Getuid() == 0 {
		args = append(args, "-o", "APT::Sandbox::User=root") // its own user can't write to our directory
	}
	args = append(args, "download", m.Pin.Package+"="+m.Pin.Version)
	if err := m.Run(ctx, Command{Dir: work, Env: environment(), Args: args}); err != nil {
		return "", fmt.Errorf("%w: apt doesn't have %s %s (docs/IMAGE.md says where else it can be had): %w", ErrSource, m.Pin.Package, m.Pin.Version, err)
	}
	// Apt escapes the characters of a version that it doesn't want in names.
	found, err := filepath.Glob(filepath.Join(work, m.Pin.Package+"_*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%w: apt downloaded %d files", ErrSource, len(found))
	}
	if err := m.verify(found[0]); err != nil {
		return "", err
	}
	return kept, os.Rename(found[0], kept)
}

// unpack answers the directory of the unpacked source. Owners and modes of the
// archive are kept away: the umask decides, and nothing of them is built in.
func (m Maker) unpack(ctx context.Context, work, source string) (string, error) {
	source, err := filepath.Abs(source)
	if err != nil {
		return "", err
	}
	outer, tree := filepath.Join(work, "package"), filepath.Join(work, "linux")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"dpkg-deb", "-x", source, outer},
		{"tar", "-x", "-J", "--no-same-owner", "--strip-components=1", "-C", tree, "-f", filepath.Join(outer, m.Pin.Tarball)},
	} {
		if err := m.Run(ctx, Command{Dir: work, Env: environment(), Args: args}); err != nil {
			return "", err
		}
	}
	return tree, nil
}

// configure puts the committed options on top of the smallest configuration.
func (m Maker) configure(ctx context.Context, tree string) error {
	if err := m.make(ctx, tree, "tinyconfig"); err != nil {
		return err
	}
	file := filepath.Join(tree, ".config")
	tiny, err := readLimited(file, maxConfig)
	if err != nil {
		return err
	}
	asked, err := joined(tiny, m.Config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, asked, 0o644); err != nil {
		return err
	}
	if err := m.make(ctx, tree, "olddefconfig"); err != nil {
		return err
	}
	finished, err := readLimited(file, maxConfig)
	if err != nil {
		return err
	}
	return honoured(m.Config, finished)
}

// make runs make in the tree. It is run inside of it: paths are then relative,
// and the directory's name gets into nothing.
func (m Maker) make(ctx context.Context, tree string, args ...string) error {
	return m.Run(ctx, Command{Dir: tree, Env: environment(), Args: append([]string{"make", "-s", "ARCH=x86_64"}, args...)})
}

// fileSum is the SHA-256 of a file in hexadecimal digits.
func fileSum(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
