package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

// vectorFiles is where the vectors lie.
var vectorFiles = filepath.Join("..", "..", "test", "conformance", conformance.Directory)

// TestVerifyVectors runs every vector as a person would: the answer is the exit code
// and, in JSON, the class.
func TestVerifyVectors(t *testing.T) {
	m, err := conformance.Load(vectorFiles)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range m.Vectors {
		if !slices.Contains(v.EntryPoints, conformance.CLI) {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			file := func(name string) string { return filepath.Join(vectorFiles, name) }
			code, out, errs := cloister(t, "verify", "--document", file(v.Document), "--at", v.At.Format(time.RFC3339Nano),
				"--policy", file(v.Policy), "--trust-root", file(v.Root), "-o", "json")
			switch {
			case v.Accept:
				vectorAccepted(t, code, out, errs)
			case v.Class == "policy":
				if code != exitUsage || out != "" || !strings.Contains(errs, "policy: ") {
					t.Errorf("exit code %d\n%s%s", code, out, errs)
				}
			default:
				vectorRefused(t, v, code, out, errs)
			}
		})
	}
}

func vectorAccepted(t *testing.T, code int, out, errs string) {
	t.Helper()
	var result struct {
		Verified        bool
		Mode, Freshness string
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil || code != 0 || errs != "" {
		t.Fatalf("exit code %d: %v\n%s%s", code, err, out, errs)
	}
	if !result.Verified || result.Mode != "archived" || result.Freshness != "not established" {
		t.Errorf("%+v", result)
	}
}

func vectorRefused(t *testing.T, v conformance.Vector, code int, out, errs string) {
	t.Helper()
	var refusal struct {
		Verified   *bool
		Class, Fix string
		PCR        *int
	}
	if err := json.Unmarshal([]byte(out), &refusal); err != nil || code != exitRefused {
		t.Fatalf("exit code %d: %v\n%s%s", code, err, out, errs)
	}
	if refusal.Verified == nil || *refusal.Verified || refusal.Class != v.Class || refusal.Fix == "" {
		t.Errorf("%s", out)
	}
	if (refusal.PCR == nil) != (v.PCR == nil) || v.PCR != nil && *refusal.PCR != *v.PCR {
		t.Errorf("another register: %s", out)
	}
	if !strings.Contains(errs, "REFUSED: attestation: "+v.Class) {
		t.Errorf("%s", errs)
	}
}

// files is a directory with a good live document, its root and its policy.
type files struct {
	t     *testing.T
	dir   string
	nonce []byte
}

func newFiles(t *testing.T) *files {
	w := &files{t: t, dir: t.TempDir(), nonce: verifier.Challenge()}
	e := conformance.Live(time.Now(), w.nonce, nil)
	w.put("doc", e.Document)
	w.put("root.pem", e.Root)
	w.put("policy.json", e.Policy)
	return w
}

func (w *files) path(name string) string { return filepath.Join(w.dir, name) }

func (w *files) put(name string, b []byte) string {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), b, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return w.path(name)
}

// verify runs `cloister verify` on these files with further arguments.
func (w *files) verify(args ...string) (code int, out, errs string) {
	w.t.Helper()
	all := []string{"verify", "--policy", w.path("policy.json"), "--trust-root", w.path("root.pem")}
	return cloister(w.t, append(all, args...)...)
}

// TestVerifyDocumentModes: only the nonce of the exchange makes a document live.
func TestVerifyDocumentModes(t *testing.T) {
	w := newFiles(t)
	challenge := hex.EncodeToString(w.nonce)
	at := time.Now().UTC().Format(time.RFC3339)
	for name, c := range map[string]struct {
		args []string
		live bool
	}{
		"nonce":         {[]string{"--nonce", challenge}, true},
		"capitals":      {[]string{"--nonce", strings.ToUpper(challenge)}, true},
		"now":           {nil, false},
		"at":            {[]string{"--at", at}, false},
		"own time":      {[]string{"--at-document-time"}, false},
		"nonce and at":  {[]string{"--nonce", challenge, "--at", at}, false},
		"nonce and own": {[]string{"--nonce", challenge, "--at-document-time"}, false},
	} {
		args := append([]string{"--document", w.path("doc")}, c.args...)
		code, out, errs := w.verify(args...)
		if code != 0 || errs != "" {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
		if strings.Contains(out, "\nverified: other, release good") != c.live || strings.Contains(out, "FRESHNESS NOT ESTABLISHED") == c.live || strings.Contains(out, "\x1b") {
			t.Errorf("%s: %s", name, out)
		}
		if !strings.Contains(out, "not established: that this document speaks for the connection") {
			t.Errorf("%s: nothing about the connection: %s", name, out)
		}
		_, out, _ = w.verify(append(args, "-o", "json")...)
		var result struct{ Mode, Freshness string }
		if err := json.Unmarshal([]byte(out), &result); err != nil || (result.Mode == "live") != c.live || (result.Freshness == "established") != c.live {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// TestVerifyDocumentRefused: one exit code and one class for each way to be refused.
func TestVerifyDocumentRefused(t *testing.T) {
	w := newFiles(t)
	old := conformance.Live(time.Now().Add(-time.Hour), w.nonce, nil)
	w.put("old", old.Document)
	w.put("cut", old.Document[:1000])
	other := filepath.Join(vectorFiles, "root-other.pem")
	doc := []string{"--document", w.path("doc")}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"another nonce":      {append(doc, "--nonce", strings.Repeat("00", 32)), exitRefused, "nonce: "},
		"a prefix":           {append(doc, "--nonce", hex.EncodeToString(w.nonce[:31])), exitRefused, "nonce: "},
		"a short nonce":      {append(doc, "--nonce", "00"), exitUsage, "16 to 1024 bytes"},
		"no nonce":           {append(doc, "--nonce", ""), exitUsage, "--nonce"},
		"no digits":          {append(doc, "--nonce", "nonce"), exitUsage, "--nonce"},
		"stale":              {[]string{"--document", w.path("old")}, exitRefused, "stale"},
		"stale with nonce":   {[]string{"--document", w.path("old"), "--nonce", hex.EncodeToString(w.nonce)}, exitRefused, "stale"},
		"expired":            {append(doc, "--at", "2036-01-01T00:00:00Z"), exitRefused, "expired"},
		"before":             {append(doc, "--at", "2026-01-01T00:00:00Z"), exitRefused, "not yet valid"},
		"cut":                {[]string{"--document", w.path("cut")}, exitRefused, "malformed"},
		"cut, own time":      {[]string{"--document", w.path("cut"), "--at-document-time"}, exitRefused, "failed check: format"},
		"no such file":       {[]string{"--document", w.path("missing")}, exitUnreachable, "missing"},
		"a directory":        {[]string{"--document", w.dir}, exitUnreachable, "directory"},
		"empty stdin":        {[]string{"--document", "-"}, exitRefused, "malformed: empty"},
		"a time of day":      {append(doc, "--at", "12:00"), exitUsage, "RFC 3339"},
		"both times":         {append(doc, "--at", "2026-01-01T00:00:00Z", "--at-document-time"), exitUsage, "not both"},
		"both files":         {append(doc, "--evidence", w.path("doc")), exitUsage, "not both"},
		"file and address":   {append(doc, "127.0.0.1:1"), exitUsage, "not both"},
		"nonce to enclave":   {[]string{"127.0.0.1:1", "--nonce", "00"}, exitUsage, "--nonce goes with"},
		"at to enclave":      {[]string{"127.0.0.1:1", "--at", "2026-01-01T00:00:00Z"}, exitUsage, "--at goes with"},
		"save a document":    {append(doc, "--save", w.path("x")), exitUsage, "--save goes with"},
		"wait for document":  {append(doc, "--wait", "1s"), exitUsage, "--wait goes with"},
		"spki of document":   {append(doc, "--spki", strings.Repeat("00", 32)), exitUsage, "--spki goes with"},
		"ear without key":    {append(doc, "-o", "ear"), exitUsage, "--sign-key"},
		"key without ear":    {append(doc, "--sign-key", w.path("root.pem")), exitUsage, "--sign-key goes with"},
		"ear, no key":        {append(doc, "-o", "ear", "--sign-key", w.path("root.pem")), exitUsage, "PKCS #8"},
		"ear, missing key":   {append(doc, "-o", "ear", "--sign-key", w.path("missing")), exitUsage, "missing"},
		"another form":       {append(doc, "-o", "yaml"), exitUsage, "-o yaml"},
		"another root":       {append(doc, "--trust-root", other), exitRefused, "untrusted root: the policy doesn't name the given root sha256:"},
		"root isn't PEM":     {append(doc, "--trust-root", w.path("doc")), exitUsage, "root"},
		"policy isn't JSON":  {append(doc, "--policy", w.path("root.pem")), exitUsage, "policy: 1:"},
		"policy missing":     {append(doc, "--policy", w.path("missing")), exitUsage, "missing"},
		"evidence":           {[]string{"--evidence", w.path("doc")}, exitRefused, "malformed"},
		"evidence missing":   {[]string{"--evidence", w.path("missing")}, exitUnreachable, "missing"},
		"nobody is there":    {[]string{"127.0.0.1:1"}, exitUnreachable, "reached"},
		"root, then address": {[]string{"127.0.0.1:1", "--trust-root", other}, exitRefused, "untrusted root"},
	} {
		code, out, errs := w.verify(c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || out != "" {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
}
