// Package secret holds key material in a type that can't be printed, compared
// with == or marshalled. It trusts nothing and imports nothing of ours.
package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
)

// ErrSecret is what every attempt to encode a secret answers.
var ErrSecret = errors.New("secret: key material can't be encoded")

const redacted = "[secret]"

// Bytes holds key material. The zero value is empty. Copies share the same
// memory, so that Wipe reaches all of them. The array of functions makes ==
// a compile-time error.
type Bytes struct {
	_ [0]func()
	b *[]byte
}

// New takes ownership of b: the caller must not use it afterwards.
func New(b []byte) Bytes { return Bytes{b: &b} }

// Expose answers the key material itself, not a copy. The caller must not keep
// it longer than the call that needs it.
func (s Bytes) Expose() []byte {
	if s.b == nil {
		return nil
	}
	return *s.b
}

// Len is the number of bytes held.
func (s Bytes) Len() int { return len(s.Expose()) }

// Equal compares in constant time. Two empty secrets are not equal: an absent
// key matches nothing.
func (s Bytes) Equal(other Bytes) bool {
	return s.Len() > 0 && subtle.ConstantTimeCompare(s.Expose(), other.Expose()) == 1
}

// Wipe overwrites the key material with zeros and forgets it, for all copies.
func (s Bytes) Wipe() {
	if s.b == nil {
		return
	}
	clear(*s.b)
	runtime.KeepAlive(s.b)
	*s.b = nil
}

// String hides the content.
func (Bytes) String() string { return redacted }

// GoString hides the content from %#v.
func (Bytes) GoString() string { return redacted }

// Format hides the content from every verb.
func (Bytes) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue hides the content from slog.
func (Bytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON always fails.
func (Bytes) MarshalJSON() ([]byte, error) { return nil, ErrSecret }

// MarshalText always fails.
func (Bytes) MarshalText() ([]byte, error) { return nil, ErrSecret }

// MarshalBinary always fails.
func (Bytes) MarshalBinary() ([]byte, error) { return nil, ErrSecret }

// MarshalCBOR always fails.
func (Bytes) MarshalCBOR() ([]byte, error) { return nil, ErrSecret }
