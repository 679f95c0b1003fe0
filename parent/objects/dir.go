package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// lockFile is held by the process that has the directory.
	lockFile = ".lock"
	// temporary begins the names of unfinished objects.
	temporary = ".tmp-"
)

// Dir keeps objects as files under one directory, which no name can leave. One
// process has it at a time; within that process it is safe for concurrent use.
type Dir struct {
	root *os.Root
	lock *os.File

	mu sync.Mutex
	// sorted caches the names in a directory that was listed, until one is
	// added out of order; guarded by mu.
	sorted map[string][]string
}

// Open takes a directory, which it makes when its parent is there. It answers
// ErrLocked when another process has it, and an error on a file system that
// can't do what durability needs: hard links and fsync of directories.
// Unfinished objects of a crash are removed.
func Open(dir string) (*Dir, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("objects: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	d := &Dir{root: root, sorted: map[string][]string{}}
	if d.lock, err = takeLock(root, dir); err != nil {
		root.Close()
		return nil, err
	}
	if err := errors.Join(d.sweep("."), d.tryLink()); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("objects: %s can't hold objects: %w", dir, err)
	}
	return d, nil
}

// Close gives the directory back.
func (d *Dir) Close() error { return errors.Join(d.lock.Close(), d.root.Close()) }

// takeLock takes flock(2) on the lock file; the kernel gives it back when the
// process ends, however that happens.
func takeLock(root *os.Root, dir string) (*os.File, error) {
	lock, err := root.OpenFile(lockFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return lock, nil
	}
	lock.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	return nil, fmt.Errorf("objects: lock %s: %w", dir, err)
}

// sweep removes temporary files below a directory.
func (d *Dir) sweep(dir string) error {
	return fs.WalkDir(d.root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasPrefix(e.Name(), temporary) {
			return err
		}
		return d.root.Remove(name)
	})
}

// tryLink does once what PutIfAbsent relies on.
func (d *Dir) tryLink() error {
	name, err := d.writeTemporary(".", nil)
	if err != nil {
		return err
	}
	defer func() { _ = d.root.Remove(name) }()
	other := name + "-link"
	if err := d.root.Link(name, other); err != nil {
		return err
	}
	return errors.Join(d.root.Remove(other), d.sync("."))
}

// PutIfAbsent stores content under a name and returns only when it is durable.
// It answers ErrExists when other bytes hold the name; the same bytes again
// are success, so that a caller who doesn't know the outcome can repeat.
func (d *Dir) PutIfAbsent(_ context.Context, name string, content []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(content) > limits.Object {
		return ErrTooLarge
	}
	dir := path.Dir(name)
	if err := d.makeDir(dir); err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	tmp, err := d.writeTemporary(dir, content)
	if err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	// Not rename: that would silently replace what is there.
	linked := d.root.Link(tmp, name)
	if err := d.root.Remove(tmp); err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	if errors.Is(linked, fs.ErrExist) {
		held, err := d.read(name)
		if err != nil {
			return err
		}
		if !bytes.Equal(held, content) {
			return ErrExists
		}
	} else if linked != nil {
		return fmt.Errorf("objects: %w", linked)
	}
	// Also when the name was there: who made it may not have synced it yet.
	if err := d.sync(dir); err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	d.added(dir, path.Base(name))
	return nil
}

// writeTemporary writes and syncs a new file beside the final name.
func (d *Dir) writeTemporary(dir string, content []byte) (string, error) {
	var random [12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", err
	}
	name := path.Join(dir, temporary+hex.EncodeToString(random[:]))
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, d.root.Remove(name))
	}
	return name, nil
}

// makeDir makes a directory and the ones above it, durably.
func (d *Dir) makeDir(dir string) error {
	if _, err := d.root.Lstat(dir); err == nil {
		return nil
	}
	if err := d.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for dir != "." {
		dir = path.Dir(dir)
		if err := d.sync(dir); err != nil {
			return err
		}
	}
	return nil
}

// sync makes a directory's names durable.
func (d *Dir) sync(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Get answers an object's bytes, ErrNotFound, or ErrTooLarge for a file that
// grew behind our back.
func (d *Dir) Get(_ context.Context, name string) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return d.read(name)
}

func (d *Dir) read(name string) ([]byte, error) {
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, ErrNotFound
	case info.Size() > limits.Object:
		return nil, ErrTooLarge
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	return content, nil
}

// Delete removes an object durably; one that isn't there is no error. Only
// objects that no manifest will name may be deleted.
func (d *Dir) Delete(_ context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	err := d.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		d.forget(path.Dir(name))
		err = d.sync(path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("objects: %w", err)
	}
	return nil
}

// List answers at most limit names directly under prefix (a directory and its
// slash) that come after one name, in lexical order.
func (d *Dir) List(_ context.Context, prefix, after string, limit int) ([]string, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	names, err := d.names(strings.TrimSuffix(prefix, "/"))
	if err != nil {
		return nil, err
	}
	from, found := slices.BinarySearchFunc(names, after, func(base, after string) int {
		return strings.Compare(prefix+base, after)
	})
	if found {
		from++
	}
	page := names[from:min(len(names), from+max(0, limit))]
	full := make([]string, len(page))
	for i, base := range page {
		full[i] = prefix + base
	}
	return full, nil
}

// Entries answers every object directly under prefix in the order in which
// their bytes were written, by name when two were written at once.
func (d *Dir) Entries(_ context.Context, prefix string) ([]Entry, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	names, err := d.names(strings.TrimSuffix(prefix, "/"))
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(names))
	for _, base := range names {
		info, err := d.root.Lstat(prefix + base)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("objects: %w", err)
		}
		entries = append(entries, Entry{prefix + base, info.ModTime()})
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return a.Stored.Compare(b.Stored) })
	return entries, nil
}
