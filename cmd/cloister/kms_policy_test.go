package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/eif"
	"github.com/cloisterhq/cloister/internal/bundle"
)

// TestKMSPolicyReleases writes from an appraisal policy with an old and a new
// release, one that is over and one with a register that can't be held.
func TestKMSPolicyReleases(t *testing.T) {
	k := newKeeper(t)
	release := func(name, digit string, more map[string]string) policy.FileRelease {
		pcrs := map[string]string{"0": strings.Repeat(digit, 96), "1": strings.Repeat("1", 96), "2": strings.Repeat("2", 96), "16": strings.Repeat("3", 96)}
		for n, v := range more {
			pcrs[n] = v
		}
		return policy.FileRelease{Name: name, PCRs: pcrs}
	}
	old, over := release("old", "a", map[string]string{"3": strings.Repeat("4", 96)}), release("over", "b", nil)
	over.NotAfter = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	saved := 0
	save := func(releases ...policy.FileRelease) string {
		f := k.PolicyFile()
		f.Releases = append(f.Releases, releases...)
		b, err := f.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		saved++
		return k.write(fmt.Sprintf("policy-%d.json", saved), b)
	}
	dir := filepath.Join(k.dir, "out")
	code, out, errs := k.policies("--release", save(old, over), "--producer", "clinic="+producerRole, "-o", dir)
	if code != 0 || !strings.Contains(errs, "release over is over") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, name := range []string{"state.key-policy.json", "dataset-colon.key-policy.json", "enclave.iam-policy.json", "producer-clinic.iam-policy.json"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(out, name) {
			t.Fatalf("%s: %v", name, err)
		}
		text := string(b)
		if strings.Contains(text, strings.Repeat("b", 96)) {
			t.Errorf("%s has the release that is over", name)
		}
		if !strings.HasPrefix(name, "producer") && (strings.Count(text, ":PCR0\"") != 2 || strings.Count(text, ":PCR3\"") != 1) {
			t.Errorf("%s: not a statement for each of two releases: %s", name, text)
		}
		if code, out, errs := cloister(t, "kms", "lint", filepath.Join(dir, name), "--owner", ownerRole); code != 0 {
			t.Errorf("%s isn't clean: %d %s%s", name, code, out, errs)
		}
	}
	for name, c := range map[string]struct {
		args []string
		want int
		says string
	}{
		"a register that can't be held": {[]string{"--release", save(release("x", "c", map[string]string{"5": strings.Repeat("5", 96)}))}, exitUsage, "PCR5"},
		"both":                          {append(k.pcrs(), "--release", save()), exitUsage, "one of"},
		"neither":                       {nil, exitUsage, "one of"},
		"PCR2 is missing":               {k.pcrs()[:4], exitUsage, "PCR2"},
		"zero":                          {append(k.pcrs(), "--pcr", "3="+strings.Repeat("0", 96)), exitUsage, "zero"},
		"another bundle's PCR16":        {append(k.pcrs(), "--pcr", "16="+strings.Repeat("3", 96)), exitUsage, "bundle"},
		"unknown producer":              {append(k.pcrs(), "--producer", "other="+producerRole), exitUsage, "other"},
		"a producer with the host's":    {append(k.pcrs(), "--producer", "clinic="+enclaveRole), exitRefused, "role of the owner or the enclave"},
		"not a policy":                  {[]string{"--release", k.file("ca.pem")}, exitUsage, "ca.pem"},
	} {
		if code, _, errs := k.policies(c.args...); code != c.want || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
	// A policy of other bundles only would lock this one's enclave out.
	f := k.PolicyFile()
	f.Releases = []policy.FileRelease{old}
	b, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if code, _, errs := k.policies("--release", k.write("other.json", b)); code != exitRefused || !strings.Contains(errs, "PCR16") {
		t.Errorf("no release with the bundle: exit %d: %s", code, errs)
	}
	if code, _, errs := k.policies(k.pcrs()...); code != 0 || !strings.Contains(errs, "without a role, and so without data keys from KMS: clinic") {
		t.Errorf("a producer without a role: exit %d: %s", code, errs)
	}
}

// TestKMSPolicyEIF takes the registers from an image file.
func TestKMSPolicyEIF(t *testing.T) {
	k := newKeeper(t)
	f, err := os.Create(k.file("image.eif"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	source := func(text string) eif.Source { return eif.Source{Data: strings.NewReader(text), Size: int64(len(text))} }
	plan := eif.Plan{Arch: eif.X86, Kernel: source("kernel"), CommandLine: "reboot=k", Metadata: []byte("{}"), Ramdisks: []eif.Source{source("init"), source("application")}}
	if err := plan.Write(f); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	image, err := eif.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.Measure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pcr16 := bundle.PCR16(k.Raw)
	code, out, errs := k.policies("--eif", k.file("image.eif"))
	for _, want := range []string{m.PCR0.String(), m.PCR1.String(), m.PCR2.String(), fmt.Sprintf("%x", pcr16[:])} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, without %s: %s", code, want, errs)
		}
	}
	if code, _, errs := k.policies("--eif", k.file("image.eif"), "--pcr", "0="+k.Image.PCR0.String()); code != exitUsage || !strings.Contains(errs, "--pcr 0") {
		t.Errorf("another PCR0 than the image's: exit %d: %s", code, errs)
	}
	if code, _, errs := k.policies("--eif", k.file("ca.pem")); code != exitUsage {
		t.Errorf("no image: exit %d: %s", code, errs)
	}
}
