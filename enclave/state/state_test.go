package state_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/limits"
)

func TestGenesis(t *testing.T) {
	m := newMemory()
	s := open(t, m)
	shows(t, s, 0)
	if names := slices.Collect(maps.Keys(m.objects)); len(names) != 1 || names[0] != manifest(0) {
		t.Fatalf("objects %v", names)
	}
	raw := m.objects[manifest(0)]
	if s.Genesis() != sha256.Sum256(raw) {
		t.Error("the genesis isn't the hash of the first manifest")
	}
	if !bytes.Contains(raw, newVault(1).wrapped) {
		t.Error("the wrapped key isn't in clear")
	}
	if bytes.Contains(raw, newVault(1).key) {
		t.Error("the key is in clear")
	}
	other := open(t, newMemory())
	if other.Genesis() == s.Genesis() || other.ServicePublicKey().Equal(s.ServicePublicKey()) {
		t.Error("two states have one genesis or one service key")
	}
}

func TestRecovery(t *testing.T) {
	m := newMemory()
	first := open(t, m)
	for n := range 12 {
		s := open(t, m)
		shows(t, s, n)
		if s.Genesis() != first.Genesis() || !s.ServicePublicKey().Equal(first.ServicePublicKey()) {
			t.Fatalf("restart %d: another genesis or service key", n)
		}
		add(t, s, n)
		shows(t, s, n+1)
	}
}

func TestServiceKey(t *testing.T) {
	s := open(t, newMemory())
	message := []byte("a receipt")
	signature, err := s.ServiceKey().Sign(rand.Reader, message, crypto.Hash(0))
	if err != nil || !ed25519.Verify(s.ServicePublicKey(), message, signature) {
		t.Errorf("the signature doesn't verify: %v", err)
	}
	if public, ok := s.ServiceKey().Public().(ed25519.PublicKey); !ok || !public.Equal(s.ServicePublicKey()) {
		t.Error("the signer has another public key")
	}
	public := s.ServicePublicKey()
	public[0] ^= 1
	if s.ServicePublicKey().Equal(public) {
		t.Error("the public key can be changed from outside")
	}
}

// TestNothingInClear looks for names in everything that the parent gets.
func TestNothingInClear(t *testing.T) {
	m := chain(t, 3)
	for name, content := range m.objects {
		if bytes.Contains(content, []byte(canary)) || bytes.Contains([]byte(name), []byte(canary)) {
			t.Errorf("%s tells who submitted", name)
		}
	}
	// Nor do sizes tell counts.
	s := open(t, m)
	for i, counts := range [][2]int{{0, 0}, {0, limits.BatchRows}, {limits.BatchRows / 2, 300}} {
		a := acceptance(3 + i)
		a.Dataset, a.Producer, a.Stream, a.Accepted, a.Rejected = "d", "p", "s", counts[0], counts[1]
		if _, err := s.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if a, b := len(m.objects[manifest(4)]), len(m.objects[manifest(4+i)]); a != b {
			t.Errorf("manifests of %d and %d bytes", a, b)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	m := chain(t, 1)
	s := open(t, m)
	puts := m.puts
	for name, spoil := range map[string]func(a *state.Acceptance){
		"no dataset":    func(a *state.Acceptance) { a.Dataset = "" },
		"no producer":   func(a *state.Acceptance) { a.Producer = "" },
		"no stream":     func(a *state.Acceptance) { a.Stream = "" },
		"no key":        func(a *state.Acceptance) { a.Key = "" },
		"accepted < 0":  func(a *state.Acceptance) { a.Accepted = -1 },
		"rejected < 0":  func(a *state.Acceptance) { a.Rejected = -1 },
		"too many":      func(a *state.Acceptance) { a.Accepted, a.Rejected = limits.BatchRows, 1 },
		"far too many":  func(a *state.Acceptance) { a.Accepted = limits.BatchRows + 1 },
		"far too many2": func(a *state.Acceptance) { a.Rejected = limits.BatchRows + 1 },
	} {
		a := acceptance(1)
		spoil(&a)
		if _, err := s.Append(t.Context(), a); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// The number of a stream is taken, whatever else is said of it.
	again := acceptance(0)
	again.Envelope, again.Content, again.Contract, again.Accepted = [32]byte{9}, [32]byte{9}, "2.0.0", 7
	if _, err := s.Append(t.Context(), again); !errors.Is(err, state.ErrAccepted) {
		t.Errorf("twice: %v", err)
	}
	if m.puts != puts {
		t.Errorf("%d writes", m.puts-puts)
	}
	shows(t, s, 1)
}

// TestSlots differ in each of their four parts.
func TestSlots(t *testing.T) {
	s := open(t, newMemory())
	base := acceptance(0)
	all := []state.Acceptance{base, base, base, base, base}
	all[1].Dataset += "x"
	all[2].Producer += "x"
	all[3].Stream += "x"
	all[4].Sequence++
	for i, a := range all {
		if _, _, ok := s.Lookup(a.Producer, a.Stream, a.Sequence, a.Dataset); ok {
			t.Errorf("slot %d is taken", i)
		}
		if number, err := s.Append(t.Context(), a); err != nil || number != uint64(i)+1 {
			t.Errorf("slot %d: %d, %v", i, number, err)
		}
		if got, _, ok := s.Lookup(a.Producer, a.Stream, a.Sequence, a.Dataset); !ok || got != a {
			t.Errorf("slot %d: %+v, %v", i, got, ok)
		}
	}
	// The answer is a copy.
	s.Accepted()[0].Producer = "changed"
	if s.Accepted()[0] != base {
		t.Error("the list can be changed from outside")
	}
}

// TestClock lets the clock go back, within a life and from one to the next.
func TestClock(t *testing.T) {
	m := newMemory()
	c := config(m)
	now := begin
	c.Now = func() time.Time { return now }
	s, err := state.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []time.Duration{time.Hour, -2 * time.Hour, 0, time.Minute, -24 * time.Hour} {
		now = now.Add(step)
		if i%2 == 1 {
			if s, err = state.Open(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		add(t, s, i)
	}
	shows(t, open(t, m), 5)
}

func TestConcurrentAppends(t *testing.T) {
	m := newMemory()
	s := open(t, m)
	const writers, each = 8, 10
	var wg sync.WaitGroup
	numbers := make([]bool, writers*each+1)
	var mu sync.Mutex
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				a := acceptance(w*each + i)
				number, err := s.Append(t.Context(), a)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if numbers[number] {
					t.Errorf("number %d was given twice", number)
				}
				numbers[number] = true
				mu.Unlock()
				if got, at, ok := s.Lookup(a.Producer, a.Stream, a.Sequence, a.Dataset); !ok || at != number || got != a {
					t.Errorf("number %d isn't what was appended", number)
				}
				_, _ = s.Accepted(), s.Head()
			}
		})
	}
	wg.Wait()
	if !slices.Equal(open(t, m).Accepted(), s.Accepted()) || s.Head() != writers*each {
		t.Error("another order after a restart")
	}
}

func TestConfig(t *testing.T) {
	for name, spoil := range map[string]func(c *state.Config){
		"objects":    func(c *state.Config) { c.Objects = nil },
		"keys":       func(c *state.Config) { c.Keys = nil },
		"deployment": func(c *state.Config) { c.Deployment = "" },
		"clock":      func(c *state.Config) { c.Now = nil },
	} {
		m := newMemory()
		c := config(m)
		spoil(&c)
		if s, err := state.Open(t.Context(), c); err == nil || s != nil {
			t.Errorf("no %s: opened", name)
		}
		if m.puts != 0 {
			t.Errorf("no %s: written", name)
		}
	}
}

// TestKeysFail opens as soon as the keys are there, and not with other ones.
func TestKeysFail(t *testing.T) {
	m := newMemory()
	v := newVault(1)
	c := config(m)
	c.Keys = v
	v.err = errKeys
	if _, err := state.Open(t.Context(), c); !errors.Is(err, errKeys) {
		t.Errorf("at genesis: %v", err)
	}
	if len(m.objects) != 0 {
		t.Error("a genesis without a key")
	}
	v.err = nil
	if _, err := state.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	v.err = errKeys
	if _, err := state.Open(t.Context(), c); !errors.Is(err, errKeys) || errors.Is(err, state.ErrCorrupt) {
		t.Errorf("at recovery: %v", err)
	}
	v.err = nil
	if _, err := state.Open(t.Context(), c); err != nil {
		t.Error(err)
	}
	wrong := newVault(2)
	wrong.wrapped = v.wrapped
	c.Keys = wrong
	if _, err := state.Open(t.Context(), c); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("another key: %v", err)
	}
	wrong.key = make([]byte, 16)
	if _, err := state.Open(t.Context(), c); !errors.Is(err, state.ErrCorrupt) {
		t.Errorf("a key of 16 bytes: %v", err)
	}
}

func TestGenesisRefuses(t *testing.T) {
	for name, spoil := range map[string]func(v *vault){
		"short key":         func(v *vault) { v.key = v.key[:16] },
		"no key":            func(v *vault) { v.key = nil },
		"no wrapped form":   func(v *vault) { v.wrapped = nil },
		"huge wrapped form": func(v *vault) { v.wrapped = make([]byte, 6145) },
	} {
		m := newMemory()
		c := config(m)
		v := newVault(1)
		spoil(v)
		c.Keys = v
		if _, err := state.Open(t.Context(), c); err == nil || len(m.objects) != 0 {
			t.Errorf("%s: %v, %d objects", name, err, len(m.objects))
		}
	}
	m := newMemory()
	c := config(m)
	v := newVault(1)
	v.wrapped = make([]byte, 6144)
	c.Keys = v
	for range 2 {
		if _, err := state.Open(t.Context(), c); err != nil {
			t.Errorf("the largest wrapped form: %v", err)
		}
	}
}

// TestStoreFails says that the store failed, never that the chain is corrupt.
func TestStoreFails(t *testing.T) {
	for n := range 3 {
		m := chain(t, 2)
		good := config(m)
		good.Objects = failingAt{m, manifest(n)}
		_, err := state.Open(t.Context(), good)
		if !errors.Is(err, errStore) || errors.Is(err, state.ErrCorrupt) {
			t.Errorf("manifest %d: %v", n, err)
		}
	}
	m := chain(t, 2)
	c := config(m)
	c.Objects = unlistable{m}
	if _, err := state.Open(t.Context(), c); !errors.Is(err, errStore) {
		t.Errorf("list: %v", err)
	}
	c.Objects = unlistable{newMemory()}
	if _, err := state.Open(t.Context(), c); !errors.Is(err, errStore) {
		t.Errorf("list at genesis: %v", err)
	}
}

type failingAt struct {
	*memory
	name string
}

func (f failingAt) Get(ctx context.Context, name string) ([]byte, error) {
	if name == f.name {
		return nil, errStore
	}
	return f.memory.Get(ctx, name)
}

type unlistable struct{ *memory }

func (unlistable) List(context.Context, string, string, int) ([]string, error) { return nil, errStore }
