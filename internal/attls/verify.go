package attls

import (
	"crypto/subtle"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/bundle"
)

// verify judges a server's message for the connection whose key has the hash
// spki. Every check stands before the use of what it checks: the document is
// authenticated and appraised, then it vouches for the connection and for the
// bundle, and only then is the bundle read.
func (c Config) verify(message, nonce []byte, spki [32]byte) (*Peer, error) {
	evidence, err := ReadEvidence(message)
	if err != nil {
		return nil, err
	}
	now := c.Now()
	authentic, err := verifier.Authenticate(evidence.Document, c.Roots, now)
	if err != nil {
		return nil, err
	}
	result, err := verifier.Appraise(authentic, c.Policy, nonce, now)
	if err != nil {
		return nil, err
	}
	if err := evidence.CheckBinding(result.Document(), spki); err != nil {
		return nil, err
	}
	result.Note(verifier.CheckBinding, "the document vouches for this connection's key and for what came with it")
	b, err := evidence.OpenBundle(result.Document(), result.Environment())
	if err != nil {
		return nil, err
	}
	result.Note(verifier.CheckBundle, "the bundle is the one that PCR16 measures; profile "+b.Profile)
	return &Peer{
		Result: result, Bundle: b,
		ServiceKey: evidence.ServiceKey, IntakeKey: evidence.IntakeKey, Genesis: evidence.Genesis,
		SPKI: spki, Evidence: message,
	}, nil
}

// binding is what the evidence's document must commit to on a connection.
func (e Evidence) binding(spki [32]byte) Binding {
	return Binding{
		SPKI: spki, ServiceKey: e.ServiceKey, IntakeKey: e.IntakeKey, Genesis: e.Genesis,
		BundleDigest: bundle.Digest(e.Bundle),
	}
}

// CheckBinding demands that a document commits to a connection's key, of which
// spki is the SHA-256, and to what came with the document. It compares in full
// and in constant time. The document must be authentic. Refusals are
// *attestation.Error of the class Binding.
func (e Evidence) CheckBinding(d *attestation.Document, spki [32]byte) error {
	want := e.binding(spki).UserData()
	if subtle.ConstantTimeCompare(d.UserData(), want[:]) != 1 {
		return attestation.NewError(attestation.Binding, "the document doesn't vouch for this connection's key and what came with it", nil)
	}
	return nil
}

// OpenBundle reads the bundle once PCR16 of an authentic document has vouched
// for it, and checks that its profile goes with the environment, which the root
// that the document was signed under decides. A policy that doesn't name PCR16
// changes nothing here. Refusals are *attestation.Error.
func (e Evidence) OpenBundle(d *attestation.Document, environment string) (*bundle.Bundle, error) {
	want := bundle.PCR16(e.Bundle)
	got, ok := d.PCR(policy.BundlePCR)
	if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return nil, attestation.NewPCRError(attestation.Binding, policy.BundlePCR, "the bundle isn't the measured one")
	}
	b, err := bundle.Decode(e.Bundle)
	if err != nil {
		return nil, attestation.NewError(attestation.Malformed, "the measured bundle isn't one that this version reads", err)
	}
	if !goesWith(b.Profile, environment) {
		return nil, attestation.NewError(attestation.Inconsistent, "the bundle's profile doesn't go with the environment", nil)
	}
	return b, nil
}

// goesWith says whether a profile may run in an environment: hardware under
// AWS's root never runs a bundle that may redirect keys, and nothing that
// calls itself production is simulated.
func goesWith(profile, environment string) bool {
	switch environment {
	case policy.AWS:
		return profile == bundle.Production
	case policy.Simulation:
		return profile == bundle.Simulation
	default:
		return true
	}
}
