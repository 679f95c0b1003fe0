package verifier_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

// now is when the tests' documents are made and judged.
var now = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)

// nonce is the challenge of tests that aren't about challenges.
func nonce() []byte { return bytes.Repeat([]byte{7}, verifier.NonceSize) }

func newRoots(t testing.TB, pem []byte) verifier.Roots {
	t.Helper()
	r, err := verifier.NewRoots(pem)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func load(t testing.TB, file []byte) *policy.Policy {
	t.Helper()
	p, err := policy.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// authentic authenticates a good document.
func authentic(t testing.TB, e conformance.Evidence) *verifier.Authentic {
	t.Helper()
	a, err := verifier.Authenticate(e.Document, newRoots(t, e.Root), now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// refusal demands that err refuses evidence, with a class.
func refusal(t testing.TB, err error, class attestation.Class) *attestation.Error {
	t.Helper()
	got, ok := errors.AsType[*attestation.Error](err)
	if !ok || got.Class != class {
		t.Fatalf("%v, where %q is expected", err, class)
	}
	return got
}

// vectors are those of package conformance, and a reader for their files.
func vectors(t testing.TB) ([]conformance.Vector, func(string) []byte) {
	t.Helper()
	directory := filepath.Join("..", "..", "test", "conformance", conformance.Directory)
	m, err := conformance.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	return m.Vectors, func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// policyFor is a policy file that accepts what a document measures.
func policyFor(t testing.TB, a *verifier.Authentic, change func(*policy.File)) *policy.Policy {
	t.Helper()
	f := policy.File{
		Version: 1, Environment: policy.Other, Kind: policy.KindEnclave, Roots: []string{a.RootFingerprint()}, Bundle: policy.BundleNone,
		Releases: []policy.FileRelease{{Name: "this", PCRs: map[string]string{}}}, MaxAge: "5m",
	}
	if a.IsAWS() {
		f.Environment = policy.AWS
	}
	for i := range 3 {
		pcr, _ := a.Document().PCR(i)
		f.Releases[0].PCRs[fmt.Sprint(i)] = pcr.String()
	}
	if change != nil {
		change(&f)
	}
	b, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return load(t, b)
}
