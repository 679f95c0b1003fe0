package intake_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

const day = 24 * time.Hour

// wrap seals a data key to the newest intake key, as a producer does.
func wrap(t *testing.T, k *intake.Keys) (name string, wrapped []byte) {
	t.Helper()
	public, _, _ := k.Current()
	wrapped, err := public.Wrap(dataKey(), []byte("info"))
	if err != nil {
		t.Fatal(err)
	}
	return public.ID(), wrapped
}

func dataKey() secret.Bytes { return secret.New(bytes.Repeat([]byte{7}, 32)) }

func opens(t *testing.T, k *intake.Keys, name string, wrapped []byte) {
	t.Helper()
	if key, err := k.Unwrap(name, []byte("info"), wrapped); err != nil || !key.Equal(dataKey()) {
		t.Errorf("what was sealed to %s doesn't open: %v", name, err)
	}
}

// TestBornOnce: the first boot makes a key, the next ones find it.
func TestBornOnce(t *testing.T) {
	w := newWorld(t)
	first := w.keys()
	name, wrapped := wrap(t, first)
	_, born, notAfter := first.Current()
	if !born.Equal(w.now) || notAfter.Sub(born) != intake.Life {
		t.Errorf("born %v, good until %v", born, notAfter)
	}
	w.now = w.now.Add(intake.RenewAfter - time.Second)
	second := w.keys()
	if id(second) != name || len(w.disk.under("keys/")) != 1 {
		t.Error("another key after a restart")
	}
	opens(t, second, name, wrapped)
	for object, content := range w.disk.objects {
		if public, _, _ := first.Current(); bytes.Contains(content, public.Bytes()[:32]) {
			t.Errorf("%s holds the key in clear", object)
		}
	}
}

// TestLives: keys follow each other with lives that overlap, whether the enclave
// runs or starts when it is time.
func TestLives(t *testing.T) {
	for name, next := range map[string]func(*world, *intake.Keys) *intake.Keys{
		"running": func(w *world, k *intake.Keys) *intake.Keys {
			if err := k.Renew(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
			return k
		},
		"restarted": func(w *world, _ *intake.Keys) *intake.Keys { return w.keys() },
	} {
		w := newWorld(t)
		k := w.keys()
		old, wrapped := wrap(t, k)
		begun := w.now
		w.now = begun.Add(intake.RenewAfter)
		if k = next(w, k); id(k) == old {
			t.Fatalf("%s: no new key after %v", name, intake.RenewAfter)
		}
		for _, c := range []struct {
			after time.Duration
			takes bool
		}{
			{intake.RenewAfter, true}, {intake.Life, true}, {intake.Life + intake.Grace, true}, {intake.Life + intake.Grace + 1, false}, {3650 * day, false},
		} {
			w.now = begun.Add(c.after)
			if k.Takes(old) != c.takes {
				t.Errorf("%s: after %v the old key takes: %t", name, c.after, !c.takes)
			}
			opens(t, k, old, wrapped) // what was accepted before, at any time
		}
	}
}

func TestUnknown(t *testing.T) {
	k := newWorld(t).keys()
	name, wrapped := wrap(t, k)
	other := newWorld(t).keys()
	if k.Takes(id(other)) || k.Takes("") || !k.Takes(name) {
		t.Error("it takes what is sealed to another enclave's key")
	}
	if key, err := k.Unwrap(id(other), []byte("info"), wrapped); !errors.Is(err, intake.ErrUnknown) || key.Len() != 0 {
		t.Errorf("another enclave's key: %v", err)
	}
	if key, err := k.Unwrap(name, []byte("other"), wrapped); !errors.Is(err, intakekey.ErrOpen) || key.Len() != 0 {
		t.Errorf("another info: %v", err)
	}
}

// TestStoreFails: a key is published only once it is durable, and the newest one
// stays when there can't be another.
func TestStoreFails(t *testing.T) {
	w := newWorld(t)
	w.disk.lose = true
	if k, err := w.boot(); k != nil || !errors.Is(err, errStore) {
		t.Errorf("nothing is stored: %v", err)
	}
	w.disk.lose, w.disk.mute = false, true
	if k, err := w.boot(); k != nil || !errors.Is(err, errStore) {
		t.Errorf("nothing can be read: %v", err)
	}
	w.disk.mute, w.disk.deaf = false, true
	k := w.keys() // stored, and its answer was lost
	w.disk.deaf = false
	name := id(k)
	if again := w.keys(); id(again) != name {
		t.Error("a key was published that isn't stored")
	}
	w.now = w.now.Add(intake.RenewAfter)
	w.disk.lose = true
	if err := k.Renew(t.Context()); !errors.Is(err, errStore) || id(k) != name || !k.Takes(name) {
		t.Errorf("the newest key went: %v", err)
	}
	w.disk.lose = false
	if err := k.Renew(t.Context()); err != nil || id(k) == name {
		t.Errorf("no new key later: %v", err)
	}
}

// TestHidden: a store that hides the newest key leads to the one that it hid, or
// to nothing.
func TestHidden(t *testing.T) {
	w := newWorld(t)
	w.keys()
	w.now = w.now.Add(intake.RenewAfter)
	second := w.keys()
	const object = "keys/intake/00000001"
	hidden := w.disk.objects[object]
	delete(w.disk.objects, object)
	third := w.keys()
	if id(third) == id(second) {
		t.Fatal("the hidden key came back by itself")
	}
	name, wrapped := wrap(t, second)
	if third.Takes(name) {
		t.Error("it takes a key that it hasn't got")
	}
	w.disk.objects[object] = hidden
	opens(t, w.keys(), name, wrapped)
}

// TestForeign: nothing becomes a key that this state didn't seal for this place.
func TestForeign(t *testing.T) {
	const first, second = "keys/intake/00000000", "keys/intake/00000001"
	for name, plant := range map[string]func(w *world){
		"noise":           func(w *world) { w.disk.objects[first] = bytes.Repeat([]byte{1}, 400) },
		"nothing":         func(w *world) { w.disk.objects[first] = nil },
		"another place's": func(w *world) { w.disk.objects[second] = w.disk.objects[first] },
		"changed":         func(w *world) { w.disk.objects[first][100] ^= 1 },
		"another state's": func(w *world) {
			other := newWorld(w.t)
			other.disk = &memory{objects: map[string][]byte{}}
			other.state = other.open(other.disk, 10)
			other.keys()
			w.disk.objects[first] = other.disk.objects[first]
		},
		"of another form": func(w *world) {
			sealed, err := w.state.Seal("keys/intake", 0, []byte("not a key"))
			if err != nil {
				w.t.Fatal(err)
			}
			w.disk.objects[first] = sealed
		},
	} {
		w := newWorld(t)
		w.keys()
		plant(w)
		if k, err := w.boot(); k != nil || !errors.Is(err, intake.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTogether: readers and renewal at the same time make one key.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	k := w.keys()
	name, wrapped := wrap(t, k)
	w.now = w.now.Add(intake.RenewAfter)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := k.Renew(t.Context()); err != nil {
				t.Error(err)
			}
			opens(t, k, name, wrapped)
		})
	}
	group.Wait()
	if n := len(w.disk.under("keys/")); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]intake.Config{
		"no objects": {Sealer: w.state, Now: w.clock}, "no sealer": {Objects: w.disk, Now: w.clock}, "no clock": {Objects: w.disk, Sealer: w.state},
	} {
		if k, err := intake.Open(t.Context(), c); k != nil || err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}
