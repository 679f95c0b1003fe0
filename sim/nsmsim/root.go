package nsmsim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

const (
	// partition stands where real names have aws: "aws.nitro-enclaves" is the
	// only root that documents of the real thing chain to.
	partition = "simulation"
	// rootName is the root's common name, of the form that AWS documents,
	// <partition>.nitro-enclaves.
	rootName = partition + ".nitro-enclaves"
	// organization is in the names of the root and all below.
	organization = "Cloister simulation"
	// maxName bounds the deployment's name in the root, in bytes (RFC 5280,
	// appendix A.1, ub-organizational-unit-name).
	maxName = 64

	// rootYears is the life of the root.
	rootYears = 30
	// backdate is how long before their making the root and the two levels below
	// it begin.
	backdate = time.Hour

	certificateType = "CERTIFICATE"
	keyType         = "PRIVATE KEY"
)

// errRoot says that bytes don't hold a root and its key.
var errRoot = errors.New("nsmsim: not the certificate and key of a simulation root")

// Root is a simulated root of trust with its key: a certificate and a key on
// P-384, self-signed. It never changes.
type Root struct{ link }

// NewRoot makes the root of one deployment, valid from an hour before now for
// 30 years as the real one. Its subject says that it is a simulation, and the
// deployment's name, which has 1 to 64 bytes.
func NewRoot(now time.Time, name string) (*Root, error) {
	if name == "" || len(name) > maxName {
		return nil, errors.New("nsmsim: a root's name has 1 to 64 bytes")
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{Organization: []string{organization}, OrganizationalUnit: []string{name}, CommonName: rootName},
		NotBefore: now.Add(-backdate),
		NotAfter:  now.AddDate(rootYears, 0, 0),
		KeyUsage:  x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	l, err := issueCA(nil, template, noPathLen)
	if err != nil {
		return nil, err
	}
	return &Root{*l}, nil
}

// LoadRoot reads what MarshalKey writes. It refuses every other certificate
// than that of a simulation root.
func LoadRoot(b []byte) (*Root, error) {
	der, rest, ok := block(b, certificateType)
	if !ok {
		return nil, errRoot
	}
	keyDER, rest, ok := block(rest, keyType)
	if !ok || len(rest) > 0 {
		return nil, errRoot
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errRoot
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyDER)
	if err != nil {
		return nil, errRoot
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P384() || !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, errRoot
	}
	if certificate.Subject.CommonName != rootName || certificate.CheckSignatureFrom(certificate) != nil {
		return nil, errRoot
	}
	return &Root{link{certificate, key}}, nil
}

// block reads one PEM block of that type, without headers, at the very front.
func block(b []byte, kind string) (der, rest []byte, ok bool) {
	if !bytes.HasPrefix(b, []byte("-----BEGIN "+kind+"-----")) {
		return nil, nil, false
	}
	p, rest := pem.Decode(b)
	if p == nil || p.Type != kind || len(p.Headers) > 0 {
		return nil, nil, false
	}
	return p.Bytes, rest, true
}

// MarshalKey writes the certificate and the key, in PEM. Whoever has it can
// sign for every enclave of the deployment.
func (r *Root) MarshalKey() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(r.key)
	if err != nil {
		return nil, fmt.Errorf("nsmsim: %w", err)
	}
	return append(r.PEM(), pem.EncodeToMemory(&pem.Block{Type: keyType, Bytes: der})...), nil
}

// PEM writes the certificate alone, which relying parties are given.
func (r *Root) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certificateType, Bytes: r.certificate.Raw})
}

// Fingerprint is the SHA-256 of the certificate's DER form, in lower-case
// hexadecimal digits.
func (r *Root) Fingerprint() string {
	sum := sha256.Sum256(r.certificate.Raw)
	return hex.EncodeToString(sum[:])
}
