package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/internal/envelope"
)

// TestAsksWithItsOwnContext holds what KMS is asked with: the bundle's key and
// names, in the context that producers use.
func TestAsksWithItsOwnContext(t *testing.T) {
	v := &vault{}
	open(t, newKeyring(t, v, 8, time.Hour), header("blob"))
	want := `"` + colonKey + `" "dataset"="colon" "deployment"="study" "epoch"="1" "producer"="clinic-a" "purpose"="record" 626c6f62`
	if len(v.asked) != 1 || v.asked[0] != want {
		t.Errorf("asked %q", v.asked)
	}
}

func TestRefusesOtherWraps(t *testing.T) {
	for name, change := range map[string]func(*envelope.Header){
		"another key":          func(h *envelope.Header) { h.Wrap.Key = "arn:aws:kms:eu-central-1:444455556666:key/own" },
		"another dataset's":    func(h *envelope.Header) { h.Wrap.Key = lungKey },
		"an alias":             func(h *envelope.Header) { h.Wrap.Key = "arn:aws:kms:eu-central-1:111122223333:alias/colon" },
		"no key":               func(h *envelope.Header) { h.Wrap.Key = "" },
		"an older epoch":       func(h *envelope.Header) { h.Wrap.Epoch = 0 },
		"a newer epoch":        func(h *envelope.Header) { h.Wrap.Epoch = 2 },
		"another kind of wrap": func(h *envelope.Header) { h.Wrap.Kind = 2 },
		"another deployment":   func(h *envelope.Header) { h.Deployment = "other" },
		"an unknown dataset":   func(h *envelope.Header) { h.Dataset = "skin" },
		"another dataset":      func(h *envelope.Header) { h.Dataset = "lung" },
	} {
		v := &vault{}
		k := newKeyring(t, v, 8, time.Hour)
		open(t, k, header("blob")) // a key in the cache helps nobody
		h := header("blob")
		change(&h)
		if key, err := k.Open(t.Context(), h); !errors.Is(err, keyring.ErrWrap) || key.Len() != 0 || v.calls() != 1 {
			t.Errorf("%s: %v after %d calls", name, err, v.calls())
		}
	}
}

// TestReopen opens what was accepted under an older bundle, with the context of
// that time and nothing of the wire.
func TestReopen(t *testing.T) {
	const before = "arn:aws:kms:eu-central-1:111122223333:key/before"
	older := header("blob")
	older.Dataset, older.Wrap.Key, older.Wrap.Epoch = "lung", before, 5
	v := &vault{}
	k := newKeyring(t, v, 8, time.Hour)
	for range 2 { // the second time from the cache
		key, err := k.Reopen(t.Context(), older, before, 5)
		if err != nil || !key.Equal(want(older)) {
			t.Errorf("another key than KMS's: %v", err)
		}
	}
	if v.calls() != 1 || v.asked[0] != `"`+before+`" "dataset"="lung" "deployment"="study" "epoch"="5" "producer"="clinic-a" "purpose"="record" 626c6f62` {
		t.Errorf("asked %q", v.asked)
	}
	// What is accepted today is a case of it.
	now := header("blob")
	if key, err := k.Reopen(t.Context(), now, colonKey, 1); err != nil || !key.Equal(want(now)) {
		t.Errorf("today's: %v", err)
	}
	calls := v.calls()
	for name, c := range map[string]struct {
		change func(*envelope.Header)
		arn    string
		epoch  uint64
	}{
		"the wire has another key":    {func(h *envelope.Header) { h.Wrap.Key = lungKey }, before, 5},
		"the wire has another epoch":  {func(h *envelope.Header) { h.Wrap.Epoch = 4 }, before, 5},
		"the state has another key":   {func(*envelope.Header) {}, lungKey, 5},
		"the state has another epoch": {func(*envelope.Header) {}, before, 4},
		"an epoch to come":            {func(h *envelope.Header) { h.Wrap.Epoch = 8 }, before, 8},
		"an unknown dataset":          {func(h *envelope.Header) { h.Dataset = "skin" }, before, 5},
		"another deployment":          {func(h *envelope.Header) { h.Deployment = "other" }, before, 5},
		"another kind of wrap":        {func(h *envelope.Header) { h.Wrap.Kind = 2 }, before, 5},
	} {
		h := older
		c.change(&h)
		if key, err := k.Reopen(t.Context(), h, c.arn, c.epoch); !errors.Is(err, keyring.ErrWrap) || key.Len() != 0 || v.calls() != calls {
			t.Errorf("%s: %v after %d calls", name, err, v.calls())
		}
	}
	// And nothing but Reopen opens it.
	if _, err := k.Open(t.Context(), older); !errors.Is(err, keyring.ErrWrap) {
		t.Errorf("as new: %v", err)
	}
}

// TestKeysAreApart opens headers that differ in one thing each, and in where one
// name ends and the next begins.
func TestKeysAreApart(t *testing.T) {
	v := &vault{}
	k := newKeyring(t, v, 100, time.Hour)
	lung := header("blob")
	lung.Dataset, lung.Wrap.Key, lung.Wrap.Epoch = "lung", lungKey, 7
	other := header("blob")
	other.Producer = "clinic-b"
	// These two have the same texts in a row.
	near, far := header("xpurposerecordy"), header("y")
	near.Producer, far.Producer = "a", "apurposerecordx"
	all := []envelope.Header{header("blob"), header("blo"), header("blobb"), lung, other, near, far}
	for range 2 {
		for _, h := range all {
			open(t, k, h)
		}
	}
	if v.calls() != len(all) || k.Len() != len(all) {
		t.Errorf("%d calls and %d keys for %d headers", v.calls(), k.Len(), len(all))
	}
	// What KMS isn't asked with doesn't make another key.
	h := header("blob")
	h.Stream, h.Sequence, h.Contract, h.Salt = "s", 9, "2", [32]byte{1}
	if open(t, k, h); v.calls() != len(all) {
		t.Error("another record of the same data key asked KMS again")
	}
}

func TestLeastRecentlyUsedGoes(t *testing.T) {
	v := &vault{}
	k := newKeyring(t, v, 2, time.Hour)
	for i, c := range []struct {
		blob  string
		calls int
	}{{"a", 1}, {"b", 2}, {"a", 2}, {"c", 3}, {"a", 3}, {"b", 4}, {"c", 5}} {
		if open(t, k, header(c.blob)); v.calls() != c.calls || k.Len() > 2 {
			t.Errorf("step %d: %d calls and %d keys", i, v.calls(), k.Len())
		}
	}
}

func TestKeysExpire(t *testing.T) { synctest.Test(t, testKeysExpire) }

func testKeysExpire(t *testing.T) {
	v := &vault{}
	k := newKeyring(t, v, 8, 10*time.Minute)
	for i, c := range []struct {
		later time.Duration
		calls int
	}{{0, 1}, {9 * time.Minute, 1}, {time.Minute - 1, 1}, {1, 2}, {10 * time.Minute, 3}} {
		time.Sleep(c.later)
		if open(t, k, header("a")); v.calls() != c.calls {
			t.Errorf("step %d: %d calls", i, v.calls())
		}
	}
}

// TestExpiredKeysAreWiped holds that a key goes though nobody asks for anything.
func TestExpiredKeysAreWiped(t *testing.T) { synctest.Test(t, testExpiredKeysAreWiped) }

func testExpiredKeysAreWiped(t *testing.T) {
	k := newKeyring(t, &vault{}, 8, 10*time.Minute)
	open(t, k, header("a"))
	first := keyring.Memory(k)
	time.Sleep(5 * time.Minute)
	open(t, k, header("b"))
	time.Sleep(5*time.Minute + time.Second)
	synctest.Wait()
	if !wiped(first) || len(keyring.Memory(k)) != 1 {
		t.Errorf("%d keys; the old one is wiped: %v", len(keyring.Memory(k)), wiped(first))
	}
	second := keyring.Memory(k)
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	if !wiped(second) || len(keyring.Memory(k)) != 0 {
		t.Error("the last key stayed")
	}
	open(t, k, header("c")) // and all begins anew
	third := keyring.Memory(k)
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	if len(third) != 1 || !wiped(third) {
		t.Error("a key that came after a pause stayed")
	}
}

func wiped(all [][]byte) bool {
	return len(all) > 0 && !slices.ContainsFunc(all, func(b []byte) bool { return !bytes.Equal(b, make([]byte, len(b))) })
}

// TestNobodysKeyIsWiped holds that callers and cache don't share memory.
func TestNobodysKeyIsWiped(t *testing.T) {
	v := &vault{}
	k := newKeyring(t, v, 1, time.Hour)
	first, second := open(t, k, header("a")), open(t, k, header("a"))
	first.Wipe()
	if !second.Equal(want(header("a"))) {
		t.Error("one caller wiped another's key")
	}
	third := open(t, k, header("a"))
	held := keyring.Memory(k)
	open(t, k, header("b")) // evicts a
	if !wiped(held) {
		t.Error("an evicted key stays in memory")
	}
	if !third.Equal(want(header("a"))) {
		t.Error("the eviction wiped a key that is in use")
	}
	held = keyring.Memory(k)
	k.Close()
	if !wiped(held) || k.Len() != 0 {
		t.Error("Close leaves a key")
	}
	if open(t, k, header("b")); k.Len() != 0 || v.calls() != 3 {
		t.Errorf("after Close %d keys are held, after %d calls", k.Len(), v.calls())
	}
}

func TestHoldsNone(t *testing.T) { synctest.Test(t, testHoldsNone) }

func testHoldsNone(t *testing.T) {
	for name, c := range map[string]struct {
		most int
		ttl  time.Duration
	}{"no room": {0, time.Hour}, "no time": {8, 0}, "negative": {-1, -1}} {
		v := &vault{}
		k := newKeyring(t, v, c.most, c.ttl)
		open(t, k, header("a"))
		open(t, k, header("a"))
		synctest.Wait()
		if v.calls() != 2 || k.Len() != 0 || !v.forgotten() {
			t.Errorf("%s: %d calls, %d keys", name, v.calls(), k.Len())
		}
	}
}

// TestOneCallForAll lets many want a key that isn't held.
func TestOneCallForAll(t *testing.T) { synctest.Test(t, testOneCallForAll) }

func testOneCallForAll(t *testing.T) {
	v := &vault{gate: make(chan struct{})}
	k := newKeyring(t, v, 1, time.Hour)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			key := open(t, k, header(fmt.Sprint("blob", i%2)))
			key.Wipe() // each has its own
		})
	}
	synctest.Wait()
	if v.calls() != 2 || keyring.Flying(k) != 2 {
		t.Errorf("%d calls for two keys", v.calls())
	}
	close(v.gate)
	group.Wait()
	synctest.Wait()
	if !v.forgotten() || keyring.Flying(k) != 0 || k.Len() != 1 {
		t.Errorf("left behind: answers wiped %v, %d calls, %d keys", v.forgotten(), keyring.Flying(k), k.Len())
	}
}

// TestCallersMayLeave ends the context of the caller that began the call.
func TestCallersMayLeave(t *testing.T) { synctest.Test(t, testCallersMayLeave) }

func testCallersMayLeave(t *testing.T) {
	v := &vault{gate: make(chan struct{})}
	k := newKeyring(t, v, 8, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if key, err := k.Open(ctx, header("a")); !errors.Is(err, context.Canceled) || key.Len() != 0 {
			t.Errorf("the one who left: %v", err)
		}
	})
	synctest.Wait()
	group.Go(func() { open(t, k, header("a")) })
	synctest.Wait()
	cancel()
	synctest.Wait()
	close(v.gate)
	group.Wait()
	synctest.Wait()
	if v.calls() != 1 || k.Len() != 1 || !v.forgotten() {
		t.Errorf("%d calls, %d keys, answers wiped %v", v.calls(), k.Len(), v.forgotten())
	}
	// All leave: the key is there for the next.
	v.gate = make(chan struct{})
	late, cancelLate := context.WithCancel(t.Context())
	group.Go(func() { _, _ = k.Open(late, header("b")) })
	synctest.Wait()
	cancelLate()
	group.Wait()
	close(v.gate)
	synctest.Wait()
	if open(t, k, header("b")); v.calls() != 2 || !v.forgotten() {
		t.Errorf("%d calls, answers wiped %v", v.calls(), v.forgotten())
	}
}

func TestErrorsAreNotKept(t *testing.T) { synctest.Test(t, testErrorsAreNotKept) }

func testErrorsAreNotKept(t *testing.T) {
	broken := errors.New("broken")
	v := &vault{err: broken, gate: make(chan struct{})}
	k := newKeyring(t, v, 8, time.Hour)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if key, err := k.Open(t.Context(), header("a")); !errors.Is(err, broken) || key.Len() != 0 {
				t.Error(err)
			}
		})
	}
	synctest.Wait()
	close(v.gate)
	group.Wait()
	v.err = nil
	if open(t, k, header("a")); v.calls() != 2 {
		t.Errorf("%d calls", v.calls())
	}
}

// model is a cache without any cleverness: what was used last stands last.
type model struct {
	most int
	ttl  time.Duration
	held []modelKey
}

type modelKey struct {
	blob string
	born time.Time
}

// open answers whether KMS must be asked.
func (m *model) open(blob string, now time.Time) bool {
	m.held = slices.DeleteFunc(m.held, func(k modelKey) bool { return now.Sub(k.born) >= m.ttl })
	if i := slices.IndexFunc(m.held, func(k modelKey) bool { return k.blob == blob }); i >= 0 {
		used := m.held[i]
		m.held = append(slices.Delete(m.held, i, i+1), used)
		return false
	}
	m.held = append(m.held, modelKey{blob, now})
	m.held = m.held[max(0, len(m.held)-m.most):]
	return true
}

// TestAgainstModel opens at random and compares which calls KMS gets.
func TestAgainstModel(t *testing.T) { synctest.Test(t, testAgainstModel) }

func testAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := &model{most: 1 + r.IntN(5), ttl: time.Duration(1+r.IntN(20)) * time.Second}
		v := &vault{}
		k := newKeyring(t, v, m.most, m.ttl)
		expected := 0
		for step := range 300 {
			if r.IntN(3) == 0 {
				time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			}
			blob := fmt.Sprint(r.IntN(7))
			if m.open(blob, time.Now()) {
				expected++
			}
			open(t, k, header(blob)).Wipe()
			if v.calls() != expected || k.Len() != len(m.held) {
				t.Fatalf("seed %d, step %d: %d calls, want %d; %d keys, want %d", seed, step, v.calls(), expected, k.Len(), len(m.held))
			}
		}
	}
}
