package intakekey_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/internal/intakekey"
)

func TestKeySet(t *testing.T) {
	s := set(t)
	if s.Deployment() != "colon-study" || s.Genesis() != [32]byte(counting(0x60, 32)) || s.Public().ID() != private(t).Public().ID() ||
		!s.Service().Equal(servicePublic()) || s.NotAfter().UnixMilli() != 1_777_776_000_123 {
		t.Error("something else came back")
	}
	if !bytes.Equal(sign(t, claims(t)), sign(t, claims(t))) {
		t.Error("the same claims have two encodings")
	}
	if s.Expired(s.NotAfter()) || !s.Expired(s.NotAfter().Add(time.Millisecond)) {
		t.Error("it doesn't expire after its last moment")
	}
	s.Service()[0] ^= 1
	if !s.Service().Equal(servicePublic()) {
		t.Error("a caller changed the set")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := intakekey.Sign(claims(t), key); err == nil || raw != nil {
		t.Error("signed by a key of another kind")
	}
}

func TestVerifyRefuses(t *testing.T) {
	raw := sign(t, claims(t))
	other := ed25519.NewKeyFromSeed(counting(1, 32))
	changed := func(change func(*intakekey.Claims)) []byte {
		c := claims(t)
		change(&c)
		return sign(t, c)
	}
	for name, c := range map[string]struct {
		raw  []byte
		key  ed25519.PublicKey
		want error
	}{
		"another enclave":   {raw, ed25519.PublicKey(other[32:]), intakekey.ErrSignature},
		"no key":            {raw, nil, intakekey.ErrSignature},
		"a short key":       {raw, servicePublic()[1:], intakekey.ErrSignature},
		"nothing":           {nil, servicePublic(), intakekey.ErrMalformed},
		"magic alone":       {raw[:8], servicePublic(), intakekey.ErrMalformed},
		"too long":          {append(bytes.Clone(raw), make([]byte, 4096)...), servicePublic(), intakekey.ErrMalformed},
		"a receipt's magic": {append([]byte("CLRCP1\n\x00"), raw[8:]...), servicePublic(), intakekey.ErrMalformed},
		"a byte more":       {append(bytes.Clone(raw), 0), servicePublic(), intakekey.ErrSignature},
		"a body cut":        {append(bytes.Clone(raw[:len(raw)-ed25519.SignatureSize-1]), raw[len(raw)-ed25519.SignatureSize:]...), servicePublic(), intakekey.ErrSignature},
		"a short key in it": {changed(func(c *intakekey.Claims) { c.Key = c.Key[1:] }), servicePublic(), intakekey.ErrMalformed},
		"no key in it":      {changed(func(c *intakekey.Claims) { c.Key = nil }), servicePublic(), intakekey.ErrMalformed},
		"no life":           {changed(func(c *intakekey.Claims) { c.NotAfter = c.Born }), servicePublic(), intakekey.ErrMalformed},
	} {
		if s, err := intakekey.Verify(c.raw, c.key); s != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if s, err := intakekey.Verify(bad, servicePublic()); s != nil || err == nil {
			t.Fatalf("byte %d changed, accepted", i)
		}
	}
}

func TestFile(t *testing.T) {
	s := set(t)
	b := fileOf(t, s)
	again, err := intakekey.ParseFile(b)
	if err != nil || again.Public().ID() != s.Public().ID() || again.Deployment() != s.Deployment() || again.NotAfter() != s.NotAfter() || !again.Service().Equal(s.Service()) {
		t.Fatalf("something else came back: %v", err)
	}
	text := string(b)
	edited := func(old, with string) []byte {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("the file holds no %s", old)
		}
		return []byte(strings.Replace(text, old, with, 1))
	}
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"no JSON":             []byte("keys"),
		"null":                []byte("null\n"),
		"an array":            []byte("[]\n"),
		"cut":                 b[:len(b)-3],
		"a byte more":         append(bytes.Clone(b), ' '),
		"no last line end":    b[:len(b)-1],
		"another schema":      edited("keys/v1", "keys/v2"),
		"another deployment":  edited(`"colon-study"`, `"lung-study"`),
		"a later end":         edited(`"not_after": "2026`, `"not_after": "2036`),
		"another name":        edited(`"sha256:`, `"sha256:0`),
		"another genesis":     edited(`"606162`, `"006162`),
		"another kind of key": edited(`"ed25519:`, `"ed448:`),
		"another service key": edited(`"ed25519:`, `"ed25519:AAAA`),
		"a member more":       edited(`"schema"`, `"x": 1, "schema"`),
		"a member twice":      edited(`"schema"`, `"Schema": "cloister.keys/v1", "schema"`),
		"no base64":           edited(`"key_set": "`, `"key_set": "!`),
		"too long":            append(bytes.Clone(b), bytes.Repeat([]byte{' '}, intakekey.MaxFile)...),
	} {
		if s, err := intakekey.ParseFile(b); s != nil || err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

// FuzzParseFile checks that a file that is read is signed, and is the one that
// the set writes.
func FuzzParseFile(f *testing.F) {
	good := fileOf(f, set(f))
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("colon-study"), []byte("lung-study"), 1))
	f.Add(good[:100])
	f.Add([]byte(`{"schema":"cloister.keys/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := intakekey.ParseFile(b)
		if err != nil {
			if s != nil {
				t.Fatal("an error and a set")
			}
			return
		}
		if !bytes.Equal(fileOf(t, s), b) {
			t.Fatal("a set has two files")
		}
	})
}

// FuzzVerify checks that nothing that the service key didn't sign is read.
func FuzzVerify(f *testing.F) {
	raw := sign(f, claims(f))
	f.Add(raw)
	f.Add(raw[:80])
	f.Add(append(bytes.Clone(raw), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := intakekey.Verify(b, servicePublic()); (err == nil) != bytes.Equal(b, raw) || (s == nil) != (err != nil) {
			t.Fatalf("%v", err)
		}
	})
}
