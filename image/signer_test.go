package image_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image"
)

func development(t *testing.T, dir string, at time.Time) *image.Signer {
	t.Helper()
	s, err := image.Development(dir, at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDevelopment: made once, kept until it expires, another one elsewhere.
func TestDevelopment(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "signer"), time.Now()
	first := development(t, dir, now)
	if !first.IsDevelopment() || !strings.Contains(first.Subject(), "not for release") {
		t.Errorf("made for %s", first.Subject())
	}
	certificate := read(t, dir, "development.pem")
	for name, mode := range map[string]fs.FileMode{"development.key": 0o600, "development.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&^mode != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	development(t, dir, now.AddDate(0, 11, 0))
	if string(read(t, dir, "development.pem")) != string(certificate) {
		t.Error("not kept")
	}
	if after := development(t, dir, first.NotAfter().Add(time.Second)); !after.NotAfter().After(first.NotAfter()) {
		t.Error("kept although expired")
	}
	if string(read(t, dir, "development.pem")) == string(certificate) {
		t.Error("kept although expired")
	}
}

// TestLoadSigner: what a release is signed with.
func TestLoadSigner(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	made := development(t, dir, now)
	certificate, key := filepath.Join(dir, "development.pem"), filepath.Join(dir, "development.key")
	put := func(name, kind string, der []byte, more string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, append(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), more...), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s, err := image.LoadSigner(certificate, key, now)
	if err != nil || s.IsDevelopment() || s.Subject() != made.Subject() {
		t.Errorf("%+v, %v", s, err)
	}
	block, _ := pem.Decode(read(t, key))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(parsed.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.LoadSigner(certificate, put("sec1", "EC PRIVATE KEY", sec1, ""), now); err != nil {
		t.Errorf("SEC 1: %v", err)
	}
	another, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := x509.MarshalPKCS8PrivateKey(another)
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	ed, _ := x509.MarshalPKCS8PrivateKey(edwards)
	der, _ := pem.Decode(read(t, certificate))
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ certificate, key, want string }{
		"no certificate": {filepath.Join(dir, "missing"), key, "missing"},
		"no key":         {certificate, filepath.Join(dir, "missing"), "missing"},
		"two":            {put("two", "CERTIFICATE", der.Bytes, string(read(t, certificate))), key, "not one certificate"},
		"another block":  {key, key, "not one certificate"},
		"not X.509":      {put("bad", "CERTIFICATE", []byte("x"), ""), key, "bad"},
		"another's key":  {certificate, put("other", "PRIVATE KEY", other, ""), "isn't the key of"},
		"Ed25519":        {certificate, put("ed", "PRIVATE KEY", ed, ""), "not an ECDSA key"},
		"not PEM":        {certificate, filepath.Join(dir, "empty"), "PEM"},
		"a directory":    {dir, key, "not a file"},
		"large":          {put("large", "CERTIFICATE", make([]byte, 17<<10), ""), key, "at most"},
	} {
		if _, err := image.LoadSigner(c.certificate, c.key, now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, at := range map[string]time.Time{"too early": now.Add(-time.Hour), "too late": now.AddDate(2, 0, 0)} {
		if _, err := image.LoadSigner(certificate, key, at); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
