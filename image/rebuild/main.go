// Command rebuild makes the enclave image twice and compares: in two
// directories, one after the other, with caches of their own, another umask,
// time zone and home, and as root also as another user. It exits with 1 when a
// byte differs. It is run from the repository's root, as make rebuild-check
// does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/image/kernel"
	"github.com/cloisterhq/cloister/image/origin"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rebuild:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "rebuild: "+format+"\n", args...) }

// nobody is Debian's user without rights.
const nobody = 65534

// build is one of the two.
type build struct {
	dir         string // everything of it
	source      string // the copy of the repository
	umask, zone string
	user        int // -1 is the caller
}

func (b build) out() string   { return filepath.Join(b.dir, "out") }
func (b build) cache() string { return filepath.Join(b.dir, "cache") }

// options are what the command is told.
type options struct{ kernel, cache, source string }

func parse(args []string) (*options, error) {
	o := new(options)
	flags := flag.NewFlagSet("rebuild", flag.ContinueOnError)
	flags.StringVar(&o.kernel, "kernel", "built", "`built`: compile the kernel twice as well; cached: take it from the cache of make image")
	flags.StringVar(&o.cache, "cache", os.Getenv("CLOISTER_CACHE"), "`directory` of the cache of make image")
	flags.StringVar(&o.source, "kernel-source", "", "`file` of the pinned source package, instead of fetching it with apt")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 || o.kernel != "built" && o.kernel != "cached" {
		return nil, errors.New("usage: go run ./image/rebuild [--kernel built|cached] [--cache DIR] [--kernel-source FILE]")
	}
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("--cache: %w", err)
		}
		o.cache = filepath.Join(dir, "cloister")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	files, err := list(".")
	if err != nil {
		return err
	}
	base, err := os.MkdirTemp("", "cloister-rebuild-")
	if err != nil {
		return err
	}
	defer remove(base)
	if err := os.Chmod(base, 0o755); err != nil { // the other user comes through
		return err
	}
	source, err := origin.Of(ctx, ".", os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	if o.source == "" && o.kernel == "built" {
		fetcher := kernel.Maker{Cache: o.cache, Pin: kernel.Pinned(), Run: kernel.Exec, Say: say}
		if o.source, err = fetcher.Fetch(ctx); err != nil {
			return err
		}
	}
	builds := plan(base)
	from := "."
	for _, b := range builds { // the second copy is of the first: somebody may be editing
		if err := copyFiles(files, from, b.source); err != nil {
			return err
		}
		from = b.source
		if err := b.prepare(o); err != nil {
			return err
		}
	}
	for i, b := range builds {
		say("build %d of %d in %s%s", i+1, len(builds), b.source, b.as())
		if err := b.run(ctx, strconv.FormatInt(source.Date.Unix(), 10), o.kernel); err != nil {
			return fmt.Errorf("build %d: %w", i+1, err)
		}
	}
	return image.Same(stdout, builds[0].out(), builds[1].out())
}

// plan answers the two builds.
func plan(base string) []build {
	one, two := filepath.Join(base, "a"), filepath.Join(base, "another", "directory")
	builds := []build{
		{dir: one, source: filepath.Join(one, "src"), umask: "022", zone: "UTC", user: -1},
		{dir: two, source: filepath.Join(two, "with a blank", "cloister"), umask: "077", zone: "Pacific/Chatham", user: -1},
	}
	if os.Getuid() == 0 {
		builds[1].user = nobody
	}
	return builds
}

func (b build) as() string {
	if b.user < 0 {
		return ""
	}
	return fmt.Sprintf(" as user %d", b.user)
}

// prepare copies what the build takes from the cache, and gives all to its user.
func (b build) prepare(o *options) error {
	for _, dir := range []string{b.cache(), filepath.Join(b.dir, "home"), filepath.Join(b.dir, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if o.kernel == "cached" {
		kernels, err := list(filepath.Join(o.cache, "kernel"))
		if err != nil {
			return fmt.Errorf("no cached kernel, make image first: %w", err)
		}
		if err := copyFiles(kernels, filepath.Join(o.cache, "kernel"), filepath.Join(b.cache(), "kernel")); err != nil {
			return err
		}
	} else if err := copyFile(o.source, filepath.Join(b.dir, "source.deb"), 0o644); err != nil {
		return err
	}
	if b.user < 0 {
		return nil
	}
	return filepath.WalkDir(b.dir, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, b.user, b.user)
	})
}

// run runs make image's command in the copy.
func (b build) run(ctx context.Context, epoch, mode string) error {
	args := []string{"-c", `umask "$0" && exec "$@"`, b.umask, "go", "run", "./image/build", "--unsigned", "--out", b.out(), "--cache", b.cache()}
	if mode == "built" {
		args = append(args, "--kernel-source", filepath.Join(b.dir, "source.deb"))
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", args...)
	cmd.Dir, cmd.Stderr = b.source, os.Stderr
	home := filepath.Join(b.dir, "home")
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch, "TZ="+b.zone, "HOME="+home, "TMPDIR="+filepath.Join(b.dir, "tmp"),
		"GOCACHE="+filepath.Join(home, "build"), "GOFLAGS=-buildvcs=false -modcacherw", "XDG_CACHE_HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all of it ends when it is stopped
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if b.user >= 0 {
		cmd.Env = append(cmd.Env, "GOPATH="+filepath.Join(home, "go"), "GOMODCACHE="+filepath.Join(home, "go", "pkg", "mod"))
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(b.user), Gid: uint32(b.user)}
	}
	return cmd.Run()
}

// list answers the regular files under a directory, but nothing that was built
// and no repository.
func list(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if e.IsDir() && (rel == "bin" || rel == ".git" || rel == ".state") {
			return filepath.SkipDir
		}
		if e.Type().IsRegular() && rel != ".git" { // a worktree's is a file
			files = append(files, rel)
		}
		return nil
	})
	return files, err
}

// copyFiles copies files with their directories.
func copyFiles(files []string, from, to string) error {
	for _, rel := range files {
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := copyFile(filepath.Join(from, rel), target, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string, mode fs.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, mode)
}

// remove removes the copies, module caches included.
func remove(base string) {
	if err := os.RemoveAll(base); err != nil {
		say("%v", err)
	}
}
