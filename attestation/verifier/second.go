package verifier

import (
	"bytes"
	"crypto/x509"
	"time"

	"github.com/hf/nitrite"

	"github.com/cloisterhq/cloister/attestation"
)

// secondOpinion lets an independent verifier check the signature and the
// chain, and compares what it read. Documents reach it only behind our own
// checks, because it is laxer and panics on some curves; a panic is a refusal
// all the same.
func secondOpinion(d *attestation.Document, path []*x509.Certificate, at time.Time) (err error) {
	defer func() {
		if recover() != nil {
			err = refuse(attestation.Inconsistent, "the second verifier failed")
		}
	}()
	// Our own check allows a leaf to begin within the clock skew; the other
	// one knows no skew.
	if begin := path[len(path)-1].NotBefore; at.Before(begin) {
		at = begin
	}
	roots := x509.NewCertPool()
	roots.AddCert(path[0])
	result, err := nitrite.Verify(d.Message(), nitrite.VerifyOptions{Roots: roots, CurrentTime: at})
	if err != nil { // it answers a result even then: not to be touched
		return attestation.NewError(attestation.Inconsistent, "the second verifier refuses", err)
	}
	if !result.SignatureOK || !sameContent(d, result.Document) {
		return refuse(attestation.Inconsistent, "the second verifier reads something else")
	}
	return nil
}

// sameContent compares two readings of one document.
func sameContent(d *attestation.Document, other *nitrite.Document) bool {
	bundle, pcrs := d.CABundle(), d.PCRs()
	if d.ModuleID() != other.ModuleID || uint64(d.Timestamp().UnixMilli()) != other.Timestamp || //nolint:gosec // never negative
		len(bundle) != len(other.CABundle) || len(pcrs) != len(other.PCRs) ||
		!bytes.Equal(d.Certificate(), other.Certificate) || !bytes.Equal(d.PublicKey(), other.PublicKey) ||
		!bytes.Equal(d.UserData(), other.UserData) || !bytes.Equal(d.Nonce(), other.Nonce) {
		return false
	}
	for i, der := range bundle {
		if !bytes.Equal(der, other.CABundle[i]) {
			return false
		}
	}
	for i, value := range other.PCRs {
		pcr, ok := pcrs[int(i)] //nolint:gosec // below 32
		if !ok || !bytes.Equal(pcr[:], value) {
			return false
		}
	}
	return true
}
