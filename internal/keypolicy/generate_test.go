package keypolicy_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/keypolicy"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	owner    = "arn:aws:iam::111122223333:role/data-owner"
	enclave  = "arn:aws:iam::444455556666:role/enclave-host"
	producer = "arn:aws:iam::444455556666:role/clinic-a"
)

// release makes a release with registers of one digit each.
func release(d0, d1, d2, d16 string) keypolicy.Release {
	return keypolicy.Release{PCR0: strings.Repeat(d0, 96), PCR1: strings.Repeat(d1, 96), PCR2: strings.Repeat(d2, 96), PCR16: strings.Repeat(d16, 96)}
}

func two() []keypolicy.Release {
	return []keypolicy.Release{release("a", "1", "2", "3"), release("B", "4", "5", "6")}
}

// TestGolden compares the three policies with files that people have read.
func TestGolden(t *testing.T) {
	dataset, err := keypolicy.Dataset(two(), enclave, []keypolicy.Producer{{Name: "clinic-a", Role: producer}}, owner, "colon-study", "colon")
	if err != nil {
		t.Fatal(err)
	}
	state, err := keypolicy.State(two(), enclave, owner, "colon-study")
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*keypolicy.Document{"dataset": dataset, "state": state, "owner": keypolicy.Owner(owner)} {
		got, err := d.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.TrimSpace(want)) {
			t.Errorf("%s.json differs:\n%s", name, got)
		}
	}
}

// statements answers the statements of a policy that have an effect and reach
// an action.
func statements(d *keypolicy.Document, effect keypolicy.Effect, action string) []keypolicy.Statement {
	var out []keypolicy.Statement
	for _, s := range d.Statements {
		if s.Effect == effect && slices.ContainsFunc(s.Actions, func(a string) bool {
			return a == action || strings.HasSuffix(a, "*") && strings.HasPrefix(action, strings.TrimSuffix(a, "*"))
		}) {
			out = append(out, s)
		}
	}
	return out
}

func values(s keypolicy.Statement, key string) []string {
	for _, c := range s.Conditions {
		if c.Key == key {
			return append([]string{c.Operator}, c.Values...)
		}
	}
	return nil
}

// TestReleasesStayApart checks that each release has a statement of its own
// and that Decrypt is allowed to releases and to nothing else.
func TestReleasesStayApart(t *testing.T) {
	dataset, err := keypolicy.Dataset(two(), enclave, []keypolicy.Producer{{Name: "clinic-a", Role: producer}}, owner, "colon-study", "colon")
	if err != nil {
		t.Fatal(err)
	}
	state, err := keypolicy.State(two(), enclave, owner, "colon-study")
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]*keypolicy.Document{"dataset": dataset, "state": state} {
		allows := statements(d, keypolicy.Allow, "kms:Decrypt")
		if len(allows) != 2 {
			t.Fatalf("%s: %d statements allow Decrypt, want one for each release", name, len(allows))
		}
		for i, s := range allows {
			r := two()[i]
			for number, want := range map[string]string{"0": r.PCR0, "1": r.PCR1, "2": r.PCR2, "16": r.PCR16} {
				got := values(s, "kms:RecipientAttestation:PCR"+number)
				if !slices.Equal(got, []string{"StringEqualsIgnoreCase", strings.ToLower(want)}) {
					t.Errorf("%s: %s: PCR%s is %v", name, s.Sid, number, got)
				}
			}
			if !slices.Equal(s.Principals, []string{enclave}) {
				t.Errorf("%s: %s: principals %v", name, s.Sid, s.Principals)
			}
			if got := values(s, "kms:EncryptionContext:deployment"); !slices.Equal(got, []string{"StringEquals", "colon-study"}) {
				t.Errorf("%s: %s: deployment %v", name, s.Sid, got)
			}
		}
		for _, action := range []string{"kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant", "kms:DeriveSharedSecret", "kms:GenerateDataKeyPair"} {
			if got := statements(d, keypolicy.Allow, action); len(got) != 0 {
				t.Errorf("%s: %s is allowed by %s", name, action, got[0].Sid)
			}
		}
		for _, s := range append(statements(d, keypolicy.Allow, "kms:Decrypt"), statements(d, keypolicy.Allow, "kms:GenerateDataKey")...) {
			if slices.Contains(s.Principals, owner) {
				t.Errorf("%s: the owner may use the key by %s", name, s.Sid)
			}
		}
	}
}

// TestProducersMakeKeysOnly checks what a producer may do, and on which context.
func TestProducersMakeKeysOnly(t *testing.T) {
	d, err := keypolicy.Dataset(two(), enclave, []keypolicy.Producer{{Name: "clinic-a", Role: producer}}, owner, "colon-study", "colon")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range d.Statements {
		if !slices.Contains(s.Principals, producer) {
			continue
		}
		found++
		if !slices.Equal(s.Actions, []string{"kms:GenerateDataKey"}) || s.Effect != keypolicy.Allow {
			t.Errorf("%s: %s %v", s.Sid, s.Effect, s.Actions)
		}
		for name, want := range map[string]string{"deployment": "colon-study", "dataset": "colon", "producer": "clinic-a", "purpose": "record"} {
			if got := values(s, "kms:EncryptionContext:"+name); !slices.Equal(got, []string{"StringEquals", want}) {
				t.Errorf("%s: %s is %v", s.Sid, name, got)
			}
		}
	}
	if found != 1 {
		t.Errorf("%d statements name the producer", found)
	}
}

func TestRefusals(t *testing.T) {
	good := two()
	with := func(change func(*keypolicy.Release)) []keypolicy.Release {
		r := release("a", "1", "2", "3")
		change(&r)
		return []keypolicy.Release{good[1], r}
	}
	zero := strings.Repeat("0", 96)
	for _, c := range []struct {
		name     string
		releases []keypolicy.Release
		want     string
	}{
		{"no release", nil, "none given"},
		{"zero PCR0", with(func(r *keypolicy.Release) { r.PCR0 = zero }), "PCR0 is zero"},
		{"zero PCR1", with(func(r *keypolicy.Release) { r.PCR1 = zero }), "PCR1 is zero"},
		{"zero PCR2", with(func(r *keypolicy.Release) { r.PCR2 = zero }), "PCR2 is zero"},
		{"zero PCR16", with(func(r *keypolicy.Release) { r.PCR16 = zero }), "PCR16 is zero"},
		{"empty PCR16", with(func(r *keypolicy.Release) { r.PCR16 = "" }), "PCR16 isn't 96 hex digits"},
		{"short PCR1", with(func(r *keypolicy.Release) { r.PCR1 = r.PCR1[2:] }), "PCR1 isn't 96 hex digits"},
		{"long PCR1", with(func(r *keypolicy.Release) { r.PCR1 += "11" }), "PCR1 isn't 96 hex digits"},
		{"not hex", with(func(r *keypolicy.Release) { r.PCR2 = "g" + r.PCR2[1:] }), "PCR2 isn't 96 hex digits"},
		{"wildcard", with(func(r *keypolicy.Release) { r.PCR0 = "*" }), "PCR0 isn't 96 hex digits"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, make := range []func() (*keypolicy.Document, error){
				func() (*keypolicy.Document, error) {
					return keypolicy.Dataset(c.releases, enclave, nil, owner, "colon-study", "colon")
				},
				func() (*keypolicy.Document, error) {
					return keypolicy.State(c.releases, enclave, owner, "colon-study")
				},
			} {
				d, err := make()
				if d != nil || !errors.Is(err, keypolicy.ErrRelease) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, %v", d, err)
				}
			}
		})
	}
}

func TestRefusedParts(t *testing.T) {
	for _, c := range []struct {
		name                              string
		enclave, owner, producerRole      string
		deployment, dataset, producerName string
	}{
		{"owner is the enclave", owner, owner, producer, "colon-study", "colon", "clinic-a"},
		{"producer is the enclave", enclave, owner, enclave, "colon-study", "colon", "clinic-a"},
		{"producer is the owner", enclave, owner, owner, "colon-study", "colon", "clinic-a"},
		{"enclave is everybody", "*", owner, producer, "colon-study", "colon", "clinic-a"},
		{"owner is an account", enclave, "111122223333", producer, "colon-study", "colon", "clinic-a"},
		{"owner is empty", enclave, "", producer, "colon-study", "colon", "clinic-a"},
		{"enclave is a name", "enclave-host", owner, producer, "colon-study", "colon", "clinic-a"},
		{"no deployment", enclave, owner, producer, "", "colon", "clinic-a"},
		{"dataset is a wildcard", enclave, owner, producer, "colon-study", "*", "clinic-a"},
		{"producer is a variable", enclave, owner, producer, "colon-study", "colon", "${aws:username}"},
		{"producer without a name", enclave, owner, producer, "colon-study", "colon", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := keypolicy.Dataset(two(), c.enclave, []keypolicy.Producer{{Name: c.producerName, Role: c.producerRole}}, c.owner, c.deployment, c.dataset)
			if d != nil || !errors.Is(err, keypolicy.ErrPolicy) {
				t.Errorf("got %v, %v", d, err)
			}
		})
	}
}

// TestTooLarge checks that a policy that KMS would refuse isn't made.
func TestTooLarge(t *testing.T) {
	var many []keypolicy.Producer
	for range 100 {
		many = append(many, keypolicy.Producer{Name: "clinic-a", Role: producer})
	}
	if _, err := keypolicy.Dataset(two(), enclave, many, owner, "colon-study", "colon"); !errors.Is(err, keypolicy.ErrPolicy) {
		t.Errorf("got %v", err)
	}
}
