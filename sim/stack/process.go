package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// supervisor is the process that keeps the others running.
	supervisor = "supervisor"
	// stopWait is how long a process has to end by itself.
	stopWait = 3 * time.Second
	// restartWait grows from the first to the second value while a process
	// keeps dying.
	restartWait    = 200 * time.Millisecond
	restartWaitMax = 5 * time.Second
	// steady is how long a process must run for its restart wait to shrink again.
	steady = 10 * time.Second
)

// command prepares `cloister-sim run ROLE --state DIR` with its log file.
func (l Layout) command(role string) (*exec.Cmd, *os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("stack: %w", err)
	}
	log, err := os.OpenFile(l.Log(role), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("stack: %w", err)
	}
	cmd := exec.Command(self, "run", role, "--state", l.dir)
	// The enclave's environment is empty on Nitro, and nothing of ours reads one.
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	return cmd, log, nil
}

// Supervise starts the four processes and starts each again when it ends,
// until ctx does. It writes their process ids under run/.
func Supervise(ctx context.Context, l Layout) error {
	f, err := l.loadFacts()
	if err != nil {
		return err
	}
	roles := f.roles()
	if err := l.writePID(supervisor, os.Getpid()); err != nil {
		return err
	}
	defer os.Remove(l.pid(supervisor))
	done := make(chan error, len(roles))
	for _, role := range roles {
		go func() { done <- l.sustain(ctx, role) }()
	}
	var all error
	for range roles {
		all = errors.Join(all, <-done)
	}
	return all
}

// sustain runs one process again and again until ctx ends.
func (l Layout) sustain(ctx context.Context, role string) error {
	wait := restartWait
	for ctx.Err() == nil {
		started := time.Now()
		if err := l.once(ctx, role); err != nil {
			return err
		}
		if time.Since(started) > steady {
			wait = restartWait
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, restartWaitMax)
	}
	return nil
}

// once runs a process until it ends, or ends it with ctx.
func (l Layout) once(ctx context.Context, role string) error {
	cmd, log, err := l.command(role)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("stack: start %s: %w", role, err)
	}
	if err := l.writePID(role, cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopWait):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	_ = os.Remove(l.pid(role))
	return nil
}

// detach starts the supervisor in a session of its own, so that it outlives
// the command that called `up`.
func (l Layout) detach() error {
	cmd, log, err := l.command(supervisor)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("stack: start the supervisor: %w", err)
	}
	return cmd.Process.Release()
}

func (l Layout) writePID(role string, pid int) error {
	return write(l.pid(role), []byte(strconv.Itoa(pid)+"\n"))
}

// PID answers the process id of a role that runs now, or 0. A stale file of a
// process that died, whose number another program has now, counts as none.
func (l Layout) PID(role string) int {
	b, err := os.ReadFile(l.pid(role))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0
	}
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || !strings.Contains(string(line), "\x00run\x00"+role+"\x00--state\x00"+l.dir+"\x00") {
		return 0
	}
	return pid
}

// Down ends every process of the deployment. State stays.
func Down(ctx context.Context, l Layout) error {
	if _, err := os.Stat(l.dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("stack: %s isn't there", l.dir)
	}
	for _, role := range append([]string{supervisor, VM}, Roles()...) {
		if err := l.end(ctx, role); err != nil {
			return err
		}
	}
	return nil
}

// end asks a process to stop and kills it when it doesn't.
func (l Layout) end(ctx context.Context, role string) error {
	pid := l.PID(role)
	if pid == 0 {
		return nil
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	deadline := time.Now().Add(2 * stopWait)
	for l.PID(role) == pid {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	_ = os.Remove(l.pid(role))
	return nil
}
