package state_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/cloisterhq/cloister/enclave/state"
)

func TestContracts(t *testing.T) {
	m := chain(t, 1)
	s := open(t, m)
	for _, encoding := range [][]byte{[]byte("one"), []byte("two"), []byte("one"), bytes.Repeat([]byte{7}, 100_000)} {
		digest, err := s.KeepContract(t.Context(), encoding)
		if err != nil || digest != sha256.Sum256(encoding) {
			t.Fatal(err)
		}
		// It is there, sealed, in every life of the enclave.
		if object, ok := m.objects[fmt.Sprintf("contracts/%x", digest)]; !ok || bytes.Contains(object, encoding) {
			t.Error("it isn't sealed under its digest")
		}
		if got, err := open(t, m).Contract(t.Context(), digest); err != nil || !bytes.Equal(got, encoding) {
			t.Errorf("%d bytes came back: %v", len(got), err)
		}
	}
	if s.Head() != 1 {
		t.Errorf("head %d", s.Head())
	}
}

// TestContractFaults repeats until it is durable, and answers so only then.
func TestContractFaults(t *testing.T) {
	encoding := []byte("a contract")
	for name, c := range map[string]struct {
		fault fault
		err   bool
	}{"before": {before, true}, "after": {after, false}, "mute": {mute, true}, "silent": {silent, true}, "taken": {taken, true}} {
		m := chain(t, 0)
		s := open(t, m)
		m.once(c.fault)
		if _, err := s.KeepContract(t.Context(), encoding); (err != nil) != c.err || errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		m.inject(none)
		digest, err := s.KeepContract(t.Context(), encoding)
		if (err != nil) != (c.fault == taken) { // other bytes stay in its place
			t.Errorf("%s: again: %v", name, err)
		}
		if got, err := s.Contract(t.Context(), digest); c.fault != taken && (err != nil || !bytes.Equal(got, encoding)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestContractGone(t *testing.T) {
	m := chain(t, 0)
	s := open(t, m)
	digest, err := s.KeepContract(t.Context(), []byte("a contract"))
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("contracts/%x", digest)
	other, err := s.KeepContract(t.Context(), []byte("another contract"))
	if err != nil {
		t.Fatal(err)
	}
	misplaced, err := s.Seal(name, 0, []byte("another contract"))
	if err != nil {
		t.Fatal(err)
	}
	for how, object := range map[string][]byte{
		"in clear": []byte("a contract"), "another's": m.objects[fmt.Sprintf("contracts/%x", other)], "sealed for its name": misplaced,
		"changed": append(bytes.Clone(m.objects[name]), 0),
	} {
		m.objects[name] = object
		if _, err := s.Contract(t.Context(), digest); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: %v", how, err)
		}
		if _, err := s.KeepContract(t.Context(), []byte("a contract")); err == nil {
			t.Errorf("%s: kept", how)
		}
	}
	delete(m.objects, name)
	if _, err := s.Contract(t.Context(), digest); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("gone: %v", err)
	}
	m.once(mute)
	_ = m.PutIfAbsent(t.Context(), "x", nil)
	if _, err := s.Contract(t.Context(), digest); !errors.Is(err, errStore) || errors.Is(err, state.ErrCorrupt) {
		t.Errorf("a store that fails: %v", err)
	}
}
