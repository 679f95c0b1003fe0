package verifier_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
)

// real reads the documents of AWS origin, which aren't ours to publish.
func real(t *testing.T) map[string][]byte {
	t.Helper()
	fixtures := os.Getenv("CLOISTER_FIXTURES")
	if fixtures == "" {
		t.Skip("CLOISTER_FIXTURES is unset: no real documents")
	}
	files, err := filepath.Glob(filepath.Join(fixtures, "attestation", "*.cbor"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents in %s: %v", fixtures, err)
	}
	all := make(map[string][]byte)
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".cbor")] = b
	}
	return all
}

// TestReal judges real documents at their own time, at other times, under
// another root and under other policies.
func TestReal(t *testing.T) {
	for name, raw := range real(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := attestation.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			at := d.Timestamp()
			a, err := verifier.Authenticate(raw, verifier.AWS(), at)
			if strings.Contains(name, "bad-sig") {
				refusal(t, err, attestation.Signature)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !a.IsAWS() {
				t.Error("not under AWS's root")
			}
			appraiseReal(t, a, strings.Contains(name, "debug"))
			_, err = verifier.Authenticate(raw, verifier.AWS(), at.Add(4*time.Hour))
			refusal(t, err, attestation.Expired)
			_, err = verifier.Authenticate(raw, verifier.AWS(), at.Add(-24*time.Hour))
			refusal(t, err, attestation.NotYetValid)
			_, read := vectors(t)
			_, err = verifier.Authenticate(raw, newRoots(t, read("root.pem")), at)
			refusal(t, err, attestation.UntrustedRoot)
		})
	}
}

func appraiseReal(t *testing.T, a *verifier.Authentic, debug bool) {
	t.Helper()
	p := policyFor(t, a, func(f *policy.File) { f.AllowDebug = debug })
	r, err := verifier.AppraiseArchived(a, p, a.Document().Nonce())
	if err != nil {
		t.Fatal(err)
	}
	if r.Environment() != policy.AWS || r.Debug() != debug || !r.Time().Equal(a.Document().Timestamp()) {
		t.Errorf("%s, debug %v, at %v", r.Environment(), r.Debug(), r.Time())
	}
	for _, index := range []string{"0", "1", "2"} {
		other := policyFor(t, a, func(f *policy.File) {
			f.AllowDebug = debug
			f.Releases[0].PCRs[index] = strings.Repeat("ab", attestation.PCRSize)
		})
		_, err := verifier.AppraiseArchived(a, other, nil)
		if got := refusal(t, err, attestation.PolicyMismatch); got.Index != int(index[0]-'0') {
			t.Errorf("PCR%d, not PCR%s", got.Index, index)
		}
	}
	if debug {
		strict := policyFor(t, a, func(f *policy.File) {
			for i := range f.Releases[0].PCRs {
				f.Releases[0].PCRs[i] = strings.Repeat("ab", attestation.PCRSize)
			}
		})
		_, err := verifier.AppraiseArchived(a, strict, nil)
		refusal(t, err, attestation.Debug)
	}
}

// TestRealChanges: no byte of a real document can be changed, and nothing cut
// off.
func TestRealChanges(t *testing.T) {
	raw := real(t)["2025-11-10-fastcrypto-indef-pcr16"]
	d, err := attestation.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	cache := verifier.NewCache(verifier.AWS(), 0)
	at := func(b []byte) (*verifier.Authentic, error) { return cache.Authenticate(b, d.Timestamp()) }
	if _, err := at(raw); err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		_, err := at(raw[:n])
		refusal(t, err, attestation.Malformed)
	}
	changed(raw, func(i int, b []byte) {
		if a, err := at(b); err == nil || a != nil {
			t.Errorf("accepted with byte %d changed", i)
		}
	})
}
