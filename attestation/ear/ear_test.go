package ear_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
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
