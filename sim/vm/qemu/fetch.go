package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	// recordedVersion is the version whose archives are recorded.
	recordedVersion = "1:11.1.3+ds-1~bpo13+1"
	// suite has the release that QEMU's libraries are of, backports QEMU itself.
	suite     = "trixie"
	backports = suite + "-backports"
	// keyring verifies the archive; package debian-archive-keyring.
	keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// wanted are the packages that are asked for; their dependencies come along.
func wanted() []string {
	return []string{"qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"}
}

// Prepare answers the cache's QEMU, and fetches and unpacks one when there is
// none: of the recorded version, or of the one that the archive has in its
// place. say takes a line for each step. When this machine can't fetch one the
// error wraps ErrUnavailable.
func Prepare(ctx context.Context, cache string, say func(line string)) (*Program, error) {
	p, err := Find(ctx, cache)
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	if strings.Contains(cache, ":") {
		return nil, fmt.Errorf("qemu: %s: a cache directory with a colon in its name can't hold libraries", cache)
	}
	mirror, err := archive(ctx)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	dir, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	defer os.RemoveAll(dir)
	f := &fetch{dir: dir, mirror: mirror, say: say}
	version, err := f.run(ctx)
	if err != nil {
		return nil, err
	}
	final := filepath.Join(cache, directory(version), "root")
	if err := os.MkdirAll(filepath.Dir(final), 0o700); err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	if _, err := Open(ctx, f.path("root")); err != nil {
		return nil, err
	}
	// Another process may have been faster; its work is as good.
	if err := os.Rename(f.path("root"), final); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	return Open(ctx, final)
}

// fetch is one attempt, in a directory of its own.
type fetch struct {
	dir    string
	mirror string
	say    func(line string)
}

func (f *fetch) path(name string) string { return filepath.Join(f.dir, name) }

// run fetches and unpacks, and answers QEMU's version.
func (f *fetch) run(ctx context.Context) (string, error) {
	if err := f.configure(); err != nil {
		return "", err
	}
	f.say("reading the package lists of " + suite + " and " + backports)
	if err := f.apt(ctx, "update"); err != nil {
		return "", err
	}
	f.say("fetching QEMU and the libraries that it needs, about 70 MB")
	args := []string{"--yes", "--no-install-recommends", "--download-only", "install"}
	for _, name := range wanted() {
		args = append(args, name+"/"+backports)
	}
	if err := f.apt(ctx, args...); err != nil {
		return "", err
	}
	archives, err := filepath.Glob(f.path("cache/archives/*.deb"))
	if err != nil || len(archives) == 0 {
		return "", fmt.Errorf("qemu: apt-get fetched no archive: %w", ErrUnavailable)
	}
	version, err := f.verify(archives)
	if err != nil {
		return "", err
	}
	f.say(fmt.Sprintf("unpacking %d archives; nothing is installed", len(archives)))
	for _, a := range archives {
		if err := command(ctx, "dpkg-deb", "--extract", a, f.path("root")); err != nil {
			return "", err
		}
	}
	return version, nil
}

// configure writes apt's state and configuration, beside those of the machine:
// proxies and the like stay as the machine has them, sources, state and hooks
// don't.
func (f *fetch) configure() error {
	for _, dir := range []string{"sources", "state/lists/partial", "cache/archives/partial", "root"} {
		if err := os.MkdirAll(f.path(dir), 0o700); err != nil {
			return fmt.Errorf("qemu: %w", err)
		}
	}
	sources := "Types: deb\nURIs: " + f.mirror + "\nSuites: " + suite + " " + backports + "\nComponents: main\n"
	if _, err := os.Stat(keyring); err == nil {
		sources += "Signed-By: " + keyring + "\n"
	}
	var config strings.Builder
	for _, scope := range []string{"APT::Update", "DPkg"} {
		for _, hook := range []string{"Pre-Invoke", "Post-Invoke", "Post-Invoke-Success"} {
			fmt.Fprintf(&config, "#clear %s::%s;\n", scope, hook)
		}
	}
	config.WriteString("#clear Acquire::IndexTargets::deb::DEP-11;\n")
	for _, o := range [][2]string{
		{"Dir::Etc::SourceList", os.DevNull}, {"Dir::Etc::SourceParts", f.path("sources")},
		{"Dir::Etc::Preferences", os.DevNull}, {"Dir::Etc::PreferencesParts", os.DevNull},
		{"Dir::State", f.path("state")}, {"Dir::State::status", f.path("state/status")}, {"Dir::Cache", f.path("cache")},
		{"APT::Architecture", "amd64"}, {"APT::Sandbox::User", ""}, {"Debug::NoLocking", "1"},
		{"Acquire::Languages", "none"}, {"Acquire::Retries", "3"}, {"APT::Keep-Downloaded-Packages", "true"},
	} {
		fmt.Fprintf(&config, "%s %q;\n", o[0], o[1])
	}
	for name, content := range map[string]string{"state/status": "", "sources/debian.sources": sources, "apt.conf": config.String()} {
		if err := os.WriteFile(f.path(name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("qemu: %w", err)
		}
	}
	return nil
}

func (f *fetch) apt(ctx context.Context, args ...string) error {
	return command(ctx, "apt-get", append([]string{"--quiet", "--config-file", f.path("apt.conf")}, args...)...)
}

// command runs a program of the machine. What it says becomes the error.
func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("qemu: %s failed: %s: %w", name, reason(out, err), ErrUnavailable)
	}
	return nil
}

// reason answers the first line of a program's output that tells of an error.
func reason(out []byte, err error) string {
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		for _, prefix := range []string{"E: ", "Err:", "dpkg-deb: error: "} {
			if text, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return text
			}
		}
	}
	return err.Error()
}

// archive answers where the machine's own sources have Debian's archive.
func archive(ctx context.Context) (string, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("qemu: this is %s/%s, and the packages are for linux/amd64: %w", runtime.GOOS, runtime.GOARCH, ErrUnavailable)
	}
	for _, name := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("qemu: no %s on this machine: %w", name, ErrUnavailable)
		}
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", fmt.Errorf("qemu: %w: %w", err, ErrUnavailable)
	}
	cmd := exec.CommandContext(ctx, "apt-get", "indextargets", "--no-release-info", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	targets, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("qemu: apt-get doesn't tell its sources: %w: %w", err, ErrUnavailable)
	}
	return mirror(string(release), string(targets))
}

// mirror picks Debian's archive out of what apt-get has: the place where this
// very release comes from, of a machine that runs Debian.
func mirror(release, targets string) (string, error) {
	facts := map[string]string{}
	for line := range strings.Lines(release) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		facts[name] = strings.Trim(value, `"'`)
	}
	if facts["ID"] != "debian" {
		return "", fmt.Errorf("qemu: this is no Debian, whose apt-get would know the archive: %w", ErrUnavailable)
	}
	for line := range strings.Lines(targets) {
		words := strings.Fields(line)
		if len(words) == 3 && words[1] == facts["VERSION_CODENAME"] && words[2] == "main" {
			return words[0], nil
		}
	}
	return "", fmt.Errorf("qemu: apt-get has no source for %s main: %w", facts["VERSION_CODENAME"], ErrUnavailable)
}
