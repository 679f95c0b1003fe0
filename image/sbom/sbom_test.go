package sbom_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image/sbom"
)

func contents() sbom.Contents {
	return sbom.Contents{
		Version: "0123abc", Date: time.Unix(1700000000, 0),
		Binary: &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
			{Path: "golang.org/x/sys", Version: "v0.50.0", Sum: "h1:b="},
			{Path: "github.com/google/flatbuffers", Version: "v25.12.19+incompatible", Sum: "h1:a="},
			{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/new", Version: "v1.1.0", Sum: "h1:c="}},
		}},
		Kernel: sbom.Package{Name: "linux-source-6.12", Version: "6.12.117-1~deb12u1", Release: "6.12.117", SHA256: strings.Repeat("a", 64)},
	}
}

func marshal(t *testing.T, c sbom.Contents) []byte {
	t.Helper()
	b, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMarshal reads the document with types of its own.
func TestMarshal(t *testing.T) {
	var doc struct {
		BOMFormat, SpecVersion, SerialNumber string
		Version                              int
		Metadata                             struct {
			Timestamp string
			Component struct {
				Type, Name, Version string
				Ref                 string `json:"bom-ref"`
			}
		}
		Components []struct {
			Type, Name, Version, PURL string
			Ref                       string `json:"bom-ref"`
			Hashes                    []struct{ Alg, Content string }
			Properties                []struct{ Name, Value string }
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	dec := json.NewDecoder(bytes.NewReader(marshal(t, contents())))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.BOMFormat != "CycloneDX" || doc.SpecVersion != "1.6" || doc.Version != 1 || doc.Metadata.Timestamp != "2023-11-14T22:13:20Z" || doc.Metadata.Component.Version != "0123abc" {
		t.Errorf("head: %+v", doc)
	}
	// RFC 9562: version 8 and the variant 10x.
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(doc.SerialNumber) {
		t.Errorf("serial number %s", doc.SerialNumber)
	}
	var got, refs []string
	for _, c := range doc.Components {
		got = append(got, fmt.Sprintln(c.Type, c.Name, c.Version, c.PURL, c.Hashes, c.Properties))
		refs = append(refs, c.Ref)
	}
	want := []string{
		"operating-system linux 6.12.117 pkg:deb/debian/linux-source-6.12@6.12.117-1~deb12u1?arch=all [{SHA-256 " + strings.Repeat("a", 64) + "}] []\n",
		"library example.org/new v1.1.0 pkg:golang/example.org/new@v1.1.0 [] [{cloister:go.sum h1:c=}]\n",
		"library github.com/google/flatbuffers v25.12.19+incompatible pkg:golang/github.com/google/flatbuffers@v25.12.19%2Bincompatible [] [{cloister:go.sum h1:a=}]\n",
		"library golang.org/x/sys v0.50.0 pkg:golang/golang.org/x/sys@v0.50.0 [] [{cloister:go.sum h1:b=}]\n",
		"library stdlib go1.26.8 pkg:golang/stdlib@1.26.8 [] []\n",
	}
	if !slices.Equal(got, want) {
		t.Errorf("components\n%s\nwant\n%s", got, want)
	}
	if len(doc.Dependencies) != 1 || !slices.Equal(doc.Dependencies[0].DependsOn, refs) {
		t.Errorf("dependencies %v", doc.Dependencies)
	}
}

// TestSame: same contents, same bytes; any other content, another serial number.
func TestSame(t *testing.T) {
	first := marshal(t, contents())
	if !bytes.Equal(first, marshal(t, contents())) {
		t.Error("two documents of the same contents differ")
	}
	shuffled := contents()
	slices.Reverse(shuffled.Binary.Deps)
	shuffled.Date = shuffled.Date.In(time.FixedZone("", 3600))
	if !bytes.Equal(first, marshal(t, shuffled)) {
		t.Error("the order of modules or the time zone shows")
	}
	serial := regexp.MustCompile(`"serialNumber": "[^"]*"`)
	for name, change := range map[string]func(*sbom.Contents){
		"version": func(c *sbom.Contents) { c.Version = "x" },
		"date":    func(c *sbom.Contents) { c.Date = c.Date.Add(time.Second) },
		"go":      func(c *sbom.Contents) { c.Binary.GoVersion = "go1.26.9" },
		"module":  func(c *sbom.Contents) { c.Binary.Deps[0].Sum = "h1:z=" },
		"kernel":  func(c *sbom.Contents) { c.Kernel.SHA256 = strings.Repeat("b", 64) },
	} {
		c := contents()
		change(&c)
		if other := marshal(t, c); bytes.Equal(serial.Find(first), serial.Find(other)) {
			t.Errorf("%s: the same serial number", name)
		}
	}
}

func TestRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*sbom.Contents)
		want   string
	}{
		"no build information": {func(c *sbom.Contents) { c.Binary = nil }, "no build information"},
		"local module":         {func(c *sbom.Contents) { c.Binary.Deps[0].Sum = "" }, "linked from a directory"},
		"local replacement":    {func(c *sbom.Contents) { c.Binary.Deps[2].Replace = &debug.Module{Path: "../new"} }, "linked from a directory"},
		"twice":                {func(c *sbom.Contents) { c.Binary.Deps = append(c.Binary.Deps, c.Binary.Deps[0]) }, "twice"},
		"many modules":         {func(c *sbom.Contents) { c.Binary.Deps = make([]*debug.Module, 2049) }, "2048 is the limit"},
	} {
		all := contents()
		c.change(&all)
		if b, err := all.Marshal(); err == nil || !strings.Contains(err.Error(), c.want) || b != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
