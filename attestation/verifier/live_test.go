package verifier_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

func newVerifier(t *testing.T, e conformance.Evidence) *verifier.Verifier {
	t.Helper()
	v, err := verifier.New(newRoots(t, e.Root), load(t, e.Policy))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNew(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	if _, err := verifier.New(newRoots(t, e.Root), nil); !errors.Is(err, verifier.ErrPolicy) {
		t.Errorf("no policy: %v", err)
	}
	if _, err := verifier.New(verifier.Roots{}, load(t, e.Policy)); err == nil {
		t.Error("no root")
	}
	_, err := verifier.New(verifier.AWS(), load(t, e.Policy))
	refusal(t, err, attestation.UntrustedRoot)
	_, err = verifier.New(newRoots(t, e.Root), new(policy.Policy))
	refusal(t, err, attestation.UntrustedRoot)
}

func TestChallenge(t *testing.T) {
	one, two := verifier.Challenge(), verifier.Challenge()
	if len(one) != verifier.NonceSize || bytes.Equal(one, two) {
		t.Errorf("%x, %x", one, two)
	}
}

// TestReplay: a nonce counts once, also with the other good signature of the
// same document, and only documents that were accepted use it up.
func TestReplay(t *testing.T) {
	challenge := verifier.Challenge()
	e := conformance.Live(now, challenge, nil)
	v := newVerifier(t, e)
	_, err := v.Verify(conformance.Live(now, nonce(), nil).Document, challenge, now)
	refusal(t, err, attestation.Nonce)
	_, err = v.Verify(conformance.Enclave{PCRs: map[int][]byte{0: bytes.Repeat([]byte{1}, 48)}}.Attest(now, challenge, nil).Document, challenge, now)
	refusal(t, err, attestation.PolicyMismatch)
	r, err := v.Verify(e.Document, challenge, now)
	if err != nil {
		t.Fatal(err)
	}
	if r.Release() != "good" || !r.Time().Equal(now) {
		t.Errorf("release %q at %v", r.Release(), r.Time())
	}
	twin := conformance.Enclave{Twin: true}.Attest(now, challenge, nil)
	if bytes.Equal(twin.Document, e.Document) {
		t.Fatal("the twin is the same document")
	}
	for _, raw := range [][]byte{e.Document, twin.Document, append([]byte{0xd2}, e.Document...), conformance.Live(now, challenge, []byte("later")).Document} {
		r, err := v.Verify(raw, challenge, now)
		if got := refusal(t, err, attestation.Nonce); got.Check != verifier.CheckNonce || r != nil {
			t.Errorf("check %q, result %v", got.Check, r)
		}
	}
	other := verifier.Challenge()
	if _, err := v.Verify(conformance.Live(now, other, nil).Document, other, now); err != nil {
		t.Errorf("another nonce: %v", err)
	}
}

// TestReplayAtOnce: of many uses of one nonce at the same time one counts.
func TestReplayAtOnce(t *testing.T) {
	challenge := verifier.Challenge()
	e := conformance.Live(now, challenge, nil)
	v := newVerifier(t, e)
	var accepted atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := v.Verify(e.Document, challenge, now); err == nil {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 1 {
		t.Errorf("accepted %d times", accepted.Load())
	}
}

// TestClockBack: a clock that goes back by more than the skew refuses.
func TestClockBack(t *testing.T) {
	at := func(d time.Duration) (*verifier.Verifier, func(time.Duration) error) {
		e := conformance.Live(now, nonce(), nil)
		v := newVerifier(t, e)
		verify := func(d time.Duration) error {
			challenge := verifier.Challenge()
			when := now.Add(d)
			_, err := v.Verify(conformance.Live(when, challenge, nil).Document, challenge, when)
			return err
		}
		if err := verify(d); err != nil {
			t.Fatal(err)
		}
		return v, verify
	}
	_, verify := at(time.Hour)
	if err := verify(time.Hour - verifier.Skew); err != nil {
		t.Errorf("within the skew: %v", err)
	}
	refusal(t, verify(time.Hour-verifier.Skew-time.Second), attestation.Clock)
	if err := verify(2 * time.Hour); err != nil {
		t.Errorf("forward: %v", err)
	}
	refusal(t, verify(time.Hour), attestation.Clock)
	v, _ := at(0)
	_, err := v.Verify(nil, nonce(), time.Time{})
	refusal(t, err, attestation.Clock)
}

// TestManyNonces fills the memory of nonces: nothing is accepted that couldn't
// be remembered, and what is stale is forgotten.
func TestManyNonces(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	v := newVerifier(t, e)
	for i := range verifier.MaxNonces {
		if err := verifier.Use(v, binary.BigEndian.AppendUint32(nil, uint32(i)), now, now); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(d time.Duration) error {
		challenge := verifier.Challenge()
		when := now.Add(d)
		_, err := v.Verify(conformance.Live(when, challenge, nil).Document, challenge, when)
		return err
	}
	if err := fill(0); !errors.Is(err, verifier.ErrNonces) {
		t.Errorf("one more: %v", err)
	}
	if err := fill(5 * time.Minute); !errors.Is(err, verifier.ErrNonces) {
		t.Errorf("while the documents are fresh: %v", err)
	}
	if err := fill(5*time.Minute + 2*verifier.Skew); err != nil {
		t.Errorf("when all are stale: %v", err)
	}
}
