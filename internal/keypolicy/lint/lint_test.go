package lint_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/internal/keypolicy/lint"
)

// wanted reads testdata/want.txt: the rules that each policy breaks.
func wanted(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "want.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, rules, ok := strings.Cut(lines.Text(), ":"); ok && !strings.HasPrefix(name, "#") {
			all[name] = strings.Fields(rules)
		}
	}
	return all
}

func rules(found []lint.Finding) []string {
	var all []string
	for _, f := range found {
		all = append(all, f.Rule)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func read(t *testing.T, name string) lint.File {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return lint.File{Name: name, Content: b}
}

// TestCorpus judges every policy of testdata and demands exactly the rules that
// are named for it.
func TestCorpus(t *testing.T) {
	want := wanted(t)
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) != len(want) || len(files) < 80 {
		t.Fatalf("%d files and %d expectations: %v", len(files), len(want), err)
	}
	for name, rulesWanted := range want {
		found, err := lint.Lint([]lint.File{read(t, name)}, lint.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := rules(found); !slices.Equal(got, rulesWanted) {
			t.Errorf("%s: %v, want %v\n%+v", name, got, rulesWanted, found)
		}
		if bad := strings.HasPrefix(name, "bad-"); bad != (lint.Problems(found) > 0) {
			t.Errorf("%s: %d problems", name, lint.Problems(found))
		}
		for _, f := range found {
			if f.Line < 1 || f.Statement == "" || f.Means == "" || f.Fix == "" || f.File != name {
				t.Errorf("%s: a finding that doesn't help: %+v", name, f)
			}
		}
	}
}

// TestOwnPolicies holds what the generator makes to the linter.
func TestOwnPolicies(t *testing.T) {
	release := func(c string) keypolicy.Release {
		return keypolicy.Release{PCR0: strings.Repeat(c, 96), PCR1: strings.Repeat("1", 96), PCR2: strings.Repeat("2", 96), PCR16: strings.Repeat("3", 96)}
	}
	const owner, host, clinic = "arn:aws:iam::111122223333:role/owner", "arn:aws:iam::111122223333:role/host", "arn:aws:iam::111122223333:role/clinic"
	releases := []keypolicy.Release{release("a"), release("b")}
	dataset, err := keypolicy.Dataset(releases, host, []keypolicy.Producer{{Name: "clinic", Role: clinic}}, owner, "study", "colon")
	if err != nil {
		t.Fatal(err)
	}
	state, err := keypolicy.State(releases, host, owner, "study")
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*keypolicy.Document{"dataset": dataset, "state": state, "owner": keypolicy.Owner(owner)} {
		b, err := d.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if found, err := lint.Lint([]lint.File{{Name: name, Content: b}}, lint.Options{Owner: owner}); err != nil || len(found) > 0 {
			t.Errorf("%s: %v %+v", name, err, found)
		}
		// A weaker policy must not pass: without its conditions, each release is a path.
		weak := bytes.ReplaceAll(b, []byte("kms:RecipientAttestation:PCR2"), []byte("kms:RecipientAttestation:PCR3"))
		if name == "owner" {
			continue
		}
		if found, err := lint.Lint([]lint.File{{Name: name, Content: weak}}, lint.Options{Owner: owner}); err != nil || !slices.Equal(rules(found), []string{"pcr-missing"}) {
			t.Errorf("%s without PCR2: %v %v", name, err, rules(found))
		}
	}
}

func TestUnreadable(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "not JSON": "{", "text": `"x"`, "number": "1", "empty object": "{}", "no statement": `{"Version":"2012-10-17","Statement":[]}`,
		"two values": `{"Statement":[{}]} {}`, "not UTF-8": "\"\xff\"", "deep": strings.Repeat("[", 100), "too large": strings.Repeat(" ", 1<<20+1),
		"too many": `{"Statement":[` + strings.Repeat("{},", 400) + `{}]}`, "inner text": `{"Policy":"{"}`,
	} {
		if _, err := lint.Lint([]lint.File{{Name: name, Content: []byte(content)}}, lint.Options{}); !errors.Is(err, lint.ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLines pins that a finding names the line of what it is about.
func TestLines(t *testing.T) {
	policy := "{\n \"Version\": \"2012-10-17\",\n \"Statement\": [\n  {\n   \"Effect\": \"Allow\",\n   \"Principal\": \"*\",\n   \"Action\":\n    \"kms:Nothing\",\n   \"Resource\": \"*\",\n" +
		"   \"Condition\": {\n    \"StringEquals\": {\n     \"kms:Nothing\": \"a\"\n    }\n   }\n  }\n ]\n}\n"
	found, err := lint.Lint([]lint.File{{Name: "p", Content: []byte(policy)}}, lint.Options{})
	if err != nil || len(found) != 2 || found[0].Line != 8 || found[0].Rule != "unknown-action" || found[1].Line != 12 || found[1].Rule != "unknown-key" {
		t.Errorf("%v %+v", err, found)
	}
	if found[0].Statement != "statement 1" {
		t.Errorf("%q", found[0].Statement)
	}
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		options lint.Options
		want    []string
	}{
		"the named owner":            {"good-release", lint.Options{Owner: "arn:aws:iam::111122223333:role/data-owner"}, nil},
		"another owner":              {"good-release", lint.Options{Owner: "arn:aws:iam::111122223333:role/other"}, []string{"put-key-policy"}},
		"CI is named as the owner":   {"bad-put-policy-ci", lint.Options{Owner: "arn:aws:iam::111122223333:role/ci-deployer"}, []string{"put-key-policy"}},
		"only PCR0 is asked for":     {"bad-only-pcr0", lint.Options{Require: []int{0}}, nil},
		"PCR3 is asked for too":      {"good-release", lint.Options{Require: []int{0, 1, 2, 3, 16}}, []string{"pcr-missing"}},
		"PCR3 is asked for and held": {"good-with-role-and-signer", lint.Options{Require: []int{0, 1, 2, 3, 8, 16}}, nil},
	} {
		found, err := lint.Lint([]lint.File{read(t, c.file)}, c.options)
		if err != nil || !slices.Equal(rules(found), c.want) {
			t.Errorf("%s: %v %v, want %v", name, err, rules(found), c.want)
		}
	}
}

// TestTogether pins that a Deny in the one key policy holds against IAM
// policies and grants, and that nothing else of another file counts.
func TestTogether(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  []string
	}{
		"IAM policy alone":                {[]string{"bad-iam-put-policy"}, []string{"put-key-policy"}},
		"a Deny for everybody closes":     {[]string{"closing", "bad-iam-decrypt"}, nil},
		"the same for a grant":            {[]string{"closing", "bad-grant"}, nil},
		"a Deny for one principal":        {[]string{"bad-denied-root", "bad-iam-decrypt"}, []string{"full-access", "no-attestation"}},
		"presence is not enough":          {[]string{"good-denies", "bad-iam-decrypt"}, []string{"pcr-missing"}},
		"two key policies close nothing":  {[]string{"closing", "good-release", "bad-iam-decrypt"}, []string{"no-attestation"}},
		"an IAM policy never closes":      {[]string{"iam-deny", "bad-role-full"}, []string{"full-access"}},
		"every register by its own Deny":  {[]string{"good-closed-by-denies", "bad-iam-decrypt"}, nil},
		"IAM policy may not change it":    {[]string{"good-release", "bad-iam-put-policy"}, []string{"put-key-policy"}},
		"grant of another key's producer": {[]string{"good-release", "good-grant-producer"}, nil},
	} {
		var files []lint.File
		for _, f := range c.files {
			switch f {
			case "closing":
				files = append(files, lint.File{Name: f, Content: []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"kms:*","Resource":"*"}}`)})
			case "iam-deny":
				files = append(files, lint.File{Name: f, Content: []byte(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"kms:*","Resource":"*"}}`)})
			default:
				files = append(files, read(t, f))
			}
		}
		found, err := lint.Lint(files, lint.Options{})
		if err != nil || !slices.Equal(rules(found), c.want) {
			t.Errorf("%s: %v %v, want %v", name, err, rules(found), c.want)
		}
	}
}

// TestKinds pins that the kind that is given beats what the content looks like.
func TestKinds(t *testing.T) {
	f := read(t, "bad-iam-decrypt")
	f.Kind = lint.KeyPolicy
	found, err := lint.Lint([]lint.File{f}, lint.Options{})
	if err != nil || !slices.Contains(rules(found), "malformed") || !slices.Contains(rules(found), "principal-anyone") {
		t.Errorf("an IAM policy as a key policy: %v %v", err, rules(found))
	}
	f = read(t, "good-release")
	f.Kind = lint.IAMPolicy
	found, err = lint.Lint([]lint.File{f}, lint.Options{})
	if err != nil || !slices.Contains(rules(found), "malformed") {
		t.Errorf("a key policy as an IAM policy: %v %v", err, rules(found))
	}
}

// FuzzLint holds the linter to never failing on what it reads, and to never
// calling a policy clean that lets everybody decrypt.
func FuzzLint(f *testing.F) {
	for _, name := range []string{"good-release", "bad-default", "bad-grant", "bad-iam-role-policy", "bad-duplicate"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		found, err := lint.Lint([]lint.File{{Name: "x", Content: b}}, lint.Options{})
		if err != nil && (!errors.Is(err, lint.ErrUnreadable) || found != nil) {
			t.Fatalf("%v %v", found, err)
		}
		open := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:Decrypt","Resource":"*"}]}`
		found, err = lint.Lint([]lint.File{{Name: "x", Kind: lint.IAMPolicy, Content: b}, {Name: "open", Content: []byte(open)}}, lint.Options{})
		if err == nil && !slices.Contains(rules(found), "no-attestation") {
			t.Fatal("another file closed a key policy that is open")
		}
	})
}
