// Package stack runs a simulated deployment: parent, enclave, KMS and issuer as
// processes of their own on one host, with unix sockets for vsock. In tier one
// the enclave is a process like the others; in tier two it is a virtual machine
// with an image file. The package holds test data and test keys only, and is
// linked by cloister-sim alone.
package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// The processes of a deployment, in the order in which they start. Tier one has
// Enclave, tier two VM in its place.
const (
	KMS     = "kms"
	Issuer  = "issuer"
	Parent  = "parent"
	Enclave = "enclave"
	VM      = "vm"
)

// Roles are all processes that a deployment of tier one runs.
func Roles() []string { return []string{KMS, Issuer, Parent, Enclave} }

// roles are all processes that this deployment runs.
func (f *facts) roles() []string {
	all := Roles()
	if f.Machine != nil {
		all[len(all)-1] = VM
	}
	return all
}

// Layout names the files of one deployment under its state directory.
type Layout struct{ dir string }

// At answers the layout of a state directory.
func At(dir string) (Layout, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Layout{}, fmt.Errorf("stack: %w", err)
	}
	return Layout{abs}, nil
}

// Dir is the state directory.
func (l Layout) Dir() string { return l.dir }

// Context is the file that clients read: CLOISTER_CONTEXT.
func (l Layout) Context() string { return l.file("context.json") }

// Bundle is the deployment's bundle.
func (l Layout) Bundle() string { return l.file("bundle.cbor") }

// Sockets is the directory of the vsock stand-ins.
func (l Layout) Sockets() string { return l.file("vsock") }

// ParentDir is the parent's own directory: ciphertext only.
func (l Layout) ParentDir() string { return l.file("parent") }

// Events is the KMS simulator's event log, one JSON object a line.
func (l Layout) Events() string { return l.sim("kms-events.jsonl") }

// Log is where a process writes its log.
func (l Layout) Log(role string) string { return filepath.Join(l.dir, "log", role+".log") }

// Console is where a virtual machine's serial line is kept.
func (l Layout) Console() string { return filepath.Join(l.dir, "log", "console.log") }

func (l Layout) file(name string) string { return filepath.Join(l.dir, name) }
func (l Layout) sim(name string) string  { return filepath.Join(l.dir, "sim", name) }
func (l Layout) pid(role string) string  { return filepath.Join(l.dir, "run", role+".pid") }

// prepare makes the directories; only their owner may enter.
func (l Layout) prepare() error {
	for _, dir := range []string{"", "sim", "run", "log", "vsock", "parent"} {
		if err := os.MkdirAll(filepath.Join(l.dir, dir), 0o700); err != nil {
			return fmt.Errorf("stack: %w", err)
		}
	}
	return nil
}

// facts are what a deployment keeps from one start to the next: addresses and
// keys that the bundle names, so that it stays the same bundle.
type facts struct {
	Deployment string            `json:"deployment"`
	KMS        string            `json:"kms"`
	Issuer     string            `json:"issuer"`
	Gateway    string            `json:"gateway"`
	Attested   string            `json:"attested"`
	Admin      string            `json:"admin"`
	StateKey   string            `json:"state_key"`
	Keys       map[string]string `json:"keys"`
	// Config is the directory of cloister.yaml that the deployment was made from.
	Config string `json:"config"`
	// ImageLabel makes another image of the enclave, for this start only.
	ImageLabel string `json:"image_label,omitempty"`
	// Machine is the virtual machine of tier two; nil in tier one.
	Machine *Machine `json:"machine,omitempty"`
	// ServeBundle is another bundle that the parent hands to the enclave, for this start only.
	ServeBundle string `json:"serve_bundle,omitempty"`
}

// loadFacts reads the facts of an earlier start; there may be none.
func (l Layout) loadFacts() (*facts, error) {
	f := &facts{Keys: map[string]string{}}
	b, err := os.ReadFile(l.sim("facts.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("stack: %s: %w", l.sim("facts.json"), err)
	}
	return f, nil
}

func (l Layout) saveFacts(f *facts) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	return write(l.sim("facts.json"), append(b, '\n'))
}

// write replaces a file that only its owner may read.
func write(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	return nil
}

// addresses picks loopback ports that are free now, once for a deployment.
func (f *facts) addresses() error {
	for _, address := range []*string{&f.KMS, &f.Issuer, &f.Gateway, &f.Attested, &f.Admin} {
		if *address != "" {
			continue
		}
		l, err := listenBelow()
		if err != nil {
			return fmt.Errorf("stack: %w", err)
		}
		defer l.Close()
		*address = l.Addr().String()
	}
	return nil
}

// Ports that a deployment keeps come from below those that systems give to
// connections going out (Linux, ip_local_port_range: from 32768): one of these
// could take a port while its server is being started again.
const (
	lowestPort  = 20000
	highestPort = 32767
)

// listenBelow listens on a loopback port that is free now.
func listenBelow() (l net.Listener, err error) {
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return l, nil
		}
	}
	return nil, err
}
