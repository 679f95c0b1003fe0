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
	if err := checkBinding(result.Document(), evidence.binding(spki)); err != nil {
		return nil, err
	}
	result.Note(verifier.CheckBinding, "the document vouches for this connection's key and for what came with it")
	b, err := openBundle(result, evidence.Bundle)
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

// checkBinding compares in full and in constant time.
func checkBinding(d *attestation.Document, b Binding) error {
	want := b.UserData()
	if subtle.ConstantTimeCompare(d.UserData(), want[:]) != 1 {
		return attestation.NewError(attestation.Binding, "the document doesn't vouch for this connection's key and what came with it", nil)
	}
	return nil
}

// openBundle reads the bundle once PCR16 has vouched for it, and checks that
// its profile goes with the root that the document was signed under. A policy
// that doesn't name PCR16 changes nothing here.
func openBundle(r *verifier.Result, raw []byte) (*bundle.Bundle, error) {
	want := bundle.PCR16(raw)
	got, ok := r.Document().PCR(policy.BundlePCR)
	if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return nil, attestation.NewPCRError(attestation.Binding, policy.BundlePCR, "the bundle isn't the measured one")
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return nil, attestation.NewError(attestation.Malformed, "the measured bundle isn't one that this version reads", err)
	}
	if !goesWith(b.Profile, r.Environment()) {
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
