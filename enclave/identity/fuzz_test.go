package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/identity"
)

// FuzzVerify holds that no text but the tokens that the key's owner signed is
// accepted, and that every error is of a known class.
func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	owner := newForger(w)
	good := map[string]bool{
		owner.claims(f, plain, nil): true,
		owner.claims(f, `{"alg":"EdDSA","kid":"k"}`, map[string]any{"aud": []string{"other", study}, "azp": study, "groups": nil}): true,
	}
	for token := range good {
		f.Add(token)
		f.Add(flip(token))
	}
	f.Add(owner.claims(f, plain, map[string]any{"exp": 1}))
	f.Add(owner.sign(`{"alg":"none"}`, `{}`))
	f.Add(owner.sign(`{"alg":"HS256","kid":"k"}`, `{"iss":"`+address+`","sub":"a","exp":1e9,"iat":0}`))
	f.Add(strings.Repeat("W", 100) + "." + strings.Repeat("e", 100) + ".")
	v := verifier(f, w.config())
	f.Fuzz(func(t *testing.T, token string) {
		p, err := v.Verify(context.Background(), token)
		if good[token] {
			if err != nil || p.Subject() != who || p.Issuer() != address {
				t.Fatalf("a good token: %v", err)
			}
			return
		}
		if err == nil || p != nil {
			t.Fatal("accepted what nobody signed")
		}
		if _, ok := errors.AsType[identity.Refusal](err); !ok {
			t.Fatalf("%v is of no known class", err)
		}
	})
}

// FuzzReadKeys holds that whatever an issuer publishes, only public keys of
// good size with an id come out, and that reading them again gives the same.
func FuzzReadKeys(f *testing.F) {
	set := func(keys ...map[string]any) []byte {
		b, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	good := forger{ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}.jwk()
	f.Add(set(good))
	f.Add(set(good, rsaKey(2048), rsaKey(1024)))
	f.Add(set(map[string]any{
		"kty": "EC", "crv": "P-256", "kid": "e",
		"x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
	}))
	f.Add(set(with(good, map[string]any{"d": "AAAA"}), map[string]any{"kty": "oct", "kid": "k", "k": "AAAA"}))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := identity.ReadKeys(document)
		if err != nil {
			if keys != nil || !errors.Is(err, identity.ErrIssuerUnavailable) {
				t.Fatalf("%d keys and %v", len(keys), err)
			}
			return
		}
		if len(keys) == 0 || len(keys) > 64 {
			t.Fatalf("%d keys", len(keys))
		}
		for _, k := range keys {
			switch key := k.Key.(type) {
			case ed25519.PublicKey, *ecdsa.PublicKey:
			case *rsa.PublicKey:
				if key.Size() < 256 || key.Size() > 1024 {
					t.Fatalf("RSA of %d bytes", key.Size())
				}
			default:
				t.Fatalf("a %T vouches for tokens", k.Key)
			}
			if k.KeyID == "" {
				t.Fatal("a key without an id")
			}
		}
		again, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := identity.ReadKeys(again); err != nil || len(n) != len(keys) {
			t.Fatalf("%d keys become %d, %v", len(keys), len(n), err)
		}
	})
}

// FuzzReadDiscovery holds that only an https address of the right issuer comes
// out.
func FuzzReadDiscovery(f *testing.F) {
	f.Add([]byte(`{"issuer":"` + address + `","jwks_uri":"` + address + `/keys"}`))
	f.Add([]byte(`{"issuer":"` + address + `","jwks_uri":"http://id.example.com/keys"}`))
	f.Add([]byte(`{"jwks_uri":"https://ada@[::1]:0/#a","issuer":"` + address + `"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := identity.ReadDiscovery(document, address)
		if (err == nil) != strings.HasPrefix(strings.ToLower(keys), "https://") {
			t.Fatalf("%q, %v", keys, err)
		}
		if err != nil && !errors.Is(err, identity.ErrIssuerUnavailable) {
			t.Fatal(err)
		}
	})
}
