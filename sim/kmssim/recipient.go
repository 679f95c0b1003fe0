package kmssim

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"strconv"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/verifier"
)

const (
	// maxDocument is the longest AttestationDocument that KMS takes, in bytes
	// (KMS API reference, RecipientInfo).
	maxDocument = 262144
	// maxAge is how old a document may be (AWS Nitro Enclaves user guide: five
	// minutes), and maxSkew how far in the future its timestamp may lie.
	maxAge  = 5 * time.Minute
	maxSkew = 30 * time.Second
	// minKey and maxKey bound the RSA modulus of a recipient key, in bits.
	minKey, maxKey = 2048, 4096
)

// recipientInfo is the Recipient of a request.
type recipientInfo struct {
	AttestationDocument    []byte
	KeyEncryptionAlgorithm string
}

// recipient is whom an answer is encrypted to: an attested key. Only attest
// makes one.
type recipient struct {
	document *attestation.Document
	key      *rsa.PublicKey
	rid      [sha256.Size]byte
}

// attest verifies a Recipient: the document's signature and chain with the
// production verifier under the configured roots, its age, and its RSA key.
// Nothing yet says that the measurements are good ones; policies do.
func (s *Server) attest(info *recipientInfo) (*recipient, *failure) {
	if info == nil {
		return nil, nil
	}
	if info.KeyEncryptionAlgorithm != "RSAES_OAEP_SHA_256" {
		return nil, invalid("KeyEncryptionAlgorithm must be RSAES_OAEP_SHA_256")
	}
	if n := len(info.AttestationDocument); n == 0 || n > maxDocument {
		return nil, invalid("AttestationDocument must have 1 to %d bytes", maxDocument)
	}
	now := s.config.Now()
	authentic, err := verifier.Authenticate(info.AttestationDocument, s.config.Roots, now)
	if err != nil {
		return nil, invalid("The attestation document is not valid")
	}
	d := authentic.Document()
	if age := now.Sub(d.Timestamp()); age > maxAge || age < -maxSkew {
		return nil, invalid("The attestation document is stale or from the future")
	}
	spki := d.PublicKey()
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, invalid("The attestation document holds no RSA public key")
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minKey || key.N.BitLen() > maxKey {
		return nil, invalid("The attestation document holds no RSA public key")
	}
	// The recipient is named by the hash of these bytes, so they must be the
	// only form of the key.
	if again, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(again, spki) {
		return nil, invalid("The attestation document holds no RSA public key")
	}
	return &recipient{document: d, key: key, rid: sha256.Sum256(spki)}, nil
}

// attributes are the condition keys of the document: every register that isn't
// zero. A zero register is left out, so that a debug enclave satisfies no
// condition on it, not even one that asks for zeros.
func (r *recipient) attributes(into attributes) {
	if r == nil {
		return
	}
	for i, pcr := range r.document.PCRs() {
		if pcr.IsZero() {
			continue
		}
		into.set("kms:RecipientAttestation:PCR"+strconv.Itoa(i), pcr.String())
		if i == 0 {
			into.set("kms:RecipientAttestation:ImageSha384", pcr.String())
		}
	}
}
