package verifier_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

func readSpec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "verification.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAWS: the embedded root is the one whose fingerprint AWS publishes.
func TestAWS(t *testing.T) {
	if got := verifier.AWS().Fingerprints(); !slices.Equal(got, []string{policy.AWSRoot}) {
		t.Errorf("roots %v", got)
	}
}

func TestNewRoots(t *testing.T) {
	_, read := vectors(t)
	one, two := read("root.pem"), read("root-other.pem")
	block, _ := pem.Decode(one)
	d, err := attestation.Parse(read("good.bin"))
	if err != nil {
		t.Fatal(err)
	}
	regional := d.CABundle()[1]
	as := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, c := range map[string]struct {
		files [][]byte
		roots int // 0: refused
	}{
		"PEM":               {[][]byte{one}, 1},
		"DER":               {[][]byte{block.Bytes}, 1},
		"two files":         {[][]byte{one, two}, 2},
		"two in one":        {[][]byte{append(bytes.Clone(one), two...)}, 2},
		"the same twice":    {[][]byte{one, block.Bytes}, 1},
		"blank lines":       {[][]byte{[]byte("\n\n" + string(one) + "\n\n")}, 1},
		"nothing":           {nil, 0},
		"an empty file":     {[][]byte{{}}, 0},
		"no certificate":    {[][]byte{[]byte("root")}, 0},
		"text before":       {[][]byte{append([]byte("root\n"), one...)}, 0},
		"text behind":       {[][]byte{append(bytes.Clone(one), "root"...)}, 0},
		"a key":             {[][]byte{as("PRIVATE KEY", block.Bytes)}, 0},
		"a key behind":      {[][]byte{append(bytes.Clone(one), as("PRIVATE KEY", block.Bytes)...)}, 0},
		"headers":           {[][]byte{[]byte(strings.Replace(string(one), "-----\n", "-----\nA: b\n\n", 1))}, 0},
		"cut":               {[][]byte{one[:len(one)-40]}, 0},
		"a byte behind DER": {[][]byte{append(bytes.Clone(block.Bytes), 0)}, 0},
		"no root":           {[][]byte{as("CERTIFICATE", regional)}, 0},
		"a leaf":            {[][]byte{as("CERTIFICATE", d.Certificate())}, 0},
		"changed":           {[][]byte{as("CERTIFICATE", flipped(block.Bytes))}, 0},
	} {
		r, err := verifier.NewRoots(c.files...)
		if (err == nil) != (c.roots > 0) || len(r.Fingerprints()) != c.roots {
			t.Errorf("%s: %d roots, %v", name, len(r.Fingerprints()), err)
		}
	}
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-1] ^= 1
	return b
}

// TestNamedBy: a root counts only if the policy names it, and the refusal says
// which one.
func TestNamedBy(t *testing.T) {
	_, read := vectors(t)
	p := load(t, read("policy.json"))
	if err := newRoots(t, read("root.pem")).NamedBy(p); err != nil {
		t.Error(err)
	}
	both, err := verifier.NewRoots(read("root.pem"), read("root-other.pem"))
	if err != nil {
		t.Fatal(err)
	}
	other := newRoots(t, read("root-other.pem"))
	for _, r := range []verifier.Roots{both, other} {
		if got := refusal(t, r.NamedBy(p), attestation.UntrustedRoot); !strings.Contains(got.Error(), other.Fingerprints()[0]) {
			t.Errorf("%v", got)
		}
	}
	refusal(t, other.NamedBy(nil), attestation.UntrustedRoot)
	refusal(t, other.NamedBy(new(policy.Policy)), attestation.UntrustedRoot)
}

// TestDocumentRoot trusts the document's own root, if it is one.
func TestDocumentRoot(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	d, err := attestation.Parse(e.Document)
	if err != nil {
		t.Fatal(err)
	}
	r, err := verifier.DocumentRoot(d)
	if err != nil || !slices.Equal(r.Fingerprints(), newRoots(t, e.Root).Fingerprints()) {
		t.Errorf("%v, %v", r.Fingerprints(), err)
	}
	_, read := vectors(t)
	if d, err = attestation.Parse(read("vectors/22-bundle-without-root.bin")); err != nil {
		t.Fatal(err)
	}
	if _, err := verifier.DocumentRoot(d); err == nil {
		t.Error("an intermediate certificate is a root")
	}
}
