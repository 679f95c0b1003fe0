package verifier

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	_ "embed" // the AWS root
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// awsRoot is AWS_NitroEnclaves_Root-G1, published by AWS as the trust anchor
// of attestation documents.
//
//go:embed aws-nitro-enclaves-root-g1.pem
var awsRoot []byte

// errNoRoot says that a caller trusts nobody.
var errNoRoot = errors.New("verifier: no root certificate")

// Roots are the certificates that a verifier trusts. The zero value trusts
// none. They never change.
type Roots struct {
	byFingerprint map[string]*x509.Certificate
}

// NewRoots reads roots, each in DER or as one or more PEM blocks. Roots must
// be self-signed certificates of the Nitro profile.
func NewRoots(pemOrDER ...[]byte) (Roots, error) {
	r := Roots{byFingerprint: make(map[string]*x509.Certificate)}
	for _, b := range pemOrDER {
		ders := [][]byte{b}
		if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
			var err error
			if ders, err = readPEM(b); err != nil {
				return Roots{}, err
			}
		}
		for _, der := range ders {
			if err := r.add(der); err != nil {
				return Roots{}, err
			}
		}
	}
	if len(r.byFingerprint) == 0 {
		return Roots{}, errNoRoot
	}
	return r, nil
}

// readPEM reads nothing but certificates.
func readPEM(b []byte) (ders [][]byte, err error) {
	for rest := bytes.TrimSpace(b); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errors.New("verifier: a root file holds something else than certificates")
		}
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errors.New("verifier: a root certificate isn't well-formed PEM")
		}
		ders, rest = append(ders, block.Bytes), after
	}
	return ders, nil
}

func (r Roots) add(der []byte) error {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("verifier: root certificate: %w", err)
	}
	if err := checkProfile(c); err != nil {
		return fmt.Errorf("verifier: root certificate: %w", err)
	}
	if err := checkIssuer(c, c, 0); err != nil {
		return fmt.Errorf("verifier: root certificate: %w", err)
	}
	r.byFingerprint[fingerprint(der)] = c
	return nil
}

// AWS is AWS's Nitro Enclaves root G1, and nothing else.
func AWS() Roots {
	r, err := NewRoots(awsRoot)
	if _, ok := r.byFingerprint[policy.AWSRoot]; err != nil || !ok {
		return Roots{} // trusts nothing; the file is part of the program, and tested
	}
	return r
}

// DocumentRoot trusts whatever root a document brings along. It is for the
// boot self-check of a simulated enclave only, which has no other way to know
// its root; used anywhere else it would let every sender vouch for itself.
func DocumentRoot(d *attestation.Document) (Roots, error) {
	return NewRoots(d.CABundle()[0])
}

// Fingerprints answers the SHA-256 of each root's DER form in lower-case
// hexadecimal digits, sorted.
func (r Roots) Fingerprints() []string {
	return slices.Sorted(maps.Keys(r.byFingerprint))
}

// NamedBy demands that the policy names every root: a root that somebody hands
// to a verifier counts for nothing unless the policy's author wrote it down.
// The refusal is an *[attestation.Error] of the class UntrustedRoot with the
// fingerprint in its text.
func (r Roots) NamedBy(p *policy.Policy) error {
	for _, root := range r.Fingerprints() {
		if p == nil || !p.Names(root) {
			return refusedBy(CheckRoot, refuse(attestation.UntrustedRoot, "the policy doesn't name the given root sha256:"+root))
		}
	}
	return nil
}

// find answers the trusted root that equals der byte for byte, nil if there is
// none, and der's fingerprint.
func (r Roots) find(der []byte) (*x509.Certificate, string) {
	got := fingerprint(der)
	if root, ok := r.byFingerprint[got]; ok && bytes.Equal(root.Raw, der) {
		return root, got
	}
	return nil, got
}

// fingerprint is the SHA-256 of a certificate's DER form.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
