package eif

import (
	"crypto"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
)

// Defaults that AWS's builder writes into headers; nothing uses them.
const (
	defaultMemory = 1 << 30
	defaultCPUs   = 2
)

// Source is one section's data, of a size that is known before.
type Source struct {
	// Data is read from its beginning, at least twice.
	Data io.ReaderAt
	// Size is its length in bytes.
	Size int64
}

// Plan is an image to be built, in the official order: kernel, command line,
// metadata, ramdisks, and a signature when there is one.
type Plan struct {
	Arch        Arch
	Kernel      Source
	CommandLine string
	// Metadata is the metadata section, see Remarks.JSON.
	Metadata []byte
	Ramdisks []Source
	// Signature is the content of a signature section, see Sign; may be nil.
	Signature []byte
}

// part is a section to be written.
type part struct {
	kind Type
	data io.ReaderAt
	size int64
}

// Write writes the image to file, which must be empty: the sections first, then
// the header with the checksum over all of them. The same plan gives the same
// bytes.
func (p Plan) Write(file io.WriterAt) error {
	parts, err := p.parts()
	if err != nil {
		return err
	}
	header := make([]byte, headerSize)
	copy(header, magic)
	binary.BigEndian.PutUint16(header[4:], Version)
	binary.BigEndian.PutUint16(header[6:], uint16(p.Arch))
	binary.BigEndian.PutUint64(header[8:], defaultMemory)
	binary.BigEndian.PutUint64(header[16:], defaultCPUs)
	binary.BigEndian.PutUint16(header[0x1a:], uint16(len(parts)))
	at := int64(headerSize)
	for i, s := range parts {
		binary.BigEndian.PutUint64(header[offsetsAt+8*i:], uint64(at))
		binary.BigEndian.PutUint64(header[sizesAt+8*i:], uint64(s.size))
		at += sectionHeader + s.size
	}
	w := &summing{file: file, at: headerSize, crc: crc32.ChecksumIEEE(header[:crcAt])}
	for _, s := range parts {
		if err := s.write(w); err != nil {
			return err
		}
	}
	binary.BigEndian.PutUint32(header[crcAt:], w.crc)
	if _, err := file.WriteAt(header, 0); err != nil {
		return fmt.Errorf("eif: %w", err)
	}
	return nil
}

// parts checks the plan and answers its sections in order.
func (p Plan) parts() ([]part, error) {
	if err := checkCommandLine([]byte(p.CommandLine)); err != nil {
		return nil, err
	}
	if len(p.Ramdisks) == 0 {
		return nil, refuse(BadSections, "no ramdisk")
	}
	if !oneObject(p.Metadata) || len(p.Metadata) > maxMetadata {
		return nil, refuse(BadMetadata, "not one JSON object of at most %d bytes", maxMetadata)
	}
	all := []part{
		{Kernel, p.Kernel.Data, p.Kernel.Size}, text(CommandLine, []byte(p.CommandLine)), text(Metadata, p.Metadata),
	}
	for _, r := range p.Ramdisks {
		all = append(all, part{Ramdisk, r.Data, r.Size})
	}
	if p.Signature != nil {
		all = append(all, text(Signature, p.Signature))
	}
	if len(all) > MaxSections {
		return nil, refuse(BadTable, "%d sections; %d is the limit", len(all), MaxSections)
	}
	return all, nil
}

func text(t Type, b []byte) part { return part{t, bytesAt(b), int64(len(b))} }

// bytesAt is a byte slice as an io.ReaderAt.
type bytesAt []byte

// ReadAt copies what there is at an offset.
func (b bytesAt) ReadAt(p []byte, at int64) (int, error) {
	if at >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// write writes a section's own header and its data.
func (s part) write(w io.Writer) error {
	var own [sectionHeader]byte
	binary.BigEndian.PutUint16(own[:], uint16(s.kind))
	binary.BigEndian.PutUint64(own[4:], uint64(s.size))
	if _, err := w.Write(own[:]); err != nil {
		return fmt.Errorf("eif: %w", err)
	}
	n, err := io.Copy(w, io.NewSectionReader(s.data, 0, s.size))
	if err != nil {
		return fmt.Errorf("eif: %s: %w", s.kind, err)
	}
	if n != s.size {
		return fmt.Errorf("eif: %s: %w", s.kind, errShort)
	}
	return nil
}

// summing writes behind the header and keeps the checksum.
type summing struct {
	file io.WriterAt
	at   int64
	crc  uint32
}

// Write appends b.
func (w *summing) Write(b []byte) (int, error) {
	n, err := w.file.WriteAt(b, w.at)
	w.at += int64(n)
	w.crc = crc32.Update(w.crc, crc32.IEEETable, b[:n])
	return n, err
}

// Resign answers the plan of an image with another signature, or with none.
func (m *Image) Resign(signature []byte) (Plan, error) {
	line, err := m.CommandLine()
	if err != nil {
		return Plan{}, err
	}
	found := m.all(Metadata)
	if len(found) == 0 {
		return Plan{}, refuse(BadMetadata, "an image without metadata is of an old version; build it anew")
	}
	metadata, err := m.small(found[0], maxMetadata)
	if err != nil {
		return Plan{}, err
	}
	source := func(s Section) Source { return Source{m.Reader(s), s.Size} }
	p := Plan{Arch: m.Arch(), Kernel: source(m.all(Kernel)[0]), CommandLine: line, Metadata: metadata, Signature: signature}
	for _, s := range m.all(Ramdisk) {
		p.Ramdisks = append(p.Ramdisks, source(s))
	}
	return p, nil
}

// rawSignature signs a digest and answers r || s.
func rawSignature(key crypto.Signer, digest []byte, s scheme) ([]byte, error) {
	der, err := key.Sign(nil, digest, s.hash)
	if err != nil {
		return nil, fmt.Errorf("eif: %w", err)
	}
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &pair)
	if err != nil || len(rest) != 0 || pair.R.BitLen() > 8*s.size || pair.S.BitLen() > 8*s.size {
		return nil, errors.New("eif: the key's signature can't be read")
	}
	out := make([]byte, 2*s.size)
	pair.R.FillBytes(out[:s.size])
	pair.S.FillBytes(out[s.size:])
	return out, nil
}
