// Command build makes the enclave image with its reference values: kernel,
// ramdisks, command line, signature. It is run from the repository's root, as
// make image does. docs/IMAGE.md says what is pinned and how to compare.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cloisterhq/cloister/image"
	"github.com/cloisterhq/cloister/image/kernel"
	"github.com/cloisterhq/cloister/image/origin"
	"github.com/cloisterhq/cloister/image/reference"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options are what the command is told.
type options struct {
	out, cache, source string
	cert, key          string
	unsigned, install  bool
	jobs               int
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: go run ./image/build [flags]\n\nBuild makes the enclave image and its reference values. The date in it is\nSOURCE_DATE_EPOCH, or that of the commit. Flags:")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.out, "out", filepath.Join("bin", "image"), "`directory` for the image and what goes with it")
	flags.StringVar(&o.cache, "cache", os.Getenv("CLOISTER_CACHE"), "`directory` of built kernels and the development signer\n(default: CLOISTER_CACHE, or cloister in the user's cache directory)")
	flags.StringVar(&o.source, "kernel-source", "", "`file` of the pinned source package, instead of fetching it with apt")
	flags.StringVar(&o.cert, "sign-cert", "", "the signer's certificate, PEM `file`; without one the image has this\nmachine's development signer")
	flags.StringVar(&o.key, "sign-key", "", "the signer's ECDSA key, PEM `file`")
	flags.BoolVar(&o.unsigned, "unsigned", false, "don't sign")
	flags.BoolVar(&o.install, "install-tools", false, "install missing build tools with apt-get, as root on Debian")
	flags.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "compilers that run at once")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%s: there are no arguments, only flags", flags.Arg(0))
	case (o.cert == "") != (o.key == ""):
		return nil, errors.New("--sign-cert and --sign-key go together")
	case o.unsigned && o.cert != "":
		return nil, errors.New("--unsigned or --sign-cert, not both")
	case o.jobs < 1:
		return nil, errors.New("--jobs: at least 1")
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

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(stderr, "image: "+format+"\n", args...) }
	in := image.Ingredients{}
	if in.Source, err = origin.Of(ctx, ".", os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	if in.Signer, err = o.signer(); err != nil {
		return err
	}
	if err := o.tools(ctx, say); err != nil {
		return err
	}
	say("building cmd/cloister-enclave")
	if in.Binary, err = binary(ctx); err != nil {
		return err
	}
	if in.Info, err = image.CheckBinary(in.Binary); err != nil {
		return err
	}
	maker := kernel.Maker{
		Cache: o.cache, Source: o.source, Pin: kernel.Pinned(), Config: kernel.Config(), Jobs: o.jobs, Run: kernel.Exec, Say: say,
	}
	if in.Kernel, err = maker.Make(ctx); err != nil {
		return err
	}
	if in.Kernel.Cached {
		say("Linux %s from the cache", in.Kernel.Pin.Release)
	}
	v, err := in.Publish(ctx, o.out)
	if err != nil {
		return err
	}
	report(stdout, o.out, v)
	return nil
}

// signer answers who signs, nil for nobody.
func (o *options) signer() (*image.Signer, error) {
	switch {
	case o.unsigned:
		return nil, nil
	case o.cert != "":
		return image.LoadSigner(o.cert, o.key, time.Now())
	}
	return image.Development(filepath.Join(o.cache, "signer"), time.Now())
}

// tools demands what the kernel's build needs, or installs it when told to.
func (o *options) tools(ctx context.Context, say func(string, ...any)) error {
	missing := kernel.Missing(kernel.Installed)
	if len(missing) == 0 {
		return nil
	}
	names := strings.Join(missing, " ")
	if !o.install {
		return fmt.Errorf("%w: on Debian, apt-get install %s (or --install-tools, as root)", kernel.ErrTools, names)
	}
	if os.Getuid() != 0 || !kernel.Installed("/etc/debian_version") {
		return fmt.Errorf("%w: --install-tools is for root on Debian; the packages are: %s", kernel.ErrTools, names)
	}
	say("installing %s", names)
	return kernel.Install(ctx, kernel.Exec, missing)
}

// binary builds the enclave's program.
func binary(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "cloister-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "init")
	args := append(append([]string{"build"}, image.BinaryFlags()...), "-o", name, "./cmd/cloister-enclave")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), image.BinaryEnv()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(name)
}

// report prints what was made.
func report(w io.Writer, dir string, v *reference.Values) {
	file, bytes := image.Unsigned, v.Image.Unsigned.Bytes
	if v.Image.Signed != nil {
		file, bytes = image.Signed, v.Image.Signed.Bytes
	}
	fmt.Fprintf(w, "%s  %d bytes\n", filepath.Join(dir, file), bytes)
	for _, r := range []string{"0", "1", "2", "8"} {
		if pcr, ok := v.PCRs[r]; ok {
			fmt.Fprintf(w, "PCR%s       %s\n", r, pcr)
		}
	}
	fmt.Fprintf(w, "unsigned   %s\n", v.Image.Unsigned.SHA384)
	switch s := v.Image.Signer; {
	case s == nil:
		fmt.Fprintln(w, "signer     none")
	case s.Development:
		fmt.Fprintln(w, "signer     this machine's development signer; PCR8 is another one elsewhere")
	default:
		fmt.Fprintf(w, "signer     %s, until %s\n", s.Subject, s.NotAfter.Format(time.DateOnly))
	}
	state := v.Source.Commit
	if v.Source.Modified {
		state += ", modified"
	}
	fmt.Fprintf(w, "source     %s\n", state)
}
