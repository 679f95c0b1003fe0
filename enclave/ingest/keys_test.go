package ingest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/secret"
)

// vault is KMS as the keyring sees it: it counts how often it is asked.
type vault struct{ asked atomic.Int64 }

func (v *vault) Decrypt(_ context.Context, _ string, _ map[string]string, blob []byte) (secret.Bytes, error) {
	v.asked.Add(1)
	return dek(blob[0]), nil
}

// withKeyring exchanges the record path's keys for a real keyring.
func (w *world) withKeyring() (*vault, *keyring.Keyring) {
	w.t.Helper()
	v := &vault{}
	ring := keyring.New(keyring.Config{
		KMS: v, Deployment: w.bundle.Deployment, Max: 64, TTL: time.Hour, Now: w.clock,
		Dataset: func(name string) (string, uint64, bool) {
			d, ok := w.bundle.Dataset(name)
			if !ok {
				return "", 0, false
			}
			return d.KeyARN, d.KeyEpoch, true
		},
	})
	w.t.Cleanup(ring.Close)
	var err error
	w.in, err = ingest.New(ingest.Config{Bundle: w.bundle, Keys: ring, State: w.state, Store: w.tables, Now: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	return v, ring
}

// TestOneCallForEachDataKey holds what KMS is asked: once for each distinct data
// key, and never again while it is held.
func TestOneCallForEachDataKey(t *testing.T) {
	w := newWorld(t)
	v, _ := w.withKeyring()
	const keys, batches = 5, 40
	for i := range uint64(batches) {
		l := write(i)
		l.dek = byte(1 + i%keys)
		l.header.Wrap.Blob = []byte{l.dek}
		w.accepts(l.raw(t))
	}
	if n := v.asked.Load(); n != keys {
		t.Errorf("KMS was asked %d times for %d data keys in %d envelopes", n, keys, batches)
	}
}

// BenchmarkWarmUnwrap compares getting a held data key with accepting an
// envelope of ten thousand records under it, both in one run.
func BenchmarkWarmUnwrap(b *testing.B) {
	w := newWorld(b)
	v, ring := w.withKeyring()
	var records []columns.Record
	for i := range int64(10_000) {
		records = append(records, columns.Record{columns.Int("id", i), columns.Int("x", i%1000)})
	}
	var unwrap, accept time.Duration
	for sequence := uint64(0); b.Loop(); sequence++ {
		l := write(sequence)
		l.records = records
		raw := l.raw(b)
		begin := time.Now()
		w.accepts(raw)
		accept += time.Since(begin)
		begin = time.Now()
		key, err := ring.Open(b.Context(), l.header)
		unwrap += time.Since(begin)
		if err != nil {
			b.Fatal(err)
		}
		key.Wipe()
	}
	if n := v.asked.Load(); n != 1 {
		b.Fatalf("KMS was asked %d times for one data key", n)
	}
	b.ReportMetric(100*float64(unwrap)/float64(accept), "%-of-ingest")
	b.ReportMetric(float64(v.asked.Load()), "KMS-calls")
}
