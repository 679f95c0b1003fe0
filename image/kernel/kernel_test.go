package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/image/kernel"
)

func make1(t *testing.T, k kernel.Maker) *kernel.Kernel {
	t.Helper()
	made, err := k.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestMake: built once, then from the cache, and nothing is left of the build.
func TestMake(t *testing.T) {
	t.Setenv("CLOISTER_TEST", "the user's")
	m := newMachine(t)
	k := m.maker()
	first := make1(t, k)
	if string(first.Image) != "bzImage" || first.Cached || first.Tools != (kernel.Toolchain{Compiler: "gcc 12", Linker: "ld 2"}) || first.Config != digest(string(k.Config)) || first.Pin != k.Pin {
		t.Errorf("made %+v", first)
	}
	if m.did("make -s ARCH=x86_64 -j3 bzImage") != 1 || m.did("apt-get") != 1 {
		t.Errorf("ran %q", m.calls)
	}
	second := make1(t, k)
	if !second.Cached || !bytes.Equal(second.Image, first.Image) || second.Config != first.Config || second.Tools != first.Tools {
		t.Errorf("from the cache: %+v", second)
	}
	if m.did("make") != 3 || m.did("apt-get") != 1 {
		t.Errorf("the cache was warm, and yet: %q", m.calls)
	}
	if left, _ := filepath.Glob(filepath.Join(k.Cache, "*-[0-9]*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestKey: whatever a kernel depends on, another one is another kernel.
func TestKey(t *testing.T) {
	m := newMachine(t)
	k := m.maker()
	make1(t, k)
	for name, change := range map[string]func(){
		"configuration": func() { k.Config = append(slices.Clone(k.Config), "CONFIG_MORE=y\n"...) },
		"compiler":      func() { m.compiler = "gcc 13" },
		"linker":        func() { m.linker = "ld 3" },
		"source":        func() { m.deb, k.Pin.SHA256 = "another", digest("another") },
	} {
		change()
		if make1(t, k).Cached {
			t.Errorf("another %s: the old kernel", name)
		}
		if !make1(t, k).Cached {
			t.Errorf("another %s: not cached", name)
		}
	}
}

// TestDamagedCache: a kernel that isn't whole is built anew.
func TestDamagedCache(t *testing.T) {
	for name, damage := range map[string]func(image string) error{
		"other bytes": func(image string) error { return os.WriteFile(image, []byte("BzImage"), 0o644) },
		"no bytes":    func(image string) error { return os.Truncate(image, 0) },
		"no image":    os.Remove,
		"no digest":   func(image string) error { return os.Remove(image + ".sha256") },
		"long digest": func(image string) error { return os.Truncate(image+".sha256", 1<<20) },
	} {
		m := newMachine(t)
		k := m.maker()
		make1(t, k)
		images, err := filepath.Glob(filepath.Join(k.Cache, "kernel", "*", "bzImage"))
		if err != nil || len(images) != 1 {
			t.Fatal(images, err)
		}
		if err := damage(images[0]); err != nil {
			t.Fatal(err)
		}
		if again := make1(t, k); again.Cached || string(again.Image) != "bzImage" {
			t.Errorf("%s: %+v", name, again)
		}
		if !make1(t, k).Cached {
			t.Errorf("%s: not mended", name)
		}
	}
}

// TestSource: only the pinned bytes are unpacked, wherever they come from.
func TestSource(t *testing.T) {
	m := newMachine(t)
	k := m.maker()
	k.Source = filepath.Join(t.TempDir(), "source.deb")
	if _, err := k.Make(t.Context()); !errors.Is(err, kernel.ErrSource) {
		t.Errorf("no file: %v", err)
	}
	m.put(k.Source, []byte("packagE"))
	if _, err := k.Make(t.Context()); !errors.Is(err, kernel.ErrSource) || !strings.Contains(err.Error(), digest("packagE")) || !strings.Contains(err.Error(), digest("package")) {
		t.Errorf("another file: %v", err)
	}
	m.put(k.Source, []byte("package"))
	make1(t, k)
	if m.did("apt-get") != 0 || m.did("dpkg-deb") != 1 {
		t.Errorf("ran %q", m.calls)
	}
}

// TestFetch: what apt downloads is kept when it is the pinned package.
func TestFetch(t *testing.T) {
	m := newMachine(t)
	k := m.maker()
	m.fail = "apt-get"
	if _, err := k.Make(t.Context()); !errors.Is(err, kernel.ErrSource) || !errors.Is(err, errFails) || !strings.Contains(err.Error(), "docs/IMAGE.md") {
		t.Errorf("apt fails: %v", err)
	}
	m.fail, m.deb = "", "another"
	if _, err := k.Make(t.Context()); !errors.Is(err, kernel.ErrSource) || m.did("dpkg-deb") != 0 {
		t.Errorf("apt has another: %v, %q", err, m.calls)
	}
	m.deb = "package"
	make1(t, k)
	before := m.did("apt-get")
	k.Config = append(k.Config, "CONFIG_MORE=y\n"...)
	make1(t, k)
	if m.did("apt-get") != before {
		t.Error("fetched twice")
	}
}

// TestConfig: what isn't taken over stops the build and is named.
func TestConfig(t *testing.T) {
	for name, c := range map[string]struct {
		config, drop, want string
	}{
		"dropped":      {"CONFIG_64BIT=y\nCONFIG_NSM=y\n", "CONFIG_NSM=y\n", "NSM is n, not y"},
		"two":          {"CONFIG_B=y\nCONFIG_A=3\n", "CONFIG_B=y\nCONFIG_A=3\n", "A is n, not 3; B is n, not y"},
		"comes back":   {"# CONFIG_PCI is not set\n", "# CONFIG_PCI is not set\n", ""},
		"a bad line":   {"CONFIG_64BIT=y\nCONFIG_64BIT\n", "", "line 2"},
		"twice":        {"CONFIG_A=y\n# CONFIG_A is not set\n", "", "line 2: A stands twice"},
		"n as a value": {"CONFIG_A=n\n", "", "line 1"},
		"no name":      {"CONFIG_=y\n", "", "line 1"},
	} {
		m := newMachine(t)
		m.drop = c.drop
		k := m.maker()
		k.Config = []byte(c.config)
		_, err := k.Make(t.Context())
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, kernel.ErrConfig) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if m.did("make -s ARCH=x86_64 -j3") != 0 {
			t.Errorf("%s: compiled nevertheless", name)
		}
	}
}

// TestFails: every command's failure is answered, and leaves neither a build
// nor a kernel.
func TestFails(t *testing.T) {
	for _, command := range []string{"dpkg-deb", "tar", "make -s ARCH=x86_64 tinyconfig", "make -s ARCH=x86_64 olddefconfig", "make -s ARCH=x86_64 -j3"} {
		m := newMachine(t)
		m.fail = command
		k := m.maker()
		if _, err := k.Make(t.Context()); !errors.Is(err, errFails) {
			t.Errorf("%s: %v", command, err)
		}
		if left, _ := filepath.Glob(filepath.Join(k.Cache, "*-[0-9]*")); len(left) != 0 {
			t.Errorf("%s: left %q", command, left)
		}
		m.fail = ""
		if make1(t, k).Cached {
			t.Errorf("%s: cached", command)
		}
	}
	for _, tool := range []string{"gcc", "ld"} {
		m := newMachine(t)
		m.fail = tool
		if _, err := m.maker().Make(t.Context()); !errors.Is(err, kernel.ErrTools) {
			t.Errorf("%s: %v", tool, err)
		}
	}
	m := newMachine(t)
	m.compiler = ""
	if _, err := m.maker().Make(t.Context()); !errors.Is(err, kernel.ErrTools) {
		t.Errorf("a compiler without a name: %v", err)
	}
}

// TestLargeKernel: a kernel is read within its limit.
func TestLargeKernel(t *testing.T) {
	m := newMachine(t)
	k := m.maker()
	k.Run = func(ctx context.Context, c kernel.Command) error {
		err := m.run(ctx, c)
		if c.Args[len(c.Args)-1] == "bzImage" {
			return os.Truncate(filepath.Join(c.Dir, "arch/x86/boot/bzImage"), 64<<20+1)
		}
		return err
	}
	if _, err := k.Make(t.Context()); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a kernel of more than 64 MiB: %v", err)
	}
}

// TestCommitted: the committed configuration is one, and has what the enclave's
// safety rests on.
func TestCommitted(t *testing.T) {
	got, err := kernel.Options(kernel.Config())
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"NSM": "y", "HW_RANDOM": "y", "VIRTIO_VSOCKETS": "y", "VIRTIO_MMIO_CMDLINE_DEVICES": "y", // the devices there are
		"MODULES": "n", "KEXEC": "n", "BPF_SYSCALL": "n", "BINFMT_SCRIPT": "n", "CMDLINE_BOOL": "n", // no other code
		"RANDOM_TRUST_CPU": "n", "RANDOM_TRUST_BOOTLOADER": "n", "HW_RANDOM_INTEL": "n", "HW_RANDOM_AMD": "n", // entropy
		"PCI": "n", "ACPI": "n", "BLOCK": "n", "INET": "n", "NETDEVICES": "n", "DEVMEM": "n", "COREDUMP": "n", // no other ways
		"RANDOMIZE_BASE": "y", "STACKPROTECTOR_STRONG": "y", "PANIC_ON_OOPS": "y", "STRICT_KERNEL_RWX": "y",
	} {
		if got[name] != value {
			t.Errorf("%s is %q, not %s", name, got[name], value)
		}
	}
	m := newMachine(t)
	k := m.maker()
	k.Config = kernel.Config()
	make1(t, k)
	if pin := kernel.Pinned(); len(pin.SHA256) != 64 || pin.File() != pin.Package+"_"+pin.Version+"_all.deb" || !strings.HasPrefix(pin.Version, pin.Release+"-") {
		t.Errorf("pinned: %+v", pin)
	}
}

func TestMissing(t *testing.T) {
	if got := kernel.Missing(func(string) bool { return true }); len(got) != 0 {
		t.Errorf("everything is there, and missing are %q", got)
	}
	all := kernel.Missing(func(string) bool { return false })
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("missing: %q", all)
	}
	for program, want := range map[string]string{"ld": "binutils", "xz": "xz-utils", "/usr/include/libelf.h": "libelf-dev"} {
		if got := kernel.Missing(func(name string) bool { return name != program }); !slices.Equal(got, []string{want}) || !slices.Contains(all, want) {
			t.Errorf("without %s: %q", program, got)
		}
	}
	dir := t.TempDir()
	if kernel.Installed(filepath.Join(dir, "no")) || !kernel.Installed(dir) || kernel.Installed("no-such-program-here") || !kernel.Installed("sh") {
		t.Error("Installed is wrong about what is there")
	}
}

func TestInstall(t *testing.T) {
	var calls []string
	run := func(_ context.Context, c kernel.Command) error {
		calls = append(calls, strings.Join(c.Args, " "))
		if !slices.Contains(c.Env, "DEBIAN_FRONTEND=noninteractive") {
			t.Errorf("%v may ask", c.Args)
		}
		return nil
	}
	if err := kernel.Install(t.Context(), run, []string{"bc", "flex"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"apt-get -q -y update", "apt-get -q -y --no-install-recommends install bc flex"}
	if !slices.Equal(calls, want) {
		t.Errorf("ran %q", calls)
	}
	for i := range want {
		n := 0
		err := kernel.Install(t.Context(), func(context.Context, kernel.Command) error {
			if n++; n == i+1 {
				return errFails
			}
			return nil
		}, nil)
		if !errors.Is(err, kernel.ErrTools) || !errors.Is(err, errFails) || n != i+1 {
			t.Errorf("%s fails: %v after %d", want[i], err, n)
		}
	}
}

// TestExec runs the shell.
func TestExec(t *testing.T) {
	t.Setenv("CLOISTER_TEST", "the user's")
	dir := t.TempDir()
	var out bytes.Buffer
	c := kernel.Command{Dir: dir, Env: []string{"A=b"}, Args: []string{"/bin/sh", "-c", `echo "$A$CLOISTER_TEST"; pwd -P`}, Log: &out}
	if err := kernel.Exec(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil || out.String() != "b\n"+real+"\n" {
		t.Errorf("printed %q: %v", out.String(), err)
	}
	c.Args, c.Log = []string{"/bin/sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 3"}, nil
	err = kernel.Exec(t.Context(), c)
	if err == nil || !strings.HasSuffix(err.Error(), "line 1999") || len(err.Error()) > 4<<10 {
		t.Errorf("failed with %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := kernel.Exec(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// log keeps what is written and tells when something first was.
type log struct {
	bytes.Buffer
	began chan struct{}
}

func (l *log) Write(b []byte) (int, error) {
	if l.Len() == 0 {
		close(l.began)
	}
	return l.Buffer.Write(b)
}

// TestExecStops: what a stopped command started is told to end too.
func TestExecStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &log{began: make(chan struct{})}
	const script = "(trap 'echo ended; exit' TERM; echo began; while :; do sleep 0.05; done) & wait"
	done := make(chan error)
	go func() {
		done <- kernel.Exec(ctx, kernel.Command{Dir: t.TempDir(), Env: os.Environ(), Args: []string{"/bin/sh", "-c", script}, Log: out})
	}()
	<-out.began
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(out.String(), "ended\n") {
		t.Errorf("stopped: %v, and it printed %q", err, out.String())
	}
}

// FuzzOptions: what is read can be written in the one way and read again.
func FuzzOptions(f *testing.F) {
	f.Add(kernel.Config())
	f.Add([]byte(tiny))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := kernel.Options(b)
		if err != nil {
			if !errors.Is(err, kernel.ErrConfig) {
				t.Fatal(err)
			}
			return
		}
		var out strings.Builder
		for name, value := range got {
			if value == "n" {
				fmt.Fprintf(&out, "# CONFIG_%s is not set\n", name)
			} else {
				fmt.Fprintf(&out, "CONFIG_%s=%s\n", name, value)
			}
		}
		again, err := kernel.Options([]byte(out.String()))
		if err != nil || !maps.Equal(again, got) {
			t.Fatalf("%v read again are %v: %v", got, again, err)
		}
	})
}
