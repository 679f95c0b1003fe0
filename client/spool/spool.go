// Package spool keeps a producer's sealed batches on disk, from before the
// gateway sees them until the enclave's receipts are there, and the receipts
// from then on. It is why nothing is sealed twice under one number: what was
// sealed once is sent again as it is, after whatever interruption. It trusts
// its directory with secrecy and with nothing else: every byte that it reads
// back is checked, and a file that isn't as it was written is an error.
//
// A spool is one directory, and each stream has one below it, named by what
// identifies the stream (Info.id):
//
//	DIR/<id>/stream.json        Info: whose stream, of which input
//	DIR/<id>/lock               held with flock(2) by the process that works on it
//	DIR/<id>/sealed/00000007    a batch without a receipt, see Batch
//	DIR/<id>/receipts/00000007  a batch with its receipt, see Held
//
// The batches of a stream have the numbers from 0 on without a gap, each in
// sealed/ or in receipts/. Every file is written under another name, synced,
// renamed, and its directory synced, before anything relies on it. A receipt is
// written before its sealed batch is removed, so a crash in between leaves
// both, and the receipt counts. Names that begin with ".tmp-" are what a crash
// left unfinished; they are removed. All files have mode 0600: a sealed batch
// comes with the key that opens the report on it.
package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// DefaultLimit bounds the sealed batches of one stream, in bytes.
	DefaultLimit = 64 << 30
	// MaxBatches is the largest number of batches of one stream.
	MaxBatches = 1 << 20
	// maxStreams bounds how many streams are listed.
	maxStreams = 1 << 20
	// maxFile is the largest file, in bytes: an envelope, or a receipt with its
	// report, and little else.
	maxFile = limits.Envelope + 64<<10
	// maxInfo is the largest stream.json, in bytes.
	maxInfo = 64 << 10

	infoFile    = "stream.json"
	lockFile    = "lock"
	sealedDir   = "sealed"
	receiptsDir = "receipts"
)

// Errors that callers tell apart.
var (
	// ErrBusy says that another process works on the stream.
	ErrBusy = errors.New("another process works on this stream")
	// ErrOtherInput says that the stream was begun with another input.
	ErrOtherInput = errors.New("the stream was begun with another input")
	// ErrDamaged says that a file isn't as it was written, or that one is gone.
	ErrDamaged = errors.New("damaged")
	// ErrFull says that the spool holds as much of the stream as it may.
	ErrFull = errors.New("the spool holds as much of this stream as it may")
	// ErrNone says that there is no such stream.
	ErrNone = errors.New("no such stream")
)

// Spool is a directory of streams.
type Spool struct {
	dir string
	// Limit bounds the sealed batches of each stream, in bytes.
	Limit int64
}

// Open takes a directory, which is made when it isn't there.
func Open(dir string) (*Spool, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = makeDir(abs)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return &Spool{dir: abs, Limit: DefaultLimit}, nil
}

// Dir is the spool's directory.
func (s *Spool) Dir() string { return s.dir }

// Begin opens the stream that info identifies, and begins it when there is
// none. While another process has the stream it waits, and answers ErrBusy
// when wait is over. A stream that was begun with another input, or with
// another reading of it, is ErrOtherInput. The caller must close the stream.
func (s *Spool) Begin(ctx context.Context, info Info, wait time.Duration) (*Stream, error) {
	dir := filepath.Join(s.dir, info.id())
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return s.locked(ctx, dir, wait, func() (Info, error) {
		old, err := readInfo(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			info.Version, info.Told = version, false
			return info, info.write(dir)
		case err != nil:
			return Info{}, err
		}
		return old, old.same(info)
	})
}

// Streams lists what Resume opens, in no particular order.
func (s *Spool) Streams() ([]string, error) {
	entries, err := readDir(s.dir, maxStreams)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(s.dir, e.Name(), infoFile)); err == nil && isID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Peek answers what stream.json says, also while another process has the
// stream. It answers ErrNone when there is no such stream.
func (s *Spool) Peek(id string) (Info, error) {
	if !isID(id) {
		return Info{}, ErrNone
	}
	info, err := readInfo(filepath.Join(s.dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return Info{}, ErrNone
	}
	return info, err
}

// Resume opens a stream that is there. It answers ErrBusy while another
// process has it.
func (s *Spool) Resume(ctx context.Context, id string) (*Stream, error) {
	if _, err := s.Peek(id); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, id)
	return s.locked(ctx, dir, 0, func() (Info, error) { return readInfo(dir) })
}

// locked opens a stream's directory under its lock.
func (s *Spool) locked(ctx context.Context, dir string, wait time.Duration, info func() (Info, error)) (*Stream, error) {
	lock, err := takeLock(ctx, filepath.Join(dir, lockFile), wait)
	if err != nil {
		return nil, err
	}
	st, err := s.scan(dir, lock, info)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return st, nil
}
