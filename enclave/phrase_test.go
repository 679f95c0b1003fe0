package enclave_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/enclave"
	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/enclave/clock"
	"github.com/cloisterhq/cloister/enclave/host"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/state"
)

// TestBecause: every kind of error has a phrase of its own, and nothing of an
// error's text gets into it.
func TestBecause(t *testing.T) {
	const canary = "canary-5b1e"
	other := enclave.Because(errors.New(canary))
	seen := map[enclave.Phrase]string{other: "another"}
	for name, err := range map[string]error{
		"own evidence": attestation.NewError(attestation.Chain, canary, nil), "clock": &clock.Disagreement{}, "timestamp": clock.ErrTimestamp,
		"too long": fmt.Errorf("%w: %w", clock.ErrTooLong, clock.ErrTimestamp),
		"setup":    boot.ErrSetup, "command line": boot.ErrCommandLine, "entropy": boot.ErrEntropy, "clock source": boot.ErrClocksource, "fault": enclave.ErrFault,
		"measured": boot.ErrMeasured, "debug": boot.ErrDebug,
		"profile":   fmt.Errorf("%w: %w", boot.ErrProfile, attestation.NewError(attestation.UntrustedRoot, canary, nil)),
		"freshness": enclave.ErrFreshness, "denied": kms.ErrDenied, "refused": kms.ErrRefused, "answer": kms.ErrAnswer, "unavailable": kms.ErrUnavailable,
		"ciphertext": kms.ErrCiphertext, "corrupt": state.ErrCorrupt, "fork": state.ErrFork, "sealed": state.ErrSealed, "missing": state.ErrNotFound,
		"audit": audit.ErrCorrupt, "intake": intake.ErrCorrupt, "intake key": intake.ErrUnknown, "replay": ingest.ErrReplay, "succession": ingest.ErrSuccession, "parent": host.ErrUnavailable,
		"device": fs.ErrNotExist, "deadline": context.DeadlineExceeded, "told": context.Canceled,
	} {
		phrase := enclave.Because(fmt.Errorf("%s: %w", canary, err))
		if before, twice := seen[phrase]; twice {
			t.Errorf("%s and %s have the phrase %q", name, before, phrase)
		}
		seen[phrase] = name
		if strings.Contains(string(phrase), canary) || !strings.HasPrefix(string(phrase), "because: ") {
			t.Errorf("%s: %q", name, phrase)
		}
	}
}
