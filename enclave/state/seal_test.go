package state_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/limits"
)

func TestSealRoundTrip(t *testing.T) {
	m := newMemory()
	s := open(t, m)
	again := open(t, m)
	for _, size := range []int{0, 1, 251, 252, 253, 507, 508, 509, 4096, limits.Object - 512} {
		plain := bytes.Repeat([]byte{0xa5}, size)
		sealed, err := s.Seal("audit", 7, plain)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if size > 0 && bytes.Contains(sealed, plain[:min(size, 8)]) && size >= 8 {
			t.Errorf("%d bytes stand in clear", size)
		}
		if len(sealed) > limits.Object {
			t.Errorf("%d bytes make an object of %d", size, len(sealed))
		}
		for _, who := range []*state.State{s, again} { // also after a restart
			if got, err := who.Unseal("audit", 7, sealed); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes: came back as %d, %v", size, len(got), err)
			}
		}
	}
	if _, err := s.Seal("audit", 7, make([]byte, limits.Object-511)); err == nil {
		t.Error("sealed more than an object holds")
	}
}

// TestSealHidesSize to the step: within one, all sizes look the same.
func TestSealHidesSize(t *testing.T) {
	s := open(t, newMemory())
	size := func(n int) int {
		sealed, err := s.Seal("p", 0, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		return len(sealed)
	}
	for n := range 252 {
		if size(n) != size(252) || size(253+n) != size(508) {
			t.Fatalf("%d bytes can be told from 252, or %d from 508", n, 253+n)
		}
	}
	if size(252)+256 != size(253) {
		t.Errorf("252 and 253 bytes make %d and %d", size(252), size(253))
	}
}

// TestSealedPlaces don't open at another place.
func TestSealedPlaces(t *testing.T) {
	m := newMemory()
	s := open(t, m)
	plain := []byte("an entry")
	sealed, err := s.Seal("audit", 7, plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []struct {
		purpose string
		number  uint64
	}{{"audit", 8}, {"audit", 0}, {"audit", math.MaxUint64}, {"audi", 7}, {"auditt", 7}, {"", 7}, {"manifest", 7}} {
		if got, err := s.Unseal(place.purpose, place.number, sealed); !errors.Is(err, state.ErrSealed) || got != nil {
			t.Errorf("%+v: %q, %v", place, got, err)
		}
	}
	// The same key in another state: the genesis is another one.
	if _, err := open(t, newMemory()).Unseal("audit", 7, sealed); !errors.Is(err, state.ErrSealed) {
		t.Errorf("another state: %v", err)
	}
	again, err := s.Seal("audit", 7, plain)
	if err != nil || bytes.Equal(again, sealed) {
		t.Errorf("sealed twice with one salt, %v", err)
	}
	// A manifest isn't an entry, and an entry no manifest.
	add(t, s, 0)
	raw := m.objects[manifest(1)]
	for number := range uint64(3) {
		if _, err := s.Unseal("manifest", number, raw[12:]); !errors.Is(err, state.ErrSealed) {
			t.Errorf("a manifest opens as an entry: %v", err)
		}
	}
	m.objects[manifest(2)] = append(bytes.Clone(raw[:12]), sealed...)
	if err := opens(t, m); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("an entry opens as a manifest: %v", err)
	}
}

func TestSealedChanges(t *testing.T) {
	s := open(t, newMemory())
	sealed, err := s.Seal("audit", 7, []byte("an entry"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 0x10
		if _, err := s.Unseal("audit", 7, changed); !errors.Is(err, state.ErrSealed) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, err := s.Unseal("audit", 7, sealed[:i]); !errors.Is(err, state.ErrSealed) {
			t.Fatalf("cut to %d: %v", i, err)
		}
	}
	for _, b := range [][]byte{nil, append(bytes.Clone(sealed), 0), append(bytes.Clone(sealed), make([]byte, 256)...), make([]byte, limits.Object+1)} {
		if _, err := s.Unseal("audit", 7, b); !errors.Is(err, state.ErrSealed) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

// FuzzUnseal opens nothing that wasn't sealed.
func FuzzUnseal(f *testing.F) {
	s := open(f, newMemory())
	sealed, err := s.Seal("audit", 7, []byte("an entry"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed, uint64(7))
	f.Add(sealed, uint64(8))
	f.Add(sealed[:len(sealed)-1], uint64(7))
	f.Add([]byte{}, uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, number uint64) {
		got, err := s.Unseal("audit", number, b)
		if original := bytes.Equal(b, sealed) && number == 7; original != (err == nil) {
			t.Fatalf("%d bytes at %d: %v", len(b), number, err)
		}
		if err == nil && string(got) != "an entry" {
			t.Errorf("came back as %q", got)
		}
	})
}
