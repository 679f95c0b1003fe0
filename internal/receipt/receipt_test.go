package receipt_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/receipt"
)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return ed25519.PublicKey(k[32:]) }

// vector is the receipt in docs/spec/receipt.md.
func vector() receipt.Receipt {
	return receipt.Receipt{
		Version: receipt.Version, Deployment: "colon-study", Genesis: [32]byte{1}, Dataset: "colon", Producer: "clinic-a",
		Stream: "s-1", Sequence: 7, Envelope: [32]byte{2}, Manifest: 3, Repeat: true, Report: [32]byte{4}, Time: 1_700_000_000_000,
	}
}

func sign(t testing.TB, r receipt.Receipt) []byte {
	t.Helper()
	raw, err := receipt.Sign(r, key(1))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// inSpec says whether docs/spec/receipt.md shows these bytes.
func inSpec(t *testing.T, b []byte) bool {
	t.Helper()
	spec, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "receipt.md"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(strings.Join(strings.Fields(string(spec)), ""), hex.EncodeToString(b))
}

func TestGolden(t *testing.T) {
	if raw := sign(t, vector()); !inSpec(t, raw) {
		t.Errorf("the receipt isn't the one in docs/spec/receipt.md: %x", raw)
	}
	b, err := vectorReport().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !inSpec(t, b) {
		t.Errorf("the report isn't the one in docs/spec/receipt.md: %x", b)
	}
}

func TestRoundTrip(t *testing.T) {
	got, err := receipt.Verify(sign(t, vector()), public(key(1)))
	if err != nil {
		t.Fatal(err)
	}
	if *got != vector() {
		t.Errorf("came back changed: %+v", *got)
	}
}

func TestVerifyRefuses(t *testing.T) {
	raw := sign(t, vector())
	if r, err := receipt.Verify(raw, public(key(2))); r != nil || !errors.Is(err, receipt.ErrSignature) {
		t.Errorf("another service key: %v", err)
	}
	if r, err := receipt.Verify(raw, nil); r != nil || !errors.Is(err, receipt.ErrSignature) {
		t.Errorf("no service key: %v", err)
	}
	for i := range raw {
		if r, err := receipt.Verify(raw[:i], public(key(1))); r != nil || err == nil {
			t.Fatalf("the first %d bytes were accepted", i)
		}
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if r, err := receipt.Verify(bad, public(key(1))); r != nil || err == nil {
				t.Fatalf("bit %d of byte %d flipped, accepted", bit, i)
			}
		}
	}
	if _, err := receipt.Verify(make([]byte, 5000), public(key(1))); !errors.Is(err, receipt.ErrMalformed) {
		t.Errorf("5000 bytes: %v", err)
	}
}

// resign puts the service key on a body that Sign would never write.
func resign(body []byte) []byte {
	raw := append([]byte("CLRCP1\n\x00"), body...)
	sum := sha256.Sum256(raw)
	return append(raw, ed25519.Sign(key(1), append([]byte("cloister receipt v1\x00"), sum[:]...))...)
}

func TestStrictBody(t *testing.T) {
	raw := sign(t, vector())
	body := raw[8 : len(raw)-64]
	cases := map[string][]byte{
		"empty":          nil,
		"bytes after":    append(bytes.Clone(body), 0),
		"long head":      append([]byte{0xb8, 12}, body[1:]...),
		"indefinite map": append(append([]byte{0xbf}, body[1:]...), 0xff),
		"version 2":      bytes.Replace(body, []byte{0xac, 0x01, 0x01}, []byte{0xac, 0x01, 0x02}, 1),
		"short hash":     bytes.Replace(body, append([]byte{0x58, 32, 4}, make([]byte, 31)...), append([]byte{0x58, 31, 4}, make([]byte, 30)...), 1),
		"unknown field":  append(append([]byte{0xad}, body[1:]...), 0x0d, 0x00),
	}
	for name, bad := range cases {
		if r, err := receipt.Verify(resign(bad), public(key(1))); r != nil || !errors.Is(err, receipt.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receipt.Sign(vector(), other); err == nil {
		t.Error("signed with a P-256 key")
	}
	r := vector()
	r.Stream = strings.Repeat("x", 5000)
	if _, err := receipt.Sign(r, key(1)); err == nil {
		t.Error("signed a receipt over 4 KiB")
	}
}

func FuzzVerify(f *testing.F) {
	raw := sign(f, vector())
	f.Add(raw[8 : len(raw)-64])
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := receipt.Verify(resign(body), public(key(1)))
		if err != nil {
			return
		}
		if again := sign(t, *r); !bytes.Equal(again, resign(body)) {
			t.Fatal("a receipt has two encodings")
		}
	})
}
