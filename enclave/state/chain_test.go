package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/cloisterhq/cloister/enclave/state"
)

// opens says whether a store opens, and with which error not.
func opens(t testing.TB, m *memory) error {
	t.Helper()
	s, err := state.Open(t.Context(), config(m))
	if (s == nil) == (err == nil) {
		t.Fatalf("state %v and error %v", s != nil, err)
	}
	return err
}

// TestChangedByte changes every byte of every manifest.
func TestChangedByte(t *testing.T) {
	m := chain(t, 2)
	clear := 8 + 4 + len(newVault(1).wrapped)
	for number := range 3 {
		name := manifest(number)
		whole := m.objects[name]
		for i := range whole {
			for _, bit := range []byte{0x01, 0x80} {
				changed := bytes.Clone(whole)
				changed[i] ^= bit
				m.objects[name] = changed
				err := opens(t, m)
				// A wrapped key that was changed is for KMS to refuse.
				if inKey := number == 0 && i >= 8 && i < clear && errors.Is(err, errKeys); !inKey && !errors.Is(err, state.ErrCorrupt) {
					t.Fatalf("manifest %d byte %d: %v", number, i, err)
				}
			}
		}
		m.objects[name] = whole
	}
	if err := opens(t, m); err != nil {
		t.Fatal(err)
	}
}

// TestCut cuts every manifest at every length, and makes them longer.
func TestCut(t *testing.T) {
	m := chain(t, 2)
	for number := range 3 {
		name := manifest(number)
		whole := m.objects[name]
		for n := range whole {
			m.objects[name] = whole[:n]
			if err := opens(t, m); !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, errKeys) {
				t.Fatalf("manifest %d cut to %d: %v", number, n, err)
			}
		}
		for _, more := range []int{1, 16, 256, 1 << 20} {
			m.objects[name] = append(bytes.Clone(whole), make([]byte, more)...)
			if err := opens(t, m); !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("manifest %d and %d bytes: %v", number, more, err)
			}
		}
		m.objects[name] = whole
	}
}

// TestRearranged moves whole manifests, each as an enclave wrote it.
func TestRearranged(t *testing.T) {
	other := chain(t, 5) // of the same deployment under the same key
	for name, change := range map[string]func(o map[string][]byte){
		"the first is missing": func(o map[string][]byte) { delete(o, manifest(0)) },
		"one is missing":       func(o map[string][]byte) { delete(o, manifest(2)) },
		"all but the last are": func(o map[string][]byte) {
			for n := range 5 {
				delete(o, manifest(n))
			}
		},
		"two are swapped":         func(o map[string][]byte) { o[manifest(2)], o[manifest(3)] = o[manifest(3)], o[manifest(2)] },
		"one stands twice":        func(o map[string][]byte) { o[manifest(3)] = o[manifest(2)] },
		"the last stands again":   func(o map[string][]byte) { o[manifest(6)] = o[manifest(5)] },
		"the first stands last":   func(o map[string][]byte) { o[manifest(6)] = o[manifest(0)] },
		"the first is the second": func(o map[string][]byte) { o[manifest(0)] = o[manifest(1)] },
		"one of a second chain":   func(o map[string][]byte) { o[manifest(3)] = other.objects[manifest(3)] },
		"a second chain's end": func(o map[string][]byte) {
			for n := 3; n <= 5; n++ {
				o[manifest(n)] = other.objects[manifest(n)]
			}
		},
		"a second chain's genesis": func(o map[string][]byte) { o[manifest(0)] = other.objects[manifest(0)] },
		"a name after a hole":      func(o map[string][]byte) { o[manifest(9)] = []byte("x") },
		"a name that's no number":  func(o map[string][]byte) { o["manifest/x"] = []byte("x") },
		"an empty one":             func(o map[string][]byte) { o[manifest(6)] = nil },
		"noise":                    func(o map[string][]byte) { o[manifest(6)] = bytes.Repeat([]byte{7}, 600) },
	} {
		m := chain(t, 5)
		change(m.objects)
		if err := opens(t, m); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOtherDeployment doesn't open the state of this one.
func TestOtherDeployment(t *testing.T) {
	m := chain(t, 2)
	for _, name := range []string{"colon-stud", "colon-studyy", "other"} {
		c := config(m)
		c.Deployment = name
		if _, err := state.Open(t.Context(), c); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTwoHistories continues one chain twice from the same point. Each is whole
// by itself; no mixture of them is.
func TestTwoHistories(t *testing.T) {
	root := chain(t, 2)
	left, right := root.clone(), root.clone()
	l, r := open(t, left), open(t, right)
	for n := 2; n < 5; n++ {
		add(t, l, n)
		add(t, r, n)
	}
	for mask := range 8 {
		m := root.clone()
		for i := range 3 {
			from := left
			if mask>>i&1 == 1 {
				from = right
			}
			m.objects[manifest(3+i)] = from.objects[manifest(3+i)]
		}
		err := opens(t, m)
		if whole := mask == 0 || mask == 7; whole != (err == nil) || !whole && !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("mixture %03b: %v", mask, err)
		}
	}
}

// TestOldEnd shows what can't be noticed here: a store that hides the newest
// manifests. Freshness from outside is for that.
func TestOldEnd(t *testing.T) {
	m := chain(t, 5)
	genesis := open(t, m).Genesis()
	delete(m.objects, manifest(5))
	delete(m.objects, manifest(4))
	s := open(t, m)
	shows(t, s, 3)
	if s.Genesis() != genesis {
		t.Error("another genesis")
	}
}

// TestFork has two enclaves on one store. The one that comes second stops for
// good and says so.
func TestFork(t *testing.T) {
	m := chain(t, 2)
	first, second := open(t, m), open(t, m)
	add(t, first, 2)
	if _, err := second.Append(t.Context(), acceptance(3)); !errors.Is(err, state.ErrFork) {
		t.Fatalf("got %v", err)
	}
	delete(m.objects, manifest(3))
	for n := 2; n < 5; n++ {
		if _, err := second.Append(t.Context(), acceptance(n)); !errors.Is(err, state.ErrFork) {
			t.Errorf("acceptance %d: %v", n, err)
		}
	}
	shows(t, second, 2)
	if _, ok := m.objects[manifest(3)]; ok {
		t.Error("it wrote after all")
	}
}

// TestSameAcceptanceIsAFork too: the bytes of two enclaves are never the same.
func TestSameAcceptanceIsAFork(t *testing.T) {
	m := chain(t, 2)
	first, second := open(t, m), open(t, m)
	add(t, first, 2)
	if _, err := second.Append(t.Context(), acceptance(2)); !errors.Is(err, state.ErrFork) {
		t.Errorf("got %v", err)
	}
}

// TestTwoGeneses has another enclave write the first manifest between our look
// and our write.
func TestTwoGeneses(t *testing.T) {
	m := newMemory()
	m.once(taken)
	if err := opens(t, m); !errors.Is(err, state.ErrFork) {
		t.Errorf("got %v", err)
	}
	if string(m.objects[manifest(0)]) != "of another writer" {
		t.Error("the other's genesis was replaced")
	}
}

// FuzzManifest puts arbitrary bytes in the place of a manifest. They open only
// when they are the ones that were there.
func FuzzManifest(f *testing.F) {
	m := chain(f, 2)
	for n := range 3 {
		f.Add(uint8(n), m.objects[manifest(n)])
		f.Add(uint8(n), m.objects[manifest(n)][:40])
	}
	f.Add(uint8(0), []byte("CLMAN1\n\x00\xff\xff\xff\xff"))
	f.Add(uint8(3), []byte{})
	f.Fuzz(func(t *testing.T, number uint8, raw []byte) {
		name := manifest(int(number % 4))
		changed := m.clone()
		same := bytes.Equal(changed.objects[name], raw) && number%4 < 3
		changed.objects[name] = raw
		s, err := state.Open(t.Context(), config(changed))
		switch {
		case same != (err == nil):
			t.Fatalf("manifest %d: %v", number%4, err)
		case err == nil:
			shows(t, s, 2)
		case !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, errKeys):
			t.Errorf("manifest %d: %v", number%4, err)
		case bytes.Contains([]byte(err.Error()), []byte(canary)):
			t.Error(fmt.Sprint("the error holds content: ", err))
		}
	})
}
