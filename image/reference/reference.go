// Package reference is the file of reference values that goes with an enclave
// image: what the hypervisor will measure of it, and from which source, kernel
// and tools it was made, so that somebody else can make it again and compare.
// It isn't signed. Who takes a policy from one trusts where it came from, or
// has rebuilt the image.
package reference

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// Schema names this form of the file.
	Schema = "cloister.reference-values/v1"
	// Max is the largest file that is read, in bytes.
	Max = 64 << 10
	// Unknown is the commit of a source that isn't a git repository.
	Unknown = "unknown"

	maxText = 512
)

// ErrForm says that a file isn't a file of reference values.
var ErrForm = errors.New("reference values: refused")

// Values are the reference values of one image. Digests are in lower-case
// hexadecimal digits.
type Values struct {
	Schema string `json:"schema"`
	// Arch is the architecture: x86_64.
	Arch string `json:"arch"`
	// PCRs are the registers by their decimal numbers: 0, 1, 2, and 8 when the
	// image is signed.
	PCRs map[string]string `json:"pcrs"`
	// Image is the file.
	Image Image `json:"image"`
	// CommandLine is the kernel's, as it is measured.
	CommandLine string `json:"cmdline"`
	// Source is what it was made from.
	Source Source `json:"source"`
	// Go is the version of the Go toolchain.
	Go string `json:"go"`
	// Kernel is what the kernel was made from.
	Kernel Kernel `json:"kernel"`
	// Ramdisks are the parts that are unpacked in memory, in order.
	Ramdisks []Part `json:"ramdisks"`
	// SBOM is the SHA-256 of the bill of materials.
	SBOM string `json:"sbom_sha256"`
}

// Image is the digests of the files that measure as this one. Signed is of the
// file with its signature and stands where PCR 8 does; Unsigned is of the same
// image without, which everybody can rebuild.
type Image struct {
	Signed   *File `json:"signed,omitempty"`
	Unsigned File  `json:"unsigned"`
	// Signer says who signed.
	Signer *Signer `json:"signer,omitempty"`
}

// File is the length in bytes and the digest of an image file.
type File struct {
	Bytes  int64  `json:"bytes"`
	SHA384 string `json:"sha384"`
}

// Signer is the certificate that register 8 measures.
type Signer struct {
	Subject  string    `json:"subject"`
	NotAfter time.Time `json:"not_after"`
	// Development says that the certificate is one that the builder made for
	// itself: register 8 then differs from machine to machine.
	Development bool `json:"development"`
}

// Source is the state of the repository.
type Source struct {
	// Commit is the one that was checked out, or Unknown.
	Commit string `json:"commit"`
	// Modified says that files differed from the commit.
	Modified bool `json:"modified"`
	// Date is SOURCE_DATE_EPOCH: the time that stands in the image's metadata.
	Date time.Time `json:"date"`
}

// Kernel is the pinned source package, the digest of its file, the digest of
// the configuration that was asked for, the tools, and what came of it.
type Kernel struct {
	Package  string `json:"package"`
	Version  string `json:"version"`
	SHA256   string `json:"sha256"`
	Config   string `json:"config_sha256"`
	Compiler string `json:"compiler"`
	Linker   string `json:"linker"`
	Image    Part   `json:"image"`
}

// Part is the length in bytes and the digest of a measured part.
type Part struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Write writes the values in the one form that Parse takes: JSON, indented by
// two blanks, members in the order of these types, a newline at the end. Its
// errors are the writer's and those that wrap ErrForm.
func (v *Values) Write(w io.Writer) error {
	if err := v.check(); err != nil {
		return err
	}
	b, err := v.marshal()
	if err != nil {
		return err
	}
	if len(b) > Max {
		return fmt.Errorf("%w: %d bytes, %d is the limit", ErrForm, len(b), Max)
	}
	_, err = w.Write(b)
	return err
}

func (v *Values) marshal() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	return b.Bytes(), nil
}

// Parse reads a file. It takes exactly what Write writes, so that no name
// stands twice, is unknown or missing, and nothing is behind the end. Errors
// wrap ErrForm.
func Parse(b []byte) (*Values, error) {
	if len(b) > Max {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrForm, Max)
	}
	v := new(Values)
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return nil, fmt.Errorf("%w: not the JSON that is written to such files", ErrForm)
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	again, err := v.marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%w: not the form in which such files are written", ErrForm)
	}
	return v, nil
}

// check holds the values against the rules.
func (v *Values) check() error {
	switch {
	case v.Schema != Schema:
		return fmt.Errorf("%w: schema: not %s", ErrForm, Schema)
	case v.Arch != "x86_64":
		return fmt.Errorf("%w: arch: not x86_64", ErrForm)
	case len(v.Ramdisks) == 0 || len(v.Ramdisks) > 8:
		return fmt.Errorf("%w: ramdisks: %d; an image has 1 to 8", ErrForm, len(v.Ramdisks))
	}
	if err := v.checkSignature(); err != nil {
		return err
	}
	for _, r := range []string{"0", "1", "2"} {
		if !isRegister(v.PCRs[r]) {
			return fmt.Errorf("%w: pcrs: %s: not 96 hexadecimal digits of a register that is set", ErrForm, r)
		}
	}
	for _, p := range append([]Part{v.Kernel.Image}, v.Ramdisks...) {
		if p.Bytes <= 0 || !isDigest(p.SHA256, 32) {
			return fmt.Errorf("%w: a part without length and SHA-256", ErrForm)
		}
	}
	for where, digest := range map[string]string{"sbom_sha256": v.SBOM, "kernel: sha256": v.Kernel.SHA256, "kernel: config_sha256": v.Kernel.Config} {
		if !isDigest(digest, 32) {
			return fmt.Errorf("%w: %s: not a SHA-256", ErrForm, where)
		}
	}
	return v.checkTexts()
}

// checkSignature holds together what goes together: register 8, the signed file
// and the signer.
func (v *Values) checkSignature() error {
	eight, signed := v.PCRs["8"]
	if signed != (v.Image.Signed != nil) || signed != (v.Image.Signer != nil) || len(v.PCRs) != 3 && !signed || len(v.PCRs) != 4 && signed {
		return fmt.Errorf("%w: registers 0, 1 and 2, and 8 with a signed file and its signer, and no others", ErrForm)
	}
	files := []File{v.Image.Unsigned}
	if signed {
		if !isRegister(eight) {
			return fmt.Errorf("%w: pcrs: 8: not 96 hexadecimal digits of a register that is set", ErrForm)
		}
		files = append(files, *v.Image.Signed)
	}
	for _, f := range files {
		if f.Bytes <= 0 || !isDigest(f.SHA384, 48) {
			return fmt.Errorf("%w: image: a file without length and SHA-384", ErrForm)
		}
	}
	return nil
}

// checkTexts bounds what people read.
func (v *Values) checkTexts() error {
	if _, east := v.Source.Date.Zone(); east != 0 {
		return fmt.Errorf("%w: source: date: not in UTC", ErrForm)
	}
	if c := v.Source.Commit; c != Unknown && !isDigest(c, 20) && !isDigest(c, 32) {
		return fmt.Errorf("%w: source: commit: neither a commit's digits nor %q", ErrForm, Unknown)
	}
	texts := map[string]string{"cmdline": v.CommandLine, "go": v.Go, "kernel: package": v.Kernel.Package, "kernel: version": v.Kernel.Version, "kernel: compiler": v.Kernel.Compiler, "kernel: linker": v.Kernel.Linker}
	if s := v.Image.Signer; s != nil {
		texts["signer: subject"] = s.Subject
	}
	for where, text := range texts {
		if text == "" || len(text) > maxText {
			return fmt.Errorf("%w: %s: 1 to %d bytes", ErrForm, where, maxText)
		}
		for _, c := range []byte(text) {
			if c < ' ' || c > '~' {
				return fmt.Errorf("%w: %s: not printable ASCII", ErrForm, where)
			}
		}
	}
	return nil
}

// isRegister says whether a text is the value of a register that something was
// measured into.
func isRegister(text string) bool {
	const zero = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	return isDigest(text, 48) && text != zero
}

// isDigest says whether a text is so many bytes in lower-case hexadecimal
// digits.
func isDigest(text string, size int) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == size && hex.EncodeToString(b) == text
}
