// Package verifier decides whether an attestation document is to be believed.
// It trusts the roots, the policy, the nonce and the time that its caller
// passes, and nothing that a document brings.
//
// There are two steps with two results. [Authenticate] answers an [Authentic]:
// really signed by an enclave's security module under a given root, at a given
// time. [Appraise] answers a [Result]: fresh, and one of the releases of a
// policy. Only a Result is a reason to send anything to an enclave.
package verifier

import (
	"crypto/x509"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// Skew is by how much the clocks of verifier and enclave may differ.
const Skew = 30 * time.Second

// Authentic is a document that was really signed under one of the verifier's
// roots. Nothing is said about what it measures or how fresh it is. Only
// [Authenticate] makes one.
type Authentic struct {
	document *attestation.Document
	path     []*x509.Certificate // root first, leaf last
	root     string
	checks   []Check
}

// Document answers the authenticated document.
func (a *Authentic) Document() *attestation.Document { return a.document }

// RootFingerprint is the SHA-256 of the root's DER form, in lower-case
// hexadecimal digits.
func (a *Authentic) RootFingerprint() string { return a.root }

// IsAWS says whether the root is AWS's Nitro Enclaves root G1.
func (a *Authentic) IsAWS() bool { return a.root == policy.AWSRoot }

// Leaf answers a copy of the certificate that signed the document.
func (a *Authentic) Leaf() *x509.Certificate {
	leaf := *a.leaf()
	return &leaf
}

func (a *Authentic) leaf() *x509.Certificate { return a.path[len(a.path)-1] }

// Authenticate verifies a document's form, certificates and signature under
// one of the roots, with every certificate valid at the given time. All
// refusals are *[attestation.Error]; nothing else leaves the function with one.
func Authenticate(raw []byte, roots Roots, at time.Time) (*Authentic, error) {
	if err := usable(at); err != nil {
		return nil, err
	}
	a := &Authentic{}
	checks, err := run([]step{
		{CheckFormat, func() (detail string, err error) {
			a.document, err = attestation.Parse(raw)
			return "one COSE_Sign1 message, strictly read", err
		}},
		{CheckRoot, func() (detail string, err error) {
			if a.path, err = readPath(a.document); err != nil {
				return "", err
			}
			a.root, err = roots.match(a.path[0])
			return "sha256:" + a.root, err
		}},
		{CheckCertificates, func() (string, error) {
			return "chain of the Nitro profile up to the root", checkChain(a.path)
		}},
		{CheckValidity, func() (string, error) {
			return "all certificates valid at " + at.UTC().Format(time.RFC3339), checkValidity(a.path, at)
		}},
		{CheckSignature, func() (string, error) {
			return "ES384, by the leaf certificate's key", checkSignature(a.document, a.leaf())
		}},
		{CheckModule, func() (string, error) {
			return a.document.ModuleID(), checkModule(a.document, a.leaf())
		}},
		{CheckSecondOpinion, func() (string, error) {
			return "hf/nitrite agrees on signature, chain and content", secondOpinion(a.document, a.path, at)
		}},
	})
	if err != nil {
		return nil, err
	}
	a.checks = checks
	return a, nil
}

// usable refuses a clock that was never set.
func usable(t time.Time) error {
	if t.IsZero() || t.Unix() <= 0 {
		return refuse(attestation.Clock, "the verifier's clock isn't set")
	}
	return nil
}

// step is one check: it answers what was established, or a refusal.
type step struct {
	name string
	run  func() (detail string, err error)
}

// run runs the steps in order until one refuses. Only steps that ran and
// passed are answered as checks.
func run(steps []step) ([]Check, error) {
	checks := make([]Check, 0, len(steps))
	for _, s := range steps {
		detail, err := s.run()
		if err != nil {
			return nil, err
		}
		checks = append(checks, Check{Name: s.name, OK: true, Detail: detail})
	}
	return checks, nil
}

func refuse(class attestation.Class, detail string) error {
	return attestation.NewError(class, detail, nil)
}
