package qemu_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/sim/vm/qemu"
)

const (
	knows = `#!/bin/sh
case "$*" in
*--version*) echo 'QEMU emulator version 12.0.0 (test)'; echo 'Copyright' ;;
*help*) echo 'name "vhost-user-vsock-device", bus virtio-bus'; echo 'name "vhost-user-test-device", bus virtio-bus' ;;
*) echo "started with $*" ;;
esac
`
	knowsNot = `#!/bin/sh
echo 'QEMU emulator version 10.0.2'
`
	dies = `#!/bin/sh
echo 'no such library' >&2
exit 127
`
)

func script(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, text, wrong string }{
		{"good", knows, ""},
		{"old", knowsNot, "doesn't know the device vhost-user-vsock-device"},
		{"broken", dies, "no such library"},
	} {
		p, err := qemu.Open(t.Context(), script(t, filepath.Join(dir, c.name), c.text))
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		argv := p.Command("-M", "microvm")
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil || string(out) != "started with -M microvm\n" {
			t.Errorf("%q, %v", out, err)
		}
		if p.Version() != "12.0.0 (test)" || p.Path() != filepath.Join(dir, c.name) {
			t.Errorf("version %q, path %q", p.Version(), p.Path())
		}
	}
	if _, err := qemu.Open(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

func TestMirror(t *testing.T) {
	const debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_CODENAME=bookworm\n"
	for _, c := range []struct{ name, release, targets, want string }{
		{"the machine's own", debian, "http://a.example/debian bookworm main\nhttp://a.example/debian bookworm-updates main\n", "http://a.example/debian"},
		{"security comes first", debian, "http://s.example/debian-security bookworm-security main\nhttp://a.example/debian bookworm main\n", "http://a.example/debian"},
		{"another vendor's first", debian, "https://v.example/apt stable main\nhttps://b.example/d bookworm main\n", "https://b.example/d"},
		{"without main", debian, "http://a.example/debian bookworm contrib\n", ""},
		{"no sources", debian, "", ""},
		{"quoted", "ID=\"debian\"\nVERSION_CODENAME='trixie'\n", "http://a.example/debian trixie main\n", "http://a.example/debian"},
		{"not Debian", "ID=ubuntu\nVERSION_CODENAME=noble\n", "http://a.example/ubuntu noble main\n", ""},
		{"nothing", "", "", ""},
	} {
		got, err := qemu.Mirror(c.release, c.targets)
		if got != c.want || (c.want == "") != errors.Is(err, qemu.ErrUnavailable) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

func TestVersionOf(t *testing.T) {
	for archive, want := range map[string]string{
		"qemu-system-x86_1:11.1.3+ds-1~bpo13+1_amd64.deb":      "1:11.1.3+ds-1~bpo13+1",
		"qemu-system-x86-xen_1:11.1.3+ds-1~bpo13+1_amd64.deb":  "",
		"qemu-system-common_1:11.1.3+ds-1~bpo13+1_amd64.deb":   "",
		"qemu-system-x86__amd64.deb":                           "",
		"qemu-system-x86.deb":                                  "",
		"qemu-system-x86_1:11.1.3+ds-1~bpo13+1_amd64_more.deb": "",
	} {
		if got, ok := qemu.VersionOf(archive, "qemu-system-x86"); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t", archive, got, ok)
		}
	}
}

// TestRecorded holds the committed list against its form.
func TestRecorded(t *testing.T) {
	all := qemu.Recorded()
	form := regexp.MustCompile(`^[0-9a-f]{64}$`)
	for name, digest := range all {
		if !form.MatchString(digest) || !strings.HasSuffix(name, ".deb") {
			t.Errorf("%s: %s", name, digest)
		}
	}
	for _, name := range []string{"qemu-system-x86_" + qemu.RecordedVersion + "_amd64.deb", "qemu-system-data_" + qemu.RecordedVersion + "_all.deb"} {
		if all[name] == "" {
			t.Errorf("%s isn't recorded", name)
		}
	}
}

// aptGet stands for the machine's: it knows one archive, and downloads what the
// test has put into its directory into the one that its configuration names.
const aptGet = `#!/bin/sh
case "$1" in indextargets) echo "http://a.example/debian $(. /etc/os-release; echo "$VERSION_CODENAME") main"; exit 0 ;; esac
for word in "$@"; do
	case "$word" in
	*/apt.conf) config=$word ;;
	update|install) verb=$word ;;
	esac
done
test -f FAIL && { echo 'Reading package lists...'; echo 'E: Failed to fetch http://a.example/debian'; exit 100; } >&2
if [ "$verb" = install ]; then
	cache=$(sed -n 's/^Dir::Cache "\(.*\)";$/\1/p' "$config")
	cp DEBS/*.deb "$cache/archives/"
fi
`

// dpkgDeb unpacks every archive to the same tree.
const dpkgDeb = `#!/bin/sh
test "$1" = --extract || exit 2
mkdir -p "$3/usr/lib64" && cp LOADER "$3/usr/lib64/ld-linux-x86-64.so.2"
`

// debian puts an apt-get on the PATH that delivers the named archives. It
// answers the directory with the file FAIL, which makes apt-get fail.
func debian(t *testing.T, archives ...string) string {
	t.Helper()
	release, err := os.ReadFile("/etc/os-release")
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" || err != nil || !strings.Contains(string(release), "\nID=debian\n") {
		t.Skip("Prepare works on Debian amd64 alone")
	}
	dir := t.TempDir()
	script(t, filepath.Join(dir, "loader"), knows)
	for _, name := range archives {
		script(t, filepath.Join(dir, "debs", name), "content of "+name)
	}
	place := strings.NewReplacer("FAIL", filepath.Join(dir, "fail"), "DEBS", filepath.Join(dir, "debs"), "LOADER", filepath.Join(dir, "loader"))
	script(t, filepath.Join(dir, "bin", "apt-get"), place.Replace(aptGet))
	script(t, filepath.Join(dir, "bin", "dpkg-deb"), place.Replace(dpkgDeb))
	t.Setenv("PATH", filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	return dir
}

func TestPrepare(t *testing.T) {
	debian(t, "qemu-system-x86_1%3a12.0.0-1_amd64.deb", "libc6_2.99_amd64.deb")
	cache := filepath.Join(t.TempDir(), "cache")
	if _, err := qemu.Find(t.Context(), cache); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty cache: %v", err)
	}
	var said []string
	p, err := qemu.Prepare(t.Context(), cache, func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(cache, "12.0.0-1", "root"); p.Path() != want || p.Version() != "12.0.0 (test)" {
		t.Errorf("%s in %s, want %s", p.Version(), p.Path(), want)
	}
	for _, want := range []string{"reading the package lists", "the archive has QEMU 1:12.0.0-1 now", "2 of 2 archives are of other versions"} {
		if !strings.Contains(fmt.Sprint(said), want) {
			t.Errorf("nobody said %q: %q", want, said)
		}
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d entries in the cache, want what was unpacked alone: %v", len(entries), err)
	}
	// The next time nothing is fetched.
	again, err := qemu.Prepare(t.Context(), cache, func(line string) { t.Errorf("said again: %s", line) })
	if err != nil || again.Path() != p.Path() {
		t.Errorf("again: %v", err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	for _, c := range []struct {
		name        string
		archives    []string
		fail        bool
		unavailable bool
		wrong       string
	}{
		{"another content than recorded", []string{"qemu-system-x86_1%3a11.1.3+ds-1~bpo13+1_amd64.deb"}, false, false, "another SHA-256"},
		{"no QEMU among them", []string{"libc6_2.99_amd64.deb"}, false, true, "fetched no qemu-system-x86"},
		{"no network", []string{"libc6_2.99_amd64.deb"}, true, true, "Failed to fetch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := debian(t, c.archives...)
			if c.fail {
				script(t, filepath.Join(dir, "fail"), "")
			}
			cache := filepath.Join(t.TempDir(), "cache")
			_, err := qemu.Prepare(t.Context(), cache, func(string) {})
			if err == nil || !strings.Contains(err.Error(), c.wrong) || errors.Is(err, qemu.ErrUnavailable) != c.unavailable {
				t.Errorf("%v", err)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("more than a line: %v", err)
			}
			if left, _ := os.ReadDir(cache); len(left) != 0 {
				t.Errorf("%d entries are left in the cache", len(left))
			}
		})
	}
	t.Run("no apt-get", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if _, err := qemu.Prepare(t.Context(), filepath.Join(t.TempDir(), "cache"), func(string) {}); !errors.Is(err, qemu.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a colon in the cache's name", func(t *testing.T) {
		if _, err := qemu.Prepare(t.Context(), filepath.Join(t.TempDir(), "a:b"), func(string) {}); err == nil {
			t.Error("accepted")
		}
	})
}
