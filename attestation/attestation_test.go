package attestation_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/test/conformance"
)

// made is when the tests' documents were made, to the millisecond.
var made = time.Date(2026, 6, 15, 12, 0, 0, 123e6, time.UTC)

func parse(t *testing.T, raw []byte) *attestation.Document {
	t.Helper()
	d, err := attestation.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestPCR holds the formula against values from real documents.
func TestPCR(t *testing.T) {
	var zero attestation.PCR
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"role":     {[]byte("arn:aws:iam::123456789012:role/Webserver"), "78fce75db17cd4e0a3fb8dad3ad128ca5e77edbb2b2c7f75329dccd99aa5f6ef4fc1f1a452e315b9e98f9e312e6921e6"},
		"instance": {[]byte("i-0809849710bf1b61b"), "d8a8e8eee96d81b77a251410b7a9b180787653f125d1dbca79685c93fb885b335e0b8d172c9821a862515a603cc33ab2"},
		"one byte": {[]byte("x"), "f42eb18dcc96216807ca9e870c07a51ad446c13c9abc4b6335d02a4074b55a4fffb1712c7519ae198d53e703626b0619"},
	} {
		if got := zero.Extend(c.data); got.String() != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
	empty := sha512.Sum384(nil)
	if got := zero.Extend(empty[:]).String(); got != "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a" {
		t.Errorf("empty content: %s", got)
	}
	if !zero.IsZero() || zero.Extend(nil).IsZero() {
		t.Error("a register that was extended is zero, or one that wasn't isn't")
	}
	// Two extensions are not one of both.
	if zero.Extend([]byte("a")).Extend([]byte("b")) == zero.Extend([]byte("ab")) {
		t.Error("extensions run together")
	}
}

func TestParsePCR(t *testing.T) {
	good := strings.Repeat("0a", 48)
	for text, ok := range map[string]bool{
		good: true, strings.ToUpper(good): true, good[2:]: false, good + "00": false, "": false, good[:95] + "g": false, "0x" + good[2:]: false, good[:94] + " a": false,
	} {
		p, err := attestation.ParsePCR(text)
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if ok && p.String() != good {
			t.Errorf("%q reads as %s", text, p)
		}
		if !ok && !p.IsZero() {
			t.Errorf("%q: a value beside an error", text)
		}
	}
}

// TestDocument checks every accessor against what the document was made from.
func TestDocument(t *testing.T) {
	nonce, userData := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 48)
	e := conformance.Enclave{Full: true, PCRs: map[int][]byte{5: bytes.Repeat([]byte{5}, 48)}}.Attest(made, nonce, userData)
	d := parse(t, e.Document)
	if d.ModuleID() != "i-0123456789abcdef0-enc0123456789abcdef" {
		t.Errorf("module %q", d.ModuleID())
	}
	if !d.Timestamp().Equal(made) || d.Timestamp().Location() != time.UTC {
		t.Errorf("made %v", d.Timestamp())
	}
	if !bytes.Equal(d.Nonce(), nonce) || !bytes.Equal(d.UserData(), userData) || len(d.PublicKey()) != 294 {
		t.Errorf("nonce %x, user data %x, public key of %d bytes", d.Nonce(), d.UserData(), len(d.PublicKey()))
	}
	if len(d.CABundle()) != 4 || len(d.Certificate()) == 0 || len(d.Signature()) != attestation.SignatureSize {
		t.Errorf("%d certificates, a signature of %d bytes", len(d.CABundle()), len(d.Signature()))
	}
	if len(d.PCRs()) != 17 {
		t.Errorf("%d registers", len(d.PCRs()))
	}
	if p, ok := d.PCR(5); !ok || p != attestation.PCR(bytes.Repeat([]byte{5}, 48)) || d.PCRs()[5] != p {
		t.Errorf("PCR5 is %s", p)
	}
	for _, i := range []int{-1, 17, 31, 32, 1 << 20} {
		if p, ok := d.PCR(i); ok || !p.IsZero() {
			t.Errorf("PCR%d is there", i)
		}
	}
	if !bytes.Equal(d.Raw(), e.Document) || !bytes.Equal(d.Message(), e.Document) {
		t.Error("not the bytes that were parsed")
	}
	if d.Digest() != sha512.Sum384(d.Signed()) {
		t.Error("the digest isn't that of what is signed")
	}
}

// TestTag: the tag is read over, and nothing else depends on it.
func TestTag(t *testing.T) {
	bare := conformance.Live(made, nil, nil).Document
	d := parse(t, append([]byte{0xd2}, bare...))
	if !bytes.Equal(d.Message(), bare) || len(d.Raw()) != len(bare)+1 {
		t.Error("the tag isn't left out")
	}
	if d.Digest() != parse(t, bare).Digest() {
		t.Error("the tag changes what is signed")
	}
}

// TestTwin: the two good signatures of one content have one digest.
func TestTwin(t *testing.T) {
	one := parse(t, conformance.Live(made, nil, nil).Document)
	two := parse(t, conformance.Enclave{Twin: true}.Attest(made, nil, nil).Document)
	if bytes.Equal(one.Signature(), two.Signature()) {
		t.Fatal("the twin is the same signature")
	}
	if one.Digest() != two.Digest() {
		t.Error("two digests of one content")
	}
}

// TestNoAliases: nothing that a document takes or answers changes it.
func TestNoAliases(t *testing.T) {
	raw := conformance.Live(made, bytes.Repeat([]byte{7}, 32), []byte("data")).Document
	d := parse(t, raw)
	before := hex.EncodeToString(d.Signed()) + hex.EncodeToString(d.Nonce()) + hex.EncodeToString(d.Raw())
	clear(raw)
	answered := append(d.CABundle(), d.Raw(), d.Message(), d.Signed(), d.Signature(), d.Certificate(), d.PublicKey(), d.UserData(), d.Nonce())
	for _, b := range answered {
		clear(b)
	}
	pcrs := d.PCRs()
	pcrs[0] = attestation.PCR{}
	if first, _ := d.PCR(0); first.IsZero() {
		t.Error("PCRs answers the document's own registers")
	}
	if hex.EncodeToString(d.Signed())+hex.EncodeToString(d.Nonce())+hex.EncodeToString(d.Raw()) != before {
		t.Error("a document changed")
	}
}

// TestError: the text is made of constants, class first, register named.
func TestError(t *testing.T) {
	cause := attestation.NewError(attestation.Malformed, "quotes the document", nil)
	for _, c := range []struct {
		err  *attestation.Error
		want string
	}{
		{attestation.NewError(attestation.Chain, "", cause), "attestation: chain"},
		{attestation.NewError(attestation.Expired, "the leaf", nil), "attestation: expired: the leaf"},
		{attestation.NewPCRError(attestation.Debug, 0, "zero"), "attestation: debug: PCR0: zero"},
		{attestation.NewPCRError(attestation.PolicyMismatch, 16, ""), "attestation: policy mismatch: PCR16"},
	} {
		if c.err.Error() != c.want {
			t.Errorf("%q, not %q", c.err.Error(), c.want)
		}
	}
	if !errors.Is(attestation.NewError(attestation.Chain, "", cause), cause) {
		t.Error("the cause is lost")
	}
}
