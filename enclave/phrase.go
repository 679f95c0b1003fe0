package enclave

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/enclave/clock"
	"github.com/cloisterhq/cloister/enclave/host"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/bundle"
)

// Phrase is all that the enclave says on its console: one of the constants
// here. Nothing is ever put into one, so that no data can get there.
type Phrase string

// What the enclave says of its progress.
const (
	SayMeasured    Phrase = "measured the bundle, locked the registers, verified its own evidence"
	SayNoHeartbeat Phrase = "the parent didn't answer the heartbeat"
	SayRefused     Phrase = "KMS refused a key"
	SayReady       Phrase = "ready"
	SayNoState     Phrase = "failed: the state can't be opened"
	SayNoReplay    Phrase = "failed: what was accepted can't be replayed"
	SayStopped     Phrase = "stopped"
	SayMachine     Phrase = "the machine is the image's: command line, entropy source, clock source"
	SayNotInit     Phrase = "this is the init of an enclave image and does nothing as another process; cloister-sim runs the enclave without hardware"
)

// ErrFault says that the program itself is wrong: it panicked.
var ErrFault = errors.New("enclave: a fault in the program")

// Because answers the phrase for what kind of error it is.
func Because(err error) Phrase {
	if _, ok := errors.AsType[*attestation.Error](err); ok && !errors.Is(err, boot.ErrProfile) {
		return "because: its own evidence isn't accepted"
	}
	if _, ok := errors.AsType[*clock.Disagreement](err); ok {
		return "because: the clock disagrees with signed time"
	}
	for _, kind := range kinds() {
		if errors.Is(err, kind.err) {
			return kind.phrase
		}
	}
	return "because: of something that has no phrase"
}

// kind is an error with its phrase.
type kind struct {
	err    error
	phrase Phrase
}

// kinds are the errors that have a phrase, the most telling first.
func kinds() []kind {
	return []kind{
		{boot.ErrSetup, "because: the machine can't be made ready"},
		{boot.ErrCommandLine, "because: the kernel's command line isn't the image's"},
		{boot.ErrEntropy, "because: the kernel's random numbers don't come from the security module"},
		{boot.ErrClocksource, "because: the kernel's clock source isn't an accepted one"},
		{ErrFault, "because: of a fault in the program"},
		{boot.ErrMeasured, "because: PCR16 doesn't hold the bundle's measurement"},
		{boot.ErrProfile, "because: the bundle's profile doesn't go with the root of this module"},
		{boot.ErrDebug, "because: the image isn't measured, as in debug mode"},
		{bundle.ErrBundle, "because: the bundle can't be read"},
		{ErrFreshness, "because: the bundle wants freshness witnesses"},
		{clock.ErrTooLong, "because: the clock wasn't compared with signed time for too long"},
		{clock.ErrTimestamp, "because: there is no signed timestamp"},
		{kms.ErrDenied, "because: the key policy denies it"},
		{kms.ErrRefused, "because: KMS refuses it"},
		{kms.ErrCiphertext, "because: KMS can't open the wrapped key"},
		{kms.ErrAnswer, "because: the answer isn't KMS's"},
		{kms.ErrUnavailable, "because: KMS can't be used now"},
		{state.ErrCorrupt, "because: the stored manifests aren't a whole chain"},
		{state.ErrFork, "because: another writer took the next manifest"},
		{state.ErrSealed, "because: an object isn't sealed by this state"},
		{state.ErrNotFound, "because: an object is missing"},
		{intake.ErrCorrupt, "because: a stored intake key isn't this state's"},
		{intake.ErrUnknown, "because: an intake key is missing"},
		{audit.ErrCorrupt, "because: the stored audit entries aren't a whole chain"},
		{audit.ErrFork, "because: another writer took the next audit entry"},
		{ingest.ErrSuccession, "because: a contract doesn't allow all that its older version did, of which records are stored"},
		{ingest.ErrReplay, "because: a stored envelope isn't the accepted one"},
		{host.ErrUnavailable, "because: the parent doesn't answer"},
		{fs.ErrNotExist, "because: a device or file isn't there"},
		{context.DeadlineExceeded, "because: it took too long"},
		{context.Canceled, "because: it was told to stop"},
	}
}
