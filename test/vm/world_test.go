// Package vm_test boots images in virtual machines: a probe that looks at the
// machine from within, and the product's image as its users run it. Without
// -vm-image, which `make e2e-vm` gives, every test here is skipped.
package vm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/sim/vm"
	"github.com/cloisterhq/cloister/sim/vm/qemu"
)

var (
	imageFlag = flag.String("vm-image", "", "enclave image file; without it nothing is tested")
	binFlag   = flag.String("vm-bin", filepath.Join("..", "..", "bin"), "directory with the built binaries")
	boots     = flag.Int("vm-boots", 3, "how many boots in a row TestBoots makes")
)

// hang is longer than anything here takes that isn't stuck.
const hang = 5 * time.Minute

// image answers the image under test, or skips.
func image(t *testing.T) string {
	t.Helper()
	if *imageFlag == "" {
		t.Skip("no -vm-image: `make e2e-vm` builds an image and runs this")
	}
	return *imageFlag
}

// interpreter answers QEMU, or skips where there can't be one.
func interpreter(t *testing.T) *qemu.Program {
	t.Helper()
	cache, err := qemu.CacheDir()
	if err != nil {
		t.Skip(err)
	}
	p, err := qemu.Prepare(t.Context(), cache, func(line string) { t.Log(line) })
	if errors.Is(err, qemu.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// deployment is one with the image in a virtual machine.
type deployment struct {
	t      *testing.T
	state  string
	layout stack.Layout
}

// start brings a deployment up, and takes it down with the test.
func start(t *testing.T, config string) *deployment {
	t.Helper()
	d := &deployment{t: t, state: filepath.Join(t.TempDir(), "state")}
	var err error
	if d.layout, err = stack.At(d.state); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Stat(d.state); err == nil {
			_ = exec.Command(filepath.Join(*binFlag, "cloister-sim"), "vm", "down", "--state", d.state).Run()
		}
	})
	d.up("--image", image(t), "--config", config)
	return d
}

func (d *deployment) up(args ...string) {
	d.t.Helper()
	d.run(0, "cloister-sim", append([]string{"vm", "up", "--qemu", interpreter(d.t).Path(), "--state", d.state}, args...)...)
}

// command prepares one of the binaries.
func (d *deployment) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(*binFlag, name), args...)
	cmd.Env = []string{"CLOISTER_CONTEXT=" + d.layout.Context(), "HOME=" + d.state}
	return cmd
}

// run runs a binary, demands its exit code, and answers what it printed.
func (d *deployment) run(code int, name string, args ...string) (stdout, stderr string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), hang)
	defer cancel()
	cmd := d.command(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		d.t.Fatalf("%s %s: exit code %d, not %d\n%s%s%s", name, strings.Join(args, " "), got, code, out.String(), errs.String(), d.words())
	}
	return out.String(), errs.String()
}

// words are the last ones of the machine, for failures.
func (d *deployment) words() string {
	console, _ := vm.ReadConsole(d.layout.Console())
	return "vm: " + d.layout.LogTail(stack.VM, 1000) + "console: " + console[max(0, len(console)-2000):]
}

// verify is what a relying party does.
func (d *deployment) verify() *attls.Peer {
	d.t.Helper()
	config, err := client.Load(d.layout.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	c, err := client.New(config)
	if err != nil {
		d.t.Fatal(err)
	}
	peer, err := c.Verify(d.t.Context())
	if err != nil {
		d.t.Fatalf("%v\n%s", err, d.words())
	}
	return peer
}

// status is what `cloister-sim vm status` says.
func (d *deployment) status(code int) *stack.Status {
	d.t.Helper()
	out, _ := d.run(code, "cloister-sim", "vm", "status", "--state", d.state, "-o", "json")
	s := &stack.Status{}
	if err := json.Unmarshal([]byte(out), s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// event is a line of the virtual machine's log.
type event struct {
	Msg      string        `json:"msg"`
	After    time.Duration `json:"after"`
	Answered bool          `json:"answered"`
}

// events are all lines of the virtual machine's log that are JSON.
func (d *deployment) events() (all []event) {
	d.t.Helper()
	b, err := os.ReadFile(d.layout.Log(stack.VM))
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
