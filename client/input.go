package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"os"
	"syscall"
)

// blockSize is the unit in which an input is compared with itself, in bytes.
const blockSize = 256 << 10

// errChanged says that an input isn't the one that was read first.
var errChanged = errors.New("the input changed while it was read")

// input is an input that is read twice: once to be checked and named, once to
// be sealed. What the second reading answers is what the first one saw, byte
// for byte: each block is compared before anybody gets it.
type input struct {
	file io.ReadSeeker
	size int64
	// digest is the SHA-256 of all bytes, and sums holds a keyed hash of each
	// block; both are there after the first reading.
	digest [32]byte
	seed   maphash.Seed
	sums   []uint64
	done   func()
}

// newInput takes an input. One that can't be read twice is copied to a file
// without a name first. The caller must call done.
func newInput(ctx context.Context, r io.Reader) (*input, error) {
	in := &input{seed: maphash.MakeSeed(), done: func() {}}
	if seeker, ok := r.(io.ReadSeeker); ok {
		if size, err := seeker.Seek(0, io.SeekEnd); err == nil {
			in.file, in.size = seeker, size
			return in, nil
		}
	}
	f, err := os.CreateTemp("", "cloister-submit-*")
	if err != nil {
		return nil, mistakef("a temporary file for the input: %w", err)
	}
	_ = os.Remove(f.Name())
	in.done = func() { f.Close() }
	if in.size, err = copyUntil(ctx, f, r); err != nil {
		in.done()
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return nil, mistakef("the input doesn't fit into %s, where it is kept while it's read: set TMPDIR to a larger directory, or submit a file", os.TempDir())
		}
		return nil, err
	}
	in.file = f
	return in, nil
}

// copyUntil copies until the end or until ctx ends, which a read from a
// terminal or a pipe doesn't notice.
func copyUntil(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	type result struct {
		n   int64
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := io.Copy(w, r)
		done <- result{n, err}
	}()
	select {
	case d := <-done:
		return d.n, d.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// name is the stream name that an input has of its own.
func (in *input) name() string { return "sha256:" + hex.EncodeToString(in.digest[:]) }

// first starts the first reading. finish, called when the reader is at its
// end, completes digest and sums.
func (in *input) first(ctx context.Context, progress func(int64)) (r io.Reader, finish func() error, err error) {
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("input: %w", err)
	}
	f := &firstReader{ctx: ctx, in: in, whole: sha256.New(), progress: progress}
	f.block.SetSeed(in.seed)
	return f, f.finish, nil
}

type firstReader struct {
	ctx      context.Context
	in       *input
	whole    hash.Hash
	block    maphash.Hash
	filled   int // bytes in block
	read     int64
	progress func(int64)
}

// Read reads and hashes.
func (f *firstReader) Read(p []byte) (int, error) {
	if err := f.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := f.in.file.Read(p[:min(len(p), blockSize-f.filled)])
	f.whole.Write(p[:n])
	_, _ = f.block.Write(p[:n])
	f.read += int64(n)
	if f.filled += n; f.filled == blockSize {
		f.close()
	}
	return n, err
}

// close ends a block.
func (f *firstReader) close() {
	f.in.sums = append(f.in.sums, f.block.Sum64())
	f.block.Reset()
	f.filled = 0
	f.progress(f.read)
}

func (f *firstReader) finish() error {
	if n, err := f.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return inputf("%w", errChanged)
	}
	if f.filled > 0 {
		f.close()
	}
	f.in.size = f.read
	f.whole.Sum(f.in.digest[:0])
	return nil
}

// second starts the second reading.
func (in *input) second(ctx context.Context) (io.Reader, error) {
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	return &secondReader{ctx: ctx, in: in, buffer: make([]byte, 0, blockSize)}, nil
}

type secondReader struct {
	ctx    context.Context
	in     *input
	next   int // index of the next block
	buffer []byte
	rest   []byte // what of the buffer wasn't answered yet
}

// Read answers bytes of blocks that are as they were.
func (s *secondReader) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// fill reads and compares one block. After the last one nothing may follow.
func (s *secondReader) fill() error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	n, err := io.ReadFull(s.in.file, s.buffer[:blockSize])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("input: %w", err)
	}
	if s.next == len(s.in.sums) {
		if n != 0 {
			return inputf("%w", errChanged)
		}
		return io.EOF
	}
	if maphash.Bytes(s.in.seed, s.buffer[:n]) != s.in.sums[s.next] {
		return inputf("%w", errChanged)
	}
	s.next++
	s.rest = s.buffer[:n]
	return nil
}
