// Package image puts the enclave image together: two ramdisks, the kernel, the
// command line that the enclave demands, and a signature. What goes in is
// checked here, so that an image which the enclave or a strict reader would
// refuse isn't made; what comes out is measured again from the file. It trusts
// the kernel and the binary that it is given.
package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cloisterhq/cloister/eif"
	"github.com/cloisterhq/cloister/image/cpio"
	"github.com/cloisterhq/cloister/image/reference"
	"github.com/cloisterhq/cloister/internal/cmdline"
)

// base is the file system that the enclave finds: where it mounts /proc, /sys
// and /dev, and the console that the kernel opens before that. There are no
// programs, no users, no configuration and no network names in it.
func base() []cpio.Entry {
	return []cpio.Entry{
		cpio.Directory("dev", 0o755),
		cpio.Device("dev/console", 0o600, 5, 1),
		cpio.Directory("proc", 0o555),
		cpio.Directory("sys", 0o555),
	}
}

// Ramdisks answers the two parts of the first file system. The first is the
// base, which is the same for all releases, so that PCR1 is kernel, command
// line and base; the second is the enclave's binary as /init, so that PCR2 is
// the binary and nothing else.
func Ramdisks(binary []byte) ([2][]byte, error) {
	var out [2][]byte
	for i, entries := range [2][]cpio.Entry{base(), {cpio.File("init", 0o555, binary)}} {
		var b bytes.Buffer
		if err := cpio.Write(&b, entries); err != nil {
			return out, fmt.Errorf("image: %w", err)
		}
		out[i] = b.Bytes()
	}
	return out, nil
}

// Parts are what an image is made of.
type Parts struct {
	// Kernel is a bzImage, Release its version.
	Kernel  []byte
	Release string
	// Ramdisks are those of Ramdisks.
	Ramdisks [2][]byte
	// Date goes into the metadata, which aren't measured.
	Date time.Time
}

// Result is a written image file.
type Result struct {
	File reference.File
	// PCRs are the registers by number: 0, 1, 2, and 8 when it is signed.
	PCRs map[string]string
}

// Write writes an image without a signature to a new file, reads it back,
// checks it as `cloister eif inspect` does, and measures it.
func (p Parts) Write(ctx context.Context, name string) (*Result, error) {
	plan, err := p.plan()
	if err != nil {
		return nil, err
	}
	return write(ctx, name, plan, nil)
}

// WriteSigned writes the image with a signature over its PCR0 to a new file.
func (p Parts) WriteSigned(ctx context.Context, name string, unsigned *Result, by *Signer) (*Result, error) {
	var pcr0 eif.PCR
	b, err := hex.DecodeString(unsigned.PCRs["0"])
	if err != nil || copy(pcr0[:], b) != len(pcr0) {
		return nil, errors.New("image: no PCR0 to sign")
	}
	plan, err := p.plan()
	if err != nil {
		return nil, err
	}
	if plan.Signature, err = eif.Sign(pcr0, by.certificate, by.key); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return write(ctx, name, plan, unsigned)
}

// plan is the image without a signature.
func (p Parts) plan() (eif.Plan, error) {
	remarks := eif.Remarks{ImageName: "cloister", ImageVersion: "0"}
	remarks.BuildMetadata.BuildTime = p.Date.UTC().Format(time.RFC3339)
	remarks.BuildMetadata.BuildTool, remarks.BuildMetadata.BuildToolVersion = "cloister image", "1"
	remarks.BuildMetadata.OperatingSystem, remarks.BuildMetadata.KernelVersion = "Linux", p.Release
	metadata, err := remarks.JSON()
	if err != nil {
		return eif.Plan{}, fmt.Errorf("image: %w", err)
	}
	if len(p.Kernel) < 0x206 || string(p.Kernel[0x202:0x206]) != "HdrS" {
		return eif.Plan{}, errors.New("image: the kernel isn't a bzImage")
	}
	return eif.Plan{
		Arch: eif.X86, Kernel: source(p.Kernel), CommandLine: cmdline.Line, Metadata: metadata,
		Ramdisks: []eif.Source{source(p.Ramdisks[0]), source(p.Ramdisks[1])},
	}, nil
}

func source(b []byte) eif.Source { return eif.Source{Data: bytes.NewReader(b), Size: int64(len(b))} }

// write writes a plan and answers what the file then is. With the same image
// unsigned it demands the same registers.
func write(ctx context.Context, name string, plan eif.Plan, unsigned *Result) (*Result, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := errors.Join(plan.Write(f), f.Sync()); err != nil {
		return nil, err
	}
	out, err := measure(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("image: %s: %w", name, err)
	}
	if unsigned != nil {
		for i, pcr := range unsigned.PCRs {
			if out.PCRs[i] != pcr {
				return nil, fmt.Errorf("image: %s: PCR%s changed with the signature", name, i)
			}
		}
	}
	return out, nil
}

// measure reads a file as a stranger's.
func measure(ctx context.Context, f *os.File) (*Result, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := eif.Open(f, info.Size())
	if err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	measured, err := m.Measure(ctx, nil)
	if err != nil {
		return nil, err
	}
	if !measured.CRC {
		return nil, &eif.Error{Class: eif.BadCRC, Detail: "the header's isn't that of the file"}
	}
	signer, err := m.SignedBy(measured.PCR0)
	if err != nil {
		return nil, err
	}
	out := &Result{PCRs: map[string]string{"0": measured.PCR0.String(), "1": measured.PCR1.String(), "2": measured.PCR2.String()}}
	if signer != nil {
		out.PCRs["8"] = signer.PCR8.String()
	}
	out.File, err = digest(f, info.Size())
	return out, err
}

// digest is the length and the SHA-384 of a file.
func digest(f *os.File, size int64) (reference.File, error) {
	h := sha512.New384()
	b := make([]byte, 1<<20)
	for at := int64(0); at < size; {
		n, err := f.ReadAt(b[:min(int64(len(b)), size-at)], at)
		if n == 0 {
			return reference.File{}, err
		}
		h.Write(b[:n])
		at += int64(n)
	}
	return reference.File{Bytes: size, SHA384: hex.EncodeToString(h.Sum(nil))}, nil
}

// Part answers the length and the SHA-256 of a part.
func Part(b []byte) reference.Part {
	d := sha256.Sum256(b)
	return reference.Part{Bytes: int64(len(b)), SHA256: hex.EncodeToString(d[:])}
}
