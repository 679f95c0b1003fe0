package eif_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/eif"
)

// signing is a signature section that can be wrong in every way.
type signing struct {
	certificate []byte
	key         *ecdsa.PrivateKey
	pcr0        eif.PCR
	header      []byte // protected
	index       int
	halves      int // bytes of each half of the signature
	digest      func([]byte) []byte
	outer       func(b []byte) any // how the format's two byte values are written
}

// numbers writes bytes as the format does: an array of integers.
func numbers(b []byte) any {
	n := make([]uint16, len(b))
	for i, v := range b {
		n[i] = uint16(v)
	}
	return n
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// entry is one element of the section's array.
func (s signing) entry(t *testing.T) any {
	t.Helper()
	type entry struct {
		Certificate any `cbor:"signing_certificate"`
		Signature   any `cbor:"signature"`
	}
	payload := marshal(t, map[string]any{"register_index": s.index, "register_value": numbers(s.pcr0[:])})
	r, v, err := ecdsa.Sign(rand.Reader, s.key, s.digest(marshal(t, []any{"Signature1", s.header, []byte{}, payload})))
	if err != nil {
		t.Fatal(err)
	}
	raw := append(r.FillBytes(make([]byte, s.halves)), v.FillBytes(make([]byte, s.halves))...)
	return entry{s.outer(s.certificate), s.outer(marshal(t, []any{s.header, map[int]int{}, payload, raw}))}
}

func (s signing) section(t *testing.T) []byte { return marshal(t, []any{s.entry(t)}) }

// TestSignaturesByHand has sections that are written without this package: a
// good one, and each way in which one can be bad.
func TestSignaturesByHand(t *testing.T) {
	measured, _, err := verdict(t, build(t, plan(nil)))
	if err != nil {
		t.Fatal(err)
	}
	key, certificate := newSigner(t, elliptic.P384())
	other, _ := newSigner(t, elliptic.P384())
	small, _ := newSigner(t, elliptic.P256())
	sum384 := func(b []byte) []byte { d := sha512.Sum384(b); return d[:] }
	sum256 := func(b []byte) []byte { d := sha256.Sum256(b); return d[:] }
	with := func(change func(*signing)) []byte {
		s := signing{certificate: certificate, key: key, pcr0: measured.PCR0, header: []byte("\xa1\x01\x38\x22"), halves: 48, digest: sum384, outer: numbers}
		change(&s)
		return s.section(t)
	}
	good := with(func(*signing) {})
	if _, signer, err := verdict(t, build(t, plan(good))); err != nil || signer == nil {
		t.Fatalf("a good one: %v", err)
	}
	one := signing{certificate: certificate, key: key, pcr0: measured.PCR0, header: []byte("\xa1\x01\x38\x22"), halves: 48, digest: sum384, outer: numbers}
	for name, tt := range map[string]struct {
		section []byte
		class   eif.Class
	}{
		"another image":         {with(func(s *signing) { s.pcr0[0] ^= 1 }), eif.BadSignature},
		"another key":           {with(func(s *signing) { s.key = other }), eif.BadSignature},
		"register 8":            {with(func(s *signing) { s.index = 8 }), eif.BadSignature},
		"register -1":           {with(func(s *signing) { s.index = -1 }), eif.BadSignature},
		"another curve's alg":   {with(func(s *signing) { s.header = []byte("\xa1\x01\x26"); s.digest = sum256 }), eif.BadSignature},
		"another curve":         {with(func(s *signing) { s.key, s.header, s.halves, s.digest = small, []byte("\xa1\x01\x26"), 32, sum256 }), eif.BadSignature},
		"longer halves":         {with(func(s *signing) { s.halves = 49 }), eif.BadSignature},
		"a header more":         {with(func(s *signing) { s.header = []byte("\xa2\x01\x38\x22\x04\x40") }), eif.BadSignature},
		"two certificates":      {with(func(s *signing) { s.certificate = append(bytes.Clone(certificate), certificate...) }), eif.BadSignature},
		"text before PEM":       {with(func(s *signing) { s.certificate = append([]byte("x\n"), certificate...) }), eif.BadSignature},
		"no certificate":        {with(func(s *signing) { s.certificate = nil }), eif.BadSignature},
		"DER":                   {with(func(s *signing) { b, _ := pem.Decode(certificate); s.certificate = b.Bytes }), eif.BadSignature},
		"byte strings":          {with(func(s *signing) { s.outer = func(b []byte) any { return b } }), eif.BadSignature},
		"numbers above 255":     {with(func(s *signing) { s.outer = func(b []byte) any { return append(numbers(b).([]uint16), 256) } }), eif.BadSignature},
		"two entries":           {marshal(t, []any{one.entry(t), one.entry(t)}), eif.BadSignature},
		"a map of one":          {marshal(t, one.entry(t)), eif.BadSignature},
		"a tag":                 {append([]byte{0xd2}, good...), eif.BadSignature},
		"indefinite length":     {append(append([]byte{0x9f}, good[1:]...), 0xff), eif.BadSignature},
		"empty array":           {[]byte{0x80}, eif.BadSignature},
		"not CBOR":              {[]byte("-----BEGIN"), eif.BadSignature},
		"cut":                   {good[:len(good)-1], eif.BadSignature},
		"a byte more":           {append(bytes.Clone(good), 0), eif.BadSignature},
		"more than 32768 bytes": {append(bytes.Clone(good), make([]byte, 32769-len(good))...), eif.BadSections},
	} {
		t.Run(name, func(t *testing.T) {
			_, signer, err := verdict(t, build(t, plan(tt.section)))
			if refusal, ok := errors.AsType[*eif.Error](err); !ok || refusal.Class != tt.class {
				t.Errorf("got %v, want class %q", err, tt.class)
			}
			if signer != nil && err == nil {
				t.Error("a signer is named")
			}
		})
	}
}

// TestExpiredCertificate reports dates and leaves them to the caller's policy.
func TestExpiredCertificate(t *testing.T) {
	measured, _, err := verdict(t, build(t, plan(nil)))
	if err != nil {
		t.Fatal(err)
	}
	key, certificate := newSignerUntil(t, elliptic.P384(), 1000)
	section, err := eif.Sign(measured.PCR0, certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	_, signer, err := verdict(t, build(t, plan(section)))
	if err != nil || signer == nil || signer.Certificate.NotAfter.Unix() != 1000 {
		t.Errorf("got %v, %v", signer, err)
	}
}
