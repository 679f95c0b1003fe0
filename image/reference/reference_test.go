package reference_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image/reference"
)

// digest is a text of so many bytes in hexadecimal digits.
func digest(c string, bytes int) string { return strings.Repeat(c, bytes*2) }

// values are good ones, signed or not.
func values(signed bool) *reference.Values {
	v := &reference.Values{
		Schema: reference.Schema, Arch: "x86_64",
		PCRs:        map[string]string{"0": digest("a", 48), "1": digest("b", 48), "2": digest("c", 48)},
		Image:       reference.Image{Unsigned: reference.File{Bytes: 10, SHA384: digest("1", 48)}},
		CommandLine: "console=ttyS0 <quiet>",
		Source:      reference.Source{Commit: digest("2", 20), Modified: true, Date: time.Unix(1700000000, 0).UTC()},
		Go:          "go1.26.8",
		Kernel: reference.Kernel{
			Package: "linux-source", Version: "6.12", SHA256: digest("3", 32), Config: digest("4", 32), Compiler: "gcc 12", Linker: "ld 2",
			Image: reference.Part{Bytes: 5, SHA256: digest("5", 32)},
		},
		Ramdisks: []reference.Part{{Bytes: 6, SHA256: digest("6", 32)}, {Bytes: 7, SHA256: digest("7", 32)}},
		SBOM:     digest("8", 32),
	}
	if signed {
		v.PCRs["8"] = digest("d", 48)
		v.Image.Signed = &reference.File{Bytes: 12, SHA384: digest("9", 48)}
		v.Image.Signer = &reference.Signer{Subject: "CN=somebody", NotAfter: time.Unix(1800000000, 0).UTC()}
	}
	return v
}

func write(t *testing.T, v *reference.Values) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, signed := range []bool{false, true} {
		v := values(signed)
		got, err := reference.Parse(write(t, v))
		if err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("signed %t: %v\n%+v\n%+v", signed, err, got, v)
		}
	}
}

// TestRefusesValues: what breaks a rule is neither written nor read.
func TestRefusesValues(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*reference.Values)
		want   string
	}{
		"schema":               {func(v *reference.Values) { v.Schema = "cloister.reference-values/v2" }, "schema"},
		"architecture":         {func(v *reference.Values) { v.Arch = "aarch64" }, "arch"},
		"no command line":      {func(v *reference.Values) { v.CommandLine = "" }, "cmdline"},
		"command line's NUL":   {func(v *reference.Values) { v.CommandLine = "a\x00b" }, "cmdline"},
		"no ramdisk":           {func(v *reference.Values) { v.Ramdisks = nil }, "ramdisks"},
		"many ramdisks":        {func(v *reference.Values) { v.Ramdisks = make([]reference.Part, 9) }, "ramdisks"},
		"register missing":     {func(v *reference.Values) { delete(v.PCRs, "1") }, "registers"},
		"register too many":    {func(v *reference.Values) { v.PCRs["4"] = digest("a", 48) }, "registers"},
		"another register":     {func(v *reference.Values) { delete(v.PCRs, "2"); v.PCRs["3"] = digest("a", 48) }, "pcrs: 2"},
		"zero register":        {func(v *reference.Values) { v.PCRs["0"] = digest("0", 48) }, "pcrs: 0"},
		"short register":       {func(v *reference.Values) { v.PCRs["2"] = digest("a", 47) }, "pcrs: 2"},
		"capital digits":       {func(v *reference.Values) { v.PCRs["2"] = digest("A", 48) }, "pcrs: 2"},
		"zero signer":          {func(v *reference.Values) { v.PCRs["8"] = digest("0", 48) }, "pcrs: 8"},
		"signed, no register":  {func(v *reference.Values) { delete(v.PCRs, "8") }, "registers"},
		"signed, no file":      {func(v *reference.Values) { v.Image.Signed = nil }, "registers"},
		"signed, no signer":    {func(v *reference.Values) { v.Image.Signer = nil }, "registers"},
		"signed file's digest": {func(v *reference.Values) { v.Image.Signed.SHA384 = digest("a", 32) }, "image"},
		"unsigned file":        {func(v *reference.Values) { v.Image.Unsigned.Bytes = 0 }, "image"},
		"kernel":               {func(v *reference.Values) { v.Kernel.Image.Bytes = -1 }, "a part"},
		"ramdisk's digest":     {func(v *reference.Values) { v.Ramdisks[1].SHA256 = "" }, "a part"},
		"SBOM":                 {func(v *reference.Values) { v.SBOM = "x" }, "sbom_sha256"},
		"kernel source":        {func(v *reference.Values) { v.Kernel.SHA256 = digest("g", 32) }, "kernel: sha256"},
		"config":               {func(v *reference.Values) { v.Kernel.Config = digest("a", 31) }, "kernel: config_sha256"},
		"commit":               {func(v *reference.Values) { v.Source.Commit = "main" }, "commit"},
		"go":                   {func(v *reference.Values) { v.Go = "" }, "go"},
		"long compiler":        {func(v *reference.Values) { v.Kernel.Compiler = strings.Repeat("a", 513) }, "compiler"},
		"linker":               {func(v *reference.Values) { v.Kernel.Linker = "\x1b[2J" }, "linker"},
		"subject":              {func(v *reference.Values) { v.Image.Signer.Subject = "\u00e4" }, "subject"},
	} {
		v := values(true)
		c.change(v)
		if err := v.Write(io.Discard); !errors.Is(err, reference.ErrForm) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRefusesBytes: one form only.
func TestRefusesBytes(t *testing.T) {
	good := string(write(t, values(true)))
	for name, b := range map[string]string{
		"empty":            "",
		"not JSON":         "x",
		"another type":     "[]",
		"unknown name":     strings.Replace(good, "{", `{"more": 1,`, 1),
		"name twice":       strings.Replace(good, `"arch": "x86_64",`, `"arch": "x86_64", "arch": "x86_64",`, 1),
		"other case":       strings.Replace(good, `"arch"`, `"Arch"`, 1),
		"blank before":     " " + good,
		"something behind": good + "{}",
		"newline behind":   good + "\n",
		"no newline":       strings.TrimSuffix(good, "\n"),
		"compact":          strings.ReplaceAll(good, "\n", ""),
		"other escapes":    strings.Replace(good, "x86_64", `\u007886_64`, 1),
		"other zone":       strings.Replace(good, "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", 1),
		"UTC by number":    strings.Replace(good, "20Z", "20+00:00", 1),
		"broken rule":      strings.Replace(good, digest("a", 48), digest("0", 48), 1),
		"too long":         good + strings.Repeat(" ", reference.Max),
	} {
		if b == good {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := reference.Parse([]byte(b)); !errors.Is(err, reference.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParse: what is taken is written again byte for byte.
func FuzzParse(f *testing.F) {
	for _, signed := range []bool{false, true} {
		var b bytes.Buffer
		if err := values(signed).Write(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := reference.Parse(b)
		if err != nil {
			if !errors.Is(err, reference.ErrForm) || v != nil {
				t.Fatalf("refused with %v and %v", err, v)
			}
			return
		}
		if again := write(t, v); !bytes.Equal(again, b) {
			t.Fatalf("taken\n%q\nwritten\n%q", b, again)
		}
	})
}
