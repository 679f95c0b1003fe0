package spool_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client/spool"
	"github.com/cloisterhq/cloister/internal/secret"
)

func TestStream(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "a", "b"))
	st := begin(t, s)
	for n := range uint64(3) {
		put(t, st, n)
	}
	settle(t, st, 1)
	if st.Len() != 3 || st.Has(0) || !st.Has(1) || st.Has(2) || st.Has(3) {
		t.Errorf("%d batches; 0 %t 1 %t 2 %t 3 %t", st.Len(), st.Has(0), st.Has(1), st.Has(2), st.Has(3))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = begin(t, s)
	b, err := st.Batch(2)
	if err != nil {
		t.Fatal(err)
	}
	if want := batch(2); !b.ReportKey.Equal(want.ReportKey) || !bytes.Equal(b.Envelope, want.Envelope) || b.First != 20 || b.Rows != 10 || b.Sequence != 2 {
		t.Errorf("came back changed: %+v", b)
	}
	h, err := st.Held(1)
	if err != nil {
		t.Fatal(err)
	}
	want := held(1)
	if !h.ReportKey.Equal(want.ReportKey) {
		t.Error("another report key came back")
	}
	h.ReportKey, want.ReportKey = secret.Bytes{}, secret.Bytes{}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("came back changed: %+v", h)
	}
	if _, err := st.Batch(1); err == nil {
		t.Error("the sealed bytes of a batch with a receipt are still there")
	}
	if got := st.Info(); got.Version != 1 || got.Told || got.Stream != "s-1" {
		t.Errorf("%+v", got)
	}
}

// TestNothingTwice: a number is given once, and a receipt is kept once.
func TestNothingTwice(t *testing.T) {
	st := begin(t, open(t, t.TempDir()))
	for _, n := range []uint64{1, 7} {
		if err := st.Put(batch(n)); err == nil {
			t.Errorf("batch %d came first", n)
		}
	}
	put(t, st, 0)
	other := batch(0)
	other.Envelope = []byte("other bytes")
	if err := st.Put(other); err == nil {
		t.Error("number 0 was given twice")
	}
	settle(t, st, 0)
	for _, n := range []uint64{0, 1} {
		if err := st.Settle(held(n)); err == nil {
			t.Errorf("a receipt for batch %d, which waits for none, was kept", n)
		}
	}
	if err := st.Put(other); err == nil {
		t.Error("number 0 was given again after its receipt")
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	first := begin(t, open(t, dir))
	second := open(t, dir)
	if _, err := second.Begin(t.Context(), info(), 0); !errors.Is(err, spool.ErrBusy) {
		t.Fatalf("two have one stream: %v", err)
	}
	ids, err := second.Streams()
	if err != nil || len(ids) != 1 {
		t.Fatalf("%v: %v", ids, err)
	}
	if _, err := second.Resume(t.Context(), ids[0]); !errors.Is(err, spool.ErrBusy) {
		t.Errorf("two have one stream: %v", err)
	}
	if i, err := second.Peek(ids[0]); err != nil || i.Stream != "s-1" {
		t.Errorf("%+v: %v", i, err)
	}
	other := info()
	other.Stream = "s-2"
	st, err := second.Begin(t.Context(), other, 0)
	if err != nil {
		t.Fatalf("another stream: %v", err)
	}
	st.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := second.Begin(ctx, info(), time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the lock: %v", err)
	}
	go first.Close()
	st, err = second.Begin(t.Context(), info(), time.Hour)
	if err != nil {
		t.Fatalf("after the first one's end: %v", err)
	}
	st.Close()
}

func TestOtherInput(t *testing.T) {
	s := open(t, t.TempDir())
	begin(t, s).Close()
	for name, change := range map[string]func(*spool.Info){
		"input":   func(i *spool.Info) { i.Input = "sha256:01" },
		"format":  func(i *spool.Info) { i.Format = "ndjson" },
		"records": func(i *spool.Info) { i.Records++ },
	} {
		i := info()
		change(&i)
		if st, err := s.Begin(t.Context(), i, 0); st != nil || !errors.Is(err, spool.ErrOtherInput) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*spool.Info){
		"deployment": func(i *spool.Info) { i.Deployment = "other" },
		"dataset":    func(i *spool.Info) { i.Dataset = "other" },
		"producer":   func(i *spool.Info) { i.Producer = "other" },
		"stream":     func(i *spool.Info) { i.Stream = "other" },
	} {
		i := info()
		change(&i)
		i.Input = "sha256:01"
		st, err := s.Begin(t.Context(), i, 0)
		if err != nil {
			t.Errorf("another %s is another stream: %v", name, err)
			continue
		}
		st.Close()
	}
	if ids, err := s.Streams(); err != nil || len(ids) != 5 {
		t.Errorf("%d streams, want 5: %v", len(ids), err)
	}
}

func TestTell(t *testing.T) {
	s := open(t, t.TempDir())
	st := begin(t, s)
	for range 2 {
		if err := st.Tell(); err != nil {
			t.Fatal(err)
		}
	}
	st.Close()
	if !begin(t, s).Info().Told {
		t.Error("forgotten")
	}
}

func TestTellAfterClose(t *testing.T) {
	st := begin(t, open(t, t.TempDir()))
	st.Close()
	if err := st.Tell(); err == nil {
		t.Error("a stream that isn't ours any more was changed")
	}
}

func TestLimit(t *testing.T) {
	s := open(t, t.TempDir())
	raw, err := batch(0).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.Limit = 2*int64(len(raw)) + 10
	st := begin(t, s)
	put(t, st, 0)
	put(t, st, 1)
	if err := st.Put(batch(2)); !errors.Is(err, spool.ErrFull) {
		t.Fatalf("a third one: %v", err)
	}
	st.Close()
	st = begin(t, s)
	if err := st.Put(batch(2)); !errors.Is(err, spool.ErrFull) {
		t.Fatalf("opened again: %v", err)
	}
	settle(t, st, 0)
	put(t, st, 2)
}

func TestNoStream(t *testing.T) {
	s := open(t, t.TempDir())
	for _, id := range []string{"", "..", "../x", "00000000000000000000000000000000", "0000000000000000000000000000000g"} {
		if _, err := s.Resume(t.Context(), id); !errors.Is(err, spool.ErrNone) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "/dev/null/x"} {
		if _, err := spool.Open(dir); err == nil {
			t.Errorf("%s is a spool", dir)
		}
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	st := begin(t, open(t, dir))
	put(t, st, 0)
	put(t, st, 1)
	settle(t, st, 1)
	for name := range read(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}
