package verifier_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

func names(checks []verifier.Check) (all []string) {
	for _, c := range checks {
		all = append(all, c.Name)
	}
	return all
}

func TestAppraise(t *testing.T) {
	e := conformance.Live(now, nonce(), []byte("data"))
	r, err := verifier.Appraise(authentic(t, e), load(t, e.Policy), nonce(), now.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if r.Environment() != policy.Other || r.Release() != "good" || r.Debug() || !r.Time().Equal(now.Add(time.Second)) {
		t.Errorf("%s, %s, debug %v, %v", r.Environment(), r.Release(), r.Debug(), r.Time())
	}
	if r.RootFingerprint() != newRoots(t, e.Root).Fingerprints()[0] || !bytes.Equal(r.Document().Raw(), e.Document) {
		t.Error("another root or another document")
	}
	want := []string{"format", "root", "certificates", "validity", "signature", "module", "second-opinion", "nonce", "freshness", "environment", "debug", "measurements"}
	if got := names(r.Checks()); !slices.Equal(got, want) {
		t.Errorf("checks %v", got)
	}
	for _, c := range r.Checks() {
		if !c.OK || c.Detail == "" {
			t.Errorf("check %+v", c)
		}
	}
}

// TestNonce is row 34: all of it, or none.
func TestNonce(t *testing.T) {
	want := nonce()
	other := bytes.Clone(want)
	other[31] ^= 1
	for name, inDocument := range map[string][]byte{
		"absent": nil, "empty": {}, "shorter": want[:31], "longer": append(bytes.Clone(want), 0), "prefix": want[:1], "last bit": other, "twice": append(bytes.Clone(want), want...),
	} {
		e := conformance.Live(now, inDocument, nil)
		r, err := verifier.Appraise(authentic(t, e), load(t, e.Policy), want, now)
		if got := refusal(t, err, attestation.Nonce); got.Check != verifier.CheckNonce || r != nil {
			t.Errorf("%s: %v", name, got)
		}
		a, err := verifier.AppraiseArchived(authentic(t, e), load(t, e.Policy), want)
		if refusal(t, err, attestation.Nonce); a != nil {
			t.Errorf("%s: a result beside a refusal", name)
		}
	}
}

// TestExpectation: an expectation that anybody meets is the caller's error.
func TestExpectation(t *testing.T) {
	e := conformance.Live(now, nil, nil)
	a, p := authentic(t, e), load(t, e.Policy)
	for _, n := range []int{0, 1, 15, 1025} {
		if _, err := verifier.Appraise(a, p, make([]byte, n), now); !errors.Is(err, verifier.ErrNonce) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := verifier.Appraise(a, p, nil, now); !errors.Is(err, verifier.ErrNonce) {
		t.Errorf("nil: %v", err)
	}
	for _, n := range []int{0, 1025} {
		if _, err := verifier.AppraiseArchived(a, p, make([]byte, n)); !errors.Is(err, verifier.ErrNonce) {
			t.Errorf("archived, %d bytes: %v", n, err)
		}
	}
	for _, n := range []int{verifier.MinNonce, 20, 64, 1024} {
		challenge := bytes.Repeat([]byte{1}, n)
		e := conformance.Live(now, challenge, nil)
		if _, err := verifier.Appraise(authentic(t, e), p, challenge, now); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := verifier.Appraise(nil, p, nonce(), now); !errors.Is(err, verifier.ErrAuthentic) {
		t.Errorf("no document: %v", err)
	}
	if _, err := verifier.Appraise(new(verifier.Authentic), p, nonce(), now); !errors.Is(err, verifier.ErrAuthentic) {
		t.Errorf("an empty document: %v", err)
	}
	if _, err := verifier.AppraiseArchived(nil, p, nil); !errors.Is(err, verifier.ErrAuthentic) {
		t.Errorf("archived, no document: %v", err)
	}
	var none *policy.Policy
	if _, err := verifier.Appraise(a, none, nonce(), now); !errors.Is(err, verifier.ErrPolicy) {
		t.Errorf("no policy: %v", err)
	}
	if _, err := verifier.AppraiseArchived(a, none, nil); !errors.Is(err, verifier.ErrPolicy) {
		t.Errorf("archived, no policy: %v", err)
	}
}

// TestZeroPolicy: the policy that nobody loaded accepts nothing.
func TestZeroPolicy(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	_, err := verifier.Appraise(authentic(t, e), new(policy.Policy), nonce(), now)
	refusal(t, err, attestation.UntrustedRoot)
}

// TestLiveTime: the time of appraisal counts, whatever Authenticate was given.
func TestLiveTime(t *testing.T) {
	e := conformance.Enclave{Age: time.Hour}.Attest(now, nonce(), nil)
	a, p := authentic(t, e), load(t, e.Policy)
	for _, c := range []struct {
		at    time.Duration
		class attestation.Class
	}{
		{-time.Hour - 35*time.Second, attestation.NotYetValid},
		{-time.Minute, attestation.Future},
		{-31 * time.Second, attestation.Future},
		{-30 * time.Second, ""},
		{5 * time.Minute, ""},
		{5*time.Minute + time.Millisecond, attestation.Stale},
		{time.Hour, attestation.Stale},
		{2 * time.Hour, attestation.Expired},
	} {
		_, err := verifier.Appraise(a, p, nonce(), now.Add(c.at))
		if c.class == "" {
			if err != nil {
				t.Errorf("%v: %v", c.at, err)
			}
			continue
		}
		refusal(t, err, c.class)
	}
}

// TestEnvironment: AWS's root goes with the environment aws, and no other root
// does. A policy file can't even say otherwise; this is the second lock.
func TestEnvironment(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	other := conformance.Live(now, nonce(), nil)
	var file map[string]any
	if err := json.Unmarshal(other.Policy, &file); err != nil {
		t.Fatal(err)
	}
	file["roots"] = []string{policy.AWSRoot}
	file["environment"] = policy.AWS
	b, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = verifier.Appraise(authentic(t, e), load(t, b), nonce(), now)
	got := refusal(t, err, attestation.UntrustedRoot)
	if got.Check != verifier.CheckEnvironment || !strings.Contains(got.Error(), authentic(t, e).RootFingerprint()) {
		t.Errorf("%v", got)
	}
}

// TestClosest: the register that is named is the first wrong one of the release
// that fits best.
func TestClosest(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	a := authentic(t, e)
	other := strings.Repeat("ab", attestation.PCRSize)
	p := policyFor(t, a, func(f *policy.File) {
		good := f.Releases[0].PCRs
		f.Releases = []policy.FileRelease{
			{Name: "far", PCRs: map[string]string{"0": other, "1": other, "2": good["2"]}},
			{Name: "near", PCRs: map[string]string{"0": good["0"], "1": good["1"], "2": other}},
			{Name: "as near", PCRs: map[string]string{"0": other, "1": good["1"], "2": good["2"]}},
		}
	})
	_, err := verifier.Appraise(a, p, nonce(), now)
	if got := refusal(t, err, attestation.PolicyMismatch); got.Index != 2 || got.Check != verifier.CheckMeasurements {
		t.Errorf("%v", got)
	}
}

// TestNote: a note closes what was open, once, and replaces no verdict.
func TestNote(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	r, err := verifier.Appraise(authentic(t, e), load(t, e.Policy), nonce(), now)
	if err != nil {
		t.Fatal(err)
	}
	before, open := r.Checks(), r.NotEstablished()
	r.Note(verifier.CheckSignature, "replaced")
	if !slices.Equal(r.Checks(), before) || !slices.Equal(r.NotEstablished(), open) {
		t.Error("a verdict was replaced")
	}
	for range 2 {
		r.Note(verifier.CheckBinding, "the key is the attested one")
	}
	r.Note("genesis", "pinned")
	if len(r.Checks()) != len(before)+2 || len(r.NotEstablished()) != len(open)-1 {
		t.Errorf("%d checks, %d open", len(r.Checks()), len(r.NotEstablished()))
	}
	r.Checks()[0].OK = false
	r.NotEstablished()[0] = ""
	if !r.Checks()[0].OK || r.NotEstablished()[0] == "" {
		t.Error("a caller changed a result")
	}
}

// TestResultJSON holds the form against its schema and against the document.
func TestResultJSON(t *testing.T) {
	e := conformance.Enclave{Full: true}.Attest(now.Add(123*time.Millisecond), nonce(), []byte("data"))
	r, err := verifier.Appraise(authentic(t, e), load(t, e.Policy), nonce(), now.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for _, bound := range []bool{false, true} {
		if bound {
			r.Note(verifier.CheckBinding, "bound")
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		v := valid(t, b)
		for name, want := range map[string]any{
			"verified": true, "mode": "live", "freshness": "established", "release": "good", "debug": false, "verified_at": "2026-06-15T12:00:01.000Z",
			"timestamp": "2026-06-15T12:00:00.123Z", "root": r.RootFingerprint(), "module_id": r.Document().ModuleID(),
		} {
			if v[name] != want {
				t.Errorf("%s is %v", name, v[name])
			}
		}
		binding := v["binding"].(map[string]any)
		if binding["established"] != bound || binding["user_data"] != hex.EncodeToString([]byte("data")) || binding["nonce"] != hex.EncodeToString(nonce()) {
			t.Errorf("binding %v", binding)
		}
		if len(v["pcrs"].(map[string]any)) != 5 { // 0, 1, 2, 4, 16
			t.Errorf("registers %v", v["pcrs"])
		}
		if len(v["matched_pcrs"].([]any)) != 4 {
			t.Errorf("matched %v", v["matched_pcrs"])
		}
		if len(v["checks"].([]any)) != len(r.Checks()) || len(v["not_established"].([]any)) != len(r.NotEstablished()) {
			t.Error("checks or gaps are missing")
		}
	}
	for _, none := range []*verifier.Result{nil, new(verifier.Result)} {
		if b, err := none.MarshalJSON(); err == nil {
			t.Errorf("no result is written as %s", b)
		}
	}
}
