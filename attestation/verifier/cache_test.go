package verifier_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

// asked says whether the second verifier was asked.
func asked(a *verifier.Authentic, e conformance.Evidence, t *testing.T) bool {
	t.Helper()
	r, err := verifier.Appraise(a, load(t, e.Policy), nonce(), now)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(r.Checks(), func(c verifier.Check) bool { return c.Name == verifier.CheckSecondOpinion })
}

// TestCache: the second document of an enclave is found authentic by its own
// signature, and says that the chain was remembered.
func TestCache(t *testing.T) {
	one := conformance.Live(now, nonce(), []byte("one"))
	two := conformance.Live(now, nonce(), []byte("two"))
	cache := verifier.NewCache(newRoots(t, one.Root), 0)
	for i, e := range []conformance.Evidence{one, two, one} {
		a, err := cache.Authenticate(e.Document, now)
		if err != nil {
			t.Fatal(err)
		}
		if asked(a, e, t) != (i == 0) {
			t.Errorf("document %d: the second verifier was asked, or wasn't", i)
		}
		if cache.Len() != 1 {
			t.Errorf("%d chains", cache.Len())
		}
	}
}

// TestCacheTime: every certificate's validity is checked at every use, and the
// document's own time too.
func TestCacheTime(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	cache := verifier.NewCache(newRoots(t, e.Root), 0)
	if _, err := cache.Authenticate(e.Document, now); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at    time.Duration
		class attestation.Class
	}{
		{3*time.Hour - time.Second, ""},
		{3 * time.Hour, attestation.Expired},
		{400 * time.Hour, attestation.Expired},
		{-35 * time.Second, attestation.NotYetValid},
		{-34 * time.Second, ""},
	} {
		_, err := cache.Authenticate(e.Document, now.Add(c.at))
		if c.class == "" {
			if err != nil {
				t.Errorf("%v: %v", c.at, err)
			}
			continue
		}
		refusal(t, err, c.class)
	}
}

// TestCacheVectors: with every good chain remembered, every vector has the
// answer that it has without.
func TestCacheVectors(t *testing.T) {
	t.Parallel()
	all, read := vectors(t)
	caches := make(map[string]*verifier.Cache)
	for _, v := range all {
		raw, err := attestation.Decode(read(v.Document))
		if err != nil || v.Class == "policy" {
			continue
		}
		cache := caches[v.Root]
		if cache == nil {
			cache = verifier.NewCache(newRoots(t, read(v.Root)), 0)
			caches[v.Root] = cache
			if _, err := cache.Authenticate(read("good.bin"), now); err != nil && v.Root == "root.pem" {
				t.Fatal(err)
			}
		}
		_, got := cache.Authenticate(raw, *v.At)
		_, want := verifier.Authenticate(raw, newRoots(t, read(v.Root)), *v.At)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, and without a cache %v", v.Name, got, want)
		}
	}
}

// TestCacheBound: a cache holds so many chains and no more, drops the oldest,
// and nobody without a good chain gets in.
func TestCacheBound(t *testing.T) {
	const size = 3
	var all []conformance.Evidence
	for i := range 5 {
		all = append(all, conformance.Enclave{Label: fmt.Sprint("enclave ", i)}.Attest(now, nonce(), nil))
	}
	cache := verifier.NewCache(newRoots(t, all[0].Root), size)
	use := func(i int, fresh bool) {
		t.Helper()
		a, err := cache.Authenticate(all[i].Document, now)
		if err != nil {
			t.Fatal(err)
		}
		if asked(a, all[i], t) != fresh {
			t.Errorf("enclave %d: remembered, or not", i)
		}
	}
	for i := range all {
		use(i, true)
		if cache.Len() != min(i+1, size) {
			t.Errorf("%d chains after %d", cache.Len(), i+1)
		}
	}
	use(4, false)
	use(2, false)
	use(0, true)
	use(2, true)
	_, read := vectors(t)
	for _, v := range []string{"vectors/07-signature-last-bit.bin", "vectors/21-other-root.bin", "vectors/14-nitrotpm.bin"} {
		if _, err := cache.Authenticate(read(v), now); err == nil {
			t.Errorf("%s is accepted", v)
		}
	}
	use(0, false)
}

// TestConcurrent verifies from many sides at once: the answers are the same.
func TestConcurrent(t *testing.T) {
	var good []conformance.Evidence
	for i := range 4 {
		good = append(good, conformance.Enclave{Label: fmt.Sprint("enclave ", i)}.Attest(now, nonce(), nil))
	}
	roots := newRoots(t, good[0].Root)
	cache := verifier.NewCache(roots, 2)
	_, read := vectors(t)
	bad := map[attestation.Class][]byte{
		attestation.Signature: read("vectors/07-signature-last-bit.bin"), attestation.UntrustedRoot: read("vectors/21-other-root.bin"),
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 6 {
				e := good[(worker+i)%len(good)]
				if _, err := cache.Authenticate(e.Document, now); err != nil {
					t.Error(err)
				}
				for class, raw := range bad {
					if _, err := cache.Authenticate(raw, now); err == nil || !strings.Contains(err.Error(), string(class)) {
						t.Errorf("%v, where %s is expected", err, class)
					}
				}
			}
		})
	}
	wg.Wait()
	if cache.Len() > 2 {
		t.Errorf("%d chains", cache.Len())
	}
}
