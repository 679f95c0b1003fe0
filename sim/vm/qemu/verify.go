package qemu

import (
	"crypto/sha256"
	_ "embed" // for the recorded digests
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// recorded is a line for each archive that was tried: its SHA-256 and its name,
// as sha256sum writes them.
//
//go:embed archives.txt
var recorded string

// digests answers the recorded digests by archive.
func digests() map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(recorded) {
		if digest, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			all[name] = digest
		}
	}
	return all
}

// verify holds archives against the recorded digests and answers QEMU's
// version. An archive of another version than the recorded one is as good as
// apt's signatures, and say is told.
func (f *fetch) verify(archives []string) (version string, err error) {
	known, others := digests(), 0
	for _, path := range archives {
		name, err := url.PathUnescape(filepath.Base(path)) // apt writes %3a for a colon
		if err != nil {
			return "", fmt.Errorf("qemu: %w", err)
		}
		if v, ok := versionOf(name, wanted()[0]); ok {
			version = v
		}
		want, ok := known[name]
		if !ok {
			others++
			continue
		}
		got, err := digest(path)
		if err != nil {
			return "", err
		}
		if got != want {
			return "", fmt.Errorf("qemu: %s has another SHA-256 than the recorded one", name)
		}
	}
	if version == "" {
		return "", fmt.Errorf("qemu: apt-get fetched no %s: %w", wanted()[0], ErrUnavailable)
	}
	if version != recordedVersion {
		f.say("the archive has QEMU " + version + " now; " + recordedVersion + " was tried with this release")
	}
	if others > 0 {
		f.say(fmt.Sprintf("%d of %d archives are of other versions than recorded; apt verified their signatures", others, len(archives)))
	}
	return version, nil
}

// versionOf reads the version out of an archive's name, package_version_machine.deb.
func versionOf(archive, name string) (string, bool) {
	parts := strings.Split(strings.TrimSuffix(archive, ".deb"), "_")
	if len(parts) != 3 || parts[0] != name || parts[1] == "" {
		return "", false
	}
	return parts[1], true
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("qemu: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("qemu: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
