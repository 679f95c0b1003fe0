package loopback_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloisterhq/cloister/sim/loopback"
)

func TestCertificate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.pem")
	cert, ca, err := loopback.Certificate(path, "kms")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, sameCA, err := loopback.Certificate(path, "kms")
	if err != nil || !bytes.Equal(ca, sameCA) || !bytes.Equal(cert.Certificate[0], again.Certificate[0]) {
		t.Errorf("the second time: another certificate, %v", err)
	}
	if bytes.Contains(ca, []byte("PRIVATE")) {
		t.Error("clients get the key")
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestBadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kms.pem")
	if err := os.WriteFile(path, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := loopback.Certificate(path, "kms"); err == nil {
		t.Error("takes what isn't a certificate")
	}
	if b, _ := os.ReadFile(path); string(b) != "not a certificate" {
		t.Error("overwrites what it doesn't know")
	}
}
