package spool_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"testing"

	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	batchMagic = "CLSPL1\n\x00"
	heldMagic  = "CLHLD1\n\x00"
)

// summed adds a good checksum.
func summed(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return append(bytes.Clone(raw), sum[:]...)
}

// body is what lies between magic and checksum.
func body(t testing.TB, encode func() ([]byte, error)) []byte {
	t.Helper()
	raw, err := encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw[8 : len(raw)-sha256.Size]
}

// FuzzParseBatch: what parses has one encoding, and everything else is damage.
func FuzzParseBatch(f *testing.F) {
	f.Add(body(f, batch(0).Encode))
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := summed(append([]byte(batchMagic), body...))
		b, err := spool.ParseBatch(raw)
		if err != nil {
			if b != nil || !errors.Is(err, spool.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if again, err := b.Encode(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("a batch has two encodings: %v", err)
		}
	})
}

// FuzzParseHeld is FuzzParseBatch for receipts.
func FuzzParseHeld(f *testing.F) {
	f.Add(body(f, held(0).Encode))
	f.Fuzz(func(t *testing.T, body []byte) {
		raw := summed(append([]byte(heldMagic), body...))
		h, err := spool.ParseHeld(raw)
		if err != nil {
			if h != nil || !errors.Is(err, spool.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if again, err := h.Encode(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("a receipt has two encodings: %v", err)
		}
	})
}

// FuzzParseInfo: whatever stream.json holds, the answer is damage or what a
// stream can have, and that is written in a form that is read back the same.
func FuzzParseInfo(f *testing.F) {
	dir := f.TempDir()
	begin(f, open(f, dir)).Close()
	files := read(f, dir)
	f.Add([]byte(files[files.find(f, "stream.json")]))
	f.Fuzz(func(t *testing.T, content []byte) {
		i, err := spool.ParseInfo(content)
		if err != nil {
			if i != (spool.Info{}) || !errors.Is(err, spool.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if i.Version != 1 || i.Records < 0 || i.Stream == "" {
			t.Fatalf("%+v", i)
		}
		again, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := spool.ParseInfo(again); err != nil || back != i {
			t.Fatalf("%+v came back as %+v: %v", i, back, err)
		}
	})
}

func TestEncodeRefuses(t *testing.T) {
	for name, change := range map[string]func(*spool.Batch){
		"no rows":      func(b *spool.Batch) { b.Rows = 0 },
		"many rows":    func(b *spool.Batch) { b.Rows = limits.BatchRows + 1 },
		"negative":     func(b *spool.Batch) { b.Rows = -1 },
		"first":        func(b *spool.Batch) { b.First = -1 },
		"sequence":     func(b *spool.Batch) { b.Sequence = spool.MaxBatches },
		"no key":       func(b *spool.Batch) { b.ReportKey = secret.Bytes{} },
		"no envelope":  func(b *spool.Batch) { b.Envelope = nil },
		"big envelope": func(b *spool.Batch) { b.Envelope = make([]byte, limits.Envelope+1) },
	} {
		b := batch(0)
		change(b)
		if raw, err := b.Encode(); raw != nil || err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	h := held(0)
	h.Rows = 0
	if raw, err := h.Encode(); raw != nil || err == nil {
		t.Error("a receipt for nothing was encoded")
	}
	h = held(0)
	h.Report = make([]byte, 17<<20)
	if raw, err := h.Encode(); raw != nil || err == nil {
		t.Error("a report of 17 MiB was encoded")
	}
}

// TestEveryBitCounts flips each bit of both files.
func TestEveryBitCounts(t *testing.T) {
	for name, c := range map[string]struct {
		encode func() ([]byte, error)
		parse  func([]byte) error
	}{
		"batch": {batch(0).Encode, func(b []byte) error { _, err := spool.ParseBatch(b); return err }},
		"held":  {held(0).Encode, func(b []byte) error { _, err := spool.ParseHeld(b); return err }},
	} {
		raw, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << (i % 8)
			if err := c.parse(bad); !errors.Is(err, spool.ErrDamaged) {
				t.Fatalf("%s: a bit of byte %d flipped: %v", name, i, err)
			}
			if err := c.parse(raw[:i]); !errors.Is(err, spool.ErrDamaged) {
				t.Fatalf("%s: the first %d bytes: %v", name, i, err)
			}
		}
		if err := c.parse(raw); err != nil {
			t.Fatal(err)
		}
	}
}
