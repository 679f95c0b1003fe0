package attestation

import "strconv"

// Class says why evidence was refused. Callers branch on it; its text is
// stable and appears in machine-readable results.
type Class string

// The classes, in the order in which checks run.
const (
	// Malformed: not one COSE_Sign1 message around one map.
	Malformed Class = "malformed"
	// Algorithm: the protected header isn't exactly {1: -35}, ES384.
	Algorithm Class = "algorithm"
	// Signature: the signature isn't that of the leaf certificate's key.
	Signature Class = "signature"
	// MissingField: a mandatory field is absent or null; Detail names it.
	MissingField Class = "missing field"
	// DuplicateKey: a field or a register stands twice.
	DuplicateKey Class = "duplicate key"
	// UnknownField: a field that enclave documents don't have.
	UnknownField Class = "unknown field"
	// WrongDocumentType: evidence of something else than an enclave.
	WrongDocumentType Class = "wrong document type"
	// BadField: a field of a wrong type, size or value; Detail names it.
	BadField Class = "bad field"
	// UntrustedRoot: signed under a root that the verifier wasn't given, or
	// that the policy doesn't name.
	UntrustedRoot Class = "untrusted root"
	// Chain: a certificate doesn't have the profile, or doesn't chain.
	Chain Class = "chain"
	// Expired: a certificate isn't valid any more.
	Expired Class = "expired"
	// NotYetValid: a certificate isn't valid yet.
	NotYetValid Class = "not yet valid"
	// Stale: the timestamp lies too far back.
	Stale Class = "stale"
	// Future: the timestamp lies ahead.
	Future Class = "future"
	// Inconsistent: parts of a signed document contradict each other.
	Inconsistent Class = "inconsistent"
	// Debug: PCR0, PCR1 or PCR2 is zero and the policy doesn't allow it.
	Debug Class = "debug"
	// PolicyMismatch: no release of the policy matches as a whole; Index is
	// the first register that differs from the closest release.
	PolicyMismatch Class = "policy mismatch"
	// Nonce: the document doesn't hold the verifier's nonce.
	Nonce Class = "nonce"
	// Binding: the document vouches for another key than the one in use.
	Binding Class = "binding"
	// Clock: the verifier has no usable time.
	Clock Class = "clock"
)

// Error is a refusal. No part of a document leaves a function together with
// one.
type Error struct {
	// Class is what callers branch on.
	Class Class
	// Check is the name of the check that refused, one of package verifier's
	// constants; empty when no verifier was asked. It isn't printed.
	Check string
	// Index is the register in question, or -1.
	Index int
	// Detail says more in constant words and names of fields, without content
	// of the document; a root's fingerprint is the one exception.
	Detail string
	// Err is the cause, or nil. It isn't printed, because errors of libraries
	// may quote the document.
	Err error
}

// NewError makes a refusal that is about no register in particular. cause may
// be nil.
func NewError(class Class, detail string, cause error) *Error {
	return &Error{Class: class, Index: -1, Detail: detail, Err: cause}
}

// NewPCRError makes a refusal about register index.
func NewPCRError(class Class, index int, detail string) *Error {
	return &Error{Class: class, Index: index, Detail: detail}
}

// Error is the class, the register if there is one, and the detail.
func (e *Error) Error() string {
	text := "attestation: " + string(e.Class)
	if e.Index >= 0 {
		text += ": PCR" + strconv.Itoa(e.Index)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap answers the cause.
func (e *Error) Unwrap() error { return e.Err }
