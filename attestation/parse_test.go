package attestation_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/test/conformance"
)

// refused demands a refusal, and that nothing leaves with it.
func refused(t *testing.T, d *attestation.Document, err error) *attestation.Error {
	t.Helper()
	refusal, ok := errors.AsType[*attestation.Error](err)
	if !ok || d != nil {
		t.Fatalf("not a refusal, or a document beside it: %v", err)
	}
	return refusal
}

// reading is the rows of the checklist that Parse alone decides.
func reading(row int) bool { return row <= 6 || row >= 11 && row <= 20 }

// TestVectors holds Parse against the vectors that it can decide about; package
// conformance runs all of them through everything.
func TestVectors(t *testing.T) {
	directory := filepath.Join("..", "test", "conformance", conformance.Directory)
	m, err := conformance.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	late := []string{"stale", "chain"} // classes that need certificates or time
	n := 0
	for _, v := range m.Vectors {
		if !reading(v.Row) || slices.Contains(late, v.Class) || v.Name == "bundle-not-a-certificate" || v.Name == "no-enclave-module" || v.Name == "bare-instance" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(directory, v.Document))
		if err != nil {
			t.Fatal(err)
		}
		n++
		d, err := attestation.Parse(raw)
		if v.Accept {
			if err != nil {
				t.Errorf("%s: %v", v.Name, err)
			}
			continue
		}
		if got := refused(t, d, err); string(got.Class) != v.Class {
			t.Errorf("%s: %v, not %s", v.Name, got, v.Class)
		}
	}
	if n < 100 {
		t.Errorf("only %d vectors", n)
	}
}

// TestPrefixes: no beginning of a document is one.
func TestPrefixes(t *testing.T) {
	raw := conformance.Live(made, []byte("nonce"), nil).Document
	for n := range raw {
		d, err := attestation.Parse(raw[:n])
		if got := refused(t, d, err); got.Class != attestation.Malformed {
			t.Fatalf("%d bytes: %v", n, got)
		}
	}
	d, err := attestation.Parse(append(raw, 0))
	if got := refused(t, d, err); got.Class != attestation.Malformed {
		t.Errorf("one byte more: %v", got)
	}
}

// TestSignedWhole: whatever can be changed without a refusal of Parse changes
// what is signed, or the signature, or is the tag. Nothing else of a message is
// malleable.
func TestSignedWhole(t *testing.T) {
	raw := conformance.Live(made, []byte("nonce"), []byte("data")).Document
	good := parse(t, raw)
	survived := 0
	for i := range raw {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			changed := bytes.Clone(raw)
			changed[i] ^= flip
			d, err := attestation.Parse(changed)
			if err != nil {
				refused(t, d, err)
				continue
			}
			survived++
			if d.Digest() == good.Digest() && bytes.Equal(d.Signature(), good.Signature()) {
				t.Errorf("byte %d: another message with the same content and signature", i)
			}
		}
	}
	if survived == 0 {
		t.Error("not even a changed signature is parsed: the test tests nothing")
	}
}

// TestAllocation bounds memory by the input's own size, whatever lengths it
// declares.
func TestAllocation(t *testing.T) {
	declare := func(major byte) []byte { return binary.BigEndian.AppendUint64([]byte{major<<5 | 27}, 1<<40) }
	front := []byte("\x84\x44\xa1\x01\x38\x22\xa0")
	in := func(payload []byte) []byte {
		b := append(bytes.Clone(front), 0x59, byte(len(payload)>>8), byte(len(payload)))
		return append(append(append(b, payload...), 0x58, 96), make([]byte, 96)...)
	}
	for name, raw := range map[string][]byte{
		"payload":        append(bytes.Clone(front), declare(2)...),
		"fields":         in(declare(5)),
		"registers":      in(append([]byte("\xa1\x64pcrs"), declare(5)...)),
		"tpm registers":  in(append([]byte("\xa1\x6enitrotpm_pcrs"), declare(5)...)),
		"certificates":   in(append([]byte("\xa1\x68cabundle"), declare(4)...)),
		"nonce":          in(append([]byte("\xa1\x65nonce"), declare(2)...)),
		"module":         in(append([]byte("\xa1\x69module_id"), declare(3)...)),
		"key":            in(append([]byte("\xa1"), declare(3)...)),
		"many arrays":    bytes.Repeat([]byte{0x81}, limits.Document),
		"many maps":      in(bytes.Repeat([]byte{0xa1}, 15000)),
		"too long":       make([]byte, 1<<20),
		"largest zeroes": make([]byte, limits.Document),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		const n = 20
		for range n {
			d, err := attestation.Parse(raw)
			refused(t, d, err)
		}
		runtime.ReadMemStats(&after)
		if got, most := (after.TotalAlloc-before.TotalAlloc)/n, uint64(4*min(len(raw), limits.Document)+8<<10); got > most {
			t.Errorf("%s: %d bytes of memory for an input of %d", name, got, len(raw))
		}
	}
}

// TestDecodeForms: the three forms of any document read as that document.
func TestDecodeForms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		raw := make([]byte, 2+n)
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		raw[0], raw[1] = 0x84, 0x44
		if n%2 == 1 {
			raw[0], raw[1] = 0xd2, 0x84
		}
		digits, b64 := hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw)
		for _, form := range []string{string(raw), digits, strings.ToUpper(digits), digits + "\n", digits + "\r\n", b64, b64 + "\n", b64 + "\r\n"} {
			got, err := attestation.Decode([]byte(form))
			if err != nil || !bytes.Equal(got, raw) {
				t.Fatalf("%q reads as %x: %v", form, got, err)
			}
		}
		for _, form := range []string{" " + b64, b64 + " ", b64 + "\n\n", "\n" + digits, digits + "\r", digits[:len(digits)-1], b64 + "=", "0x" + digits} {
			if got, err := attestation.Decode([]byte(form)); err == nil {
				t.Fatalf("%q reads as %x", form, got)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "a line end": "\n", "json": `"hESh"`, "pem": "-----BEGIN CERTIFICATE-----", "too long": strings.Repeat("84", attestation.MaxInput),
		"other bytes": "\x85\x00", "other base64": "AAAA", "other hex": "00ff", "url alphabet": "hE-_", "no padding": "hEShAQ",
		"loose bits": "hESh" + "AR==", "inner line": "hESh\nAQ==", "inner blank": "84 44",
	} {
		got, err := attestation.Decode([]byte(text))
		refusal, ok := errors.AsType[*attestation.Error](err)
		if !ok || refusal.Class != attestation.Malformed || got != nil {
			t.Errorf("%s: %x, %v", name, got, err)
		}
		if ok && len(text) > 3 && strings.Contains(refusal.Error(), text) {
			t.Errorf("%s: the refusal quotes the input", name)
		}
	}
}
