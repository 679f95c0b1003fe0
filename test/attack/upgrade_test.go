package attack_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/internal/keypolicy"
)

// TestRotation gives the data owner's keys new material between and after
// records: what was wrapped before still opens, and nothing is lost.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	e := w.start()
	var all [][]byte
	for i := range uint64(2) {
		all = append(all, w.seal(w.write(colon, "s", i)))
		for _, dataset := range []string{"", colon} {
			_, err := w.api("OWNER").RotateKeyOnDemand(t.Context(), &awskms.RotateKeyOnDemandInput{KeyId: aws.String(w.keys[dataset])})
			must(t, err)
		}
		_, err := e.ingest.Accept(t.Context(), all[i])
		must(t, err)
	}
	e.holds("rotated", 2, 6, 0)
	w.start(all...).holds("another boot", 2, 6, 0)
}

// TestUpgrade releases the keys to an old and a new image side by side, and then
// to the new one alone: the new one has every record, the old one gets no key.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	raw := w.seal(w.write(colon, "s", 0))
	_, err := w.start().ingest.Accept(t.Context(), raw)
	must(t, err)
	_, was := w.boot("", time.Now)
	next, is := w.boot("next", time.Now)
	before := w.attest
	w.attest = documents(next)
	if _, err := w.open(w.client()); !errors.Is(err, kms.ErrDenied) {
		t.Errorf("the new image before the policy names it: %v", err)
	}
	w.release(was, is)
	w.start(raw).holds("the new image", 1, 3, 0)
	w.attest = before
	w.start(raw).holds("the old image beside it", 1, 3, 0)
	mixed := is
	mixed.PCR0 = was.PCR0
	w.release(mixed)
	for name, attest := range map[string]func(context.Context, []byte) ([]byte, error){"new": documents(next), "old": before} {
		w.attest = attest
		if _, err := w.open(w.client()); !errors.Is(err, kms.ErrDenied) {
			t.Errorf("the %s image under registers of both: %v", name, err)
		}
	}
	w.release(is)
	w.attest = before
	if _, err := w.open(w.client()); !errors.Is(err, kms.ErrDenied) {
		t.Errorf("the old image after it was retired: %v", err)
	}
	w.attest = documents(next)
	w.start(raw).holds("the new image alone", 1, 3, 0)
}

// release puts the policies for these releases in place.
func (w *world) release(releases ...keypolicy.Release) {
	w.t.Helper()
	for dataset, arn := range w.keys {
		_, err := w.api("OWNER").PutKeyPolicy(w.t.Context(), &awskms.PutKeyPolicyInput{KeyId: &arn, Policy: aws.String(policyOf(w.t, dataset, releases...))})
		must(w.t, err)
	}
}
