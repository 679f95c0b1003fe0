// Package fleet runs the real processes of one simulated deployment under a
// test's own hands: each is started, killed and watched alone, without a
// supervisor that would start it again. Everything is as `cloister-sim up`
// leaves it; only the way between parent and enclave may lead through a Wire.
// It is trusted by nobody and linked by tests alone.
package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/sim/stack"
)

// Patience is how long something that must happen may take.
const Patience = 30 * time.Second

// poll is the pause between two looks at something that is to happen.
const poll = 5 * time.Millisecond

// Build builds cloister and cloister-sim into a directory, as `make build` does.
func Build(dir string) error {
	root, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("fleet: go env: %w", err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir+"/", "./cmd/cloister", "./cmd/cloister-sim")
	cmd.Dir = filepath.Dir(string(bytes.TrimSpace(root)))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fleet: go build: %w\n%s", err, out)
	}
	return nil
}

// Fleet is one deployment. Its methods end the test when something can't be
// done that must be possible.
type Fleet struct {
	t      testing.TB
	bin    string
	layout stack.Layout
	// Env is the environment of processes that are started from now on; nil is
	// the empty one that they have in production.
	Env []string
	// Under names for a role the command that its process is started under, which
	// must become it; nil is none.
	Under map[string][]string
	// Enclave is the state directory that the enclave is started with. It is
	// the deployment's, but for a Wire.
	Enclave string

	mu      sync.Mutex
	running map[string]*process
}

type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// New makes a deployment from a directory with cloister.yaml, and starts none of
// its processes. They end with the test.
func New(t testing.TB, bin, config string) *Fleet {
	t.Helper()
	layout, err := stack.At(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{t: t, bin: bin, layout: layout, Enclave: layout.Dir(), running: map[string]*process{}}
	t.Cleanup(func() {
		f.Close()
		f.down() // what provisioning left, had it failed
	})
	f.Provision(config)
	return f
}

// Provision makes the deployment anew from another configuration; its state
// stays. No process may run.
func (f *Fleet) Provision(config string) {
	f.t.Helper()
	code, out, errs := Run(f.t, exec.CommandContext(f.t.Context(), filepath.Join(f.bin, "cloister-sim"), "up", "--config", config, "--state", f.layout.Dir()))
	if code > 1 { // 1 says that the enclave isn't ready, which may be what is wanted
		f.t.Fatalf("cloister-sim up: exit code %d\n%s%s", code, out, errs)
	}
	f.down()
}

// down ends what `cloister-sim up` has started.
func (f *Fleet) down() {
	out, err := exec.Command(filepath.Join(f.bin, "cloister-sim"), "down", "--state", f.layout.Dir()).CombinedOutput()
	if err != nil {
		f.t.Errorf("cloister-sim down: %v\n%s", err, out)
	}
}

// Layout names the deployment's files.
func (f *Fleet) Layout() stack.Layout { return f.layout }

// Start starts processes, in the order in which they are named, or all.
func (f *Fleet) Start(roles ...string) {
	f.t.Helper()
	if len(roles) == 0 {
		roles = stack.Roles()
	}
	for _, role := range roles {
		if err := f.start(role); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *Fleet) start(role string) error {
	state := f.layout.Dir()
	if role == stack.Enclave {
		state = f.Enclave
	}
	log, err := os.OpenFile(f.layout.Log(role), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append(slices.Clone(f.Under[role]), filepath.Join(f.bin, "cloister-sim"), "run", role, "--state", state)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{}, f.Env...)
	cmd.Dir = f.layout.Dir()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is the test's doing
		close(p.ended)
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[role] = p
	return nil
}

// PID answers the process id of a role that was started and hasn't ended, or 0.
func (f *Fleet) PID(role string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.running[role]
	if p == nil {
		return 0
	}
	select {
	case <-p.ended:
		return 0
	default:
		return p.cmd.Process.Pid
	}
}

// Kill sends a signal to a process and waits until it has ended. One that
// doesn't run is left alone.
func (f *Fleet) Kill(role string, signal syscall.Signal) {
	f.mu.Lock()
	p := f.running[role]
	delete(f.running, role)
	f.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(Patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		f.t.Errorf("%s didn't end at signal %d", role, signal)
	}
}

// Ended waits until a process has ended by itself, and forgets it.
func (f *Fleet) Ended(role string) {
	f.t.Helper()
	f.mu.Lock()
	p := f.running[role]
	delete(f.running, role)
	f.mu.Unlock()
	if p == nil {
		return
	}
	select {
	case <-p.ended:
	case <-time.After(Patience):
		_ = p.cmd.Process.Kill()
		f.t.Fatalf("%s didn't end by itself", role)
	}
}

// Close kills all processes.
func (f *Fleet) Close() {
	for _, role := range slices.Backward(stack.Roles()) {
		f.Kill(role, syscall.SIGKILL)
	}
}

// Status says what the parent says of the enclave.
func (f *Fleet) Status(ctx context.Context) (phase, reason string) {
	s, err := stack.Inspect(ctx, f.layout)
	if err != nil {
		return "", err.Error()
	}
	return s.Phase, s.Reason
}

// Ready waits until the enclave is ready.
func (f *Fleet) Ready() {
	f.t.Helper()
	f.Await("ready")
}

// Await waits until the enclave is in a phase, and answers the reason.
func (f *Fleet) Await(phase string) string {
	f.t.Helper()
	var last, reason string
	if Eventually(func() bool {
		last, reason = f.Status(f.t.Context())
		return last == phase
	}) {
		return reason
	}
	f.t.Fatalf("the enclave is %q (%s), not %q\n%s", last, reason, phase, f.layout.LogTail(stack.Enclave, 2000))
	return ""
}

// Eventually says whether something becomes true in good time.
func Eventually(is func() bool) bool {
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(poll) {
		if is() {
			return true
		}
	}
	return is()
}

// Command prepares the client's command in a context of its own.
func (f *Fleet) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(f.bin, "cloister"), args...)
	cmd.Env = []string{"CLOISTER_CONTEXT=" + f.layout.Context(), "HOME=" + f.layout.Dir()}
	return cmd
}

// Client runs the client's command and answers its exit code and what it
// printed.
func (f *Fleet) Client(args ...string) (code int, stdout, stderr string) {
	f.t.Helper()
	return Run(f.t, f.Command(f.t.Context(), args...))
}

// Run runs a command and answers its exit code and what it printed.
func Run(t testing.TB, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
