// Package cpio writes archives in the newc format, as the kernel unpacks them
// into its first file system (Linux, Documentation/driver-api/early-userspace/
// buffer-format.rst). The same entries give the same bytes: nothing of the
// machine that writes gets in. It trusts the caller with content alone; names,
// kinds and sizes are checked.
package cpio

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

const (
	// MaxEntries is how many entries an archive may have.
	MaxEntries = 1024
	// MaxName is the longest name, in bytes.
	MaxName = 255
	// MaxData is the largest content of all files together, in bytes.
	MaxData = 512 << 20

	magic      = "070701"
	trailer    = "TRAILER!!!"
	headerSize = 110
	align      = 4
)

// ErrEntry says that an entry can't stand in an archive: its name, its kind,
// its place or its size.
var ErrEntry = errors.New("cpio: refused")

// kind is a file type of stat(2), as the mode's upper bits hold it.
type kind uint32

const (
	regular   kind = 0o100000
	directory kind = 0o040000
	character kind = 0o020000
)

// Entry is a file, a directory or a device node. Owner and group are 0 and the
// time is 1970 for all of them.
type Entry struct {
	name         string
	kind         kind
	mode         uint32
	data         []byte
	major, minor uint32
}

// Directory is a directory. Its name is the path from the root without the
// leading slash, as for all entries; mode is the permissions.
func Directory(name string, mode uint32) Entry {
	return Entry{name: name, kind: directory, mode: mode}
}

// File is a regular file with its content, which isn't copied.
func File(name string, mode uint32, data []byte) Entry {
	return Entry{name: name, kind: regular, mode: mode, data: data}
}

// Device is the node of a character device.
func Device(name string, mode, major, minor uint32) Entry {
	return Entry{name: name, kind: character, mode: mode, major: major, minor: minor}
}

// Write writes one archive: the entries sorted by name in bytes, so that a
// directory stands before what is in it, numbered from 1, each padded to 4
// bytes, and a trailer. Every directory on the way to an entry must be an entry
// too. Errors are the writer's, and those that wrap ErrEntry, before anything
// is written.
func Write(w io.Writer, entries []Entry) error {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b Entry) int { return strings.Compare(a.name, b.name) })
	if err := check(sorted); err != nil {
		return err
	}
	for i, e := range sorted {
		if err := e.write(w, i+1); err != nil {
			return err
		}
	}
	return Entry{name: trailer}.write(w, 0)
}

// check holds sorted entries against the rules.
func check(sorted []Entry) error {
	if len(sorted) > MaxEntries {
		return fmt.Errorf("%w: %d entries, %d is the limit", ErrEntry, len(sorted), MaxEntries)
	}
	directories, last, left := map[string]bool{".": true}, "", MaxData
	for _, e := range sorted {
		if err := e.check(); err != nil {
			return err
		}
		if e.name == last {
			return fmt.Errorf("%w: %s stands twice", ErrEntry, e.name)
		}
		if !directories[path.Dir(e.name)] {
			return fmt.Errorf("%w: %s: its directory isn't an entry", ErrEntry, e.name)
		}
		if left -= len(e.data); left < 0 {
			return fmt.Errorf("%w: more than %d bytes of content", ErrEntry, MaxData)
		}
		directories[e.name] = e.kind == directory
		last = e.name
	}
	return nil
}

// check holds an entry by itself against the rules.
func (e Entry) check() error {
	switch {
	case e.name == "" || len(e.name) > MaxName:
		return fmt.Errorf("%w: a name has 1 to %d bytes", ErrEntry, MaxName)
	case strings.ContainsFunc(e.name, func(c rune) bool { return c <= ' ' || c > '~' }):
		return fmt.Errorf("%w: %q: a name is of printable ASCII characters", ErrEntry, e.name)
	case path.IsAbs(e.name) || path.Clean(e.name) != e.name || e.name == "." || e.name == ".." || strings.HasPrefix(e.name, "../"):
		return fmt.Errorf("%w: %s: a name is a clean path without a leading slash", ErrEntry, e.name)
	case e.name == trailer:
		return fmt.Errorf("%w: %s is the name of the end", ErrEntry, e.name)
	case e.mode&^0o777 != 0:
		return fmt.Errorf("%w: %s: mode %o has more than permissions", ErrEntry, e.name, e.mode)
	case e.kind != regular && e.kind != directory && e.kind != character:
		return fmt.Errorf("%w: %s is of no kind", ErrEntry, e.name)
	}
	return nil
}

// write writes an entry; the number is its inode's.
func (e Entry) write(w io.Writer, number int) error {
	links := 1
	if e.kind == directory {
		links = 2
	}
	if _, err := fmt.Fprintf(w, "%s%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", magic,
		number, uint32(e.kind)|e.mode, 0, 0, links, 0, len(e.data), 0, 0, e.major, e.minor, len(e.name)+1, 0); err != nil {
		return err
	}
	if _, err := io.WriteString(w, e.name+"\x00"+padding(headerSize+len(e.name)+1)); err != nil {
		return err
	}
	if _, err := w.Write(e.data); err != nil {
		return err
	}
	_, err := io.WriteString(w, padding(len(e.data)))
	return err
}

// padding is what is missing behind so many bytes.
func padding(n int) string { return "\x00\x00\x00"[:(align-n%align)%align] }
