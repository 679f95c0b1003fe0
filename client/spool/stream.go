package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Stream is one stream of a spool. Put is for one goroutine at a time; the
// other methods are safe beside it and beside each other.
type Stream struct {
	dir   string
	limit int64

	mu   sync.Mutex // guards what follows
	info Info
	lock *os.File
	held []bool // for each batch whether its receipt is there
	used int64  // bytes in sealed/
}

// scan reads a stream's directory, whose lock is held, and tidies up after a
// crash.
func (s *Spool) scan(dir string, lock *os.File, info func() (Info, error)) (*Stream, error) {
	i, err := info()
	if err != nil {
		return nil, err
	}
	st := &Stream{dir: dir, limit: s.Limit, info: i, lock: lock}
	for _, sub := range []string{sealedDir, receiptsDir} {
		if err := makeDir(filepath.Join(dir, sub)); err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
	}
	if err := sweep(dir); err != nil {
		return nil, err
	}
	sealed, err := st.numbers(sealedDir)
	if err != nil {
		return nil, err
	}
	receipts, err := st.numbers(receiptsDir)
	if err != nil {
		return nil, err
	}
	if err := st.arrange(sealed, receipts); err != nil {
		return nil, err
	}
	return st, nil
}

// numbers lists the batches in a directory of the stream with their sizes in
// bytes, and removes what a crash left unfinished.
func (s *Stream) numbers(sub string) (map[uint64]int64, error) {
	dir := filepath.Join(s.dir, sub)
	if err := sweep(dir); err != nil {
		return nil, err
	}
	entries, err := readDir(dir, MaxBatches)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	found := map[uint64]int64{}
	for _, e := range entries {
		n, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil || e.Name() != fileName(n) || n >= MaxBatches {
			return nil, fmt.Errorf("spool: %s: %w: not a file of a spool", filepath.Join(dir, e.Name()), ErrDamaged)
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		found[n] = info.Size()
	}
	return found, nil
}

// arrange checks that no number is missing, and removes sealed batches whose
// receipts are there.
func (s *Stream) arrange(sealed, receipts map[uint64]int64) error {
	last := -1
	for _, numbers := range []map[uint64]int64{sealed, receipts} {
		for n := range numbers {
			last = max(last, int(n))
		}
	}
	for n := range uint64(last + 1) {
		size, waiting := sealed[n]
		_, held := receipts[n]
		switch {
		case !waiting && !held:
			return fmt.Errorf("spool: %s: %w: gone, while later batches are there", s.path(sealedDir, n), ErrDamaged)
		case waiting && held:
			if err := os.Remove(s.path(sealedDir, n)); err != nil {
				return fmt.Errorf("spool: %w", err)
			}
		case waiting:
			s.used += size
		}
		s.held = append(s.held, held)
	}
	return nil
}

// sweep removes what a crash left unfinished in a directory.
func sweep(dir string) error {
	entries, err := readDir(dir, 2*MaxBatches)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("spool: %w", err)
			}
		}
	}
	return nil
}

func fileName(n uint64) string { return fmt.Sprintf("%08d", n) }

func (s *Stream) path(sub string, n uint64) string { return filepath.Join(s.dir, sub, fileName(n)) }

// Dir is the stream's directory.
func (s *Stream) Dir() string { return s.dir }

// Info says whose stream it is.
func (s *Stream) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Len is the number of batches, with and without receipts.
func (s *Stream) Len() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.held))
}

// Has says whether the receipt of a batch is there.
func (s *Stream) Has(n uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return n < uint64(len(s.held)) && s.held[n]
}

// Put makes the next batch durable. Only then may anybody else see it. A
// number is never given twice.
func (s *Stream) Put(b *Batch) error {
	raw, err := b.Encode()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Sequence != uint64(len(s.held)) {
		return fmt.Errorf("spool: batch %d isn't the next one of the stream", b.Sequence)
	}
	if s.used+int64(len(raw)) > s.limit {
		return fmt.Errorf("spool: %w: %d bytes without a receipt", ErrFull, s.used)
	}
	if err := writeFile(filepath.Join(s.dir, sealedDir), fileName(b.Sequence), raw); err != nil {
		return err
	}
	s.used += int64(len(raw))
	s.held = append(s.held, false)
	return nil
}

// Batch reads a batch that has no receipt.
func (s *Stream) Batch(n uint64) (*Batch, error) {
	return read(s.path(sealedDir, n), ParseBatch, func(b *Batch) bool { return b.Sequence == n })
}

// Held reads a batch that has a receipt. It works after Close, too.
func (s *Stream) Held(n uint64) (*Held, error) {
	return read(s.path(receiptsDir, n), ParseHeld, func(h *Held) bool { return h.Sequence == n })
}

// read reads one file and checks that it stands in its place.
func read[T any](path string, parse func([]byte) (*T, error), right func(*T) bool) (*T, error) {
	raw, err := readFile(path, maxFile)
	var v *T
	if err == nil {
		v, err = parse(raw)
	}
	if err == nil && !right(v) {
		err = fmt.Errorf("%w: another batch", ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %s: %w", path, err)
	}
	return v, nil
}

// Settle keeps the checked receipt of a batch and removes its sealed bytes.
func (s *Stream) Settle(h *Held) error {
	raw, err := h.Encode()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.Sequence >= uint64(len(s.held)) || s.held[h.Sequence] {
		return fmt.Errorf("spool: batch %d isn't waiting for a receipt", h.Sequence)
	}
	if err := writeFile(filepath.Join(s.dir, receiptsDir), fileName(h.Sequence), raw); err != nil {
		return err
	}
	s.held[h.Sequence] = true
	path := s.path(sealedDir, h.Sequence)
	if info, err := os.Lstat(path); err == nil {
		s.used -= info.Size()
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Tell notes that the final totals were shown.
func (s *Stream) Tell() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.info.Told {
		return nil
	}
	if s.lock == nil {
		return errors.New("spool: the stream is closed")
	}
	told := s.info
	told.Told = true
	if err := told.write(s.dir); err != nil {
		return err
	}
	s.info = told
	return nil
}

// Close gives the stream back to other processes.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}
