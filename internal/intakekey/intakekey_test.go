package intakekey_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

func TestWrap(t *testing.T) {
	k, err := intakekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	info := []byte("for this stream")
	first, err := k.Public().Wrap(dek(), info)
	if err != nil {
		t.Fatal(err)
	}
	second, err := k.Public().Wrap(dek(), info)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != intakekey.WrappedSize || bytes.Equal(first, second) {
		t.Errorf("%d bytes, the same twice: %t", len(first), bytes.Equal(first, second))
	}
	for _, wrapped := range [][]byte{first, second} {
		if key, err := k.Unwrap(wrapped, info); err != nil || !key.Equal(dek()) {
			t.Errorf("another key came back: %v", err)
		}
	}
	for name, key := range map[string]secret.Bytes{"no key": {}, "a short one": secret.New(make([]byte, 16)), "a long one": secret.New(make([]byte, 33))} {
		if wrapped, err := k.Public().Wrap(key, info); err == nil || wrapped != nil {
			t.Errorf("%s: wrapped", name)
		}
	}
}

// TestUnwrapRefuses: one error for everything.
func TestUnwrapRefuses(t *testing.T) {
	k, info := private(t), []byte("for this stream")
	other, err := intakekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := k.Public().Wrap(dek(), info)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, k *intakekey.Private, wrapped, info []byte) {
		t.Helper()
		if key, err := k.Unwrap(wrapped, info); !errors.Is(err, intakekey.ErrOpen) || key.Len() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("another key", other, wrapped, info)
	refused("another stream", k, wrapped, []byte("for that stream"))
	refused("no info", k, wrapped, nil)
	refused("nothing", k, nil, info)
	refused("cut", k, wrapped[:len(wrapped)-1], info)
	refused("a byte more", k, append(bytes.Clone(wrapped), 0), info)
	refused("zeros", k, make([]byte, intakekey.WrappedSize), info)
	for i := 0; i < len(wrapped); i += 7 {
		bad := bytes.Clone(wrapped)
		bad[i] ^= 0x10
		refused("a bit", k, bad, info)
	}
}

func TestSeed(t *testing.T) {
	k, err := intakekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	s, err := k.Seed()
	if err != nil || s.Len() != intakekey.SeedSize {
		t.Fatalf("%d bytes, %v", s.Len(), err)
	}
	again, err := intakekey.ParsePrivate(s)
	if err != nil || again.Public().ID() != k.Public().ID() {
		t.Errorf("another key came back: %v", err)
	}
	// The key works on after the caller wiped what it was made from.
	s.Wipe()
	wrapped, err := again.Public().Wrap(dek(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := again.Unwrap(wrapped, nil); err != nil || !key.Equal(dek()) {
		t.Errorf("after wiping: %v", err)
	}
	for name, s := range map[string]secret.Bytes{"none": {}, "short": secret.New(make([]byte, 31)), "long": secret.New(make([]byte, 64))} {
		if k, err := intakekey.ParsePrivate(s); k != nil || !errors.Is(err, intakekey.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPublic(t *testing.T) {
	p := private(t).Public()
	raw := p.Bytes()
	again, err := intakekey.ParsePublic(raw)
	if err != nil || again.ID() != p.ID() || again.Digest() != p.Digest() {
		t.Fatalf("%v", err)
	}
	raw[0] ^= 1
	if again.ID() != p.ID() || p.Bytes()[0] == raw[0] {
		t.Error("a caller changed the key")
	}
	if !strings.HasPrefix(p.ID(), "sha256:") || len(p.ID()) != len("sha256:")+64 {
		t.Errorf("the name is %s", p.ID())
	}
	for name, raw := range map[string][]byte{
		"nothing": nil, "short": p.Bytes()[1:], "long": append(p.Bytes(), 0),
		// FIPS 203, section 7.2: coefficients are below q.
		"not reduced": bytes.Repeat([]byte{0xff}, intakekey.PublicSize),
	} {
		if p, err := intakekey.ParsePublic(raw); p != nil || !errors.Is(err, intakekey.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
