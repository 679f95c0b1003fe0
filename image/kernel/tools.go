package kernel

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Toolchain is what makes machine code of the source. The kernel holds these
// lines as text, so another toolchain is another kernel.
type Toolchain struct {
	// Compiler and Linker are the first lines of their --version.
	Compiler, Linker string
}

// need is a program in PATH, or a file by its path, and the Debian package that
// has it.
type need struct{ program, pkg string }

// needs are what a build calls, and the headers of what it compiles for itself:
// objtool, which is a part of the build, reads ELF.
func needs() []need {
	return []need{
		{"make", "make"}, {"gcc", "gcc"}, {"ld", "binutils"}, {"flex", "flex"}, {"bison", "bison"}, {"bc", "bc"},
		{"perl", "perl"}, {"gzip", "gzip"}, {"tar", "tar"}, {"xz", "xz-utils"}, {"dpkg-deb", "dpkg"},
		{"/usr/include/stdio.h", "libc6-dev"}, {"/usr/include/libelf.h", "libelf-dev"},
	}
}

// Missing answers the Debian packages that the build needs and this machine
// hasn't, sorted, each once. found answers whether a program or a file of that
// name is there; Installed is the one that looks.
func Missing(found func(name string) bool) []string {
	var missing []string
	for _, n := range needs() {
		if !found(n.program) {
			missing = append(missing, n.pkg)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Installed looks for a program in PATH, or for a file when the name is a path.
func Installed(name string) bool {
	if strings.HasPrefix(name, "/") {
		_, err := os.Stat(name)
		return err == nil
	}
	_, err := exec.LookPath(name)
	return err == nil
}

// environment is what programs see: a fixed language and time zone, and what
// the kernel would otherwise take from the machine, its clock and its user
// (Linux, Documentation/kbuild/reproducible-builds.rst).
func environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "TZ=UTC",
		"KBUILD_BUILD_TIMESTAMP=1970-01-01 00:00:00 UTC", "KBUILD_BUILD_USER=cloister", "KBUILD_BUILD_HOST=cloister",
		"KBUILD_BUILD_VERSION=1", "LOCALVERSION=",
	}
}

// toolchain asks compiler and linker who they are.
func (m Maker) toolchain(ctx context.Context) (Toolchain, error) {
	var t Toolchain
	for program, line := range map[string]*string{"gcc": &t.Compiler, "ld": &t.Linker} {
		var out bytes.Buffer
		if err := m.Run(ctx, Command{Dir: "/", Env: environment(), Args: []string{program, "--version"}, Log: &out}); err != nil {
			return Toolchain{}, fmt.Errorf("%w: %s: %w", ErrTools, program, err)
		}
		first, _, _ := strings.Cut(out.String(), "\n")
		if first == "" || len(first) > 256 {
			return Toolchain{}, fmt.Errorf("%w: %s doesn't say its version", ErrTools, program)
		}
		*line = first
	}
	return t, nil
}

// Install installs Debian packages with apt-get.
func Install(ctx context.Context, run Run, packages []string) error {
	env := append(environment(), "DEBIAN_FRONTEND=noninteractive")
	if err := run(ctx, Command{Dir: "/", Env: env, Args: []string{"apt-get", "-q", "-y", "update"}}); err != nil {
		return fmt.Errorf("%w: %w", ErrTools, err)
	}
	args := append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "install"}, packages...)
	if err := run(ctx, Command{Dir: "/", Env: env, Args: args}); err != nil {
		return fmt.Errorf("%w: %w", ErrTools, err)
	}
	return nil
}
