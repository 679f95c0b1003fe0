package eif

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Check holds what the sections contain: a command line of printable ASCII, a
// kernel that is as long as its own header says, ramdisks that begin like one,
// and metadata that are one JSON object. It reads a few kilobytes.
//
// Nothing separates the hashed sections, so a file with bytes moved over a
// border measures the same (this package's class Ambiguous). What is checked
// here leaves no room for such a twin.
func (m *Image) Check() error {
	line, err := m.small(m.all(CommandLine)[0], maxCommandLine)
	if err != nil {
		return err
	}
	if err := checkCommandLine(line); err != nil {
		return err
	}
	if err := m.checkKernel(m.all(Kernel)[0]); err != nil {
		return err
	}
	for i, s := range m.all(Ramdisk) {
		var begin [6]byte
		if n := min(s.Size, int64(len(begin))); n > 0 {
			if err := readFull(m.file, begin[:n], s.Offset); err != nil {
				return err
			}
		}
		if string(begin[:]) != "070701" && !bytes.HasPrefix(begin[:], []byte{0x1f, 0x8b}) {
			return refuse(Ambiguous, "ramdisk %d begins neither as cpio (070701) nor as gzip (1f 8b)", i+1)
		}
	}
	_, err = m.Metadata()
	return err
}

// CommandLine answers the kernel's command line.
func (m *Image) CommandLine() (string, error) {
	line, err := m.small(m.all(CommandLine)[0], maxCommandLine)
	return string(line), err
}

func checkCommandLine(line []byte) error {
	if len(line) == 0 {
		return refuse(Ambiguous, "the command line is empty")
	}
	for i, c := range line {
		if c < ' ' || c > '~' {
			return refuse(Ambiguous, "byte %d of the command line isn't printable ASCII", i)
		}
	}
	return nil
}

// checkKernel compares the section with the size in a bzImage's own header
// (Linux, Documentation/arch/x86/boot.rst: setup_sects, syssize, HdrS). Other
// kernels don't say their size in a way that bounds a file.
func (m *Image) checkKernel(s Section) error {
	if m.Arch() != X86 || s.Size < 0x206 {
		return nil
	}
	var h [0x206]byte
	if err := readFull(m.file, h[:], s.Offset); err != nil {
		return err
	}
	if string(h[0x202:]) != "HdrS" {
		return nil
	}
	setup := int64(h[0x1f1])
	if setup == 0 {
		setup = 4
	}
	want := (setup+1)*512 + int64(binary.LittleEndian.Uint32(h[0x1f4:]))*16
	if want != s.Size {
		return refuse(Ambiguous, "the kernel's own header says %d bytes, its section has %d", want, s.Size)
	}
	return nil
}

// Remarks is what the metadata section says of an image: its builder's word,
// which isn't measured.
type Remarks struct {
	ImageName     string
	ImageVersion  string
	BuildMetadata struct {
		BuildTime, BuildTool, BuildToolVersion, OperatingSystem, KernelVersion string
	}
	DockerInfo     json.RawMessage `json:",omitempty"`
	CustomMetadata json.RawMessage `json:",omitempty"`
}

// JSON writes the remarks as a metadata section: same remarks, same bytes.
func (r Remarks) JSON() ([]byte, error) {
	if r.DockerInfo == nil {
		r.DockerInfo = json.RawMessage("{}")
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("eif: %w", err)
	}
	return b, nil
}

// Metadata answers the remarks, nil in an old version without any.
func (m *Image) Metadata() (*Remarks, error) {
	found := m.all(Metadata)
	if len(found) == 0 {
		return nil, nil
	}
	b, err := m.small(found[0], maxMetadata)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(b) || !oneObject(b) {
		return nil, refuse(BadMetadata, "not one JSON object with each name once")
	}
	r := &Remarks{}
	if json.Unmarshal(b, r) != nil {
		return nil, refuse(BadMetadata, "a member is of another type than builders write")
	}
	return r, nil
}

// maxNesting bounds the metadata's depth.
const maxNesting = 32

// oneObject says whether b is one JSON object in which no name stands twice.
func oneObject(b []byte) bool {
	if !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if !value(dec, maxNesting) {
		return false
	}
	_, err := dec.Token()
	return errors.Is(err, io.EOF)
}

// value passes over one JSON value.
func value(dec *json.Decoder, depth int) bool {
	token, err := dec.Token()
	if err != nil || depth == 0 {
		return false
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return true
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			name, err := dec.Token()
			text, ok := name.(string)
			if err != nil || !ok || seen[text] {
				return false
			}
			seen[text] = true
		}
		if !value(dec, depth-1) {
			return false
		}
	}
	_, err = dec.Token()
	return err == nil
}
