package verifier_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/test/conformance"
)

// FuzzBundle puts the input's certificates into a document: chains of any
// length and content, the last one as the leaf. Each begins with its length, two
// bytes. The document's own signature is left as it was, so only the good
// chain, whole, can be accepted.
func FuzzBundle(f *testing.F) {
	e := conformance.Live(now, nonce(), nil)
	d, err := attestation.Parse(e.Document)
	if err != nil {
		f.Fatal(err)
	}
	good := append(d.CABundle(), d.Certificate())
	var whole []byte
	for _, der := range good {
		whole = append(binary.BigEndian.AppendUint16(whole, uint16(len(der))), der...)
	}
	f.Add(whole)
	roots := newRoots(f, e.Root)
	f.Fuzz(func(t *testing.T, input []byte) {
		chain := split(input)
		if len(chain) < 2 {
			return
		}
		raw := rebuild(e.Document, good, chain)
		a, err := verifier.Authenticate(raw, roots, now)
		if (err == nil) != bytes.Equal(raw, e.Document) {
			t.Errorf("the good document is refused, or another one accepted: %v", err)
		}
		if err != nil && a != nil {
			t.Error("a result beside a refusal")
		}
	})
}

// split cuts the input into certificates.
func split(input []byte) (chain [][]byte) {
	for len(input) >= 2 {
		n := min(int(binary.BigEndian.Uint16(input)), len(input)-2)
		chain = append(chain, input[2:2+n])
		input = input[2+n:]
	}
	return chain
}

// rebuild replaces the certificates of a document, and the lengths around them.
func rebuild(raw []byte, good, chain [][]byte) []byte {
	text := func(b []byte) []byte { // a byte string with its head
		switch n := len(b); {
		case n < 24:
			return append([]byte{0x40 | byte(n)}, b...)
		case n < 256:
			return append([]byte{0x58, byte(n)}, b...)
		default:
			return append([]byte{0x59, byte(n >> 8), byte(n)}, b...)
		}
	}
	field := func(leaf []byte, bundle [][]byte) []byte {
		b := append([]byte("\x6bcertificate"), text(leaf)...)
		b = append(append(b, "\x68cabundle"...), 0x80|byte(min(len(bundle), 23)))
		for _, der := range bundle[:min(len(bundle), 23)] {
			b = append(b, text(der)...)
		}
		return b
	}
	last := len(good) - 1
	payload := raw[len("\x84\x44\xa1\x01\x38\x22\xa0\x59..") : len(raw)-98]
	payload = bytes.Replace(payload, field(good[last], good[:last]), field(chain[len(chain)-1], chain[:len(chain)-1]), 1)
	return append(append([]byte("\x84\x44\xa1\x01\x38\x22\xa0"), text(payload)...), raw[len(raw)-98:]...)
}

// FuzzAuthenticate mutates whole documents under a root that signed one.
func FuzzAuthenticate(f *testing.F) {
	e := conformance.Live(now, nonce(), nil)
	f.Add(e.Document)
	roots, p := newRoots(f, e.Root), load(f, e.Policy)
	cache := verifier.NewCache(roots, 0)
	good, err := cache.Authenticate(e.Document, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := cache.Authenticate(raw, now)
		if err != nil {
			if a != nil {
				t.Error("a result beside a refusal")
			}
			return
		}
		// One content, whatever the tag and the signature's form.
		if a.Document().Digest() != good.Document().Digest() {
			t.Error("another content than the good one is accepted")
		}
		if _, err := verifier.AppraiseArchived(a, p, nonce()); err != nil {
			t.Error(err)
		}
	})
}
