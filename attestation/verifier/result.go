package verifier

import (
	"slices"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// Names of the checks, in the order in which they run.
const (
	CheckFormat        = "format"
	CheckRoot          = "root"
	CheckCertificates  = "certificates"
	CheckValidity      = "validity"
	CheckSignature     = "signature"
	CheckModule        = "module"
	CheckSecondOpinion = "second-opinion"
	CheckNonce         = "nonce"
	CheckFreshness     = "freshness"
	// CheckAge stands in place of CheckFreshness in an [Archived].
	CheckAge          = "age"
	CheckEnvironment  = "environment"
	CheckDebug        = "debug"
	CheckMeasurements = "measurements"
	// CheckBinding and CheckBundle are for whoever holds the connection or the
	// bundle; see [Result.Note].
	CheckBinding = "binding"
	CheckBundle  = "bundle"
)

// Check is one check that ran.
type Check struct {
	// Name is one of the Check constants, or the name given to Note.
	Name string `json:"name"`
	// OK is true: a check that fails leaves no result.
	OK bool `json:"ok"`
	// Detail says what was established, for people.
	Detail string `json:"detail"`
}

// gap is something that a result doesn't establish. A check of that name, if
// there is one, closes it.
type gap struct{ check, text string }

// verdict is what the results of both kinds hold.
type verdict struct {
	authentic *Authentic
	policy    *policy.Policy
	at        time.Time
	release   policy.Release
	debug     bool
	checks    []Check
	open      []gap
}

func (v *verdict) gaps() []string {
	all := make([]string, len(v.open))
	for i, g := range v.open {
		all[i] = g.text
	}
	return all
}

func (v *verdict) note(name, detail string) {
	if slices.ContainsFunc(v.checks, func(c Check) bool { return c.Name == name }) {
		return
	}
	v.checks = append(v.checks, Check{Name: name, OK: true, Detail: detail})
	v.open = slices.DeleteFunc(v.open, func(g gap) bool { return g.check == name })
}

// notes says whether a check of that name passed.
func (v *verdict) notes(name string) bool {
	return slices.ContainsFunc(v.checks, func(c Check) bool { return c.Name == name })
}

// Result says that a live enclave was verified and accepted. Only [Appraise]
// and [Verifier.Verify] make one. It isn't safe for use while Note runs.
type Result struct{ verdict }

// Time is when the enclave was verified, in UTC.
func (r *Result) Time() time.Time { return r.at }

// Environment is "aws" for hardware under AWS's root, otherwise "simulation"
// or "other", as the policy says.
func (r *Result) Environment() string { return r.policy.Environment() }

// Release is the name of the policy's release that matched.
func (r *Result) Release() string { return r.release.Name }

// RootFingerprint is the SHA-256 of the root's DER form, in lower-case
// hexadecimal digits.
func (r *Result) RootFingerprint() string { return r.authentic.chain.root }

// Debug says whether the enclave runs in debug mode, which the policy allowed.
func (r *Result) Debug() bool { return r.debug }

// Document answers the accepted document.
func (r *Result) Document() *attestation.Document { return r.authentic.document }

// Checks answers a copy of all checks, in the order in which they ran.
func (r *Result) Checks() []Check { return slices.Clone(r.checks) }

// NotEstablished answers what a reader might take for granted and must not.
func (r *Result) NotEstablished() []string { return r.gaps() }

// Note appends a check that the caller made on top and that passed, such as
// that the connection uses the attested key. Whoever finds that a check fails
// drops the Result and answers an error instead; there is no failing check. A
// name that is there already is ignored, so no verdict can be replaced.
func (r *Result) Note(name, detail string) { r.note(name, detail) }

// notEstablished lists what attestation leaves open.
func notEstablished(debug bool) []gap {
	all := []gap{
		{CheckBinding, "that this document speaks for the connection in use"},
		{CheckBundle, "what the configuration behind PCR16 says"},
		{"", "that the enclave's state is the newest one and that no second copy runs"},
		{"", "that no certificate was revoked: the Nitro PKI offers no revocation checks"},
		{"", "that the image behind the measurements is free of faults: rebuild and review it"},
	}
	if debug {
		all = append(all, gap{"", "confidentiality: the enclave runs in debug mode"})
	}
	return all
}
