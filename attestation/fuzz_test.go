package attestation_test

import (
	"bytes"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/test/conformance"
)

// sound checks what must hold of every document, however it came about.
func sound(t *testing.T, raw []byte) {
	t.Helper()
	d, err := attestation.Parse(raw)
	if err != nil {
		refused(t, d, err)
		return
	}
	if len(raw) > limits.Document || !bytes.Equal(d.Raw(), raw) || !bytes.HasSuffix(raw, d.Message()) || len(raw)-len(d.Message()) > 1 {
		t.Error("not the bytes that were parsed")
	}
	if d.ModuleID() == "" || d.Timestamp().UnixMilli() <= 0 || len(d.PCRs()) == 0 || len(d.PCRs()) > attestation.PCRCount {
		t.Error("a document without a mandatory field")
	}
	if n := len(d.CABundle()); n == 0 || n > 8 || len(d.Certificate()) == 0 {
		t.Errorf("%d certificates", n)
	}
	for _, field := range append(d.CABundle(), d.Certificate(), d.PublicKey(), d.UserData(), d.Nonce()) {
		if len(field) > 1024 {
			t.Errorf("a field of %d bytes", len(field))
		}
	}
	if key := d.PublicKey(); key != nil && len(key) == 0 {
		t.Error("an empty public key is present")
	}
	again, err := attestation.Parse(d.Message())
	if err != nil || again.Digest() != d.Digest() {
		t.Errorf("the message reads otherwise than the document: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	good := conformance.Live(made, []byte("nonce"), nil).Document
	f.Add(good)
	f.Add(append([]byte{0xd2}, good...))
	f.Fuzz(func(t *testing.T, raw []byte) { sound(t, raw) })
}

// FuzzPayload puts the input into a good message, so that the fuzzer needn't
// find lengths.
func FuzzPayload(f *testing.F) {
	f.Add(payload(f, conformance.Live(made, []byte("nonce"), nil).Document))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 16384 {
			return
		}
		raw := append([]byte("\x84\x44\xa1\x01\x38\x22\xa0\x59"), byte(len(payload)>>8), byte(len(payload)))
		if len(payload) < 256 {
			raw = append([]byte("\x84\x44\xa1\x01\x38\x22\xa0\x58"), byte(len(payload)))
		}
		if len(payload) < 24 {
			raw = append([]byte("\x84\x44\xa1\x01\x38\x22\xa0"), 0x40|byte(len(payload)))
		}
		raw = append(append(append(raw, payload...), 0x58, 96), make([]byte, 96)...)
		sound(t, raw)
	})
}

// payload cuts the payload out of a message.
func payload(f *testing.F, raw []byte) []byte {
	f.Helper()
	d, err := attestation.Parse(raw)
	if err != nil {
		f.Fatal(err)
	}
	return raw[len("\x84\x44\xa1\x01\x38\x22\xa0\x59..") : len(raw)-len(d.Signature())-2]
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"hEShATgi", "8444a1013822\n", "\x84\x44", "0oRE"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		raw, err := attestation.Decode(input)
		if err != nil {
			if raw != nil {
				t.Error("bytes beside an error")
			}
			return
		}
		if len(raw) > len(input) || len(raw) == 0 || raw[0] != 0x84 && raw[0] != 0xd2 {
			t.Errorf("%q reads as %x", input, raw)
		}
	})
}
