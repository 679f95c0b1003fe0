package ear_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation/ear"
	"github.com/cloisterhq/cloister/attestation/verifier"
)

func TestNewSigner(t *testing.T) {
	p256 := newP256(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	file := keyFile(t, p256)
	for name, c := range map[string]struct {
		file []byte
		ok   bool
	}{
		"P-256": {file, true}, "blank lines": {append(bytes.Clone(file), "\n\n"...), true},
		"P-384": {keyFile(t, p384), false}, "RSA": {keyFile(t, weak), false}, "SEC 1": {pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), false},
		"nothing": {nil, false}, "two": {append(bytes.Clone(file), file...), false}, "text behind": {append(bytes.Clone(file), "key"...), false},
		"cut": {file[:len(file)-40], false}, "no key": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")}), false},
	} {
		s, err := ear.NewSigner(c.file)
		if (err == nil) != c.ok || (s != nil) != c.ok || err != nil && !errors.Is(err, ear.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRead: no change of a token is read, nor is it under another key.
func TestRead(t *testing.T) {
	live, _, _ := good(t)
	all := signers(t)
	others := signers(t)
	for name, s := range all {
		token, err := s.Token(live, now)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
		for what, bad := range map[string]string{
			"nothing": "", "two parts": parts[0] + "." + parts[1], "four parts": token + ".", "no signature": parts[0] + "." + parts[1] + ".",
			"none": none + "." + parts[1] + ".", "other header": none + "." + parts[1] + "." + parts[2], "padding": token + "=",
			"too long": strings.Repeat(token, 40), "swapped": parts[1] + "." + parts[0] + "." + parts[2],
		} {
			if c, err := ear.Read(bad, s.Public()); !errors.Is(err, ear.ErrToken) || c != nil {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		for i := 0; i < len(token); i += 7 {
			changed := []byte(token)
			changed[i] ^= 1
			if _, err := ear.Read(string(changed), s.Public()); err == nil {
				t.Errorf("%s: read with character %d changed", name, i)
			}
		}
		for other, key := range map[string]crypto.PublicKey{"another key": others[name].Public(), "the other kind": all[swap(name)].Public(), "nil": nil, "bytes": []byte("key"), "short": ed25519.PublicKey{1}} {
			if _, err := ear.Read(token, key); !errors.Is(err, ear.ErrToken) {
				t.Errorf("%s: %s: %v", name, other, err)
			}
		}
	}
}

// TestReadAlgorithm: a header that names another algorithm than the key's isn't
// read, even if the signature is the key's.
func TestReadAlgorithm(t *testing.T) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	live, _, _ := good(t)
	s, err := ear.NewSigner(keyFile(t, key))
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Token(live, now)
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, ok := range map[string]bool{"EdDSA": true, "ES256": false, "none": false, "": false, "eddsa": false} {
		signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+algorithm+`"}`)) + "." + strings.Split(token, ".")[1]
		other := signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(signed)))
		if _, err := ear.Read(other, public); (err == nil) != ok {
			t.Errorf("%q: %v", algorithm, err)
		}
	}
}

func swap(name string) string {
	names := []string{"EdDSA", "ES256"}
	return names[1-slices.Index(names, name)]
}

// TestNothing: no result, no token.
func TestNothing(t *testing.T) {
	s := signers(t)["EdDSA"]
	for _, r := range []*verifier.Result{nil, new(verifier.Result)} {
		if token, err := s.Token(r, now); err == nil || token != "" {
			t.Errorf("%q", token)
		}
	}
	for _, r := range []*verifier.Archived{nil, new(verifier.Archived)} {
		if token, err := s.ArchivedToken(r, now); err == nil || token != "" {
			t.Errorf("%q", token)
		}
	}
}

// FuzzRead: a token that the key didn't sign is never read.
func FuzzRead(f *testing.F) {
	live, _, _ := good(f)
	s := signers(f)["EdDSA"]
	token, err := s.Token(live, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Fuzz(func(t *testing.T, other string) {
		c, err := ear.Read(other, s.Public())
		if (err == nil) != (other == token) || (c == nil) != (err != nil) {
			t.Errorf("%q: %v", other, err)
		}
	})
}
