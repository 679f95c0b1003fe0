package verifier

import (
	"crypto/subtle"
	"errors"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// NonceSize is the size of a verifier's challenge, in bytes.
const NonceSize = 32

// Errors of callers, as opposed to refusals of evidence.
var (
	// ErrNonce says that the caller expects no nonce of 32 bytes. Without one
	// nothing would be fresh.
	ErrNonce = errors.New("verifier: the expected nonce must have 32 bytes")
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
	case len(nonce) != NonceSize:
		return nil, ErrNonce
	}
	if err := usable(now); err != nil {
		return nil, err
	}
	if err := checkValidity(a.path, now); err != nil {
		return nil, err
	}
	r := &Result{authentic: a, environment: p.Environment()}
	checks, err := run([]step{
		{CheckNonce, func() (string, error) {
			return "the document holds the nonce of this exchange", checkNonce(a.document, nonce)
		}},
		{CheckFreshness, func() (string, error) {
			return "made " + a.document.Timestamp().Format(timeFormat) + ", at most " + p.MaxAge().String() + " ago",
				checkAge(a.document.Timestamp(), now, p.MaxAge())
		}},
		{CheckEnvironment, func() (string, error) { return p.Environment(), checkEnvironment(a, p) }},
		{CheckDebug, func() (detail string, err error) {
			r.debug, err = checkDebug(a.document, p)
			if r.debug {
				return "DEBUG MODE, allowed by the policy: the host can read this enclave's memory", err
			}
			return "PCR0, PCR1 and PCR2 are set", err
		}},
		{CheckMeasurements, func() (detail string, err error) {
			r.release, err = matchRelease(a.document, p.Releases(), now)
			return "release " + r.release, err
		}},
	})
	if err != nil {
		return nil, err
	}
	r.checks = append(append(r.checks, a.checks...), checks...)
	r.open = notEstablished(r.debug)
	return r, nil
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
		return refuse(attestation.Future, "the timestamp lies ahead of this clock")
	}
	return nil
}

// checkEnvironment checks that the policy names the root, and that AWS's root
// goes with the environment "aws" and with no other.
func checkEnvironment(a *Authentic, p *policy.Policy) error {
	if !p.Names(a.root) {
		return refuse(attestation.UntrustedRoot, "the policy doesn't name the root sha256:"+a.root)
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

// matchRelease answers the name of the release that matches as a whole. When
// none does, the error names the first differing register of the closest one.
func matchRelease(d *attestation.Document, releases []policy.Release, now time.Time) (string, error) {
	closest, index, outdated := attestation.PCRCount+1, -1, false
	for _, rel := range releases {
		wrong := differences(d, rel)
		if len(wrong) == 0 {
			if rel.Current(now) {
				return rel.Name, nil
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
		return "", refuse(attestation.PolicyMismatch, "the policy doesn't accept this release at this time")
	case index < 0:
		return "", refuse(attestation.PolicyMismatch, "the policy accepts nothing")
	}
	if _, ok := d.PCR(index); !ok {
		return "", attestation.NewPCRError(attestation.PolicyMismatch, index, "not in the document")
	}
	return "", attestation.NewPCRError(attestation.PolicyMismatch, index, "not a value that the policy accepts")
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
