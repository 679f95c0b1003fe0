package image

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Signer is a certificate and its key.
type Signer struct {
	certificate []byte // PEM, one certificate
	parsed      *x509.Certificate
	key         crypto.Signer
	development bool
}

// Subject is whose certificate it is.
func (s *Signer) Subject() string { return s.parsed.Subject.String() }

// NotAfter is when the certificate ends.
func (s *Signer) NotAfter() time.Time { return s.parsed.NotAfter.UTC() }

// IsDevelopment says that the signer is one of Development.
func (s *Signer) IsDevelopment() bool { return s.development }

// maxPEM is the largest certificate or key file, in bytes.
const maxPEM = 16 << 10

// LoadSigner reads a certificate and an ECDSA key, in PKCS #8 or SEC 1, from PEM
// files, and demands that they go together and that the certificate is valid
// at a time: nitro-cli doesn't start an image whose signer has expired.
func LoadSigner(certificate, key string, at time.Time) (*Signer, error) {
	b, err := readPEM(certificate)
	if err != nil {
		return nil, err
	}
	s := &Signer{certificate: b}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		return nil, fmt.Errorf("image: %s: not one certificate in PEM", certificate)
	}
	if s.parsed, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, fmt.Errorf("image: %s: %w", certificate, err)
	}
	if s.key, err = loadKey(key); err != nil {
		return nil, err
	}
	public, ok := s.key.Public().(*ecdsa.PublicKey)
	if !ok || !public.Equal(s.parsed.PublicKey) {
		return nil, fmt.Errorf("image: %s isn't the key of %s", key, certificate)
	}
	if at.Before(s.parsed.NotBefore) || at.After(s.parsed.NotAfter) {
		return nil, fmt.Errorf("image: %s: %w", certificate, errExpired)
	}
	return s, nil
}

var errExpired = errors.New("valid at another time only")

func loadKey(name string) (crypto.Signer, error) {
	b, err := readPEM(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("image: %s: not a PEM file", name)
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("image: %s: not an ECDSA key in PKCS #8 or SEC 1", name)
	}
	return signer, nil
}

func readPEM(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, fmt.Errorf("image: %s: not a file of at most %d bytes", name, maxPEM)
	}
	return os.ReadFile(name)
}

// developmentName is what the self-made certificate says of itself.
const developmentName = "Cloister development, not for release"

// Development answers the signer that this machine made for itself in a
// directory, and makes it when there is none or it has expired. Register 8 then
// says which machine made the image, and nothing else.
func Development(dir string, at time.Time) (*Signer, error) {
	certificate, key := filepath.Join(dir, "development.pem"), filepath.Join(dir, "development.key")
	s, err := LoadSigner(certificate, key, at)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errExpired) {
		if err := makeSigner(certificate, key, at); err != nil {
			return nil, err
		}
		s, err = LoadSigner(certificate, key, at)
	}
	if err != nil {
		return nil, err
	}
	s.development = true
	return s, nil
}

// makeSigner makes a P-384 key and a certificate for a year.
func makeSigner(certificate, key string, at time.Time) error {
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	at = at.UTC().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: developmentName},
		NotBefore: at, NotAfter: at.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(key), 0o700); err != nil {
		return err
	}
	if err := writePEM(key, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	return writePEM(certificate, "CERTIFICATE", der, 0o644)
}

// writePEM writes a new file over an old one.
func writePEM(name, kind string, der []byte, mode fs.FileMode) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Close())
}
