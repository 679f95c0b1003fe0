package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cloisterhq/cloister/image/reference"
)

// ErrDiffers says that two builds of one source aren't the same.
var ErrDiffers = errors.New("image: the two builds differ")

// Same compares what two unsigned builds left in their directories, byte for
// byte, and prints the digest of each part of the first with whether the second
// has it too. It answers ErrDiffers when anything differs.
func Same(w io.Writer, first, second string) error {
	a, err := readValues(first)
	if err != nil {
		return err
	}
	b, err := readValues(second)
	if err != nil {
		return err
	}
	same := true
	row := func(name, digest string, equal bool) {
		word := "same"
		if !equal {
			word, same = "DIFFERS", false
		}
		fmt.Fprintf(w, "%-8s %-22s %s\n", word, name, digest)
	}
	row("kernel", a.Kernel.Image.SHA256, a.Kernel.Image == b.Kernel.Image)
	for i, disk := range a.Ramdisks {
		row(fmt.Sprintf("ramdisk %d", i+1), disk.SHA256, i < len(b.Ramdisks) && disk == b.Ramdisks[i])
	}
	for _, r := range []string{"0", "1", "2"} {
		row("PCR"+r, a.PCRs[r], a.PCRs[r] == b.PCRs[r])
	}
	for _, name := range []string{Unsigned, SBOM, Values} {
		equal, digest, err := sameFile(filepath.Join(first, name), filepath.Join(second, name))
		if err != nil {
			return err
		}
		row(name, digest, equal)
	}
	if !same {
		return ErrDiffers
	}
	return nil
}

func readValues(dir string) (*reference.Values, error) {
	b, err := os.ReadFile(filepath.Join(dir, Values))
	if err != nil {
		return nil, err
	}
	v, err := reference.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return v, nil
}

// sameFile compares two files and answers the SHA-256 of the first.
func sameFile(first, second string) (equal bool, digest string, err error) {
	a, err := os.ReadFile(first)
	if err != nil {
		return false, "", err
	}
	b, err := os.ReadFile(second)
	if err != nil {
		return false, "", err
	}
	return bytes.Equal(a, b), Part(a).SHA256, nil
}
