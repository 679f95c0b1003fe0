package boot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloisterhq/cloister/enclave/boot"
)

// childVariable names what a child of the test binary does instead of tests.
const childVariable = "CLOISTER_BOOT_CHILD"

// canary must not turn up where the host reads.
const canary = "canary-3d0a"

// children are what a child can do.
var children = map[string]func() error{
	"panic":  func() error { return speak(boot.Silence, func() { panic(canary) }) },
	"error":  func() error { return speak(boot.Silence, func() { panic(errors.New(canary)) }) },
	"hash":   func() error { return speak(boot.Silence, func() { _ = map[any]int{}[[]string{canary}] }) },
	"fatal":  func() error { return speak(boot.Silence, func() { new(sync.Mutex).Unlock() }) },
	"loud":   func() error { return speak(func() error { return nil }, func() { panic(canary) }) },
	"mix":    func() error { return boot.Mix([]byte(canary)) },
	"mount":  mountChild,
	"reap":   reapChild,
	"parent": parentChild,
	"leaf":   func() error { return nil },
}

func TestMain(m *testing.M) {
	f, ok := children[os.Getenv(childVariable)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := f(); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	os.Exit(0)
}

// child prepares a child of the test binary.
func child(ctx context.Context, name string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{childVariable + "=" + name}
	return cmd
}

// soon answers a context in which no child hangs for long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// apart gives a child user, process, mount and network namespaces of its own,
// in which it is root and PID 1 and nothing outside is its own to change.
func apart(cmd *exec.Cmd) {
	id, group := os.Getuid(), os.Getgid()
	if id == 0 {
		id, group = 65534, 65534 // not even the files of the machine's root
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: id, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: group, Size: 1}},
		Credential:  &syscall.Credential{NoSetGroups: true}, // 0, as mapped
	}
}

func TestMounts(t *testing.T) {
	plan := boot.Mounts()
	at := map[string]string{}
	for _, m := range plan {
		at[m.At] = m.Kind
		if m.Flags&unix.MS_NOSUID == 0 || m.Flags&unix.MS_NOEXEC == 0 {
			t.Errorf("%s: something in it could be run", m.At)
		}
		if m.At != "/dev" && m.Flags&unix.MS_NODEV == 0 {
			t.Errorf("%s has devices", m.At)
		}
		if m.At == "/sys" && m.Flags&unix.MS_RDONLY == 0 {
			t.Error("/sys can be written")
		}
	}
	if want := map[string]string{"/proc": "proc", "/sys": "sysfs", "/dev": "devtmpfs"}; !maps.Equal(at, want) || len(plan) != len(want) {
		t.Errorf("%v, want %v", plan, want)
	}
}

// mountChild can't mount /dev, which only the first user namespace's root can,
// and /proc and /sys where nothing of them is covered.
func mountChild() error {
	if os.Getpid() != 1 {
		return errors.New("not PID 1")
	}
	err := boot.Mount()
	if !errors.Is(err, boot.ErrSetup) || !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("mount: %w", err)
	}
	for _, m := range boot.Mounts() {
		if strings.Contains(err.Error(), m.At) {
			return nil // those before it are mounted
		}
		var st unix.Statfs_t
		if err := unix.Statfs(m.At, &st); err != nil || uintptr(st.Flags)&m.Flags != m.Flags {
			return fmt.Errorf("%s has flags %#x, %w", m.At, st.Flags, err)
		}
	}
	return errors.New("the error names no place")
}

func TestMount(t *testing.T) {
	cmd := child(soon(t), "mount")
	apart(cmd)
	out, err := cmd.CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestSettings(t *testing.T) {
	values, optional := boot.Settings()
	if values["/proc/sys/kernel/printk"] != "0" || optional["/proc/sys/kernel/printk"] {
		t.Error("the kernel may print on the console")
	}
	for file := range values {
		if !strings.HasPrefix(file, "/proc/sys/") {
			t.Errorf("%s is no setting", file)
		}
	}
	file := filepath.Join(t.TempDir(), "setting")
	if err := boot.Make(file, "0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a setting that isn't there was made: %v", err)
	}
	if err := os.WriteFile(file, []byte("7"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := boot.Make(file, "0"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "0" {
		t.Errorf("%q, %v", got, err)
	}
}

// speak writes everywhere a program can, silences, and ends in a way of its own.
func speak(silence func() error, end func()) error {
	debug.SetTraceback("none") // as the enclave does
	console, err := boot.Console()
	if err != nil {
		return err
	}
	fmt.Println("before")
	if err := silence(); err != nil {
		return err
	}
	for fd := range 3 {
		_, _ = unix.Write(fd, []byte(canary))
	}
	fmt.Print(canary)
	fmt.Fprint(os.Stderr, canary)
	print(canary)
	fmt.Fprintln(console, "phrase")
	go end()
	select {}
}

// TestSilence holds that the console shows what is written to it and nothing
// else, however the process ends.
func TestSilence(t *testing.T) {
	for _, name := range []string{"panic", "error", "hash", "fatal"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := child(soon(t), name).CombinedOutput()
			ended, ok := errors.AsType[*exec.ExitError](err)
			if !ok || ended.ExitCode() != 2 {
				t.Errorf("ended with %v, not as Go's runtime ends a process", err)
			}
			if string(out) != "before\nphrase\n" {
				t.Errorf("the host reads %q", out)
			}
		})
	}
	t.Run("not silenced", func(t *testing.T) {
		t.Parallel()
		out, _ := child(soon(t), "loud").CombinedOutput()
		if !bytes.Contains(out, []byte("panic: "+canary)) {
			t.Errorf("the runtime doesn't show a panic's value, so that this test shows nothing: %q", out)
		}
	})
}

// TestMix: as the machine's root the generator takes the bytes up, as anybody
// else it can't be told to.
func TestMix(t *testing.T) {
	cmd := child(soon(t), "mix")
	apart(cmd)
	out, err := cmd.CombinedOutput()
	ended, ran := errors.AsType[*exec.ExitError](err)
	if !ran && err != nil {
		t.Skipf("no user namespaces here: %v", err)
	}
	if !ran || ended.ExitCode() != 3 || !strings.Contains(string(out), unix.EPERM.Error()) || strings.Contains(string(out), canary) {
		t.Errorf("%v: %s", err, out)
	}
}

// zombie says whether a child of this process has ended and is waited for: nil
// while it is, ECHILD when it isn't a child any more.
func zombie(kind, id, options int) error {
	return unix.Waitid(kind, id, nil, unix.WEXITED|unix.WNOWAIT|options, nil)
}

// orphan starts a process that starts another one and ends, and answers that
// one's number.
func orphan() (int, error) {
	reads, writes, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer reads.Close()
	cmd := child(context.Background(), "parent")
	cmd.Stdout = writes
	err = cmd.Start()
	writes.Close()
	if err != nil {
		return 0, err
	}
	said, err := io.ReadAll(reads)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(said))
}

// parentChild starts a child and doesn't wait for it.
func parentChild() error {
	cmd := child(context.Background(), "leaf")
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Print(cmd.Process.Pid)
	return nil
}

// reapChild gets orphans as PID 1 does, before it reaps and while it does.
func reapChild() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	pid, err := orphan()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for zombie(unix.P_PID, pid, 0) != nil { // until it is ours, and has ended
		if time.Now().After(deadline) {
			return errors.New("the orphan didn't come")
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		boot.Reap(ctx)
	}()
	for range 3 {
		if _, err := orphan(); err != nil {
			return err
		}
	}
	for !errors.Is(zombie(unix.P_ALL, 0, unix.WNOHANG), unix.ECHILD) {
		if time.Now().After(deadline) {
			return errors.New("a process that ended is still waited for")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	return nil
}

func TestReap(t *testing.T) {
	if out, err := child(soon(t), "reap").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
