package envelope_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/cloisterhq/cloister/internal/envelope"
)

// FuzzParse checks that what parses is what its header says, byte for byte:
// sealing again with that header gives the same preamble.
func FuzzParse(f *testing.F) {
	raw, _ := seal(f)
	f.Add(raw)
	f.Add(raw[:100])
	f.Add(flip(raw, 11))
	sealed, _ := sealAs(f, intake(nil), vectorContent())
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := envelope.Parse(b)
		if err != nil {
			if s != nil {
				t.Fatal("an error and an envelope")
			}
			return
		}
		if s.Digest() != sha256.Sum256(b) {
			t.Fatal("the digest isn't the hash of the bytes")
		}
		h := s.Header()
		if h.Salt == [32]byte{} {
			return
		}
		again, _, err := envelope.Seal(h, vectorDEK(), 1, nil, vectorSigner())
		if err != nil {
			t.Fatalf("a parsed header doesn't encode: %v", err)
		}
		end := 12 + int(binary.BigEndian.Uint32(b[8:]))
		if !bytes.HasPrefix(b, again[:end]) {
			t.Fatal("a header has two encodings")
		}
	})
}
