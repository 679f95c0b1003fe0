package answer_test

import (
	"crypto/sha256"
	"testing"

	"github.com/cloisterhq/cloister/internal/answer"
)

// TestQueryDigest: the digest is of the text, and of each bound value in its
// place.
func TestQueryDigest(t *testing.T) {
	const text = "SELECT COUNT(*) FROM colon WHERE rx IN (?, ?)"
	if answer.QueryDigest(text) != sha256.Sum256([]byte(text)) {
		t.Error("a text alone isn't hashed as it is")
	}
	if answer.QueryDigest(text, "'Lev'", "NULL") != sha256.Sum256([]byte(text+"\x00'Lev'\x00NULL")) {
		t.Error("bound values don't follow the text as docs/spec/answer.md says")
	}
	seen := map[[32]byte]bool{}
	for _, bound := range [][]string{nil, {""}, {"1"}, {"1", "2"}, {"2", "1"}, {"12"}, {"1", ""}} {
		digest := answer.QueryDigest(text, bound...)
		if seen[digest] {
			t.Errorf("%q has the digest of others", bound)
		}
		seen[digest] = true
	}
}
