package stack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// certificateLife is how long a deployment's test certificates are good.
const certificateLife = 10 * 365 * 24 * time.Hour

// certificate loads the TLS certificate of a simulated service, or makes one
// for 127.0.0.1 and keeps it. The PEM is its own CA: clients pin it.
func (l Layout) certificate(role string) (tls.Certificate, []byte, error) {
	path := l.sim(role + "-tls.pem")
	both, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if both, err = newCertificate(role); err == nil {
			err = write(path, both)
		}
	}
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("stack: certificate of %s: %w", role, err)
	}
	cert, err := tls.X509KeyPair(both, both)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("stack: certificate of %s: %w", role, err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), nil
}

func newCertificate(role string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Cloister simulation " + role},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLife),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:              []string{"localhost"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...), nil
}
