package nsmsim_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

func marshal(t testing.TB, root *nsmsim.Root) []byte {
	t.Helper()
	b, err := root.MarshalKey()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRootKeeps checks that a root that was written and read is the same one,
// and that relying parties who know one know the other.
func TestRootKeeps(t *testing.T) {
	root := newRoot(t)
	again, err := nsmsim.LoadRoot(marshal(t, root))
	if err != nil {
		t.Fatal(err)
	}
	if again.Fingerprint() != root.Fingerprint() || !bytes.Equal(again.PEM(), root.PEM()) || !bytes.Equal(marshal(t, again), marshal(t, root)) {
		t.Error("another root")
	}
	document := attest(t, newDevice(t, nsmsim.Config{Root: again}), nsm.Request{})
	if _, err := verifier.Authenticate(document, roots(t, root), start); err != nil {
		t.Error(err)
	}
	if other := newRoot(t); other.Fingerprint() == root.Fingerprint() {
		t.Error("two deployments have one root")
	}
}

func TestRootForms(t *testing.T) {
	root := newRoot(t)
	block, rest := pem.Decode(root.PEM())
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		t.Fatalf("PEM is more or less than one certificate")
	}
	sum := sha256.Sum256(block.Bytes)
	if want := hex.EncodeToString(sum[:]); root.Fingerprint() != want {
		t.Errorf("fingerprint %s, want %s", root.Fingerprint(), want)
	}
	if got := roots(t, root).Fingerprints(); !slices.Equal(got, []string{root.Fingerprint()}) {
		t.Errorf("verifiers know it as %v", got)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Subject.OrganizationalUnit, []string{"test-deployment"}) || !c.NotBefore.Equal(start.Add(-time.Hour).Truncate(time.Second)) {
		t.Errorf("subject %s, from %v", c.Subject, c.NotBefore)
	}
	for _, name := range []string{"", strings.Repeat("n", 65)} {
		if r, err := nsmsim.NewRoot(start, name); err == nil || r != nil {
			t.Errorf("a root with a name of %d bytes", len(name))
		}
	}
}

// forge makes a CA that isn't of the simulator's making, self-signed when there
// is no parent.
func forge(t *testing.T, name string, curve elliptic.Curve, parent []byte) (certificate, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: start.AddDate(1, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	issuer, signer := template, k
	if parent != nil {
		issuer, signer = open(t, parent)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, k.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pkcs8(t, k)
}

// open reads a root's file.
func open(t *testing.T, b []byte) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	first, rest := pem.Decode(b)
	second, _ := pem.Decode(rest)
	c, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(second.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c, key.(*ecdsa.PrivateKey)
}

func pkcs8(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestLoadRootRefuses(t *testing.T) {
	const name = "simulation.nitro-enclaves"
	whole := marshal(t, newRoot(t))
	certificate, key, _ := bytes.Cut(whole, []byte("-----BEGIN PRIVATE KEY"))
	key = append([]byte("-----BEGIN PRIVATE KEY"), key...)
	foreign, foreignKey := forge(t, "aws.nitro-enclaves", elliptic.P384(), nil)
	weak, weakKey := forge(t, name, elliptic.P256(), nil)
	_, otherKey := forge(t, name, elliptic.P384(), nil)
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	below, belowKey := forge(t, name, elliptic.P384(), whole)
	block, _ := pem.Decode(certificate)
	damaged := bytes.Clone(block.Bytes)
	damaged[len(damaged)-1] ^= 1
	tests := map[string][]byte{
		"nothing":             nil,
		"the certificate":     certificate,
		"the key":             key,
		"key first":           slices.Concat(key, certificate),
		"two keys":            slices.Concat(whole, key),
		"two certificates":    slices.Concat(certificate, whole),
		"text in front":       slices.Concat([]byte("root\n"), whole),
		"text between":        slices.Concat(certificate, []byte("key\n"), key),
		"text behind":         slices.Concat(whole, []byte("end\n")),
		"cut":                 whole[:len(whole)-40],
		"DER":                 block.Bytes,
		"another's key":       slices.Concat(certificate, otherKey),
		"a key of no curve":   slices.Concat(certificate, pkcs8(t, edwards)),
		"another CA":          slices.Concat(foreign, foreignKey),
		"a CA below":          slices.Concat(below, belowKey),
		"P-256":               slices.Concat(weak, weakKey),
		"damaged signature":   slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: damaged}), key),
		"damaged certificate": slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: damaged[1:]}), key),
		"damaged key":         slices.Concat(certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: damaged})),
		"headers":             slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: block.Bytes}), key),
	}
	for name, b := range tests {
		if root, err := nsmsim.LoadRoot(b); err == nil || root != nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := nsmsim.LoadRoot(slices.Concat(certificate, key)); err != nil {
		t.Errorf("the two parts as they were: %v", err)
	}
}

// TestErrorsKeepTheKey checks that no error repeats what it was given.
func TestErrorsKeepTheKey(t *testing.T) {
	whole := marshal(t, newRoot(t))
	for n := range len(whole) {
		_, err := nsmsim.LoadRoot(whole[n:])
		if n == 0 {
			continue
		}
		if err == nil || len(err.Error()) > 80 {
			t.Fatalf("from byte %d: %v", n, err)
		}
	}
}
