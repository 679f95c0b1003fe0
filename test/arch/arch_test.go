// Package arch_test holds the import rules as a table, each with its reason,
// and checks them on the transitive imports that the Go tool reports.
package arch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cloisterhq/cloister"

// rule forbids packages (a pattern ending in /... or a name) imports, also
// indirect ones.
type rule struct {
	from   string
	forbid []string
	why    string
}

func ours(paths ...string) []string {
	for i, p := range paths {
		paths[i] = module + "/" + p
	}
	return paths
}

var rules = []rule{
	{"attestation/...", append(ours("enclave/...", "parent/...", "client/...", "sim/...", "proto/...", "internal/envelope"), "google.golang.org/grpc/...", "github.com/aws/...", "github.com/go-jose/..."),
		"other projects import the verifier; it must not drag in ours or an SDK"},
	{"attestation/verifier", ours("attestation/nsm"), "a verifier has no device"},
	{"attestation/policy", ours("attestation/nsm"), "a policy has no device"},
	{"parent/...", ours("enclave/...", "client/...", "sim/...", "internal/envelope", "internal/secret", "attestation/nsm"),
		"the build shows that the host can neither decrypt nor attest"},
	{"enclave/...", append(ours("parent/...", "client/...", "sim/...", "eif/..."), "testing", "os/exec", "net/http/pprof", "github.com/aws/aws-sdk-go-v2/config", "github.com/spf13/cobra"),
		"the measured image holds the enclave and nothing else; no way to start programs or to be inspected"},
	{"client/...", ours("enclave/...", "parent/...", "sim/...", "attestation/nsm"), "a relying party neither serves nor attests"},
	{"sim/nsmsim", ours("enclave/...", "parent/...", "client/..."), "a simulated device knows only the device's interface"},
	{"sim/vhost/...", ours("enclave/...", "parent/...", "client/..."), "a simulated machine carries bytes and knows nobody's"},
	{"sim/kmssim", ours("enclave/...", "parent/...", "client/..."), "simulated KMS decides as KMS does, from the document alone"},
	{"cmd/cloister", ours("enclave/...", "parent/...", "sim/...", "attestation/nsm"), "people's side: their own data and results"},
	{"cmd/cloister-parent", append(ours("enclave/...", "client/...", "sim/...", "internal/envelope", "internal/secret", "attestation/nsm"), "testing"),
		"untrusted host: ciphertext only"},
	{"cmd/cloister-enclave", append(ours("parent/...", "client/...", "sim/...", "eif/..."), "testing", "os/exec", "net/http/pprof", "github.com/aws/aws-sdk-go-v2/config", "gopkg.in/yaml.v3", "go.yaml.in/yaml/v3"),
		"the only program in the image: no simulator, no YAML, no way to start programs"},
	{"cmd/cloister-sim", []string{"testing", "net/http/pprof"}, "simulation is a product feature, not a test"},
	{"image/cpio", ours("enclave/...", "parent/...", "client/...", "sim/..."), "a writer of archives knows nothing of what is in them"},
	{"image/kernel", ours("enclave/...", "parent/...", "client/...", "sim/..."), "the kernel is made from its source alone"},
	{"cmd/cloister", ours("image", "image/kernel", "image/origin"), "people's side reads reference values; it builds no images"},
	{"internal/contract", []string{"go.yaml.in/yaml/v3"}, "the YAML reader is for people's side only"},
	{"internal/bundle", []string{"go.yaml.in/yaml/v3"}, "the enclave reads bundles"},
}

// wireless are the enclave's inner packages: they know no wire forms.
var wireless = []string{"ingest", "query", "record", "store", "sql", "exec", "protect", "state", "audit"}

// table answers all rules, those of the inner packages included.
func table() []rule {
	all := slices.Clone(rules)
	for _, p := range wireless {
		all = append(all, rule{"enclave/" + p, append(ours("proto/...", "enclave/server", "enclave/host"), "google.golang.org/grpc/...", "github.com/apache/arrow-go/..."),
			"wire forms stop at the edge"})
	}
	for _, p := range []string{"enclave/...", "parent/...", "client/...", "attestation/...", "cmd/cloister-enclave", "cmd/cloister-parent"} {
		all = append(all, rule{p, ours("image/..."), "the image's builder runs programs and is part of neither what it builds nor what serves"})
	}
	return append(all,
		rule{"enclave/query", ours("enclave/keyring", "internal/envelope", "enclave/kms"), "the query path never sees a key"},
		rule{"enclave/sql", ours("enclave/store", "enclave/exec", "enclave/record"), "compiling a query can't touch data"})
}

type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	CgoFiles   []string
	Standard   bool
	GoFiles    []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Imports,Deps,CgoFiles,Standard,GoFiles"}, args...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func match(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == prefix || strings.HasPrefix(path, prefix+"/")
	}
	return path == pattern
}

// violations answers every forbidden import of the packages.
func violations(pkgs []pkg, rules []rule) (found []string, unused []rule) {
	for _, r := range rules {
		seen := false
		for _, p := range pkgs {
			if !match(module+"/"+r.from, p.ImportPath) {
				continue
			}
			seen = true
			for _, dep := range p.Deps {
				if slices.ContainsFunc(r.forbid, func(f string) bool { return match(f, dep) }) {
					found = append(found, p.ImportPath+" imports "+dep+": "+r.why)
				}
			}
		}
		if !seen {
			unused = append(unused, r)
		}
	}
	return found, unused
}

func TestImports(t *testing.T) {
	found, unused := violations(list(t, "./..."), table())
	for _, v := range found {
		t.Error(v)
	}
	for _, r := range unused {
		t.Errorf("no package matches the rule for %s", r.from)
	}
}

// TestRulesBite seeds one violation for every rule and demands that it is found.
func TestRulesBite(t *testing.T) {
	for _, r := range table() {
		for _, f := range r.forbid {
			from := module + "/" + strings.TrimSuffix(r.from, "/...")
			seeded := pkg{ImportPath: from, Deps: []string{strings.TrimSuffix(f, "/...")}}
			if found, _ := violations([]pkg{seeded}, []rule{r}); len(found) == 0 {
				t.Errorf("%s importing %s goes unnoticed", from, f)
			}
		}
	}
}

// TestSimulationIsApart checks who may link sim/: cmd/cloister-sim and sim itself.
func TestSimulationIsApart(t *testing.T) {
	for _, p := range list(t, "./...") {
		rel := strings.TrimPrefix(p.ImportPath, module+"/")
		if strings.HasPrefix(rel, "sim/") || strings.HasPrefix(rel, "test/") || rel == "cmd/cloister-sim" {
			continue
		}
		for _, dep := range p.Deps {
			if match(module+"/sim/...", dep) {
				t.Errorf("%s links %s: simulation is a binary of its own", rel, dep)
			}
		}
	}
}

// TestNoCgo checks every package of the module and all that it links.
func TestNoCgo(t *testing.T) {
	for _, p := range list(t, "-deps", "./...") {
		if !p.Standard && len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
	}
}
