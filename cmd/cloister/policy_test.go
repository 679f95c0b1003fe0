package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/test/conformance"
	"github.com/cloisterhq/cloister/test/rig"
)

// initPolicy runs `cloister policy init` on these files' document.
func (w *files) initPolicy(args ...string) (code int, out, errs string) {
	w.t.Helper()
	return cloister(w.t, append([]string{"policy", "init", "--trust-root", w.path("root.pem")}, args...)...)
}

// TestPolicyInit: the policy accepts the document that it is from, names what
// was asked for, and says what it is.
func TestPolicyInit(t *testing.T) {
	w := newFiles(t)
	for name, c := range map[string]struct {
		args        []string
		pcrs        string
		environment string
	}{
		"as it is":   {nil, "0 1 16 2", policy.Other},
		"simulation": {[]string{"--environment", "simulation"}, "0 1 16 2", policy.Simulation},
		"pinned":     {[]string{"--pin", "4"}, "0 1 16 2 4", policy.Other},
		"own time":   {[]string{"--at-document-time"}, "0 1 16 2", policy.Other},
		"at":         {[]string{"--at", time.Now().UTC().Format(time.RFC3339)}, "0 1 16 2", policy.Other},
	} {
		code, out, errs := w.initPolicy(append(c.args, "--from-document", w.path("doc"))...)
		if code != 0 || !strings.Contains(errs, "trust on first use") {
			t.Fatalf("%s: exit code %d\n%s", name, code, errs)
		}
		var f policy.File
		if err := json.Unmarshal([]byte(out), &f); err != nil {
			t.Fatal(err)
		}
		if len(f.Releases) != 1 || !strings.HasPrefix(f.Releases[0].Name, "trust on first use, 20") || f.Environment != c.environment || f.Bundle != policy.BundleRequired || f.AllowDebug {
			t.Errorf("%s: %s", name, out)
		}
		if got := indexes(f.Releases[0].PCRs); got != c.pcrs {
			t.Errorf("%s: registers %s", name, got)
		}
		w.put("new.json", []byte(out))
		if code, _, errs := cloister(t, "verify", "--document", w.path("doc"), "--policy", w.path("new.json"), "--trust-root", w.path("root.pem")); code != 0 {
			t.Errorf("%s: the document is refused: %s", name, errs)
		}
	}
	other := conformance.Enclave{PCRs: map[int][]byte{2: bytes.Repeat([]byte{1}, 48)}}.Attest(time.Now(), nil, nil)
	w.put("other", other.Document)
	if code, _, errs := cloister(t, "verify", "--document", w.path("other"), "--policy", w.path("new.json"), "--trust-root", w.path("root.pem")); code != exitRefused || !strings.Contains(errs, "policy mismatch: PCR2") {
		t.Errorf("another document: exit code %d: %s", code, errs)
	}
}

// indexes are a release's registers, sorted as text.
func indexes(pcrs map[string]string) string {
	b, _ := json.Marshal(pcrs)
	var names []string
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		token, err := dec.Token()
		if err != nil {
			return strings.Join(names, " ")
		}
		if name, ok := token.(string); ok && len(name) <= 2 {
			names = append(names, name)
		}
	}
}

// TestPolicyInitRefuses: nothing is written about a document that isn't
// authentic, is another one's, or is in debug mode.
func TestPolicyInitRefuses(t *testing.T) {
	w := newFiles(t)
	zero := make([]byte, 48)
	debug := map[int][]byte{0: zero, 1: zero, 2: zero, 16: zero}
	w.put("debug", conformance.Enclave{PCRs: debug}.Attest(time.Now(), nil, nil).Document)
	w.put("old", conformance.Live(time.Now().Add(-10*time.Hour), nil, nil).Document)
	w.put("junk", []byte("junk"))
	forged := filepath.Join(vectorFiles, "vectors", "07-signature-last-bit.bin")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"forged":       {[]string{"--from-document", forged, "--at-document-time"}, exitRefused, "signature"},
		"another root": {[]string{"--from-document", w.path("doc"), "--trust-root", filepath.Join(vectorFiles, "root-other.pem")}, exitRefused, "untrusted root"},
		"expired":      {[]string{"--from-document", w.path("old")}, exitRefused, "expired"},
		"debug":        {[]string{"--from-document", w.path("debug")}, exitRefused, "debug: PCR0"},
		"no document":  {[]string{"--from-document", w.path("junk")}, exitRefused, "malformed"},
		"missing":      {[]string{"--from-document", w.path("missing")}, exitUnreachable, "missing"},
		"nothing":      {nil, exitUsage, "--from-document"},
		"an argument":  {[]string{w.path("doc")}, exitUsage, "unknown command"},
		"both times":   {[]string{"--from-document", w.path("doc"), "--at", "2026-01-01T00:00:00Z", "--at-document-time"}, exitUsage, "not both"},
		"no time":      {[]string{"--from-document", w.path("doc"), "--at", "now"}, exitUsage, "RFC 3339"},
		"environment":  {[]string{"--from-document", w.path("doc"), "--environment", "aws"}, exitUsage, "--environment"},
		"no bundle":    {[]string{"--from-document", w.path("doc"), "--bundle", w.path("junk")}, exitUsage, "junk"},
		"pin a zero":   {[]string{"--from-document", w.path("doc"), "--pin", "3"}, exitUsage, "PCR3 is zero"},
		"root missing": {[]string{"--from-document", w.path("doc"), "--trust-root", w.path("missing")}, exitUsage, "missing"},
		"root is junk": {[]string{"--from-document", w.path("doc"), "--trust-root", w.path("junk")}, exitUsage, "junk"},
	} {
		code, out, errs := w.initPolicy(c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || out != "" {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
	code, out, errs := w.initPolicy("--from-document", w.path("debug"), "--allow-debug")
	if code != 0 || !strings.Contains(out, `"allow_debug": true`) || !strings.Contains(out, `"bundle": "none"`) {
		t.Errorf("debug allowed: exit code %d\n%s%s", code, out, errs)
	}
	if code, _, errs := cloister(t, "policy", "init", "--from-document", w.path("doc"), "--environment", "other"); code != exitUsage || !strings.Contains(errs, "--trust-root") {
		t.Errorf("an environment under AWS's root: exit code %d: %s", code, errs)
	}
}

// TestPolicyInitBundle: the bundle must be the measured one.
func TestPolicyInitBundle(t *testing.T) {
	r, other := rig.New(t, rig.Config{}), rig.New(t, rig.Config{Label: "other"})
	document, err := r.Module.Attest(t.Context(), nsm.Request{})
	if err != nil {
		t.Fatal(err)
	}
	w := &files{t: t, dir: t.TempDir()}
	w.put("doc", document)
	w.put("root.pem", r.Root.PEM())
	w.put("bundle", r.Raw)
	changed := *other.Bundle
	changed.Deployment = "another"
	raw, err := changed.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.put("other", raw)
	if code, out, errs := w.initPolicy("--from-document", w.path("doc"), "--bundle", w.path("bundle"), "--environment", "simulation"); code != 0 || !strings.Contains(out, `"16"`) {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs := w.initPolicy("--from-document", w.path("doc"), "--bundle", w.path("other")); code != exitRefused || !strings.Contains(errs, "binding: PCR16") || out != "" {
		t.Errorf("another bundle: exit code %d\n%s%s", code, out, errs)
	}
}
