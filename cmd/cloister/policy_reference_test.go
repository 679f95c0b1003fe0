package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/image/reference"
	"github.com/cloisterhq/cloister/test/rig"
)

// referenceTo are reference values of an image with a document's registers.
func referenceTo(t *testing.T, document []byte) *reference.Values {
	t.Helper()
	d, err := attestation.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	digest := func(bytes int) string { return strings.Repeat("ab", bytes) }
	part := reference.Part{Bytes: 1, SHA256: digest(32)}
	v := &reference.Values{
		Schema: reference.Schema, Arch: "x86_64", PCRs: map[string]string{}, CommandLine: "quiet", Go: "go1.26", SBOM: digest(32),
		Image:    reference.Image{Unsigned: reference.File{Bytes: 1, SHA384: digest(48)}},
		Source:   reference.Source{Commit: digest(20), Date: time.Unix(0, 0).UTC()},
		Kernel:   reference.Kernel{Package: "linux", Version: "6", SHA256: digest(32), Config: digest(32), Compiler: "gcc", Linker: "ld", Image: part},
		Ramdisks: []reference.Part{part, part},
	}
	for i, name := range []string{"0", "1", "2"} {
		pcr, _ := d.PCR(i)
		v.PCRs[name] = pcr.String()
	}
	return v
}

// putValues writes reference values to a file.
func (w *files) putValues(name string, v *reference.Values) string {
	w.t.Helper()
	var b bytes.Buffer
	if err := v.Write(&b); err != nil {
		w.t.Fatal(err)
	}
	return w.put(name, b.Bytes())
}

// TestPolicyInitReference: the policy accepts the enclave of the image and the
// bundle, and says what people should know of the image.
func TestPolicyInitReference(t *testing.T) {
	r := rig.New(t, rig.Config{})
	document, err := r.Module.Attest(t.Context(), nsm.Request{})
	if err != nil {
		t.Fatal(err)
	}
	w := &files{t: t, dir: t.TempDir()}
	w.put("doc", document)
	w.put("root.pem", r.Root.PEM())
	w.put("bundle", r.Raw)
	commit := hex.EncodeToString(bytes.Repeat([]byte{0xab}, 6))
	for name, c := range map[string]struct {
		change      func(*reference.Values)
		named, says string
		verifies    bool
	}{
		"released": {func(*reference.Values) {}, "commit " + commit + " for ", "", true},
		"modified": {func(v *reference.Values) { v.Source.Modified = true }, "commit " + commit + ", modified for ", "nobody can rebuild", true},
		"unknown":  {func(v *reference.Values) { v.Source.Commit = reference.Unknown }, "image ", "", true},
		"another":  {func(v *reference.Values) { v.PCRs["1"] = strings.Repeat("ab", 48) }, "commit ", "", false},
		"signed by a development signer": {func(v *reference.Values) {
			v.PCRs["8"] = strings.Repeat("cd", 48)
			v.Image.Signed = &v.Image.Unsigned
			v.Image.Signer = &reference.Signer{Subject: "CN=here", NotAfter: time.Unix(0, 0).UTC(), Development: true}
		}, "commit ", "development signer", false},
	} {
		v := referenceTo(t, document)
		c.change(v)
		values := w.putValues("values.json", v)
		code, out, errs := w.initPolicy("--environment", "simulation", "--from-reference", values, "--bundle", w.path("bundle"))
		var f policy.File
		if err := json.Unmarshal([]byte(out), &f); err != nil || code != 0 {
			t.Fatalf("%s: exit code %d: %v\n%s", name, code, err, errs)
		}
		if len(f.Releases) != 1 || !strings.HasPrefix(f.Releases[0].Name, c.named) || len(f.Releases[0].PCRs) != len(v.PCRs)+1 || f.Bundle != policy.BundleRequired {
			t.Errorf("%s: %s", name, out)
		}
		if (c.says == "") != (errs == "") || !strings.Contains(errs, c.says) {
			t.Errorf("%s: said %q", name, errs)
		}
		w.put("new.json", []byte(out))
		code, _, errs = cloister(t, "verify", "--document", w.path("doc"), "--policy", w.path("new.json"), "--trust-root", w.path("root.pem"))
		if (code == 0) != c.verifies {
			t.Errorf("%s: the document: exit code %d: %s", name, code, errs)
		}
	}
}

// TestPolicyInitReferenceRefuses: nothing is written for a file that isn't one
// of reference values, or without a bundle.
func TestPolicyInitReferenceRefuses(t *testing.T) {
	r := rig.New(t, rig.Config{})
	document, err := r.Module.Attest(t.Context(), nsm.Request{})
	if err != nil {
		t.Fatal(err)
	}
	w := &files{t: t, dir: t.TempDir()}
	w.put("root.pem", r.Root.PEM())
	w.put("bundle", r.Raw)
	w.put("junk", []byte("junk"))
	w.put("large", make([]byte, reference.Max+1))
	values := w.putValues("values.json", referenceTo(t, document))
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no bundle":      {[]string{"--from-reference", values}, exitUsage, "--from-reference needs --bundle"},
		"not a bundle":   {[]string{"--from-reference", values, "--bundle", w.path("junk")}, exitUsage, "junk"},
		"not values":     {[]string{"--from-reference", w.path("junk"), "--bundle", w.path("bundle")}, exitRefused, "reference values: refused"},
		"large":          {[]string{"--from-reference", w.path("large"), "--bundle", w.path("bundle")}, exitUsage, "more than"},
		"missing":        {[]string{"--from-reference", w.path("missing"), "--bundle", w.path("bundle")}, exitUsage, "missing"},
		"and a document": {[]string{"--from-reference", values, "--from-document", values}, exitUsage, "one of --from-eif"},
		"and an image":   {[]string{"--from-reference", values, "--from-eif", values}, exitUsage, "one of --from-eif"},
		"pinned":         {[]string{"--from-reference", values, "--bundle", w.path("bundle"), "--pin", "4"}, exitUsage, "for --from-document"},
		"debug":          {[]string{"--from-reference", values, "--bundle", w.path("bundle"), "--allow-debug"}, exitUsage, "for --from-document"},
	} {
		code, out, errs := w.initPolicy(c.args...)
		if code != c.code || !strings.Contains(errs, c.says) || out != "" {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
}
