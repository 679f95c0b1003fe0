// Package loopback makes the TLS certificates of simulated services, which
// listen on this machine alone. They vouch for nothing: clients pin the very
// certificate, which a file of the deployment gives them.
package loopback

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

// life is how long a certificate is good.
const life = 10 * 365 * 24 * time.Hour

// Certificate loads a service's certificate and key from a file, or makes them
// and keeps them there, mode 0600. The certificate is for this machine's
// loopback addresses and is its own CA; ca is its PEM, for clients.
func Certificate(path, service string) (cert tls.Certificate, ca []byte, err error) {
	both, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if both, err = issue(service, time.Now()); err == nil {
			err = keep(path, both)
		}
	}
	if err == nil {
		cert, err = tls.X509KeyPair(both, both)
	}
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("certificate of %s: %w", service, err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), nil
}

// keep writes a file whole or not at all.
func keep(path string, content []byte) error {
	unfinished := path + ".new"
	if err := os.WriteFile(unfinished, content, 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

// issue makes a key and a certificate for it, both in PEM.
func issue(service string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Cloister simulation " + service},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
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
