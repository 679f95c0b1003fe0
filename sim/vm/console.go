package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxConsole is how large the console's file grows, in bytes; one older file
	// is kept beside it.
	maxConsole = 1 << 20
	// maxLine is how much of a line is looked at, in bytes.
	maxLine = 4 << 10
)

// Console is what machines say on their serial line, kept in a file of at most
// a mebibyte and one older file of the same size. Whatever a guest writes, the
// files hold printable characters, tabs and newlines alone: they can be shown
// on a terminal.
type Console struct {
	path string

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
	line []byte // the unfinished line
	seen func(line string)
}

// OpenConsole appends to the file at path.
func OpenConsole(path string) (*Console, error) {
	c := &Console{path: path, seen: func(string) {}}
	return c, c.open()
}

func (c *Console) open() error {
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("vm: console: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("vm: console: %w", err)
	}
	c.file, c.size = f, info.Size()
	return nil
}

// OlderConsole names the file with what a console's file at path had no room
// for.
func OlderConsole(path string) string { return path + ".1" }

// watch calls seen with every line from now on, until the next watch.
func (c *Console) watch(seen func(line string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line, c.seen = nil, seen
}

// Write takes what a machine says.
func (c *Console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clean := bytes.Map(printable, b)
	if err := c.store(clean); err != nil {
		return 0, err
	}
	c.line = append(c.line, clean...)
	for {
		line, rest, found := bytes.Cut(c.line, []byte("\n"))
		if !found {
			break
		}
		c.seen(string(line))
		c.line = rest
	}
	if len(c.line) > maxLine {
		c.line = nil
	}
	return len(b), nil
}

// store appends to the file, and begins a new one when it is full.
func (c *Console) store(b []byte) error {
	for len(b) > 0 {
		if c.size >= maxConsole {
			c.file.Close()
			if err := os.Rename(c.path, OlderConsole(c.path)); err != nil {
				return fmt.Errorf("vm: console: %w", err)
			}
			if err := c.open(); err != nil {
				return err
			}
		}
		n, err := c.file.Write(b[:min(int64(len(b)), maxConsole-c.size)])
		if err != nil {
			return fmt.Errorf("vm: console: %w", err)
		}
		c.size += int64(n)
		b = b[n:]
	}
	return nil
}

// Close closes the file.
func (c *Console) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.file.Close()
}

// printable keeps what a terminal can show without obeying it.
func printable(r rune) rune {
	if r == '\n' || r == '\t' || r >= ' ' && r <= '~' {
		return r
	}
	return -1
}

// ReadConsole answers all that the files at path hold, the older part first;
// nothing when no machine has said anything yet.
func ReadConsole(path string) (string, error) {
	var all strings.Builder
	for _, name := range []string{OlderConsole(path), path} {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("vm: console: %w", err)
		}
		all.Write(b)
	}
	return all.String(), nil
}

// followEvery is how often FollowConsole looks for more.
const followEvery = 100 * time.Millisecond

// FollowConsole writes all that the files at path hold and then what comes,
// until ctx ends.
func FollowConsole(ctx context.Context, path string, w io.Writer) error {
	all, err := ReadConsole(path)
	if err != nil {
		return err
	}
	var at int64
	if info, err := os.Stat(path); err == nil {
		at = info.Size()
	}
	if _, err := io.WriteString(w, all); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
		if at, err = more(path, at, w); err != nil {
			return err
		}
	}
}

// more writes what stands behind an offset of the file, from its beginning when
// it is a new one, and answers the next offset.
func more(path string, at int64, w io.Writer) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("vm: console: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("vm: console: %w", err)
	}
	if info.Size() < at {
		at = 0
	}
	n, err := io.Copy(w, io.NewSectionReader(f, at, info.Size()-at))
	return at + n, err
}
