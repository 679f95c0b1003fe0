package image_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/eif"
	"github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/image/kernel"
	"github.com/cloisterhq/cloister/image/reference"
	"github.com/cloisterhq/cloister/internal/cmdline"
)

// bzImage is a file with a kernel's header (Linux, Documentation/arch/x86/boot.rst)
// for so many bytes behind the setup.
func bzImage(units uint32) []byte {
	b := make([]byte, 2*512+16*int(units))
	b[0x1f1] = 1
	binary.LittleEndian.PutUint32(b[0x1f4:], units)
	copy(b[0x202:], "HdrS")
	return b
}

func ingredients(t *testing.T) image.Ingredients {
	t.Helper()
	return image.Ingredients{
		Kernel: &kernel.Kernel{
			Image: bzImage(100), Pin: kernel.Pinned(), Config: strings.Repeat("c", 64),
			Tools: kernel.Toolchain{Compiler: "gcc", Linker: "ld"},
		},
		Binary: []byte("a program"), Info: &debug.BuildInfo{GoVersion: "go1.26.8"},
		Source: reference.Source{Commit: strings.Repeat("d", 40), Date: time.Unix(1700000000, 0).UTC()},
	}
}

// extend is what the hypervisor makes of measured bytes.
func extend(parts ...[]byte) string {
	content := sha512.Sum384(bytes.Join(parts, nil))
	pcr := sha512.Sum384(append(make([]byte, 48), content[:]...))
	return hex.EncodeToString(pcr[:])
}

func read(t *testing.T, elements ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPublish: what is written is what the reference values say, and the
// registers are those of kernel, command line, base and binary.
func TestPublish(t *testing.T) {
	in, dir := ingredients(t), filepath.Join(t.TempDir(), "out")
	var err error
	if in.Signer, err = image.Development(t.TempDir(), time.Now()); err != nil {
		t.Fatal(err)
	}
	v, err := in.Publish(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	written, err := reference.Parse(read(t, dir, image.Values))
	if err != nil || written.PCRs["0"] != v.PCRs["0"] || written.Source != v.Source {
		t.Fatalf("%+v\n%+v\n%v", written, v, err)
	}
	disks, err := image.Ramdisks(in.Binary)
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(cmdline.Line)
	for register, want := range map[string]string{
		"0": extend(in.Kernel.Image, line, disks[0], disks[1]), "1": extend(in.Kernel.Image, line, disks[0]), "2": extend(disks[1]),
	} {
		if v.PCRs[register] != want {
			t.Errorf("PCR%s %s, not %s", register, v.PCRs[register], want)
		}
	}
	for name, want := range map[string]reference.File{image.Signed: *v.Image.Signed, image.Unsigned: v.Image.Unsigned} {
		b := read(t, dir, name)
		if d := sha512.Sum384(b); int64(len(b)) != want.Bytes || hex.EncodeToString(d[:]) != want.SHA384 {
			t.Errorf("%s isn't as its values say", name)
		}
	}
	if image.Part(read(t, dir, image.SBOM)).SHA256 != v.SBOM || v.Kernel.Image != image.Part(in.Kernel.Image) || v.Ramdisks[1] != image.Part(disks[1]) {
		t.Errorf("parts: %+v", v)
	}
	if !v.Image.Signer.Development || v.PCRs["8"] == "" || v.Go != "go1.26.8" || v.CommandLine != cmdline.Line {
		t.Errorf("values: %+v", v)
	}
	open(t, filepath.Join(dir, image.Signed), v)
}

// open reads a signed image as anybody does.
func open(t *testing.T, name string, v *reference.Values) {
	t.Helper()
	b := read(t, name)
	m, err := eif.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	measured, err := m.Measure(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := m.SignedBy(measured.PCR0)
	if err != nil || signer.PCR8.String() != v.PCRs["8"] || signer.Certificate.Subject.String() != v.Image.Signer.Subject {
		t.Errorf("signed by %+v: %v", signer, err)
	}
	remarks, err := m.Metadata()
	if err != nil || remarks.BuildMetadata.BuildTime != "2023-11-14T22:13:20Z" || remarks.BuildMetadata.KernelVersion != kernel.Pinned().Release {
		t.Errorf("metadata %+v: %v", remarks, err)
	}
}

// TestSame: two builds give the same bytes; the date and the signer change the
// files, and no register but the signer's.
func TestSame(t *testing.T) {
	in, base := ingredients(t), t.TempDir()
	publish := func(name string) *reference.Values {
		v, err := in.Publish(t.Context(), filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := publish("a")
	if _, err := os.Stat(filepath.Join(base, "a", image.Signed)); !errors.Is(err, os.ErrNotExist) || first.PCRs["8"] != "" {
		t.Errorf("nobody signed, and yet: %v", err)
	}
	publish("another directory")
	for _, name := range []string{image.Unsigned, image.Values, image.SBOM} {
		if !bytes.Equal(read(t, base, "a", name), read(t, base, "another directory", name)) {
			t.Errorf("%s differs", name)
		}
	}
	in.Source.Date = in.Source.Date.Add(time.Hour)
	later := publish("later")
	signer, err := image.Development(filepath.Join(base, "signer"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	in.Signer = signer
	signed, again := publish("signed"), publish("signed again")
	for _, v := range []*reference.Values{later, signed} {
		if v.Image.Unsigned == first.Image.Unsigned {
			t.Error("another date, the same file")
		}
		for _, r := range []string{"0", "1", "2"} {
			if v.PCRs[r] != first.PCRs[r] {
				t.Errorf("PCR%s changed", r)
			}
		}
	}
	if *signed.Image.Signed != *again.Image.Signed {
		t.Error("the same signer, another file")
	}
	in.Binary = []byte("another program")
	if v := publish("other"); v.PCRs["1"] != first.PCRs["1"] || v.PCRs["2"] == first.PCRs["2"] || v.PCRs["0"] == first.PCRs["0"] {
		t.Error("another binary is PCR0 and PCR2, and not PCR1")
	}
}

// TestOver: an earlier build's files don't stay beside a new one's, and a build
// that fails leaves them alone.
func TestOver(t *testing.T) {
	in, dir := ingredients(t), t.TempDir()
	var err error
	if in.Signer, err = image.Development(t.TempDir(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Publish(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir, image.Values)
	good := in.Kernel.Image
	in.Kernel.Image = append(slices.Clone(good), 0)
	if _, err := in.Publish(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "ambiguous") {
		t.Errorf("a kernel with something behind it: %v", err)
	}
	in.Kernel.Image = []byte("not a kernel")
	if _, err := in.Publish(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "bzImage") {
		t.Errorf("no kernel: %v", err)
	}
	if !bytes.Equal(read(t, dir, image.Values), before) {
		t.Error("a failed build changed the values")
	}
	in.Kernel.Image, in.Signer = good, nil
	if _, err := in.Publish(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if want := []string{image.Unsigned, image.Values, image.SBOM}; err != nil || !slices.Equal(names, want) {
		t.Errorf("left: %q", names)
	}
}

// TestRamdisks: both begin and end as the loader needs them.
func TestRamdisks(t *testing.T) {
	disks, err := image.Ramdisks([]byte("12345"))
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range disks {
		if len(d)%4 != 0 || !bytes.HasPrefix(d, []byte("070701")) || bytes.Count(d, []byte("TRAILER!!!")) != 1 {
			t.Errorf("ramdisk %d: %q", i+1, d)
		}
	}
	if !bytes.Contains(disks[0], []byte("dev/console\x00")) || bytes.Contains(disks[0], []byte("init")) {
		t.Errorf("the base: %q", disks[0])
	}
	if !bytes.Contains(disks[1], []byte("init\x00")) || !bytes.Contains(disks[1], []byte("12345")) || bytes.Count(disks[1], []byte("070701")) != 2 {
		t.Errorf("the binary: %q", disks[1])
	}
}

// TestCheckBinary refuses this test's own binary, which isn't the enclave's,
// and what isn't a binary.
func TestCheckBinary(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	wants := map[string][]byte{"": []byte("#!/bin/sh\n"), "x86-64": elf(183, 2), "executable": elf(62, 1)}
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		wants["it "] = read(t, own)
	}
	for want, b := range wants {
		if info, err := image.CheckBinary(b); !errors.Is(err, image.ErrBinary) || !strings.Contains(err.Error(), want) || info != nil {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// elf is the header of a 64-bit file for a machine and of a type.
func elf(machine, kind uint16) []byte {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(b[16:], kind)
	binary.LittleEndian.PutUint16(b[18:], machine)
	binary.LittleEndian.PutUint32(b[20:], 1)
	binary.LittleEndian.PutUint16(b[52:], 64)
	return b
}

// TestCheckInfo: the settings of the build, one by one.
func TestCheckInfo(t *testing.T) {
	good := func() *debug.BuildInfo {
		return &debug.BuildInfo{Path: "github.com/cloisterhq/cloister/cmd/cloister-enclave", Settings: []debug.BuildSetting{
			{Key: "-buildmode", Value: "exe"}, {Key: "-compiler", Value: "gc"}, {Key: "-trimpath", Value: "true"}, {Key: "DefaultGODEBUG", Value: "x=1"},
			{Key: "CGO_ENABLED", Value: "0"}, {Key: "GOARCH", Value: "amd64"}, {Key: "GOOS", Value: "linux"}, {Key: "GOAMD64", Value: "v1"},
		}}
	}
	if err := image.CheckInfo(good()); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*debug.BuildInfo){
		"another program": func(i *debug.BuildInfo) { i.Path = "github.com/cloisterhq/cloister/cmd/cloister-sim" },
		"cgo":             func(i *debug.BuildInfo) { i.Settings[4].Value = "1" },
		"tags": func(i *debug.BuildInfo) {
			i.Settings = append(i.Settings, debug.BuildSetting{Key: "-tags", Value: "x"})
		},
		"a newer level": func(i *debug.BuildInfo) { i.Settings[7].Value = "v3" },
		"paths":         func(i *debug.BuildInfo) { i.Settings = slices.Delete(i.Settings, 2, 3) },
		"twice":         func(i *debug.BuildInfo) { i.Settings = append(i.Settings, i.Settings[0]) },
	} {
		info := good()
		change(info)
		if err := image.CheckInfo(info); !errors.Is(err, image.ErrBinary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSBOM: the bill names the kernel's package by its digest.
func TestSBOM(t *testing.T) {
	in, dir := ingredients(t), t.TempDir()
	if _, err := in.Publish(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	var bill struct {
		Components []struct{ Hashes []struct{ Content string } }
	}
	if err := json.Unmarshal(read(t, dir, image.SBOM), &bill); err != nil || len(bill.Components) != 2 || bill.Components[0].Hashes[0].Content != kernel.Pinned().SHA256 {
		t.Errorf("bill %+v: %v", bill, err)
	}
}
