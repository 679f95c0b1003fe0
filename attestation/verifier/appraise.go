package verifier

import (
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// NonceSize is the size of a challenge, in bytes, as [Challenge] makes them.
// Other sizes are for verifiers who don't choose the nonce of what they verify:
// nothing shorter than MinNonce is fresh, and no document holds more than
// maxNonce.
const (
	NonceSize = 32
	MinNonce  = 16
	maxNonce  = 1024
)

// Errors of callers, as opposed to refusals of evidence.
var (
	// ErrNonce says that the caller expects no nonce, or one that no document
	// can hold or that anybody could guess.
	ErrNonce = errors.New("verifier: the expected nonce must have 16 to 1024 bytes, better 32")
	// ErrPolicy says that the caller has no policy.
	ErrPolicy = errors.New("verifier: appraisal needs a policy")
	// ErrAuthentic says that the caller has no authenticated document.
	ErrAuthentic = errors.New("verifier: appraisal needs an authenticated document")
)

// Appraise decides whether a live enclave is one that the policy accepts: the
// document holds the nonce that the caller chose for this very exchange, is
// recent at now, and measures one of the policy's releases as a whole. The
// certificates must be valid at now, whatever time Authenticate was given.
//
// Callers use a nonce once. Refusals are *[attestation.Error].
func Appraise(a *Authentic, p *policy.Policy, nonce []byte, now time.Time) (*Result, error) {
	switch {
	case a == nil || a.document == nil:
		return nil, ErrAuthentic
	case p == nil:
		return nil, ErrPolicy
	case len(nonce) < MinNonce || len(nonce) > maxNonce:
		return nil, ErrNonce
	}
	if err := usable(now); err != nil {
		return nil, err
	}
	if err := checkValidity(a.chain.path, now); err != nil {
		return nil, refusedBy(CheckValidity, err)
	}
	v, err := appraise(a, p, now, []step{
		{CheckNonce, func() (string, error) {
			return "the document holds the nonce of this exchange", checkNonce(a.document, nonce)
		}},
		{CheckFreshness, func() (string, error) {
			return ageDetail(a, p), checkAge(a.document.Timestamp(), now, p.MaxAge())
		}},
	})
	if err != nil {
		return nil, err
	}
	return &Result{v}, nil
}

// appraise runs the caller's steps and then holds the document against the
// policy at that time.
func appraise(a *Authentic, p *policy.Policy, at time.Time, first []step) (verdict, error) {
	v := verdict{authentic: a, policy: p, at: at.UTC()}
	checks, err := run(append(first, []step{
		{CheckEnvironment, func() (string, error) { return p.Environment(), checkEnvironment(a, p) }},
		{CheckDebug, func() (detail string, err error) {
			v.debug, err = checkDebug(a.document, p)
			if v.debug {
				return "DEBUG MODE, allowed by the policy: the host can read this enclave's memory", err
			}
			return "PCR0, PCR1 and PCR2 are set", err
		}},
		{CheckMeasurements, func() (detail string, err error) {
			v.release, err = matchRelease(a.document, p.Releases(), at)
			return "release " + v.release.Name, err
		}},
	}...))
	if err != nil {
		return verdict{}, err
	}
	v.checks = slices.Concat(a.checks, checks)
	v.open = notEstablished(v.debug)
	return v, nil
}

func ageDetail(a *Authentic, p *policy.Policy) string {
	return "made " + a.document.Timestamp().Format(timeFormat) + ", at most " + p.MaxAge().String() + " ago"
}

// checkNonce compares in full and in constant time.
func checkNonce(d *attestation.Document, want []byte) error {
	if subtle.ConstantTimeCompare(d.Nonce(), want) != 1 {
		return refuse(attestation.Nonce, "the document doesn't hold the expected nonce")
	}
	return nil
}

func checkAge(made, now time.Time, limit time.Duration) error {
	if now.Sub(made) > limit {
		return refuse(attestation.Stale, "older than the policy's max_age")
	}
	if made.Sub(now) > Skew {
		return refuse(attestation.Future, "the timestamp lies ahead of the time of verification")
	}
	return nil
}

// checkEnvironment checks that the policy names the root, and that AWS's root
// goes with the environment "aws" and with no other.
func checkEnvironment(a *Authentic, p *policy.Policy) error {
	if !p.Names(a.chain.root) {
		return refuse(attestation.UntrustedRoot, "the policy doesn't name the root sha256:"+a.chain.root)
	}
	if a.IsAWS() != (p.Environment() == policy.AWS) {
		return refuse(attestation.UntrustedRoot, "the root doesn't go with the policy's environment")
	}
	return nil
}

// checkDebug says whether the enclave runs in debug mode, where the security
// module answers PCR0, PCR1 and PCR2 with zeros. Each is looked at alone.
func checkDebug(d *attestation.Document, p *policy.Policy) (debug bool, err error) {
	for i := range 3 {
		if pcr, ok := d.PCR(i); ok && pcr.IsZero() {
			if !p.AllowDebug() {
				return false, attestation.NewPCRError(attestation.Debug, i, "zero, as in debug mode")
			}
			debug = true
		}
	}
	return debug, nil
}

// matchRelease answers the release that matches as a whole. When
// none does, the error names the first differing register of the closest one.
func matchRelease(d *attestation.Document, releases []policy.Release, at time.Time) (policy.Release, error) {
	var none policy.Release
	closest, index, outdated := attestation.PCRCount+1, -1, false
	for _, rel := range releases {
		wrong := differences(d, rel)
		if len(wrong) == 0 {
			if rel.Current(at) {
				return rel, nil
			}
			outdated = true
			continue
		}
		if len(wrong) < closest {
			closest, index = len(wrong), wrong[0]
		}
	}
	switch {
	case outdated:
		return none, refuse(attestation.PolicyMismatch, "the policy doesn't accept this release at this time")
	case index < 0:
		return none, refuse(attestation.PolicyMismatch, "the policy accepts nothing")
	}
	if _, ok := d.PCR(index); !ok {
		return none, attestation.NewPCRError(attestation.PolicyMismatch, index, "not in the document")
	}
	return none, attestation.NewPCRError(attestation.PolicyMismatch, index, "not a value that the policy accepts")
}

// differences answers the registers of the release that the document doesn't
// hold with that value, in ascending order. A release without registers, which
// no policy file can state, differs.
func differences(d *attestation.Document, rel policy.Release) (wrong []int) {
	if len(rel.PCRs) == 0 {
		return []int{0}
	}
	for i := range attestation.PCRCount {
		want, named := rel.PCRs[i]
		if !named {
			continue
		}
		if got, ok := d.PCR(i); !ok || got != want {
			wrong = append(wrong, i)
		}
	}
	return wrong
}
