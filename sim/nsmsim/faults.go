package nsmsim

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/cloisterhq/cloister/attestation/nsm"
)

// Fault is something that goes wrong with a request. Whoever asks, and whoever
// is shown a document, must survive all of them.
type Fault int

const (
	// Healthy is no fault.
	Healthy Fault = iota
	// Failing answers InternalError and does nothing.
	Failing
	// Truncated does what was asked and answers the first half of the response.
	Truncated
	// Stalled does nothing and answers nothing: the exchange fails with ETIMEDOUT
	// after nsm.Wait, as the driver does.
	Stalled
	// WrongNonce signs a document with another nonce than the one asked for.
	WrongNonce
	// OldTimestamp signs a document that says it was made StaleBy ago.
	OldTimestamp
	// DebugPCRs signs a document with the registers of debug mode.
	DebugPCRs
)

// StaleBy is the age of documents made under OldTimestamp.
const StaleBy = 10 * time.Minute

// stall lasts until the driver gives up, the caller does, or the device closes.
func (d *Device) stall(ctx context.Context) error {
	timer := time.NewTimer(nsm.Wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return fmt.Errorf("nsmsim: %w", syscall.ETIMEDOUT)
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ended:
		return errClosed
	}
}
