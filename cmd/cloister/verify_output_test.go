package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/ear"
	"github.com/cloisterhq/cloister/attestation/verifier"
)

// TestVerifyNoPolicy: without a policy and without a context nothing is judged.
func TestVerifyNoPolicy(t *testing.T) {
	t.Setenv("CLOISTER_CONTEXT", "")
	w := newFiles(t)
	for _, args := range [][]string{{"--document", w.path("doc")}, {"--document", w.path("doc"), "--trust-root", w.path("root.pem")}} {
		if code, _, errs := cloister(t, append([]string{"verify"}, args...)...); code != exitUsage || !strings.Contains(errs, "--policy FILE") {
			t.Errorf("exit code %d: %s", code, errs)
		}
	}
	w.put("context.json", []byte(`{"version":1,"attested":"127.0.0.1:1","policy":"policy.json","trust_root":"root.pem"}`))
	if code, out, errs := cloister(t, "verify", "--document", w.path("doc"), "--context", w.path("context.json")); code != 0 {
		t.Errorf("the context's policy: exit code %d\n%s%s", code, out, errs)
	}
}

// TestVerifyStdin reads a document from a pipe, and no more of it than a document can
// have.
func TestVerifyStdin(t *testing.T) {
	w := newFiles(t)
	raw, err := os.ReadFile(w.path("doc"))
	if err != nil {
		t.Fatal(err)
	}
	long := bytes.Repeat([]byte{0x84}, 1<<20)
	for _, c := range []struct {
		input []byte
		code  int
	}{{raw, 0}, {[]byte(hex.EncodeToString(raw) + "\n"), 0}, {long, exitRefused}, {append(raw, '\n'), exitRefused}} {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"verify", "--policy", w.path("policy.json"), "--trust-root", w.path("root.pem"), "--document", "-"}, bytes.NewReader(c.input), &out, &errs)
		if code != c.code {
			t.Errorf("%d bytes: exit code %d\n%s%s", len(c.input), code, out.String(), errs.String())
		}
	}
}

// TestVerifyEAR: the token is a verdict that its key signed.
func TestVerifyEAR(t *testing.T) {
	w := newFiles(t)
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := w.put("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for status, args := range map[ear.Status][]string{ear.Affirming: {"--nonce", hex.EncodeToString(w.nonce)}, ear.Warning: {"--at-document-time"}} {
		code, out, errs := w.verify(append(args, "--document", w.path("doc"), "-o", "ear", "--sign-key", file)...)
		if code != 0 || errs != "" {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		c, err := ear.Read(strings.TrimSuffix(out, "\n"), public)
		if err != nil || c.Submodules[ear.Submodule].Status != status {
			t.Errorf("%v: %+v", err, c)
		}
	}
	code, out, _ := w.verify("--document", w.path("doc"), "--at", "2036-01-01T00:00:00Z", "-o", "ear", "--sign-key", file)
	if code != exitRefused || out != "" {
		t.Errorf("refused: exit code %d, token %q", code, out)
	}
}

// TestVerifyExplain: alone it explains everything, beside a verdict what was checked.
func TestVerifyExplain(t *testing.T) {
	w := newFiles(t)
	_, all, _ := cloister(t, "verify", "--explain")
	_, some, _ := w.verify("--document", w.path("doc"), "--explain")
	for _, e := range verifier.Explain() {
		if !strings.Contains(all, "  "+e.Check+"\n") || !strings.Contains(all, e.Means) || !strings.Contains(all, e.Without) {
			t.Errorf("%s isn't explained", e.Check)
		}
		ran := !slices.Contains([]string{verifier.CheckNonce, verifier.CheckFreshness, verifier.CheckBinding, verifier.CheckBundle}, e.Check)
		if strings.Contains(some, e.Means) != ran {
			t.Errorf("%s: explained, or not, beside a verdict", e.Check)
		}
	}
	code, out, errs := cloister(t, "verify", "--explain", "-o", "json")
	var form struct {
		Checks []struct{ Name, Means, Without string }
	}
	if err := json.Unmarshal([]byte(out), &form); err != nil || code != 0 || len(form.Checks) != len(verifier.Explain()) {
		t.Errorf("exit code %d, %v: %s%s", code, err, out, errs)
	}
}

// TestVerifyAdvice: every class of refusal says what to do.
func TestVerifyAdvice(t *testing.T) {
	for _, class := range []attestation.Class{
		attestation.Malformed, attestation.Algorithm, attestation.Signature, attestation.MissingField, attestation.DuplicateKey, attestation.UnknownField,
		attestation.WrongDocumentType, attestation.BadField, attestation.UntrustedRoot, attestation.Chain, attestation.Expired, attestation.NotYetValid,
		attestation.Stale, attestation.Future, attestation.Inconsistent, attestation.Debug, attestation.PolicyMismatch, attestation.Nonce, attestation.Binding, attestation.Clock,
	} {
		if text := advice(attestation.NewError(class, "", nil)); !strings.HasSuffix(strings.TrimRight(text, ")"), ".") {
			t.Errorf("%s: %q", class, text)
		}
	}
}
