package image

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"runtime/debug"
)

// BinaryFlags are the flags of go build for the enclave's binary.
func BinaryFlags() []string {
	return []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w"}
}

// BinaryEnv is the environment of go build for the enclave's binary, which goes
// over the user's.
func BinaryEnv() []string {
	return []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off"}
}

// settings are what the binary's build information must say: how it was built,
// and nothing more. What isn't here, such as an experiment of the compiler or a
// build tag, would be a binary that nobody else gets.
func settings() map[string]string {
	return map[string]string{
		"-buildmode": "exe", "-compiler": "gc", "-trimpath": "true", "CGO_ENABLED": "0", "GOARCH": "amd64", "GOOS": "linux", "GOAMD64": "v1",
	}
}

// program is the main package of the image's only program.
const program = "github.com/cloisterhq/cloister/cmd/cloister-enclave"

// ErrBinary says that a binary isn't one that may be /init.
var ErrBinary = errors.New("image: the binary isn't fit for the image")

// CheckBinary demands that a binary is the enclave's, statically linked for
// x86-64, built with BinaryFlags and BinaryEnv, and answers what it says of
// itself. Errors wrap ErrBinary.
func CheckBinary(b []byte) (*debug.BuildInfo, error) {
	file, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBinary, err)
	}
	if file.Machine != elf.EM_X86_64 || file.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("%w: not an executable for x86-64", ErrBinary)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return nil, fmt.Errorf("%w: it needs libraries, and there are none", ErrBinary)
		}
	}
	info, err := buildinfo.Read(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBinary, err)
	}
	if err := checkInfo(info); err != nil {
		return nil, err
	}
	return info, nil
}

// checkInfo holds build information against the settings.
func checkInfo(info *debug.BuildInfo) error {
	if info.Path != program {
		return fmt.Errorf("%w: it is %s", ErrBinary, info.Path)
	}
	want := settings()
	for _, s := range info.Settings {
		if s.Key == "DefaultGODEBUG" || s.Key == "-ldflags" { // by the module and by BinaryFlags; -trimpath leaves the second out
			continue
		}
		if value, known := want[s.Key]; !known || value != s.Value {
			return fmt.Errorf("%w: built with %s=%s", ErrBinary, s.Key, s.Value)
		}
		delete(want, s.Key)
	}
	for key := range want {
		return fmt.Errorf("%w: its build information doesn't say %s", ErrBinary, key)
	}
	return nil
}
