package eif

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"sync"
)

// Measurement is what the hypervisor measures of an image, and its checksum.
type Measurement struct {
	// PCR0 is over kernel, command line and all ramdisks, PCR1 over kernel,
	// command line and the first ramdisk, PCR2 over the other ramdisks.
	PCR0, PCR1, PCR2 PCR
	// CRC says whether the header's checksum is that of the file. It protects
	// against accidents only.
	CRC bool
	// Digest is the SHA-256 of the whole file. Files of one image differ in it
	// by time of building and signature.
	Digest [sha256.Size]byte
}

// blockSize is what is read at once, in bytes. Memory stays at a few blocks
// whatever the file's size is.
const blockSize = 1 << 20

// Measure reads the file once, from its beginning to its end. progress is
// called with the bytes read so far; it may be nil. Errors: that of ctx, the
// reader's, and a refusal of a file that became shorter.
func (m *Image) Measure(ctx context.Context, progress func(done int64)) (*Measurement, error) {
	return m.measure(ctx, progress, true)
}

// Registers is Measure without the file's digest, which stays zero: a fifth of
// the work less.
func (m *Image) Registers(ctx context.Context, progress func(done int64)) (*Measurement, error) {
	return m.measure(ctx, progress, false)
}

func (m *Image) measure(ctx context.Context, progress func(done int64), digest bool) (*Measurement, error) {
	hashers := newHashers(m, digest)
	defer hashers.stop()
	out := &Measurement{}
	for at := int64(0); at < m.size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b := hashers.block()
		n := int(min(int64(len(b.bytes)), m.size-at))
		if err := readFull(m.file, b.bytes[:n], at); err != nil {
			return nil, err
		}
		b.at, b.bytes = at, b.bytes[:n]
		hashers.feed(b)
		at += int64(n)
		if progress != nil {
			progress(at)
		}
	}
	hashers.finish(out)
	out.CRC = hashers.crc == binary.BigEndian.Uint32(m.header[crcAt:])
	return out, nil
}

// block is a piece of the file; its buffer goes back when every worker is done.
type block struct {
	at    int64
	bytes []byte
	users sync.WaitGroup
}

// hashers spread the work over goroutines: register 0 and 1 in one, register 2
// in another, checksum and file digest in a third. The registers are the slow
// part, so two cores measure an image as fast as one hashes the file.
type hashers struct {
	image   *Image
	feeds   []chan *block
	workers sync.WaitGroup
	free    chan *block

	all, first, rest hash.Hash // content digests of PCR0, PCR1, PCR2
	forked           bool      // first was cloned from all
	crc              uint32
	file             hash.Hash // nil when nobody asks
}

func newHashers(m *Image, digest bool) *hashers {
	h := &hashers{image: m, all: sha512.New384(), rest: sha512.New384(), free: make(chan *block, 4)}
	if digest {
		h.file = sha256.New()
	}
	for range cap(h.free) {
		h.free <- &block{bytes: make([]byte, min(blockSize, m.size))}
	}
	for _, work := range []func(*block){h.registers, h.others, h.whole} {
		feed := make(chan *block, cap(h.free))
		h.feeds = append(h.feeds, feed)
		h.workers.Go(func() {
			for b := range feed {
				work(b)
				b.users.Done()
			}
		})
	}
	return h
}

// block answers an empty buffer once one is free.
func (h *hashers) block() *block {
	b := <-h.free
	b.users.Wait()
	b.bytes = b.bytes[:cap(b.bytes)]
	return b
}

func (h *hashers) feed(b *block) {
	b.users.Add(len(h.feeds))
	for _, feed := range h.feeds {
		feed <- b
	}
	h.free <- b
}

// stop ends the goroutines.
func (h *hashers) stop() {
	for _, feed := range h.feeds {
		close(feed)
	}
	h.feeds = nil
	h.workers.Wait()
}

func (h *hashers) finish(out *Measurement) {
	h.stop()
	if !h.forked {
		h.first = h.all
	}
	out.PCR0, out.PCR1, out.PCR2 = extend(h.all.Sum(nil)), extend(h.first.Sum(nil)), extend(h.rest.Sum(nil))
	if h.file != nil {
		h.file.Sum(out.Digest[:0])
	}
}

// registers feeds PCR0, and PCR1 as a clone of it: up to the end of the first
// ramdisk the two are one. Where a kernel or command line stands after the
// second ramdisk, which no builder writes, Open's order still lets PCR1 be fed
// on its own from there.
func (h *hashers) registers(b *block) {
	ramdisks := 0
	for _, s := range h.image.sections {
		if s.Type == Ramdisk {
			ramdisks++
		}
		part, begins := b.part(s)
		if s.Type > Ramdisk || part == nil && !begins {
			continue
		}
		if s.Type == Ramdisk && ramdisks == 2 && begins {
			h.fork()
		}
		h.all.Write(part)
		if h.forked && s.Type != Ramdisk {
			h.first.Write(part)
		}
	}
}

// fork keeps what PCR1 is so far.
func (h *hashers) fork() {
	cloner, ok := h.all.(hash.Cloner)
	if !ok {
		return // SHA-384 of this Go version clones; tests would notice
	}
	if first, err := cloner.Clone(); err == nil {
		h.first, h.forked = first, true
	}
}

// others feeds PCR2: every ramdisk but the first.
func (h *hashers) others(b *block) {
	for i, s := range h.image.all(Ramdisk) {
		if part, _ := b.part(s); i > 0 {
			h.rest.Write(part)
		}
	}
}

// whole feeds checksum and file digest. The checksum's own bytes count in the
// digest alone.
func (h *hashers) whole(b *block) {
	if h.file != nil {
		h.file.Write(b.bytes)
	}
	if b.at > 0 { // the header is inside the first block
		h.crc = crc32.Update(h.crc, crc32.IEEETable, b.bytes)
		return
	}
	h.crc = crc32.Update(crc32.ChecksumIEEE(b.bytes[:crcAt]), crc32.IEEETable, b.bytes[headerSize:])
}

// part answers what of a section is in the block, and whether the section
// begins in it.
func (b *block) part(s Section) (part []byte, begins bool) {
	from, to := max(s.Offset-b.at, 0), min(s.Offset+s.Size-b.at, int64(len(b.bytes)))
	begins = s.Offset >= b.at && s.Offset < b.at+int64(len(b.bytes))
	if from >= to {
		return nil, begins
	}
	return b.bytes[from:to], begins
}

var errShort = errors.New("eif: short write")

// Copy writes a section's data, for extraction.
func (m *Image) Copy(w io.Writer, s Section) error {
	n, err := io.Copy(w, m.Reader(s))
	if err == nil && n != s.Size {
		err = errShort
	}
	return err
}
