// Package vm is simulation tier two: an enclave image under its own kernel in a
// virtual machine, with this process as the devices of the machine: the Nitro
// Secure Module and vsock. The image is read strictly, measured by our own
// reader, and started as it is. It trusts neither the image nor what runs in
// it: the machine is interpreted by an unprivileged QEMU, without KVM and
// without a vsock device of the host's.
//
// QEMU measures nothing. That the registers of the simulated module hold the
// image's measurements is this package's doing, and nothing here isolates
// memory: whoever can stop this process can read the machine's.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/eif"
	"github.com/cloisterhq/cloister/image/cpio"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// MaxImage is the largest image that is started, in bytes.
const MaxImage = 1 << 30

// ErrImage is wrapped by every refusal of an image.
var ErrImage = errors.New("vm: the image is refused")

// Image is an image file that passed the strict reader, and its measurements.
type Image struct {
	file     *os.File
	eif      *eif.Image
	measured nsmsim.Image
}

// Open reads a whole image file, and refuses one that isn't an x86-64 image,
// that two readers could read differently, or whose checksum or signature is
// bad. Close it after use.
func Open(ctx context.Context, path string) (*Image, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would be waited for
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	m := &Image{file: f}
	if err := m.read(ctx); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func (m *Image) read(ctx context.Context) error {
	info, err := m.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("vm: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: not a regular file", ErrImage)
	case info.Size() > MaxImage:
		return fmt.Errorf("%w: %d bytes; %d is the limit", ErrImage, info.Size(), int64(MaxImage))
	}
	if m.eif, err = eif.Open(m.file, info.Size()); err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	if m.eif.Arch() != eif.X86 {
		return fmt.Errorf("%w: it is for %s, and the machine is an x86_64", ErrImage, m.eif.Arch())
	}
	measured, err := m.eif.Measure(ctx, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	if !measured.CRC {
		return fmt.Errorf("%w: the header's checksum isn't that of the file", ErrImage)
	}
	if err := m.eif.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	signer, err := m.eif.SignedBy(measured.PCR0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	m.measured = nsmsim.Image{PCR0: attestation.PCR(measured.PCR0), PCR1: attestation.PCR(measured.PCR1), PCR2: attestation.PCR(measured.PCR2)}
	if signer != nil {
		m.measured.PCR8 = attestation.PCR(signer.PCR8)
	}
	return nil
}

// Measured answers what the image measures, PCR8 with it when it is signed.
func (m *Image) Measured() nsmsim.Image { return m.measured }

// Size is the file's, in bytes.
func (m *Image) Size() int64 { return m.eif.Size() }

// Close closes the file.
func (m *Image) Close() error { return m.file.Close() }

// Copy writes the whole file.
func (m *Image) Copy(w io.Writer) error {
	_, err := io.Copy(w, io.NewSectionReader(m.file, 0, m.eif.Size()))
	return err
}

// Relabel writes another image to file, which must be empty: the same kernel, command
// line and ramdisks, and one ramdisk more, which holds nothing but the label.
// It runs alike, measures otherwise in PCR0 and PCR2, and has no signature.
func (m *Image) Relabel(file io.WriterAt, label string) error {
	plan, err := m.eif.Resign(nil)
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	var extra bytes.Buffer
	if err := cpio.Write(&extra, []cpio.Entry{cpio.File("label", 0o400, []byte(label))}); err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	plan.Ramdisks = append(plan.Ramdisks, eif.Source{Data: bytes.NewReader(extra.Bytes()), Size: int64(extra.Len())})
	if err := plan.Write(file); err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	return nil
}

// The files of a machine, in its run directory.
const (
	kernelFile  = "kernel"
	ramdiskFile = "ramdisk"
)

// extract writes what QEMU loads, the kernel and one file with all ramdisks, into dir, and answers the
// command line. A loader puts ramdisks behind each other; the kernel wants each
// to begin at a multiple of four bytes.
func (m *Image) extract(dir string) (line string, err error) {
	if line, err = m.eif.CommandLine(); err != nil {
		return "", fmt.Errorf("vm: %w", err)
	}
	kernel, err := create(filepath.Join(dir, kernelFile))
	if err != nil {
		return "", err
	}
	defer kernel.Close()
	ramdisk, err := create(filepath.Join(dir, ramdiskFile))
	if err != nil {
		return "", err
	}
	defer ramdisk.Close()
	for _, s := range m.eif.Sections() {
		switch s.Type {
		case eif.Kernel:
			err = m.eif.Copy(kernel, s)
		case eif.Ramdisk:
			if err = m.eif.Copy(ramdisk, s); err == nil {
				_, err = ramdisk.Write(make([]byte, -s.Size&3))
			}
		default:
		}
		if err != nil {
			return "", fmt.Errorf("vm: %s: %w", s.Type, err)
		}
	}
	return line, errors.Join(kernel.Close(), ramdisk.Close())
}

func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("vm: %w", err)
	}
	return f, nil
}
