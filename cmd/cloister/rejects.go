package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cloisterhq/cloister/client"
)

// shownRejections is how many rejections are shown when no file takes them.
const shownRejections = 20

// rejects is the file that takes rejections. It gets its name when it is
// whole; a device or a pipe is written as it is. A nil one takes none.
type rejects struct {
	f    *os.File
	path string // of a regular file; empty for others
}

// newRejects prepares a file before anything is sent, so that a name that
// can't be written costs nothing.
func newRejects(path string) (*rejects, error) {
	if path == "" {
		return nil, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--rejects: %w", err)}
		}
		return &rejects{f: f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".rejects-*")
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--rejects: %w", err)}
	}
	return &rejects{f: f, path: path}, nil
}

// write writes one JSON object a line.
func (r *rejects) write(sum *client.Summary) error {
	if r == nil {
		return nil
	}
	w := bufio.NewWriter(r.f)
	enc := json.NewEncoder(w)
	for x, err := range sum.Rejections() {
		if err == nil {
			err = enc.Encode(x)
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(w.Flush(), r.f.Close()); err != nil {
		return &exitError{exitUsage, fmt.Errorf("--rejects: %w; the same command again writes them", err)}
	}
	if r.path == "" {
		return nil
	}
	if err := os.Rename(r.f.Name(), r.path); err != nil {
		return &exitError{exitUsage, fmt.Errorf("--rejects: %w; the same command again writes them", err)}
	}
	r.path = ""
	return nil
}

// discard removes what wasn't written.
func (r *rejects) discard() {
	if r != nil && r.path != "" {
		r.f.Close()
		_ = os.Remove(r.f.Name())
	}
}

// showRejections shows the first rejections and counts the others.
func showRejections(w io.Writer, sum *client.Summary) error {
	n := 0
	for r, err := range sum.Rejections() {
		if err != nil {
			return err
		}
		if n++; n <= shownRejections {
			fmt.Fprintf(w, "  record %d: field %s breaks %s\n", r.Record, printable(r.Field), printable(r.Rule))
		}
	}
	if n > shownRejections {
		fmt.Fprintf(w, "  and %d more; --rejects FILE keeps them all\n", n-shownRejections)
	}
	return nil
}
