// Package conformance holds test vectors for verifiers of Nitro attestation
// documents: documents under a test PKI with the profile of the real one, a good
// one and what can be wrong with it, one thing at a time, each with the class of
// the refusal that is expected. The files in testdata are the vectors, for
// programs in any language; this package makes them, always the same bytes, and
// shares no code with the verifier that they test.
//
// Nothing here is trusted: the keys are derived from labels in this package.
package conformance

import (
	"bytes"
	_ "embed" // the recipient's public key
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Schema names the form of the manifest.
const Schema = "cloister.conformance/v1"

// Entry points that a vector applies to.
const (
	// Library is attestation and its packages.
	Library = "library"
	// CLI is `cloister verify --document FILE --at T --policy P --trust-root R`.
	CLI = "cli"
	// KMS is the attestation step of the simulated KMS, which has no policy.
	KMS = "kmssim"
)

// Manifest lists all vectors; testdata/manifest.json is one.
type Manifest struct {
	Schema  string   `json:"schema"`
	Vectors []Vector `json:"vectors"`
}

// Vector is one input and the answer to it. Files are relative to the manifest.
type Vector struct {
	// Name is unique and says what is special.
	Name string `json:"name"`
	// Row is the row of the checklist in testdata/README.md.
	Row int `json:"row"`
	// About is one sentence for people.
	About string `json:"about"`
	// Document is the file with the evidence. Empty for a policy that must not
	// load.
	Document string `json:"document,omitempty"`
	// At is the time of verification, RFC 3339.
	At *time.Time `json:"at,omitempty"`
	// Root and Policy are the files that the verifier is given.
	Root   string `json:"root"`
	Policy string `json:"policy"`
	// Accept says whether the document is to be accepted.
	Accept bool `json:"accept"`
	// Class is the class of the refusal; "policy" when the policy must not load.
	Class string `json:"class,omitempty"`
	// PCR is the register that the refusal names, if it names one.
	PCR *int `json:"pcr,omitempty"`
	// Field is the document's field that the refusal names, if it names one.
	Field string `json:"field,omitempty"`
	// EntryPoints are the programs that the vector applies to.
	EntryPoints []string `json:"entry_points"`
}

// Directory is where the vectors lie, relative to this package.
const Directory = "testdata"

// Load reads the manifest in a directory.
func Load(directory string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(directory, "manifest.json"))
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	m := new(Manifest)
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	if m.Schema != Schema {
		return nil, fmt.Errorf("conformance: the manifest is of the form %q", m.Schema)
	}
	return m, nil
}

// Generate makes every vector: the manifest and the content of each file by its
// name.
func Generate() (*Manifest, map[string][]byte) {
	s := newSet()
	s.messages()
	s.signatures()
	s.payloads()
	s.values()
	s.chains()
	s.profiles()
	s.times()
	s.measurements()
	s.policies()
	s.inputs()
	s.accepted()
	return s.manifest()
}

//go:embed testdata/recipient.pem
var recipientPEM []byte

// recipient is an RSA key of 2048 bits, as documents for KMS hold one. Nobody
// has its private half.
func recipient() []byte {
	block, _ := pem.Decode(recipientPEM)
	return block.Bytes
}
