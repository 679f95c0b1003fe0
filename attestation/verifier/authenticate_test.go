package verifier_test

import (
	"bytes"
	"crypto/x509"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hf/nitrite"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

func TestAuthenticate(t *testing.T) {
	e := conformance.Enclave{Full: true}.Attest(now, nonce(), nil)
	a, err := verifier.Authenticate(e.Document, newRoots(t, e.Root), now.In(time.FixedZone("", 3600)))
	if err != nil {
		t.Fatal(err)
	}
	if a.IsAWS() || a.RootFingerprint() != newRoots(t, e.Root).Fingerprints()[0] {
		t.Errorf("root %s", a.RootFingerprint())
	}
	if a.Time() != now {
		t.Errorf("judged at %v", a.Time())
	}
	if !bytes.Equal(a.Leaf().Raw, a.Document().Certificate()) {
		t.Error("Leaf isn't the document's certificate")
	}
	if !bytes.Equal(a.Document().Raw(), e.Document) {
		t.Error("another document")
	}
}

// TestTimeMissing: a clock that was never set finds nothing valid.
func TestTimeMissing(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0)} {
		a, err := verifier.Authenticate(e.Document, newRoots(t, e.Root), at)
		refusal(t, err, attestation.Clock)
		if a != nil {
			t.Error("a result beside a refusal")
		}
	}
	_, err := verifier.Appraise(authentic(t, e), load(t, e.Policy), nonce(), time.Time{})
	refusal(t, err, attestation.Clock)
}

// TestNoRoots: roots that nobody filled trust nobody.
func TestNoRoots(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	_, err := verifier.Authenticate(e.Document, verifier.Roots{}, now)
	refusal(t, err, attestation.UntrustedRoot)
}

// changed runs f for three changes of every byte of a document, on all
// processors; under the race detector, which is slow, of every eleventh.
func changed(raw []byte, f func(i int, changed []byte)) {
	var wg sync.WaitGroup
	workers, step := runtime.GOMAXPROCS(0), 1
	if raced {
		step = 11
	}
	for w := range workers {
		wg.Go(func() {
			for i := w * step; i < len(raw); i += workers * step {
				for _, flip := range []byte{0x01, 0x80, 0xff} {
					b := bytes.Clone(raw)
					b[i] ^= flip
					f(i, b)
				}
			}
		})
	}
	wg.Wait()
}

// certified says which bytes of a document are in its certificates: a change
// there costs several signatures to find.
func certified(t *testing.T, raw []byte) []bool {
	t.Helper()
	d, err := attestation.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	inside := make([]bool, len(raw))
	for _, der := range append(d.CABundle(), d.Certificate()) {
		begin := bytes.Index(raw, der)
		for i := range der {
			inside[begin+i] = true
		}
	}
	return inside
}

// TestChanges: no byte of a document can be changed, and nothing cut off. A
// cache holds the good chain, which mustn't help any other one. Bytes of
// certificates get one change each; those of a real document all three.
func TestChanges(t *testing.T) {
	e := conformance.Live(now, nonce(), []byte("data"))
	cache := verifier.NewCache(newRoots(t, e.Root), 0)
	at := func(b []byte) (*verifier.Authentic, error) { return cache.Authenticate(b, now) }
	if _, err := at(e.Document); err != nil {
		t.Fatal(err)
	}
	for n := range e.Document {
		_, err := at(e.Document[:n])
		refusal(t, err, attestation.Malformed)
	}
	inside := certified(t, e.Document)
	changed(e.Document, func(i int, b []byte) {
		if inside[i] && b[i]^e.Document[i] != []byte{0x01, 0x80, 0xff}[i%3] {
			return
		}
		if a, err := at(b); err == nil || a != nil {
			t.Errorf("accepted with byte %d changed", i)
		}
	})
	if cache.Len() != 1 {
		t.Errorf("%d chains remembered", cache.Len())
	}
}

// ask asks the other verifier directly, under recover; nil is a refusal.
func ask(raw, rootPEM []byte, at time.Time) (document *nitrite.Document) {
	defer func() {
		if recover() != nil {
			document = nil
		}
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(rootPEM)
	r, err := nitrite.Verify(raw, nitrite.VerifyOptions{Roots: roots, CurrentTime: at})
	if err != nil || !r.SignatureOK {
		return nil
	}
	return r.Document
}

// TestDifferential: our own check, without the second opinion, accepts nothing
// that hf/nitrite refuses, and what it refuses is more.
func TestDifferential(t *testing.T) {
	t.Parallel()
	all, read := vectors(t)
	accepted, stricter := 0, 0
	for _, v := range all {
		raw, err := attestation.Decode(read(v.Document))
		if err != nil || v.Class == "policy" {
			continue
		}
		a, err := verifier.AuthenticateAlone(raw, newRoots(t, read(v.Root)), *v.At)
		at := *v.At
		if err == nil && at.Before(a.Leaf().NotBefore) {
			at = a.Leaf().NotBefore // the other one knows no skew
		}
		other := ask(raw, read(v.Root), at) != nil
		switch {
		case err == nil && !other:
			t.Errorf("%s: accepted, and hf/nitrite refuses", v.Name)
		case err == nil:
			accepted++
		case other:
			stricter++
		}
	}
	if accepted < 30 || stricter < 50 {
		t.Errorf("%d accepted by both, %d by the other one alone: too few to mean anything", accepted, stricter)
	}
}

// TestSecondOpinion: the other verifier's refusals and panics are refusals.
func TestSecondOpinion(t *testing.T) {
	e := conformance.Live(now, nonce(), nil)
	a := authentic(t, e)
	if err := verifier.SecondOpinion(a.Document(), a); err != nil {
		t.Fatal(err)
	}
	all, read := vectors(t)
	doubtful := map[string]bool{
		"other-root":        true,  // it refuses
		"signature-s-is-n":  true,  // it refuses
		"leaf-p521":         true,  // it panics
		"timestamp-seconds": false, // it doesn't look at the time
	}
	for _, v := range all {
		refuses, asked := doubtful[v.Name]
		if !asked {
			continue
		}
		delete(doubtful, v.Name)
		d, err := attestation.Parse(read(v.Document))
		if err != nil {
			t.Fatal(err)
		}
		if err = verifier.SecondOpinion(d, a); !refuses {
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
			continue
		}
		refusal(t, err, attestation.Inconsistent)
	}
	if len(doubtful) > 0 {
		t.Errorf("no vectors %v", doubtful)
	}
	refusal(t, verifier.SecondOpinion(nil, a), attestation.Inconsistent)
}

// TestSameContent: two readings that differ anywhere aren't one.
func TestSameContent(t *testing.T) {
	e := conformance.Live(now, nonce(), []byte("data"))
	d := authentic(t, e).Document()
	for name, change := range map[string]func(*nitrite.Document){
		"":            func(*nitrite.Document) {},
		"module":      func(o *nitrite.Document) { o.ModuleID += "0" },
		"timestamp":   func(o *nitrite.Document) { o.Timestamp++ },
		"certificate": func(o *nitrite.Document) { o.Certificate = o.Certificate[1:] },
		"bundle":      func(o *nitrite.Document) { o.CABundle[1] = o.CABundle[0] },
		"bundle size": func(o *nitrite.Document) { o.CABundle = o.CABundle[1:] },
		"public key":  func(o *nitrite.Document) { o.PublicKey = nil },
		"user data":   func(o *nitrite.Document) { o.UserData = []byte("Data") },
		"nonce":       func(o *nitrite.Document) { o.Nonce = nil },
		"register":    func(o *nitrite.Document) { o.PCRs[0] = o.PCRs[1] },
		"one less":    func(o *nitrite.Document) { delete(o.PCRs, 16) },
		"another one": func(o *nitrite.Document) { delete(o.PCRs, 16); o.PCRs[17] = o.PCRs[0] },
	} {
		other := ask(e.Document, e.Root, now)
		change(other)
		if verifier.SameContent(d, other) != (name == "") {
			t.Errorf("%q: the comparison is wrong", name)
		}
	}
}
