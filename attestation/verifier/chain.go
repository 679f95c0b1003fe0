package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"github.com/cloisterhq/cloister/attestation"
)

// chain is the certificates of a document.
type chain struct {
	path []*x509.Certificate // root first, leaf last
	root string              // the root's fingerprint
}

func (c *chain) leaf() *x509.Certificate { return c.path[len(c.path)-1] }

// readChain parses a document's certificates, the root first and the leaf last,
// holds each against the profile, and finds the root among those that are
// trusted. A trusted root isn't parsed again: its bytes decide.
func readChain(d *attestation.Document, roots Roots) (*chain, error) {
	ders := append(d.CABundle(), d.Certificate())
	path := make([]*x509.Certificate, len(ders))
	trusted, root := roots.find(ders[0])
	for i, der := range ders {
		if i == 0 && trusted != nil {
			path[0] = trusted
			continue
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, attestation.NewError(attestation.BadField, "a certificate isn't well-formed", err)
		}
		if err := checkProfile(c); err != nil {
			return nil, err
		}
		path[i] = c
	}
	if trusted == nil {
		return nil, refuse(attestation.UntrustedRoot, "the document's root sha256:"+root+" isn't trusted")
	}
	return &chain{path: path, root: root}, nil
}

// checkProfile checks what all certificates of the Nitro PKI have in common:
// version 3, a P-384 key, ECDSA with SHA-384, and no critical extension but
// basic constraints and key usage, so that none is overlooked.
func checkProfile(c *x509.Certificate) error {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	switch {
	case c.Version != 3:
		return refuse(attestation.Chain, "a certificate isn't version 3")
	case !ok || key.Curve != elliptic.P384():
		return refuse(attestation.Chain, "a certificate's key isn't on P-384")
	case c.SignatureAlgorithm != x509.ECDSAWithSHA384:
		return refuse(attestation.Chain, "a certificate isn't signed with ECDSA and SHA-384")
	}
	keyUsage := asn1.ObjectIdentifier{2, 5, 29, 15}
	basicConstraints := asn1.ObjectIdentifier{2, 5, 29, 19}
	for _, e := range c.Extensions {
		if e.Critical && !e.Id.Equal(keyUsage) && !e.Id.Equal(basicConstraints) {
			return refuse(attestation.Chain, "a certificate has an unknown critical extension")
		}
	}
	return nil
}

// checkChain walks down from the trusted root. Every certificate of the
// bundle stands on the path: none is skipped, looked for or reordered.
func checkChain(path []*x509.Certificate) error {
	last := len(path) - 1
	for i := 1; i <= last; i++ {
		// pathLenConstraint counts the CA certificates below the issuer
		// (RFC 5280, section 4.2.1.9).
		if err := checkIssuer(path[i-1], path[i], last-i); err != nil {
			return err
		}
		if bytes.Equal(path[i].RawSubject, path[i].RawIssuer) {
			return refuse(attestation.Chain, "a certificate under the root is self-issued")
		}
	}
	return checkLeaf(path[last])
}

// checkIssuer checks that issuer may issue child, with below CA certificates
// between issuer and leaf, and that it did.
func checkIssuer(issuer, child *x509.Certificate, below int) error {
	switch {
	case !issuer.BasicConstraintsValid || !issuer.IsCA:
		return refuse(attestation.Chain, "an issuer isn't a CA")
	case issuer.KeyUsage&x509.KeyUsageCertSign == 0:
		return refuse(attestation.Chain, "an issuer lacks keyCertSign")
	case issuer.MaxPathLen >= 0 && below > issuer.MaxPathLen:
		return refuse(attestation.Chain, "an issuer's path length is exceeded")
	case !bytes.Equal(issuer.RawSubject, child.RawIssuer):
		return refuse(attestation.Chain, "names of issuer and subject don't meet")
	case len(child.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(child.AuthorityKeyId, issuer.SubjectKeyId):
		return refuse(attestation.Chain, "key identifiers of issuer and subject don't meet")
	}
	if err := child.CheckSignatureFrom(issuer); err != nil {
		return attestation.NewError(attestation.Chain, "a certificate isn't signed by its issuer", err)
	}
	return nil
}

// checkLeaf checks that the last certificate may sign documents and nothing else.
func checkLeaf(leaf *x509.Certificate) error {
	switch {
	case !leaf.BasicConstraintsValid || leaf.IsCA:
		return refuse(attestation.Chain, "the leaf is, or may be, a CA")
	case leaf.MaxPathLen != -1:
		return refuse(attestation.Chain, "the leaf has a path length")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return refuse(attestation.Chain, "the leaf lacks digitalSignature")
	case leaf.KeyUsage&x509.KeyUsageCertSign != 0:
		return refuse(attestation.Chain, "the leaf has keyCertSign")
	}
	return nil
}

// checkValidity checks every certificate at t. Both bounds are inclusive
// (RFC 5280, section 4.1.2.5). A leaf is made seconds before its first
// document, so its beginning alone may lie ahead, by the allowed clock skew.
func checkValidity(path []*x509.Certificate, t time.Time) error {
	last := len(path) - 1
	for i, c := range path {
		begin := c.NotBefore
		if i == last {
			begin = begin.Add(-Skew)
		}
		if t.Before(begin) {
			return refuse(attestation.NotYetValid, position(i, last))
		}
		if t.After(c.NotAfter) {
			return refuse(attestation.Expired, position(i, last))
		}
	}
	return nil
}

// position says which certificate of a path it is.
func position(i, last int) string {
	if i == last {
		return "the leaf certificate"
	}
	return fmt.Sprintf("certificate %d of %d, counted from the root", i+1, last+1)
}
