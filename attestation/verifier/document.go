package verifier

import (
	"crypto/ecdsa"
	"crypto/x509"
	"math/big"
	"strings"

	"github.com/cloisterhq/cloister/attestation"
)

// instancePCR is the register that measures the parent's instance id.
const instancePCR = 4

// checkSignature checks the ES384 signature over the Sig_structure (RFC 9053,
// section 2.1). The leaf's key is on P-384.
func checkSignature(d *attestation.Document, leaf *x509.Certificate) error {
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return refuse(attestation.Signature, "the leaf has no ECDSA key")
	}
	digest, signature := d.Digest(), d.Signature()
	if len(signature) != attestation.SignatureSize {
		return refuse(attestation.Signature, "not 96 bytes")
	}
	half := len(signature) / 2
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return refuse(attestation.Signature, "not made by the leaf certificate's key")
	}
	return nil
}

// checkModule checks that the parts of a signed document agree: the module is
// an enclave's and the one the leaf was issued to, PCR4 measures its instance,
// and the document was made while the leaf was valid.
func checkModule(d *attestation.Document, leaf *x509.Certificate) error {
	instance, ok := enclaveInstance(d.ModuleID())
	if !ok {
		return refuse(attestation.WrongDocumentType, "the module id isn't an enclave's")
	}
	if name, _, _ := strings.Cut(leaf.Subject.CommonName, "."); name != d.ModuleID() {
		return refuse(attestation.Inconsistent, "the leaf was issued to another module")
	}
	if pcr, ok := d.PCR(instancePCR); ok && pcr != (attestation.PCR{}).Extend([]byte(instance)) {
		return attestation.NewPCRError(attestation.Inconsistent, instancePCR, "doesn't measure the module's instance")
	}
	if d.Timestamp().Before(leaf.NotBefore) {
		return refuse(attestation.Stale, "made before the leaf certificate began")
	}
	if d.Timestamp().After(leaf.NotAfter) {
		return refuse(attestation.Future, "made after the leaf certificate ended")
	}
	return nil
}

// enclaveInstance answers the instance id of i-<hex>-enc<hex>, the module id
// of an enclave. Those of other attesters under the same root end otherwise.
func enclaveInstance(moduleID string) (string, bool) {
	instance, enclave, ok := strings.Cut(moduleID, "-enc")
	if !ok || !isHex(enclave) {
		return "", false
	}
	id, ok := strings.CutPrefix(instance, "i-")
	return instance, ok && isHex(id)
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}
