package stack_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/sim/vm"
)

// qemu is one that answers what is asked before a machine is started.
const qemu = `#!/bin/sh
case "$*" in
--version) echo 'QEMU emulator version 12.0.0' ;;
*) echo 'name "vhost-user-vsock-device"'; echo 'name "vhost-user-test-device"' ;;
esac
`

// world is a state directory and what a machine is made of.
type world struct {
	t                     *testing.T
	state, qemu           string
	unsigned, signed, bad string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	w := &world{t: t, state: at("state"), qemu: at("qemu"), unsigned: at("unsigned.eif"), signed: at("signed.eif"), bad: at("bad.eif")}
	kernel := make([]byte, 2*512+32*16)
	kernel[0x1f1] = 1
	binary.LittleEndian.PutUint32(kernel[0x1f4:], 32)
	copy(kernel[0x202:], "HdrS")
	disks, err := image.Ramdisks([]byte("init"))
	if err != nil {
		t.Fatal(err)
	}
	parts := image.Parts{Kernel: kernel, Release: "6", Ramdisks: disks, Date: time.Unix(0, 0)}
	result, err := parts.Write(t.Context(), w.unsigned)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := image.Development(at("signer"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parts.WriteSigned(t.Context(), w.signed, result, signer); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{w.qemu: qemu, w.bad: "no image"} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// prepare makes a deployment's files from the repository's test data.
func (w *world) prepare(o stack.Options) error {
	o.State, o.Config, o.Out = w.state, filepath.Join("..", "..", "test", "data"), io.Discard
	_, err := stack.Prepare(w.t.Context(), o)
	return err
}

// policy answers the registers that clients accept.
func (w *world) policy() map[string]string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.state, "policy.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	var file struct {
		Releases []struct {
			PCRs map[string]string `json:"pcrs"`
		} `json:"releases"`
	}
	if err := json.Unmarshal(b, &file); err != nil || len(file.Releases) != 1 {
		w.t.Fatalf("%v: %s", err, b)
	}
	return file.Releases[0].PCRs
}

// keyPolicies is what KMS keeps of the keys.
func (w *world) keyPolicies() string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.state, "sim", "kms-state.json"))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// runs answers what the machine would run.
func (w *world) runs() *vm.Image {
	w.t.Helper()
	m, err := vm.Open(w.t.Context(), filepath.Join(w.state, "sim", "image.eif"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { m.Close() })
	return m
}

// TestPoliciesNameTheImage goes from a machine to another image of it, and back
// to tier one.
func TestPoliciesNameTheImage(t *testing.T) {
	w := newWorld(t)
	if err := w.prepare(stack.Options{Machine: &stack.Machine{Image: w.signed, QEMU: w.qemu}}); err != nil {
		t.Fatal(err)
	}
	measured := w.runs().Measured()
	policy := w.policy()
	for i, want := range map[string]string{"0": measured.PCR0.String(), "1": measured.PCR1.String(), "2": measured.PCR2.String(), "8": measured.PCR8.String()} {
		if policy[i] != want {
			t.Errorf("clients accept %s in PCR%s, the image measures %s", policy[i], i, want)
		}
		if !strings.Contains(w.keyPolicies(), want) {
			t.Errorf("no key policy names PCR%s", i)
		}
	}
	if len(policy) != 5 || policy["16"] == "" {
		t.Errorf("clients accept %v", policy)
	}

	// Another image runs than the policies name; machine and image are remembered.
	if err := w.prepare(stack.Options{Machine: &stack.Machine{}, ImageLabel: "other"}); err != nil {
		t.Fatal(err)
	}
	if other := w.runs().Measured(); other.PCR0 == measured.PCR0 {
		t.Error("the label makes no other image")
	}
	if w.policy()["0"] != measured.PCR0.String() {
		t.Error("clients accept the other image")
	}

	// An unsigned image has no signer to name.
	if err := w.prepare(stack.Options{Machine: &stack.Machine{Image: w.unsigned}}); err != nil {
		t.Fatal(err)
	}
	if policy := w.policy(); policy["8"] != "" || policy["0"] != measured.PCR0.String() {
		t.Errorf("clients accept %v", policy)
	}

	if err := w.prepare(stack.Options{}); err != nil {
		t.Fatal(err)
	}
	executable, err := stack.Image("")
	if err != nil {
		t.Fatal(err)
	}
	if policy := w.policy(); policy["0"] != executable.PCR0.String() || policy["8"] != "" {
		t.Errorf("in tier one clients accept %v", policy)
	}
	l, err := stack.At(w.state)
	if err != nil {
		t.Fatal(err)
	}
	if err := stack.Run(t.Context(), l, stack.VM); err == nil {
		t.Error("tier one runs a machine")
	}
}

func TestMachineIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name    string
		machine stack.Machine
		is      error
		says    string
	}{
		{"no image", stack.Machine{QEMU: w.qemu}, nil, "give --image FILE"},
		{"an image that isn't there", stack.Machine{Image: w.bad + ".none", QEMU: w.qemu}, os.ErrNotExist, ""},
		{"a bad image", stack.Machine{Image: w.bad, QEMU: w.qemu}, vm.ErrImage, ""},
		{"a QEMU that isn't there", stack.Machine{Image: w.signed, QEMU: w.qemu + ".none"}, os.ErrNotExist, ""},
		{"a QEMU that isn't one", stack.Machine{Image: w.signed, QEMU: "/bin/false"}, nil, "doesn't run"},
	} {
		err := w.prepare(stack.Options{Machine: &c.machine})
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(w.state, "policy.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a policy was made: %v", err)
	}
}
