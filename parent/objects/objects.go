// Package objects keeps immutable objects in a directory: ciphertext from
// producers and sealed state from the enclave, which it can't tell apart from
// noise. It trusts the file system for durability. Nobody trusts it for more:
// its readers authenticate what they get and notice what is missing.
package objects

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/internal/limits"
)

// Errors that callers tell apart.
var (
	// ErrExists says that other bytes hold the name.
	ErrExists = errors.New("objects: the name is taken by another object")
	// ErrNotFound says that no object has the name.
	ErrNotFound = errors.New("objects: no such object")
	// ErrName says that a name isn't one that this store takes; see CheckName.
	ErrName = errors.New("objects: not an object name")
	// ErrTooLarge says that an object is over limits.Object bytes.
	ErrTooLarge = errors.New("objects: the object is too large")
	// ErrLocked says that another process has the directory.
	ErrLocked = errors.New("objects: another cloister-parent has this directory")
)

// Entry is an object in a listing.
type Entry struct {
	// Name is the object's full name.
	Name string
	// Stored is when its bytes were written, by this machine's clock.
	Stored time.Time
}

// CheckName answers ErrName unless name is a directory and a base name, or
// more directories, with a slash between: each of them 1 or more of the
// characters A-Z a-z 0-9 . _ - and not beginning with a dot, and all of it at
// most limits.ObjectName bytes long.
func CheckName(name string) error {
	parts := strings.Split(name, "/")
	if len(name) > limits.ObjectName || len(parts) < 2 {
		return ErrName
	}
	for _, part := range parts {
		if !plain(part) {
			return ErrName
		}
	}
	return nil
}

// checkPrefix answers ErrName unless prefix is what CheckName allows before
// the base name, with its slash.
func checkPrefix(prefix string) error {
	dir, ok := strings.CutSuffix(prefix, "/")
	if !ok || len(prefix) > limits.ObjectName {
		return fmt.Errorf("%w: a prefix ends in a slash", ErrName)
	}
	for part := range strings.SplitSeq(dir, "/") {
		if !plain(part) {
			return ErrName
		}
	}
	return nil
}

// plain says whether a part of a name can't leave its directory or hide in it.
func plain(part string) bool {
	if part == "" || part[0] == '.' {
		return false
	}
	for _, c := range []byte(part) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
