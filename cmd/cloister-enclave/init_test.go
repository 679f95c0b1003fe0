package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestInit runs the command as PID 1 of namespaces of its own, where it isn't
// an image's: it can't make the machine ready, says so in fixed phrases, and
// restarts it, which ends the namespace as by SIGHUP (reboot(2)).
func TestInit(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	id, group := os.Getuid(), os.Getgid()
	if id == 0 {
		id, group = 65534, 65534 // not even the files of the machine's root
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "--simulate")
	cmd.Args[0] = "cloister-enclave"
	cmd.Env = []string{"CLOISTER_PROFILE=simulation", "GOTRACEBACK=crash"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: id, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: group, Size: 1}},
		Credential:  &syscall.Credential{NoSetGroups: true}, // 0, as mapped
	}
	out, err := cmd.CombinedOutput()
	ended, ran := errors.AsType[*exec.ExitError](err)
	if !ran {
		t.Skipf("no user namespaces here: %v", err)
	}
	if status := ended.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGHUP {
		t.Errorf("ended with %v, not by a restart", ended)
	}
	const want = "cloister-enclave: stopped\ncloister-enclave: because: the machine can't be made ready\n"
	if string(out) != want {
		t.Errorf("said %q, want %q", out, want)
	}
}
