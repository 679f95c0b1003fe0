package conformance

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Files that most vectors share.
const (
	mainRoot   = "root.pem"
	mainPolicy = "policy.json"
	goodFile   = "good.bin"
)

// set collects vectors and their files.
type set struct {
	pki     pki
	vectors []Vector
	files   map[string][]byte
}

func newSet() *set {
	s := &set{pki: newPKI("main"), files: make(map[string][]byte)}
	s.files[mainRoot] = s.pki.rootPEM()
	s.files[goodFile] = newDocument(s.pki).encode()
	s.files[mainPolicy] = newPolicy(s.pki).json()
	return s
}

func (s *set) manifest() (*Manifest, map[string][]byte) {
	slices.SortFunc(s.vectors, func(a, b Vector) int {
		return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Name, b.Name))
	})
	m := &Manifest{Schema: Schema, Vectors: s.vectors}
	s.files["manifest.json"] = m.lines()
	return m, s.files
}

// lines writes the manifest with one line for each vector.
func (m *Manifest) lines() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"schema\": %q, \"vectors\": [\n", m.Schema)
	for i, v := range m.Vectors {
		b.Write(must(json.Marshal(v)))
		if i < len(m.Vectors)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

// add takes a vector and its document. What it leaves open has the usual value.
func (s *set) add(v Vector, document []byte) {
	if v.Root == "" {
		v.Root = mainRoot
	}
	if v.Policy == "" {
		v.Policy = mainPolicy
	}
	if v.At == nil {
		v.At = at(0)
	}
	if v.EntryPoints == nil {
		v.EntryPoints = []string{Library, CLI, KMS}
	}
	v.Document = fmt.Sprintf("vectors/%02d-%s.bin", v.Row, v.Name)
	if bytes.Equal(document, s.files[goodFile]) {
		v.Document = goodFile
	}
	s.put(v, v.Document, document)
}

func (s *set) put(v Vector, file string, content []byte) {
	if slices.ContainsFunc(s.vectors, func(o Vector) bool { return o.Name == v.Name }) {
		panic("conformance: two vectors " + v.Name)
	}
	s.files[file] = content
	s.vectors = append(s.vectors, v)
}

// refuse adds a change of the good document.
func (s *set) refuse(row int, name, about, class string, change func(*document)) {
	d := newDocument(s.pki)
	change(d)
	s.add(Vector{Row: row, Name: name, About: about, Class: class}, d.encode())
}

// refuseField is refuse for a refusal that names a field.
func (s *set) refuseField(row int, name, about, class, field string, change func(*document)) {
	s.refuse(row, name, about, class, change)
	s.last().Field = field
}

// last is the vector that was added last.
func (s *set) last() *Vector { return &s.vectors[len(s.vectors)-1] }

// refuseChain adds a document of a changed chain.
func (s *set) refuseChain(row int, name, about, class string, change func(pki)) {
	p := newPKI("main")
	change(p)
	s.add(Vector{Row: row, Name: name, About: about, Class: class}, newDocument(p).encode())
}

// at is the time of verification, so much later than usual.
func at(later time.Duration) *time.Time {
	t := judged().Add(later)
	return &t
}

// release is a release of a policy.
type release struct {
	Name      string            `json:"name"`
	PCRs      map[string]string `json:"pcrs"`
	NotBefore string            `json:"not_before,omitempty"`
	NotAfter  string            `json:"not_after,omitempty"`
}

// policy is a policy file to be made.
type policy struct {
	Version     int       `json:"version"`
	Environment string    `json:"environment"`
	Kind        string    `json:"kind"`
	Roots       []string  `json:"roots"`
	Bundle      string    `json:"bundle,omitempty"`
	Releases    []release `json:"releases"`
	MaxAge      string    `json:"max_age,omitempty"`
	AllowDebug  bool      `json:"allow_debug"`
}

// newPolicy accepts the good document of a chain.
func newPolicy(p pki) *policy {
	return &policy{
		Version: 1, Environment: "other", Kind: "nitro-enclave", Roots: []string{p.fingerprint()}, Bundle: "required",
		Releases: []release{{Name: "good", PCRs: written(goodPCRs(), 0, 1, 2, 16)}}, MaxAge: "5m",
	}
}

func (p *policy) json() []byte { return append(must(json.MarshalIndent(p, "", " ")), '\n') }

// written are some of the registers as policies name them.
func written(all map[int][]byte, indexes ...int) map[string]string {
	out := make(map[string]string)
	for _, i := range indexes {
		out[strconv.Itoa(i)] = hex.EncodeToString(all[i])
	}
	return out
}
