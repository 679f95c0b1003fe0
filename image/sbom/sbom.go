// Package sbom writes the bill of materials of an enclave image in CycloneDX
// 1.6 (ECMA-424, second edition): the kernel's source package, the Go standard
// library and every module that the enclave's binary links. It trusts the
// binary's own build information. The same image gives the same bytes.
package sbom

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Contents is what an image is made of.
type Contents struct {
	// Version is the image's, such as its commit.
	Version string
	// Date is SOURCE_DATE_EPOCH.
	Date time.Time
	// Binary is the build information of the enclave's binary.
	Binary *debug.BuildInfo
	// Kernel is the source package of the kernel.
	Kernel Package
}

// Package is a Debian source package.
type Package struct {
	// Name and Version are Debian's, Release the version of what is in it.
	Name, Version, Release string
	// SHA256 is that of the package's file, in hexadecimal digits.
	SHA256 string
}

// maxModules is how many modules a binary may have.
const maxModules = 2048

// bom is the document, as far as it is used here.
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber,omitempty"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Hashes     []hash     `json:"hashes,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// Marshal writes the document. Its serial number is derived from everything
// else in it.
func (c Contents) Marshal() ([]byte, error) {
	parts, err := c.components()
	if err != nil {
		return nil, err
	}
	const image = "image"
	out := bom{
		Format: "CycloneDX", Spec: "1.6", Version: 1, Components: parts,
		Metadata: metadata{
			Timestamp: c.Date.UTC().Format(time.RFC3339),
			Component: component{Type: "firmware", Ref: image, Name: "cloister enclave image", Version: c.Version},
		},
	}
	all := dependency{Ref: image}
	for _, p := range parts {
		all.DependsOn = append(all.DependsOn, p.Ref)
	}
	out.Dependencies = []dependency{all}
	plain, err := out.marshal()
	if err != nil {
		return nil, err
	}
	out.Serial = serial(plain)
	return out.marshal()
}

func (b bom) marshal() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(b); err != nil {
		return nil, fmt.Errorf("sbom: %w", err)
	}
	return out.Bytes(), nil
}

// serial is a version 8 UUID (RFC 9562, section 5.8) out of a digest.
func serial(b []byte) string {
	d := sha256.Sum256(b)
	d[6], d[8] = d[6]&0x0f|0x80, d[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", d[:4], d[4:6], d[6:8], d[8:10], d[10:16])
}

// components are the kernel, the standard library and the modules, in the order
// of their references.
func (c Contents) components() ([]component, error) {
	if c.Binary == nil {
		return nil, errors.New("sbom: the binary has no build information")
	}
	if len(c.Binary.Deps) > maxModules {
		return nil, fmt.Errorf("sbom: %d modules, %d is the limit", len(c.Binary.Deps), maxModules)
	}
	kernel := "pkg:deb/debian/" + c.Kernel.Name + "@" + url.PathEscape(c.Kernel.Version) + "?arch=all"
	standard := "pkg:golang/stdlib@" + strings.TrimPrefix(c.Binary.GoVersion, "go")
	all := []component{
		{Type: "operating-system", Ref: kernel, Name: "linux", Version: c.Kernel.Release, PURL: kernel, Hashes: []hash{{"SHA-256", c.Kernel.SHA256}}},
		{Type: "library", Ref: standard, Name: "stdlib", Version: c.Binary.GoVersion, PURL: standard},
	}
	for _, m := range c.Binary.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if m.Version == "" || m.Sum == "" {
			return nil, fmt.Errorf("sbom: module %s is linked from a directory, so that nobody could say what it was", m.Path)
		}
		purl := "pkg:golang/" + m.Path + "@" + url.QueryEscape(m.Version)
		all = append(all, component{
			Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl,
			Properties: []property{{"cloister:go.sum", m.Sum}},
		})
	}
	slices.SortFunc(all, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	for i := 1; i < len(all); i++ {
		if all[i].Ref == all[i-1].Ref {
			return nil, fmt.Errorf("sbom: %s stands twice", all[i].Ref)
		}
	}
	return all, nil
}
