package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/test/rig"
)

// TestVerifyEvidence judges a saved exchange: the bundle against PCR16, and the
// binding once the connection's key is known.
func TestVerifyEvidence(t *testing.T) {
	r := rig.New(t, rig.Config{})
	leaf, err := x509.ParseCertificate(r.Certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	spki := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	nonce := verifier.Challenge()
	e, err := r.Evidence(t.Context(), nonce, spki)
	if err != nil {
		t.Fatal(err)
	}
	w := &files{t: t, dir: t.TempDir()}
	encode := func(name string, e attls.Evidence) {
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		w.put(name, b)
	}
	encode("evidence", e)
	other := e
	other.Genesis = bytes.Repeat([]byte{9}, 32)
	encode("other-genesis", other)
	other = e
	other.Bundle = append(bytes.Clone(e.Bundle), 0)
	encode("other-bundle", other)
	w.put("root.pem", r.Root.PEM())
	b, err := r.PolicyFile().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	w.put("policy.json", b)
	key, wrong := hex.EncodeToString(spki[:]), strings.Repeat("00", 32)
	for name, c := range map[string]struct {
		file string
		args []string
		code int
		says string
	}{
		"alone":         {"evidence", nil, 0, "not established: that this document speaks for the connection"},
		"with the key":  {"evidence", []string{"--spki", key}, 0, "binding          ok"},
		"live":          {"evidence", []string{"--spki", key, "--nonce", hex.EncodeToString(nonce)}, 0, "verified: simulation"},
		"another key":   {"evidence", []string{"--spki", wrong}, exitRefused, "failed check: binding"},
		"no key":        {"evidence", []string{"--spki", "00"}, exitUsage, "--spki"},
		"other genesis": {"other-genesis", []string{"--spki", key}, exitRefused, "binding: "},
		"unbound":       {"other-genesis", nil, 0, "not established: that this document speaks"},
		"other bundle":  {"other-bundle", nil, exitRefused, "failed check: bundle"},
	} {
		code, out, errs := w.verify(append(c.args, "--evidence", w.path(c.file))...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
}

// TestVerifySaved: what --save wrote is what --evidence judges.
func TestVerifySaved(t *testing.T) {
	e := rig.Serve(t)
	w := &files{t: t, dir: t.TempDir()}
	w.put("root.pem", e.Root.PEM())
	b, err := e.PolicyFile().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	w.put("policy.json", b)
	code, out, errs := w.verify(e.Address, "--save", w.path("evidence"))
	if code != 0 || !strings.Contains(out, "binding          ok") {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	_, key, ok := strings.Cut(strings.TrimSpace(errs), "sha256 ")
	if !ok {
		t.Fatalf("no key: %s", errs)
	}
	if code, out, errs := w.verify("--evidence", w.path("evidence"), "--spki", key); code != 0 || !strings.Contains(out, "binding          ok") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if info, err := os.Stat(w.path("evidence")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if code, _, errs := cloister(t, "verify", "--evidence", w.path("evidence"), "--policy", w.path("policy.json")); code != exitRefused || !strings.Contains(errs, "untrusted root") {
		t.Errorf("under AWS's root: exit code %d: %s", code, errs)
	}
}
