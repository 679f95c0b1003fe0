package verifier

import (
	"slices"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// Archived says what a document was worth at one moment, usually in the past.
// It is evidence about that moment for whoever trusts the way on which the
// document came: anybody who has a document can show it again, so it doesn't
// say that an enclave runs, nor that the document was new to whoever got it.
// It is no [Result] and never becomes one. Only [AppraiseArchived] makes one.
type Archived struct{ verdict }

// AppraiseArchived decides whether a document was one that the policy accepts
// at the time that [Authenticate] was given. That time takes the place of the
// clock in every check, the policy's max_age among them: a document that was
// older by then is Stale. To judge a document at its own time, give its
// timestamp to Authenticate.
//
// nonce is nil, or what the document must hold; it establishes no freshness,
// because only its chooser knows when it was chosen. Refusals are
// *[attestation.Error].
func AppraiseArchived(a *Authentic, p *policy.Policy, nonce []byte) (*Archived, error) {
	switch {
	case a == nil || a.document == nil:
		return nil, ErrAuthentic
	case p == nil:
		return nil, ErrPolicy
	case nonce != nil && (len(nonce) == 0 || len(nonce) > maxNonce):
		return nil, ErrNonce
	}
	var first []step
	if nonce != nil {
		first = append(first, step{CheckNonce, func() (string, error) {
			return "the document holds the given nonce", checkNonce(a.document, nonce)
		}})
	}
	first = append(first, step{CheckAge, func() (string, error) {
		return ageDetail(a, p) + " at that time", checkAge(a.document.Timestamp(), a.at, p.MaxAge())
	}})
	v, err := appraise(a, p, a.at, first)
	if err != nil {
		return nil, err
	}
	v.open = append([]gap{{"", "freshness: this was so at " + a.at.Format(time.RFC3339) + ", and says nothing about the present"}}, v.open...)
	return &Archived{v}, nil
}

// Time is the moment that the verdict is about, in UTC.
func (r *Archived) Time() time.Time { return r.at }

// Environment is "aws" for hardware under AWS's root, otherwise "simulation"
// or "other", as the policy says.
func (r *Archived) Environment() string { return r.policy.Environment() }

// Release is the name of the policy's release that matched.
func (r *Archived) Release() string { return r.release.Name }

// RootFingerprint is the SHA-256 of the root's DER form, in lower-case
// hexadecimal digits.
func (r *Archived) RootFingerprint() string { return r.authentic.chain.root }

// Debug says whether the enclave ran in debug mode, which the policy allowed.
func (r *Archived) Debug() bool { return r.debug }

// Document answers the accepted document.
func (r *Archived) Document() *attestation.Document { return r.authentic.document }

// Checks answers a copy of all checks, in the order in which they ran.
func (r *Archived) Checks() []Check { return slices.Clone(r.checks) }

// NotEstablished answers what a reader might take for granted and must not;
// freshness is the first.
func (r *Archived) NotEstablished() []string { return r.gaps() }

// Note is like Note of a [Result].
func (r *Archived) Note(name, detail string) { r.note(name, detail) }
