// Package boot does what an enclave must have done before it serves. As PID 1
// it makes the machine ready and refuses one that isn't what the image was made
// for: another kernel command line, entropy source or clock source. Then it
// measures the bundle into PCR16, locks the registers, and checks its own
// evidence with the verifier that relying parties use. It trusts the kernel of
// its image about the machine, and the NSM about everything else.
package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/bundle"
)

const (
	// bundleRegister is the PCR that holds the bundle's measurement.
	bundleRegister = 16
	// registers is the number of PCRs of an NSM; locking that many locks all.
	registers = 32
	// imageRegisters is the number of PCRs, from 0, that hold the image.
	imageRegisters = 3
)

// Errors that stop a boot.
var (
	// ErrMeasured says that PCR16 isn't what this bundle makes it: something
	// was extended before, or the NSM doesn't follow its interface.
	ErrMeasured = errors.New("boot: PCR16 doesn't hold this bundle's measurement")
	// ErrProfile says that the bundle's profile and the NSM's root disagree.
	ErrProfile = errors.New("boot: the bundle's profile doesn't go with the root of this NSM")
	// ErrDebug says that the image isn't measured, as in debug mode.
	ErrDebug = errors.New("boot: PCR0, PCR1 or PCR2 is zero")
)

// CheckImage refuses an image that isn't measured, before anything is fetched
// for it. The error is ErrDebug, or the NSM's.
func CheckImage(ctx context.Context, device *nsm.Client) error {
	for i := range imageRegisters {
		value, _, err := device.DescribePCR(ctx, i)
		if err != nil {
			return fmt.Errorf("boot: read PCR%d: %w", i, err)
		}
		if value.IsZero() {
			return ErrDebug
		}
	}
	return nil
}

// Seed gives random bytes of the NSM to mix, so that keys don't hang on what
// the kernel gathered by itself. The errors wrap ErrEntropy: an NSM that has
// none, or answers the same twice, or mix's own.
func Seed(ctx context.Context, device *nsm.Client, mix func(random []byte) error) error {
	first, err := device.Random(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEntropy, err)
	}
	second, err := device.Random(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrEntropy, err)
	}
	if bytes.Equal(first, second) {
		return ErrEntropy
	}
	if err := mix(append(first, second...)); err != nil {
		return fmt.Errorf("%w: %w", ErrEntropy, err)
	}
	return nil
}

// Measure extends PCR16 with SHA-384 of the bundle, locks PCR16 to 31 and only
// then reads the bundle, so that nothing it says can come before its
// measurement.
func Measure(ctx context.Context, device *nsm.Client, raw []byte) (*bundle.Bundle, error) {
	digest := bundle.Digest(raw)
	value, err := device.Extend(ctx, bundleRegister, digest[:])
	if err != nil {
		return nil, fmt.Errorf("boot: extend PCR16: %w", err)
	}
	if value != bundle.PCR16(raw) {
		return nil, ErrMeasured
	}
	if err := device.LockRange(ctx, registers); err != nil {
		return nil, fmt.Errorf("boot: lock the registers: %w", err)
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("boot: %w", err)
	}
	return b, nil
}

// SelfCheck asks the NSM for a document and verifies it as a relying party
// would: under AWS's root for the production profile, under a root that isn't
// AWS's for the simulation profile. A simulated root is taken from the
// document itself: the enclave can't know it, and relying parties are given it
// explicitly.
func SelfCheck(ctx context.Context, device *nsm.Client, b *bundle.Bundle, raw []byte) error {
	document, err := device.Attest(ctx, nsm.Request{})
	if err != nil {
		return fmt.Errorf("boot: own evidence: %w", err)
	}
	parsed, err := attestation.Parse(document)
	if err != nil {
		return fmt.Errorf("boot: own evidence: %w", err)
	}
	roots := verifier.AWS()
	if b.Profile == bundle.Simulation {
		if roots, err = verifier.DocumentRoot(parsed); err != nil {
			return fmt.Errorf("boot: own evidence: %w", err)
		}
	}
	authentic, err := verifier.Authenticate(document, roots, parsed.Timestamp())
	if refusal, ok := errors.AsType[*attestation.Error](err); ok && refusal.Class == attestation.UntrustedRoot {
		return fmt.Errorf("%w: %w", ErrProfile, err)
	}
	if err != nil {
		return fmt.Errorf("boot: own evidence: %w", err)
	}
	if authentic.IsAWS() != (b.Profile == bundle.Production) {
		return ErrProfile
	}
	for i := range imageRegisters {
		if pcr, ok := parsed.PCR(i); !ok || pcr.IsZero() {
			return ErrDebug
		}
	}
	if pcr, ok := parsed.PCR(bundleRegister); !ok || pcr != bundle.PCR16(raw) {
		return ErrMeasured
	}
	return nil
}

// SignedTime answers the timestamp of a fresh document, the enclave's only
// source of time.
func SignedTime(ctx context.Context, device *nsm.Client) (time.Time, error) {
	document, err := device.Attest(ctx, nsm.Request{})
	if err != nil {
		return time.Time{}, fmt.Errorf("boot: signed time: %w", err)
	}
	parsed, err := attestation.Parse(document)
	if err != nil {
		return time.Time{}, fmt.Errorf("boot: signed time: %w", err)
	}
	return parsed.Timestamp(), nil
}
