package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/cloisterhq/cloister/image/kernel"
	"github.com/cloisterhq/cloister/image/reference"
	"github.com/cloisterhq/cloister/image/sbom"
	"github.com/cloisterhq/cloister/internal/cmdline"
)

// The files that Publish writes.
const (
	Signed   = "cloister.eif"
	Unsigned = "cloister-unsigned.eif"
	Values   = "reference-values.json"
	SBOM     = "sbom.cdx.json"
)

// Ingredients are everything that an image and its reference values come from.
type Ingredients struct {
	Kernel *kernel.Kernel
	// Binary is the enclave's, Info what CheckBinary answered about it.
	Binary []byte
	Info   *debug.BuildInfo
	Source reference.Source
	// Signer may be nil: the image is then not signed.
	Signer *Signer
}

// Publish writes the image, signed and not, its reference values and its bill
// of materials into a directory, over what an earlier build left. They get
// their names when all of them are whole.
func (i Ingredients) Publish(ctx context.Context, dir string) (*reference.Values, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(dir, ".unfinished-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	v, err := i.write(ctx, work)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{Values, Signed, Unsigned, SBOM} { // no values beside files that they aren't of
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	for _, name := range []string{SBOM, Unsigned, Signed, Values} {
		err := os.Rename(filepath.Join(work, name), filepath.Join(dir, name))
		if err != nil && (name != Signed || i.Signer != nil) {
			return nil, err
		}
	}
	return v, nil
}

// write writes the files into an empty directory.
func (i Ingredients) write(ctx context.Context, dir string) (*reference.Values, error) {
	ramdisks, err := Ramdisks(i.Binary)
	if err != nil {
		return nil, err
	}
	p := Parts{Kernel: i.Kernel.Image, Release: i.Kernel.Pin.Release, Ramdisks: ramdisks, Date: i.Source.Date}
	unsigned, err := p.Write(ctx, filepath.Join(dir, Unsigned))
	if err != nil {
		return nil, err
	}
	v := i.values(ramdisks, unsigned)
	if i.Signer != nil {
		signed, err := p.WriteSigned(ctx, filepath.Join(dir, Signed), unsigned, i.Signer)
		if err != nil {
			return nil, err
		}
		v.PCRs, v.Image.Signed = signed.PCRs, &signed.File
		v.Image.Signer = &reference.Signer{Subject: i.Signer.Subject(), NotAfter: i.Signer.NotAfter(), Development: i.Signer.IsDevelopment()}
	}
	bill, err := i.bill().Marshal()
	if err != nil {
		return nil, err
	}
	v.SBOM = Part(bill).SHA256
	var text bytes.Buffer
	if err := v.Write(&text); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	for name, b := range map[string][]byte{SBOM: bill, Values: text.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// values are those of an unsigned image.
func (i Ingredients) values(ramdisks [2][]byte, unsigned *Result) *reference.Values {
	k := i.Kernel
	return &reference.Values{
		Schema: reference.Schema, Arch: "x86_64", PCRs: unsigned.PCRs, Image: reference.Image{Unsigned: unsigned.File},
		CommandLine: cmdline.Line, Source: i.Source, Go: i.Info.GoVersion,
		Kernel: reference.Kernel{
			Package: k.Pin.Package, Version: k.Pin.Version, SHA256: k.Pin.SHA256, Config: k.Config,
			Compiler: k.Tools.Compiler, Linker: k.Tools.Linker, Image: Part(k.Image),
		},
		Ramdisks: []reference.Part{Part(ramdisks[0]), Part(ramdisks[1])},
	}
}

// bill is the bill of materials. It has no date or commit of its own that the
// image doesn't have too.
func (i Ingredients) bill() sbom.Contents {
	pin := i.Kernel.Pin
	return sbom.Contents{
		Version: i.Source.Commit, Date: i.Source.Date, Binary: i.Info,
		Kernel: sbom.Package{Name: pin.Package, Version: pin.Version, Release: pin.Release, SHA256: pin.SHA256},
	}
}
