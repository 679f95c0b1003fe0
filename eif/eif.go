// Package eif reads, checks, measures, builds and signs enclave image files. It
// trusts nothing in a file: every size is held against the file's own before
// anything is allocated, and a file that two readers could read differently is
// refused. The format is that of aws-nitro-enclaves-image-format (README, "EIF
// layout"); all its integers are big endian.
package eif

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
)

const (
	// MaxSections is how many sections the header's tables hold.
	MaxSections = 32
	// Version is the version that Build writes. 2 and 3 can be read.
	Version = 4

	magic          = ".eif"
	headerSize     = 548
	offsetsAt      = 0x1c
	sizesAt        = 0x11c
	unusedAt       = 0x21c
	crcAt          = 0x220
	sectionHeader  = 12
	flagARM        = 1
	maxCommandLine = 4 << 10
	maxMetadata    = 1 << 20
	maxSignature   = 32 << 10
)

// Arch is the machine that an image runs on.
type Arch uint8

// The architectures, as the header's flag bit 0 says them.
const (
	X86 Arch = 0
	ARM Arch = 1
)

// String is the architecture as kernels name it.
func (a Arch) String() string {
	if a == ARM {
		return "aarch64"
	}
	return "x86_64"
}

// ArchNamed answers the architecture of a name, false for none.
func ArchNamed(name string) (Arch, bool) {
	switch name {
	case "x86_64", "amd64":
		return X86, true
	case "aarch64", "arm64":
		return ARM, true
	}
	return 0, false
}

// Type is what a section holds.
type Type uint16

// The section types.
const (
	Kernel      Type = 1
	CommandLine Type = 2
	Ramdisk     Type = 3
	Signature   Type = 4
	Metadata    Type = 5
)

// String is the type's name.
func (t Type) String() string {
	if t < Kernel || t > Metadata {
		return "unknown"
	}
	return [...]string{"", "kernel", "cmdline", "ramdisk", "signature", "metadata"}[t]
}

// Section is one section as header and file agree on it.
type Section struct {
	Type Type
	// Offset is where its data begin in the file, Size how many bytes they are.
	Offset, Size int64
}

// PCR is the value of a register: SHA-384(48 zero bytes || SHA-384(content)).
type PCR [sha512.Size384]byte

// String is the value in lower-case hexadecimal digits.
func (p PCR) String() string { return hex.EncodeToString(p[:]) }

// IsZero says whether nothing was measured into the register.
func (p PCR) IsZero() bool { return p == PCR{} }

// extend is the register after one extension of zero by a content's digest.
func extend(digest []byte) PCR {
	return sha512.Sum384(append(make([]byte, sha512.Size384), digest...))
}

// Class says why a file was refused. Callers branch on it.
type Class string

// The classes, in the order in which checks run.
const (
	// BadHeader: not an image file of a version that is read.
	BadHeader Class = "header"
	// BadTable: the header's tables and the sections' own headers don't tile
	// the file, each byte once and in order.
	BadTable Class = "section table"
	// BadSections: sections that are missing, stand twice, or in another order.
	BadSections Class = "sections"
	// BadCRC: the checksum isn't that of the file.
	BadCRC Class = "checksum"
	// Ambiguous: bytes could have moved over a section's border, so that another
	// image has the same measurements.
	Ambiguous Class = "ambiguous"
	// BadMetadata: the metadata section isn't one JSON object.
	BadMetadata Class = "metadata"
	// BadSignature: the signature section isn't a good signature of this image.
	BadSignature Class = "signature"
)

// Error is a refusal of a file.
type Error struct {
	Class Class
	// Detail says more, in constant words and numbers.
	Detail string
}

// Error is the class and the detail.
func (e *Error) Error() string { return "eif: " + string(e.Class) + ": " + e.Detail }

func refuse(class Class, format string, args ...any) error {
	return &Error{Class: class, Detail: fmt.Sprintf(format, args...)}
}
