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
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/ear"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

var now = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)

// keyFile writes a private key as PKCS #8 in PEM.
func keyFile(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func newP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signers are one of each kind.
func signers(t testing.TB) map[string]*ear.Signer {
	t.Helper()
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*ear.Signer)
	for name, key := range map[string]any{"EdDSA": edwards, "ES256": newP256(t)} {
		if all[name], err = ear.NewSigner(keyFile(t, key)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// verdicts are the two results about one document, in an environment.
func verdicts(t testing.TB, e conformance.Evidence, nonce []byte, change func(map[string]any)) (*verifier.Result, *verifier.Archived) {
	t.Helper()
	var file map[string]any
	if err := json.Unmarshal(e.Policy, &file); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(file)
	}
	b, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	roots, err := verifier.NewRoots(e.Root)
	if err != nil {
		t.Fatal(err)
	}
	a, err := verifier.Authenticate(e.Document, roots, now)
	if err != nil {
		t.Fatal(err)
	}
	live, err := verifier.Appraise(a, p, nonce, now)
	if err != nil {
		t.Fatal(err)
	}
	archived, err := verifier.AppraiseArchived(a, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return live, archived
}

func good(t testing.TB) (*verifier.Result, *verifier.Archived, []byte) {
	t.Helper()
	nonce := verifier.Challenge()
	live, archived := verdicts(t, conformance.Live(now, nonce, nil), nonce, nil)
	return live, archived, nonce
}

func TestToken(t *testing.T) {
	live, archived, nonce := good(t)
	for name, s := range signers(t) {
		token, err := s.Token(live, now.Add(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		c, err := ear.Read(token, s.Public())
		if err != nil {
			t.Fatal(err)
		}
		if c.Profile != ear.Profile || c.IssuedAt != now.Unix()+1 || c.Nonce != base64.RawURLEncoding.EncodeToString(nonce) || c.Verifier.Build != verifier.Schema || c.Verifier.Developer == "" {
			t.Errorf("%s: %+v", name, c)
		}
		a := c.Submodules[ear.Submodule]
		if a.Status != ear.Affirming || a.PolicyID != "good" || len(a.Vector) != 2 {
			t.Errorf("%s: %+v", name, a)
		}
		if whole, err := live.MarshalJSON(); err != nil || !bytes.Equal(whole, a.Result) {
			t.Errorf("%s: the result isn't whole: %v", name, err)
		}
		if token, err = s.ArchivedToken(archived, now); err != nil {
			t.Fatal(err)
		}
		if c, err = ear.Read(token, s.Public()); err != nil {
			t.Fatal(err)
		}
		if a := c.Submodules[ear.Submodule]; a.Status != ear.Warning || c.Nonce != "" || !strings.Contains(string(a.Result), `"freshness":"not established"`) {
			t.Errorf("%s: archived: %+v, nonce %q", name, a, c.Nonce)
		}
	}
}

// TestHeader: algorithm, type and the key's thumbprint (RFC 8037, appendix A.3,
// has the same key and its thumbprint).
func TestHeader(t *testing.T) {
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ear.NewSigner(keyFile(t, ed25519.NewKeyFromSeed(seed)))
	if err != nil {
		t.Fatal(err)
	}
	live, _, _ := good(t)
	token, err := s.Token(live, now)
	if err != nil {
		t.Fatal(err)
	}
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"alg":"EdDSA","typ":"JWT","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}`; string(head) != want {
		t.Errorf("%s", head)
	}
}

// TestTrust: what only tests accept is contraindicated, whatever else is good.
func TestTrust(t *testing.T) {
	s := signers(t)["EdDSA"]
	nonce := verifier.Challenge()
	zero := make([]byte, 48)
	simulated := func(file map[string]any) { file["environment"] = policy.Simulation }
	debugged := func(file map[string]any) {
		file["allow_debug"] = true
		pcrs := file["releases"].([]any)[0].(map[string]any)["pcrs"].(map[string]any)
		for _, i := range []string{"0", "1", "2"} {
			pcrs[i] = fmt.Sprintf("%x", zero)
		}
	}
	for name, c := range map[string]struct {
		enclave  conformance.Enclave
		policy   func(map[string]any)
		note     string
		live     ear.Status
		archived ear.Status
		claim    string
		value    int
	}{
		"good":       {live: ear.Affirming, archived: ear.Warning, claim: "executables", value: 3},
		"bundle":     {note: verifier.CheckBundle, live: ear.Affirming, archived: ear.Warning, claim: "configuration", value: 2},
		"simulation": {policy: simulated, live: ear.Contraindicated, archived: ear.Contraindicated, claim: "hardware", value: 97},
		"debug": {enclave: conformance.Enclave{PCRs: map[int][]byte{0: zero, 1: zero, 2: zero}}, policy: debugged,
			live: ear.Contraindicated, archived: ear.Contraindicated, claim: "runtime-opaque", value: 96},
	} {
		live, archived := verdicts(t, c.enclave.Attest(now, nonce, nil), nonce, c.policy)
		if c.note != "" {
			live.Note(c.note, "checked")
			archived.Note(c.note, "checked")
		}
		one, err := s.Token(live, now)
		if err != nil {
			t.Fatal(err)
		}
		two, err := s.ArchivedToken(archived, now)
		if err != nil {
			t.Fatal(err)
		}
		for token, want := range map[string]ear.Status{one: c.live, two: c.archived} {
			claims, err := ear.Read(token, s.Public())
			if err != nil {
				t.Fatal(err)
			}
			if a := claims.Submodules[ear.Submodule]; a.Status != want || a.Vector[c.claim] != c.value {
				t.Errorf("%s: %s, %v", name, a.Status, a.Vector)
			}
		}
	}
}

// TestLongNonce: eat_nonce has room for 64 bytes; the result has it anyway.
func TestLongNonce(t *testing.T) {
	s := signers(t)["ES256"]
	for _, n := range []int{64, 65, 1024} {
		nonce := bytes.Repeat([]byte{1}, n)
		live, _ := verdicts(t, conformance.Live(now, nonce, nil), nonce, nil)
		token, err := s.Token(live, now)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ear.Read(token, s.Public())
		if err != nil || (c.Nonce != "") != (n <= 64) || len(c.Nonce) > 88 {
			t.Errorf("%d bytes: %q, %v", n, c.Nonce, err)
		}
	}
}

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
