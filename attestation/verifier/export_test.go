package verifier

import (
	"time"

	"github.com/hf/nitrite"

	"github.com/cloisterhq/cloister/attestation"
)

// MaxNonces is how many nonces a Verifier remembers.
const MaxNonces = maxNonces

// AuthenticateAlone is Authenticate without the second opinion, for the
// benchmark that compares the two and for the differential test.
func AuthenticateAlone(raw []byte, roots Roots, at time.Time) (*Authentic, error) {
	return authenticate(raw, roots, at, func(*attestation.Document) *chain { return nil })
}

// SecondOpinion asks the second verifier about a document under the chain of an
// authentic one.
func SecondOpinion(d *attestation.Document, a *Authentic) error {
	return secondOpinion(d, a.chain.path, a.at)
}

// SameContent compares two readings.
func SameContent(d *attestation.Document, other *nitrite.Document) bool {
	return sameContent(d, other)
}

// Use marks a nonce as used.
func Use(v *Verifier, nonce []byte, made, now time.Time) error { return v.use(nonce, made, now) }
