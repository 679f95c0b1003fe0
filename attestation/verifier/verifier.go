// Package verifier decides whether an attestation document is to be believed.
// It trusts the roots, the policy, the nonce and the time that its caller
// passes, and nothing that a document brings.
//
// There are two steps with results of their own. [Authenticate] answers an
// [Authentic]: really signed by an enclave's security module under a given
// root, at a given time. Then [Appraise] answers a [Result]: fresh, and one of
// the releases of a policy. Only a Result is a reason to send anything to an
// enclave. For documents of the past [AppraiseArchived] answers an [Archived],
// which says nothing about the present and can't stand in for a Result.
//
// A [Verifier] does both steps for a program that verifies again and again: it
// remembers chains of certificates, nonces that were used, and the time.
//
// What is checked, in which order and after which sentence of which document is
// written in docs/spec/verification.md; [Explain] says what each check is for.
package verifier

import (
	"crypto/x509"
	"errors"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// Skew is by how much the clocks of verifier and enclave may differ.
const Skew = 30 * time.Second

// Authentic is a document that was really signed under one of the verifier's
// roots. Nothing is said about what it measures or how fresh it is. Only
// [Authenticate] and [Cache.Authenticate] make one.
type Authentic struct {
	document *attestation.Document
	chain    *chain
	at       time.Time
	checks   []Check
}

// Document answers the authenticated document.
func (a *Authentic) Document() *attestation.Document { return a.document }

// RootFingerprint is the SHA-256 of the root's DER form, in lower-case
// hexadecimal digits.
func (a *Authentic) RootFingerprint() string { return a.chain.root }

// IsAWS says whether the root is AWS's Nitro Enclaves root G1.
func (a *Authentic) IsAWS() bool { return a.chain.root == policy.AWSRoot }

// Time is the time at which the certificates were found valid, in UTC.
func (a *Authentic) Time() time.Time { return a.at }

// Leaf answers a copy of the certificate that signed the document.
func (a *Authentic) Leaf() *x509.Certificate {
	leaf := *a.chain.leaf()
	return &leaf
}

// Authenticate verifies a document's form, certificates and signature under
// one of the roots, with every certificate valid at the given time, and asks a
// second verifier for its opinion. All refusals are *[attestation.Error];
// nothing else leaves the function with one.
func Authenticate(raw []byte, roots Roots, at time.Time) (*Authentic, error) {
	a, err := authenticate(raw, roots, at, func(*attestation.Document) *chain { return nil })
	if err != nil {
		return nil, err
	}
	if err := a.confirm(); err != nil {
		return nil, err
	}
	return a, nil
}

// authenticate makes our own checks. known answers the chain of a document if
// its very certificates were found to chain to one of the roots before.
func authenticate(raw []byte, roots Roots, at time.Time, known func(*attestation.Document) *chain) (*Authentic, error) {
	if err := usable(at); err != nil {
		return nil, err
	}
	a := &Authentic{at: at.UTC()}
	remembered := ""
	checks, err := run([]step{
		{CheckFormat, func() (detail string, err error) {
			a.document, err = attestation.Parse(raw)
			return "one COSE_Sign1 message, strictly read", err
		}},
		{CheckRoot, func() (detail string, err error) {
			if a.chain = known(a.document); a.chain != nil {
				remembered = ", as found before"
			} else if a.chain, err = readChain(a.document, roots); err != nil {
				return "", err
			}
			return "sha256:" + a.chain.root, nil
		}},
		{CheckCertificates, func() (detail string, err error) {
			if remembered == "" {
				err = checkChain(a.chain.path)
			}
			return "chain of the Nitro profile up to the root" + remembered, err
		}},
		{CheckValidity, func() (string, error) {
			return "all certificates valid at " + a.at.Format(time.RFC3339), checkValidity(a.chain.path, at)
		}},
		{CheckSignature, func() (string, error) {
			return "ES384, by the leaf certificate's key", checkSignature(a.document, a.chain.leaf())
		}},
		{CheckModule, func() (string, error) {
			return a.document.ModuleID(), checkModule(a.document, a.chain.leaf())
		}},
	})
	if err != nil {
		return nil, err
	}
	a.checks = checks
	return a, nil
}

// confirm asks for the second opinion.
func (a *Authentic) confirm() error {
	checks, err := run([]step{{CheckSecondOpinion, func() (string, error) {
		return "hf/nitrite agrees on signature, chain and content", secondOpinion(a.document, a.chain.path, a.at)
	}}})
	a.checks = append(a.checks, checks...)
	return err
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
	checks := make([]Check, 0, len(steps)+1)
	for _, s := range steps {
		detail, err := s.run()
		if err != nil {
			return nil, refusedBy(s.name, err)
		}
		checks = append(checks, Check{Name: s.name, OK: true, Detail: detail})
	}
	return checks, nil
}

func refuse(class attestation.Class, detail string) error {
	return attestation.NewError(class, detail, nil)
}

// refusedBy writes the check's name into a refusal.
func refusedBy(check string, err error) error {
	refusal, ok := errors.AsType[*attestation.Error](err)
	if !ok {
		return err
	}
	named := *refusal
	named.Check = check
	return &named
}
