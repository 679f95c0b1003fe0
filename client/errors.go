package client

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/cloisterhq/cloister/client/spool"
)

// ErrUsage marks an error of the caller's own making, in arguments, files or
// input: asked again in the same way, it comes again.
var ErrUsage = errors.New("usage")

// mistake is an ErrUsage that says nothing but what is wrong.
type mistake struct{ err error }

func (m *mistake) Error() string        { return m.err.Error() }
func (m *mistake) Unwrap() error        { return m.err }
func (m *mistake) Is(target error) bool { return target == ErrUsage }

// mistakef is fmt.Errorf for mistakes.
func mistakef(format string, args ...any) error {
	return &mistake{fmt.Errorf(format, args...)}
}

// InputError says what is wrong with the records that were handed in. It names
// lines, records and columns, and never a value. It is an ErrUsage.
type InputError struct{ err error }

// Error says what is wrong and where.
func (e *InputError) Error() string { return e.err.Error() }

// Unwrap answers the cause.
func (e *InputError) Unwrap() error { return e.err }

// Is makes it an ErrUsage.
func (*InputError) Is(target error) bool { return target == ErrUsage }

// inputf is fmt.Errorf for errors of the input.
func inputf(format string, args ...any) error {
	return &InputError{fmt.Errorf(format, args...)}
}

// outage is an ErrUnreachable of something else than the enclave.
type outage struct{ err error }

func (o *outage) Error() string        { return o.err.Error() }
func (o *outage) Unwrap() error        { return o.err }
func (o *outage) Is(target error) bool { return target == ErrUnreachable }

// outagef is fmt.Errorf for outages.
func outagef(format string, args ...any) error {
	return &outage{fmt.Errorf(format, args...)}
}

// RefusedError says that the enclave refused an envelope as a whole. It is the
// gateway's word: the enclave signs receipts, and nothing of a refusal.
type RefusedError struct {
	// Reason is the enclave's constant phrase.
	Reason string
	// Stream and Sequence name the batch, Rows counts its records.
	Stream   string
	Sequence uint64
	Rows     int
	// Producer, Dataset and Contract are what the batch was sealed for.
	Producer, Dataset, Contract string
}

// Error says why, and what to do.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the enclave refused batch %d (%d records) of stream %s: %s; %s", e.Sequence, e.Rows, e.Stream, e.Reason, e.fix())
}

// fix says what to do about a refusal. The number of a refused batch is used
// up, since nothing is sealed twice under one: other bytes need another stream.
func (e *RefusedError) fix() string {
	switch e.Reason {
	case "the producer isn't registered", "the signature isn't the producer's", "the producer's key is retired":
		return fmt.Sprintf("producer %s must be in the deployment's bundle with the key of this context; after that, submit with --stream NAME", e.Producer)
	case "the producer has no right to the dataset":
		return fmt.Sprintf("producer %s must be allowed dataset %s in the deployment's bundle; after that, submit with --stream NAME", e.Producer, e.Dataset)
	case "the envelope is for another version of the contract":
		return fmt.Sprintf("it was sealed for version %s of %s, and the enclave has another one: take the new bundle into the context, then submit with --stream NAME", e.Contract, e.Dataset)
	case "the data key is wrapped by another key than the dataset's", "the envelope is for another deployment":
		return "the context's bundle isn't the enclave's: take the new one, then submit with --stream NAME"
	case "the intake key isn't this enclave's, or has expired":
		return "fetch a new one with `cloister keys fetch`, then submit with --stream NAME"
	case "the stream has other records under this number":
		return "another input was submitted under this name: submit with another --stream NAME"
	default:
		return "the records aren't counted"
	}
}

// spoolError says what to do about an error of the spool in a directory.
func spoolError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, spool.ErrBusy):
		return mistakef("another process submits this stream; wait for it, or give --wait")
	case errors.Is(err, spool.ErrOtherInput):
		return mistakef("another input was submitted under this name: submit with another --stream NAME, or without it")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return mistakef("no space left for the spool in %s: free some and run the same command again, which goes on where it stopped; or give another --spool DIR", dir)
	case errors.Is(err, spool.ErrFull):
		return mistakef("%w; fetch receipts with `cloister receipts`, then run the same command again", err)
	case errors.Is(err, spool.ErrDamaged):
		return mistakef("%w; restore it, or remove the stream's directory and submit the same input again: the enclave recognises what it has", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return mistakef("the spool can't be written: %w; give another --spool DIR", err)
	default:
		return &mistake{err}
	}
}
