package conformance_test

import (
	"bytes"
	"errors"
	"flag"
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

var update = flag.Bool("update", false, "write testdata anew")

// maxSize bounds all vectors together, in bytes.
const maxSize = 1_500_000

// TestGenerate demands that the committed files are the generated ones, no more
// and no less, and that there are enough of them.
func TestGenerate(t *testing.T) {
	m, files := conformance.Generate()
	if *update {
		write(t, files)
	}
	size := 0
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(conformance.Directory, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s isn't what the generator makes; run this test with -update", name)
		}
		size += len(want)
	}
	for _, name := range committed(t) {
		if _, ok := files[name]; !ok {
			t.Errorf("%s comes from no generator", name)
		}
	}
	accepted := 0
	for _, v := range m.Vectors {
		if v.Accept {
			accepted++
		}
	}
	t.Logf("%d accepted, %d refused, %d bytes", accepted, len(m.Vectors)-accepted, size)
	if accepted < 10 || len(m.Vectors)-accepted < 120 || size > maxSize {
		t.Errorf("%d accepted, %d refused, %d bytes", accepted, len(m.Vectors)-accepted, size)
	}
}

// committed answers the files in testdata that the generator answers for.
func committed(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(conformance.Directory, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(filepath.ToSlash(path), conformance.Directory+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "README.md" || n == "recipient.pem" })
}

func write(t *testing.T, files map[string][]byte) {
	t.Helper()
	for _, name := range committed(t) {
		if err := os.Remove(filepath.Join(conformance.Directory, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		path := filepath.Join(conformance.Directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func load(t *testing.T) *conformance.Manifest {
	t.Helper()
	m, err := conformance.Load(conformance.Directory)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(conformance.Directory, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verify is what a program does with a vector.
func verify(t *testing.T, v conformance.Vector) (*verifier.Archived, error) {
	t.Helper()
	roots, err := verifier.NewRoots(read(t, v.Root))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(read(t, v.Policy))
	if err != nil {
		return nil, err
	}
	if err := roots.NamedBy(p); err != nil {
		return nil, err
	}
	raw, err := attestation.Decode(read(t, v.Document))
	if err != nil {
		return nil, err
	}
	a, err := verifier.Authenticate(raw, roots, *v.At)
	if err != nil {
		return nil, err
	}
	return verifier.AppraiseArchived(a, p, nil)
}

func TestLibrary(t *testing.T) {
	for _, v := range load(t).Vectors {
		if !slices.Contains(v.EntryPoints, conformance.Library) {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			result, err := verify(t, v)
			if v.Accept {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if result != nil || err == nil {
				t.Fatal("accepted")
			}
			if v.Class == "policy" {
				if _, ok := errors.AsType[*policy.Error](err); !ok {
					t.Fatalf("not about the policy: %v", err)
				}
				return
			}
			refusal(t, v, err)
		})
	}
}

// refusal holds a refusal against the one that a vector expects.
func refusal(t *testing.T, v conformance.Vector, err error) {
	t.Helper()
	got, ok := errors.AsType[*attestation.Error](err)
	if !ok {
		t.Fatalf("not a refusal: %v", err)
	}
	if string(got.Class) != v.Class {
		t.Errorf("%v, where %q is expected", got, v.Class)
	}
	index := -1
	if v.PCR != nil {
		index = *v.PCR
	}
	if got.Index != index {
		t.Errorf("PCR%d, where %d is expected", got.Index, index)
	}
	if v.Field != "" && got.Detail != v.Field {
		t.Errorf("%q, where the field %q is expected", got.Detail, v.Field)
	}
}
