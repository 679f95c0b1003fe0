package verifier

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
)

// maxNonces bounds the nonces that a [Verifier] remembers at a time.
const maxNonces = 1 << 16

// ErrNonces says that a [Verifier] accepted so many documents in so short a
// time that it can't remember their nonces, and therefore accepts no more.
var ErrNonces = errors.New("verifier: too many nonces to remember")

// Verifier authenticates and appraises live evidence, one document after
// another. Beyond [Authenticate] and [Appraise] it has a memory: it accepts no
// nonce twice, it notices when its clock is set back, and it has a [Cache] of
// chains. It is safe for concurrent use.
type Verifier struct {
	cache  *Cache
	policy *policy.Policy

	mu     sync.Mutex
	latest time.Time                       // guarded by mu; the latest time seen
	used   map[[sha256.Size]byte]time.Time // guarded by mu; when a nonce may be forgotten
}

// New makes a verifier that accepts what the policy accepts, under the given
// roots. Every one of them must be named by the policy.
func New(roots Roots, p *policy.Policy) (*Verifier, error) {
	if p == nil {
		return nil, ErrPolicy
	}
	if len(roots.Fingerprints()) == 0 {
		return nil, errNoRoot
	}
	if err := roots.NamedBy(p); err != nil {
		return nil, err
	}
	return &Verifier{cache: NewCache(roots, 0), policy: p, used: make(map[[sha256.Size]byte]time.Time)}, nil
}

// Challenge answers a nonce of [NonceSize] random bytes.
func Challenge() []byte {
	nonce := make([]byte, NonceSize)
	rand.Read(nonce) // never fails
	return nonce
}

// Verify authenticates and appraises one document for the nonce that the caller
// chose for this very exchange. Refusals are *[attestation.Error]; beyond those
// of the two functions, a nonce that was accepted before is a refusal of the
// class Nonce, and a time that lies more than [Skew] before one that was shown
// earlier is a refusal of the class Clock.
//
// A nonce counts as used once a document with it was accepted: refused documents
// use up nothing. It is remembered for as long as that document is fresh.
func (v *Verifier) Verify(raw, nonce []byte, now time.Time) (*Result, error) {
	if err := v.tick(now); err != nil {
		return nil, err
	}
	a, err := v.cache.Authenticate(raw, now)
	if err != nil {
		return nil, err
	}
	r, err := Appraise(a, v.policy, nonce, now)
	if err != nil {
		return nil, err
	}
	if err := v.use(nonce, a.document.Timestamp(), now); err != nil {
		return nil, err
	}
	return r, nil
}

// tick takes note of the time.
func (v *Verifier) tick(now time.Time) error {
	if err := usable(now); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if now.Before(v.latest.Add(-Skew)) {
		return refuse(attestation.Clock, "the verifier's clock went back")
	}
	if now.After(v.latest) {
		v.latest = now
	}
	return nil
}

// use marks a nonce as used until the document made at that time is stale.
func (v *Verifier) use(nonce []byte, made, now time.Time) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := sha256.Sum256(nonce)
	if _, twice := v.used[id]; twice {
		return refusedBy(CheckNonce, refuse(attestation.Nonce, "this nonce was used before"))
	}
	if len(v.used) >= maxNonces {
		maps.DeleteFunc(v.used, func(_ [sha256.Size]byte, until time.Time) bool { return until.Before(now) })
	}
	if len(v.used) >= maxNonces {
		return ErrNonces
	}
	// A clock that is behind by the skew still finds the document fresh.
	v.used[id] = made.Add(v.policy.MaxAge() + Skew)
	return nil
}
