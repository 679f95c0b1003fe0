package bundle_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/internal/bundle"
)

// FuzzDecode checks that a bundle has one encoding: what decodes is checked
// and encodes to the same bytes, and everything else is ErrBundle.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, vector()))
	f.Add(encode(f, whole(f)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := bundle.Decode(raw)
		if err != nil {
			if !errors.Is(err, bundle.ErrBundle) || b != nil {
				t.Fatalf("%v, %v", b, err)
			}
			return
		}
		again, err := b.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("a bundle has two encodings: %v", err)
		}
	})
}
