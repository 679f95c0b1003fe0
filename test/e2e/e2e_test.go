// Package e2e_test runs the real binaries as their users would: scripts in
// testdata, a deployment that the repository has never seen, and kills at
// random moments.
package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// bin is the directory with the binaries that all tests run.
var bin string

func TestMain(m *testing.M) {
	os.Exit(build(m))
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cloister-e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir+"/", "./cmd/...")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	bin = dir
	return m.Run()
}

func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "cloister-sim"), "demo", "--bin", bin, "--data", filepath.Join("..", "data"))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.HasSuffix(out, []byte("\ndemo: ok\n")) {
		t.Errorf("the last line isn't `demo: ok`:\n%s", out)
	}
}

// TestScripts runs the txtar scripts. Each gets binaries on its PATH, the
// repository's test data in $DATA, and a deployment of its own if it starts one.
func TestScripts(t *testing.T) {
	data, err := filepath.Abs(filepath.Join("..", "data"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("DATA", data)
			env.Setenv("STATE", filepath.Join(env.WorkDir, "state"))
			env.Setenv("CLOISTER_CONTEXT", filepath.Join(env.WorkDir, "state", "context.json"))
			env.Defer(func() { down(filepath.Join(env.WorkDir, "state")) })
			return nil
		},
		Cmds: submitCommands(),
	})
}

// exits runs a command and demands its exit code: exits CODE COMMAND [ARG…].
// Its output is what stdout and stderr then look at.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
}

// kill9 kills a process of the script's deployment and waits until another one
// stands in its place: kill9 ROLE.
func kill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill9 ROLE")
	}
	ts.Check(killRole(ts.Getenv("STATE"), args[0]))
}

// killRole kills a role's process and waits for its successor.
func killRole(state, role string) error {
	file := filepath.Join(state, "run", role+".pid")
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscan(string(old), &pid); err != nil || pid <= 1 {
		return fmt.Errorf("%s holds no process id", file)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for range 1000 {
		if now, err := os.ReadFile(file); err == nil && !bytes.Equal(now, old) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("the %s wasn't started again", role)
}

// down ends a deployment, if there is one.
func down(state string) {
	if _, err := os.Stat(state); err == nil {
		_ = exec.Command(filepath.Join(bin, "cloister-sim"), "down", "--state", state).Run()
	}
}

// deployment is one that a test runs.
type deployment struct {
	t     *testing.T
	state string
}

// up starts a deployment from a directory with cloister.yaml.
func up(t *testing.T, config string) *deployment {
	t.Helper()
	d := &deployment{t: t, state: filepath.Join(t.TempDir(), "state")}
	t.Cleanup(func() { down(d.state) })
	d.run(0, "cloister-sim", "up", "--config", config, "--state", d.state)
	return d
}

// run runs a command, demands its exit code, and answers what it printed.
func (d *deployment) run(code int, name string, args ...string) (stdout, stderr string) {
	d.t.Helper()
	cmd := exec.CommandContext(d.t.Context(), filepath.Join(bin, name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = []string{"CLOISTER_CONTEXT=" + filepath.Join(d.state, "context.json"), "HOME=" + d.state}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		d.t.Fatalf("%s %s: exit code %d, not %d\n%s%s%s", name, strings.Join(args, " "), got, code, out.String(), errs.String(), d.log())
	}
	return out.String(), errs.String()
}

// log answers the enclave's last words, for failures.
func (d *deployment) log() string {
	b, err := os.ReadFile(filepath.Join(d.state, "log", "enclave.log"))
	if err != nil {
		return ""
	}
	return "enclave: " + string(b[max(0, len(b)-2000):])
}
