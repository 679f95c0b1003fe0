package kernel_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/image/kernel"
)

// machine runs commands as a machine with the build's tools does, on a source
// tree of one file.
type machine struct {
	t                *testing.T
	compiler, linker string
	deb              string // what apt has
	drop             string // the line that olddefconfig doesn't take over
	image            []byte
	fail             string // the command that fails
	calls            []string
}

var errFails = errors.New("it fails")

// tiny is the smallest configuration of this machine's source.
const tiny = "# Linux\nCONFIG_EMBEDDED=y\n# CONFIG_64BIT is not set\nCONFIG_TEXT=\"a b\"\n"

func newMachine(t *testing.T) *machine {
	return &machine{t: t, compiler: "gcc 12", linker: "ld 2", deb: "package", image: []byte("bzImage")}
}

// maker is a maker on this machine with a cache of its own.
func (m *machine) maker() kernel.Maker {
	return kernel.Maker{
		Cache: m.t.TempDir(), Config: []byte("# Ours\nCONFIG_64BIT=y\n\n# CONFIG_PCI is not set\n"), Jobs: 3, Run: m.run,
		Say: func(string, ...any) {},
		Pin: kernel.Pin{Package: "linux-source", Version: "6", Tarball: "usr/src/linux.tar.xz", SHA256: digest("package"), Release: "6.0"},
	}
}

func digest(text string) string {
	d := sha256.Sum256([]byte(text))
	return hex.EncodeToString(d[:])
}

// did counts the commands that begin so.
func (m *machine) did(prefix string) int {
	n := 0
	for _, c := range m.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

func (m *machine) run(_ context.Context, c kernel.Command) error {
	call := strings.Join(c.Args, " ")
	m.calls = append(m.calls, call)
	m.environment(c)
	if m.fail != "" && strings.HasPrefix(call, m.fail) {
		return errFails
	}
	last := c.Args[len(c.Args)-1]
	switch c.Args[0] {
	case "gcc":
		fmt.Fprint(c.Log, m.compiler, "\nand more\n")
	case "ld":
		fmt.Fprint(c.Log, m.linker, "\nand more\n")
	case "apt-get":
		name, version, _ := strings.Cut(last, "=")
		m.put(filepath.Join(c.Dir, name+"_"+version+"_all.deb"), []byte(m.deb))
	case "dpkg-deb":
		b, err := os.ReadFile(c.Args[2])
		if err != nil || string(b) != m.deb {
			m.t.Errorf("unpacking %q: %v", b, err)
		}
		m.put(filepath.Join(last, "usr/src/linux.tar.xz"), []byte("tarball"))
	case "tar":
		if b, err := os.ReadFile(last); err != nil || string(b) != "tarball" {
			m.t.Errorf("unpacking %q: %v", b, err)
		}
		m.put(filepath.Join(c.Args[slices.Index(c.Args, "-C")+1], "Makefile"), nil)
	case "make":
		m.make(c.Dir, last)
	default:
		m.t.Errorf("%s isn't a tool of the build", call)
	}
	return nil
}

// environment demands that a command sees nothing of the user but PATH.
func (m *machine) environment(c kernel.Command) {
	if !slices.Contains(c.Env, "TZ=UTC") || !slices.Contains(c.Env, "LC_ALL=C") || !slices.Contains(c.Env, "KBUILD_BUILD_HOST=cloister") {
		m.t.Errorf("%v runs with %v", c.Args, c.Env)
	}
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); name == "CLOISTER_TEST" && slices.Contains(c.Env, variable) {
			m.t.Errorf("%v sees the user's %s", c.Args, name)
		}
	}
}

func (m *machine) make(tree, target string) {
	if _, err := os.Stat(filepath.Join(tree, "Makefile")); err != nil {
		m.t.Errorf("make outside of the tree: %v", err)
	}
	config := filepath.Join(tree, ".config")
	switch target {
	case "tinyconfig":
		m.put(config, []byte(tiny))
	case "olddefconfig":
		b, err := os.ReadFile(config)
		if err != nil {
			m.t.Error(err)
		}
		m.put(config, bytes.Replace(b, []byte(m.drop), nil, 1))
	case "bzImage":
		m.put(filepath.Join(tree, "arch/x86/boot/bzImage"), m.image)
	default:
		m.t.Errorf("make %s", target)
	}
}

func (m *machine) put(name string, b []byte) {
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, b, 0o644)); err != nil {
		m.t.Error(err)
	}
}
