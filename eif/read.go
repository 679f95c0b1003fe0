package eif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Image is a file whose header and sections agree. Nothing is said yet about
// what the sections hold, nor about the checksum: Measure and Check read on.
type Image struct {
	file     io.ReaderAt
	size     int64
	header   [headerSize]byte
	sections []Section
}

// Open reads the header and every section's own header: about a kilobyte,
// whatever the file's size is. Refusals are *Error; others are the reader's.
func Open(file io.ReaderAt, size int64) (*Image, error) {
	m := &Image{file: file, size: size}
	if size < headerSize {
		return nil, refuse(BadHeader, "%d bytes are fewer than a header's %d", size, headerSize)
	}
	if err := readFull(file, m.header[:], 0); err != nil {
		return nil, err
	}
	n, err := m.checkHeader()
	if err != nil {
		return nil, err
	}
	if err := m.walk(n); err != nil {
		return nil, err
	}
	return m, m.checkOrder()
}

// Version is the format's version, 2 to 4.
func (m *Image) Version() int { return int(binary.BigEndian.Uint16(m.header[4:])) }

// Arch is the machine that the header names. It isn't measured.
func (m *Image) Arch() Arch { return Arch(binary.BigEndian.Uint16(m.header[6:]) & flagARM) }

// Memory and CPUs are the header's defaults, which nothing uses: bytes, count.
func (m *Image) Memory() uint64 { return binary.BigEndian.Uint64(m.header[8:]) }

// CPUs is the header's default, which nothing uses.
func (m *Image) CPUs() uint64 { return binary.BigEndian.Uint64(m.header[16:]) }

// Size is the file's, in bytes.
func (m *Image) Size() int64 { return m.size }

// Sections answers the sections in the file's order.
func (m *Image) Sections() []Section { return append([]Section(nil), m.sections...) }

// Reader reads one section's data.
func (m *Image) Reader(s Section) *io.SectionReader {
	return io.NewSectionReader(m.file, s.Offset, s.Size)
}

// all answers the sections of a type.
func (m *Image) all(t Type) (found []Section) {
	for _, s := range m.sections {
		if s.Type == t {
			found = append(found, s)
		}
	}
	return found
}

// small reads a whole section that may have at most limit bytes.
func (m *Image) small(s Section, limit int64) ([]byte, error) {
	if s.Size > limit {
		return nil, refuse(BadSections, "the %s has %d bytes; %d is the limit", s.Type, s.Size, limit)
	}
	b := make([]byte, s.Size)
	return b, readFull(m.file, b, s.Offset)
}

// checkHeader answers the number of sections.
func (m *Image) checkHeader() (int, error) {
	h := m.header[:]
	n := int(binary.BigEndian.Uint16(h[0x1a:]))
	switch {
	case string(h[:4]) != magic:
		return 0, refuse(BadHeader, "not an enclave image file: it doesn't begin with .eif")
	case m.Version() < 2 || m.Version() > Version:
		return 0, refuse(BadHeader, "version %d; 2 to %d can be read", m.Version(), Version)
	case binary.BigEndian.Uint16(h[6:])&^flagARM != 0:
		return 0, refuse(BadHeader, "a reserved flag is set")
	case binary.BigEndian.Uint16(h[0x18:]) != 0 || binary.BigEndian.Uint32(h[unusedAt:]) != 0:
		return 0, refuse(BadHeader, "a reserved field isn't zero")
	case n < 2 || n > MaxSections:
		return 0, refuse(BadHeader, "%d sections; 2 to %d are allowed", n, MaxSections)
	}
	for i := n; i < MaxSections; i++ {
		if m.offset(i) != 0 || m.length(i) != 0 {
			return 0, refuse(BadTable, "entry %d isn't zero, and there are %d sections", i, n)
		}
	}
	return n, nil
}

func (m *Image) offset(i int) uint64 { return binary.BigEndian.Uint64(m.header[offsetsAt+8*i:]) }
func (m *Image) length(i int) uint64 { return binary.BigEndian.Uint64(m.header[sizesAt+8*i:]) }

// walk follows table and file at once. Each section begins where the one
// before ends and the last ends with the file: no gap, no overlap, no byte that
// one reader sees and another doesn't.
func (m *Image) walk(n int) error {
	at := uint64(headerSize)
	for i := range n {
		if m.offset(i) != at {
			return refuse(BadTable, "section %d should begin at byte %d, the table says %d", i, at, m.offset(i))
		}
		room := uint64(m.size) - at
		if room < sectionHeader || m.length(i) > room-sectionHeader {
			return refuse(BadTable, "section %d reaches beyond the end of the file", i)
		}
		var own [sectionHeader]byte
		if err := readFull(m.file, own[:], int64(at)); err != nil {
			return err
		}
		s := Section{Type: Type(binary.BigEndian.Uint16(own[:])), Offset: int64(at) + sectionHeader, Size: int64(m.length(i))}
		switch {
		case s.Type < Kernel || s.Type > Metadata:
			return refuse(BadSections, "section %d has the unknown type %d", i, s.Type)
		case binary.BigEndian.Uint16(own[2:]) != 0:
			return refuse(BadSections, "section %d has a reserved flag set", i)
		case binary.BigEndian.Uint64(own[4:]) != m.length(i):
			return refuse(BadTable, "section %d has another size in its own header than in the table", i)
		}
		m.sections = append(m.sections, s)
		at = uint64(s.Offset + s.Size)
	}
	if at != uint64(m.size) {
		return refuse(BadTable, "%d bytes stand after the last section", uint64(m.size)-at)
	}
	return nil
}

// checkOrder holds how often each section may stand, and where.
func (m *Image) checkOrder() error {
	metadata, signatures := len(m.all(Metadata)), len(m.all(Signature))
	switch {
	case len(m.all(Kernel)) != 1:
		return refuse(BadSections, "%d kernels; one is needed", len(m.all(Kernel)))
	case len(m.all(CommandLine)) != 1:
		return refuse(BadSections, "%d command lines; one is needed", len(m.all(CommandLine)))
	case len(m.all(Ramdisk)) == 0:
		return refuse(BadSections, "no ramdisk")
	case m.all(Ramdisk)[0].Offset < m.all(Kernel)[0].Offset:
		return refuse(BadSections, "a ramdisk stands before the kernel")
	case metadata > 1 || metadata == 0 && m.Version() >= 4:
		return refuse(BadSections, "%d metadata sections; version 4 needs one", metadata)
	case signatures > 1 || signatures == 1 && m.Version() < 3:
		return refuse(BadSections, "%d signature sections; one at most, from version 3 on", signatures)
	}
	return nil
}

// readFull reads exactly len(b) bytes. A file that became shorter is a refusal.
func readFull(file io.ReaderAt, b []byte, at int64) error {
	n, err := file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return refuse(BadTable, "the file ends at byte %d, while it is read", at+int64(n))
	}
	return fmt.Errorf("eif: %w", err)
}
