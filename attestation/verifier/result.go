package verifier

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/cloisterhq/cloister/attestation"
)

// Schema names the JSON form of a [Result].
const Schema = "cloister.verify/v1"

// timeFormat is RFC 3339 in UTC with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

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
	CheckEnvironment   = "environment"
	CheckDebug         = "debug"
	CheckMeasurements  = "measurements"
	// CheckBinding and CheckBundle are for whoever holds the connection; see
	// [Result.Note].
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

// Result says that a live enclave was verified and accepted. Only [Appraise]
// makes one. It isn't safe for use while Note runs.
type Result struct {
	authentic   *Authentic
	environment string
	release     string
	debug       bool
	checks      []Check
	open        []gap
}

// Environment is "aws" for hardware under AWS's root, otherwise "simulation"
// or "other", as the policy says.
func (r *Result) Environment() string { return r.environment }

// Release is the name of the policy's release that matched.
func (r *Result) Release() string { return r.release }

// RootFingerprint is the SHA-256 of the root's DER form, in lower-case
// hexadecimal digits.
func (r *Result) RootFingerprint() string { return r.authentic.root }

// Debug says whether the enclave runs in debug mode, which the policy allowed.
func (r *Result) Debug() bool { return r.debug }

// Document answers the accepted document.
func (r *Result) Document() *attestation.Document { return r.authentic.document }

// Checks answers a copy of all checks, in the order in which they ran.
func (r *Result) Checks() []Check { return slices.Clone(r.checks) }

// NotEstablished answers what a reader might take for granted and must not.
func (r *Result) NotEstablished() []string {
	all := make([]string, len(r.open))
	for i, g := range r.open {
		all[i] = g.text
	}
	return all
}

// Note appends a check that the caller made on top and that passed, such as
// that the connection uses the attested key. Whoever finds that a check fails
// drops the Result and answers an error instead; there is no failing check. A
// name that is there already is ignored, so no verdict can be replaced.
func (r *Result) Note(name, detail string) {
	if slices.ContainsFunc(r.checks, func(c Check) bool { return c.Name == name }) {
		return
	}
	r.checks = append(r.checks, Check{Name: name, OK: true, Detail: detail})
	r.open = slices.DeleteFunc(r.open, func(g gap) bool { return g.check == name })
}

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

// resultJSON is the form cloister.verify/v1.
type resultJSON struct {
	Schema         string            `json:"schema"`
	Verified       bool              `json:"verified"`
	Environment    string            `json:"environment"`
	Release        string            `json:"release"`
	Debug          bool              `json:"debug"`
	Root           string            `json:"root"`
	ModuleID       string            `json:"module_id"`
	Timestamp      string            `json:"timestamp"`
	PCRs           map[string]string `json:"pcrs"`
	Checks         []Check           `json:"checks"`
	NotEstablished []string          `json:"not_established"`
}

// MarshalJSON writes the form cloister.verify/v1. It lists PCR0, PCR1, PCR2
// and every other register that isn't zero. The zero Result has no JSON.
func (r *Result) MarshalJSON() ([]byte, error) {
	if r == nil || r.authentic == nil {
		return nil, fmt.Errorf("verifier: no result to write")
	}
	d := r.Document()
	pcrs := make(map[string]string)
	for i, pcr := range d.PCRs() {
		if i <= 2 || !pcr.IsZero() {
			pcrs[strconv.Itoa(i)] = pcr.String()
		}
	}
	return json.Marshal(resultJSON{
		Schema: Schema, Verified: true, Environment: r.environment, Release: r.release, Debug: r.debug,
		Root: r.authentic.root, ModuleID: d.ModuleID(), Timestamp: d.Timestamp().Format(timeFormat),
		PCRs: pcrs, Checks: r.checks, NotEstablished: r.NotEstablished(),
	})
}
