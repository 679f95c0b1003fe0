package verifier_test

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

// operation is one bare verification on P-384: a key, a digest and a signature.
type operation struct {
	key       *ecdsa.PublicKey
	digest    []byte
	signature []byte
}

func (o operation) run() bool { return ecdsa.VerifyASN1(o.key, o.digest, o.signature) }

// operations are those that no verifier of a document can do without: the four
// certificates under the root, and the document.
func operations(b *testing.B, d *attestation.Document) (all []operation) {
	b.Helper()
	var path []*x509.Certificate
	for _, der := range append(d.CABundle(), d.Certificate()) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			b.Fatal(err)
		}
		path = append(path, c)
	}
	key := func(i int) *ecdsa.PublicKey { return path[i].PublicKey.(*ecdsa.PublicKey) }
	for i := 1; i < len(path); i++ {
		digest := sha512.Sum384(path[i].RawTBSCertificate)
		all = append(all, operation{key(i - 1), digest[:], path[i].Signature})
	}
	digest, raw := d.Digest(), d.Signature()
	signature, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:48]), new(big.Int).SetBytes(raw[48:])})
	if err != nil {
		b.Fatal(err)
	}
	return append(all, operation{key(len(path) - 1), digest[:], signature})
}

// bench is what the benchmark runs, in turn, so that the machine's other work
// falls on all of it alike.
type bench struct {
	name string
	run  func() error
	took []time.Duration
}

// median is less shaken by other programs than the mean.
func (s *bench) median() float64 {
	slices.Sort(s.took)
	return float64(s.took[len(s.took)/2])
}

// BenchmarkVerify reports our own verification against the bare cost of its
// operations on P-384 in the same run, as shares of that limit: cold, with five
// operations, and with a remembered chain, with one. The second verifier stands
// beside it; it runs cold only.
func BenchmarkVerify(b *testing.B) {
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	e := conformance.Enclave{Full: true}.Attest(now, make([]byte, 32), make([]byte, 48))
	roots, err := verifier.NewRoots(e.Root)
	if err != nil {
		b.Fatal(err)
	}
	d, err := attestation.Parse(e.Document)
	if err != nil {
		b.Fatal(err)
	}
	all := operations(b, d)
	cache := verifier.NewCache(roots, 0)
	known, err := cache.Authenticate(e.Document, now)
	if err != nil {
		b.Fatal(err)
	}
	failed := func(operations []operation) error {
		for _, o := range operations {
			if !o.run() {
				b.Fatal("a bare operation failed")
			}
		}
		return nil
	}
	runs := []*bench{
		{name: "five operations", run: func() error { return failed(all) }},
		{name: "cold", run: func() error { _, err := verifier.AuthenticateAlone(e.Document, roots, now); return err }},
		{name: "one operation", run: func() error { return failed(all[4:]) }},
		{name: "cached", run: func() error { _, err := cache.Authenticate(e.Document, now); return err }},
		{name: "nitrite", run: func() error { return verifier.SecondOpinion(d, known) }},
	}
	for b.Loop() {
		for _, r := range runs {
			start := time.Now()
			if err := r.run(); err != nil {
				b.Fatal(err)
			}
			r.took = append(r.took, time.Since(start))
		}
	}
	five, cold, one, cached, nitrite := runs[0].median(), runs[1].median(), runs[2].median(), runs[3].median(), runs[4].median()
	b.ReportMetric(five/cold, "cold-of-limit")
	b.ReportMetric(one/cached, "cached-of-limit")
	b.ReportMetric(five/nitrite, "nitrite-of-limit")
	b.ReportMetric(cold/1e3, "cold-µs")
	b.ReportMetric(cached/1e3, "cached-µs")
	b.ReportMetric(nitrite/1e3, "nitrite-µs")
	b.ReportMetric(0, "ns/op") // of all five together: means nothing
}
