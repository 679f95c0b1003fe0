package nsmsim

import (
	"crypto/sha512"
	"fmt"
	"io"

	"github.com/cloisterhq/cloister/attestation"
)

// What PCR1 and PCR2 of an image without kernel and ramdisks measure.
const (
	noKernel  = "cloister simulation: no kernel"
	noRamdisk = "cloister simulation: no application ramdisk"
)

// Image is what a module's registers say about the enclave's image.
type Image struct {
	// PCR0 measures the image, PCR1 its kernel and first ramdisk, PCR2 the other
	// ramdisks.
	PCR0, PCR1, PCR2 attestation.PCR
	// PCR8 measures the certificate that signed the image; zero when unsigned.
	PCR8 attestation.PCR
}

// Measure measures a program that runs as an enclave without an image file:
// PCR0 is the SHA-384 of the executable, and PCR1 and PCR2 are those of two
// fixed labels. A label that isn't empty makes another image of the same
// executable: PCR0 is extended by it.
func Measure(executable io.Reader, label string) (Image, error) {
	h := sha512.New384()
	if _, err := io.Copy(h, executable); err != nil {
		return Image{}, fmt.Errorf("nsmsim: measure the executable: %w", err)
	}
	image := Image{
		PCR0: attestation.PCR(h.Sum(nil)),
		PCR1: sha512.Sum384([]byte(noKernel)),
		PCR2: sha512.Sum384([]byte(noRamdisk)),
	}
	if label != "" {
		image.PCR0 = image.PCR0.Extend([]byte(label))
	}
	return image, nil
}
