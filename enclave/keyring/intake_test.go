package keyring_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

// intakes has intake keys, some of which take nothing new.
type intakes struct {
	keys map[string]*intakekey.Private

	mu    sync.Mutex
	old   []string
	opens int
}

var errNoKey = errors.New("no such intake key")

func (i *intakes) Takes(key string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[key] != nil && !slices.Contains(i.old, key)
}

func (i *intakes) Unwrap(key string, info, blob []byte) (secret.Bytes, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.opens++
	private := i.keys[key]
	if private == nil {
		return secret.Bytes{}, errNoKey
	}
	return private.Unwrap(blob, info)
}

// newIntakes makes one intake key and a keyring with it.
func newIntakes(t *testing.T, v *vault) (*intakes, *intakekey.Public, *keyring.Keyring) {
	t.Helper()
	private, err := intakekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	in := &intakes{keys: map[string]*intakekey.Private{private.Public().ID(): private}}
	k := keyring.New(keyring.Config{KMS: v, Intake: in, Deployment: "study", Dataset: datasets, Max: 8, TTL: time.Hour, Now: time.Now})
	t.Cleanup(k.Close)
	return in, private.Public(), k
}

func ownKey() secret.Bytes { return secret.New(bytes.Repeat([]byte{0x33}, 32)) }

// sealedTo is a header of clinic-a whose data key is sealed to an intake key.
func sealedTo(t *testing.T, to *intakekey.Public) envelope.Header {
	t.Helper()
	blob, err := to.Wrap(ownKey(), envelope.IntakeInfo("study", "colon", "clinic-a", "s", to.ID()))
	if err != nil {
		t.Fatal(err)
	}
	return envelope.Header{
		Version: envelope.Version, Deployment: "study", Dataset: "colon", Producer: "clinic-a", Stream: "s",
		Wrap: envelope.Wrap{Kind: envelope.WrapIntake, Key: to.ID(), Blob: blob},
	}
}

// TestIntake: HPKE once for a stream, and KMS never.
func TestIntake(t *testing.T) {
	v := &vault{}
	in, to, k := newIntakes(t, v)
	h := sealedTo(t, to)
	for n := range uint64(5) {
		h.Sequence = n
		key, err := k.Open(t.Context(), h)
		if err != nil || !key.Equal(ownKey()) {
			t.Fatalf("batch %d: %v", n, err)
		}
		key.Wipe() // a copy
	}
	if in.opens != 1 || v.calls() != 0 || k.Len() != 1 {
		t.Errorf("%d openings, %d calls to KMS, %d keys held", in.opens, v.calls(), k.Len())
	}
}

// TestIntakeRefuses: nothing opens in another place than the one that its
// producer sealed for, also while the key is held.
func TestIntakeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*envelope.Header)
		want   error
	}{
		"another deployment": {func(h *envelope.Header) { h.Deployment = "other" }, keyring.ErrWrap},
		"an unknown dataset": {func(h *envelope.Header) { h.Dataset = "skin" }, keyring.ErrWrap},
		"an unknown key":     {func(h *envelope.Header) { h.Wrap.Key = "sha256:" + strings.Repeat("0", 64) }, keyring.ErrWrap},
		"another dataset":    {func(h *envelope.Header) { h.Dataset = "lung" }, intakekey.ErrOpen},
		"another producer":   {func(h *envelope.Header) { h.Producer = "clinic-b" }, intakekey.ErrOpen},
		"another stream":     {func(h *envelope.Header) { h.Stream = "t" }, intakekey.ErrOpen},
		"another blob":       {func(h *envelope.Header) { h.Wrap.Blob[0] ^= 1 }, intakekey.ErrOpen},
		"as if KMS wrapped":  {func(h *envelope.Header) { h.Wrap.Kind = envelope.WrapKMS }, keyring.ErrWrap},
		"another kind":       {func(h *envelope.Header) { h.Wrap.Kind = 3 }, keyring.ErrWrap},
	} {
		v := &vault{}
		_, to, k := newIntakes(t, v)
		h := sealedTo(t, to)
		if _, err := k.Open(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		h.Wrap.Blob = bytes.Clone(h.Wrap.Blob)
		c.change(&h)
		if key, err := k.Open(t.Context(), h); !errors.Is(err, c.want) || key.Len() != 0 || v.calls() != 0 {
			t.Errorf("%s: %v after %d calls to KMS", name, err, v.calls())
		}
	}
}

// TestNoIntake: a keyring without intake keys refuses what is sealed to one.
func TestNoIntake(t *testing.T) {
	_, to, _ := newIntakes(t, &vault{})
	k := newKeyring(t, &vault{}, 8, time.Hour)
	h := sealedTo(t, to)
	if key, err := k.Open(t.Context(), h); !errors.Is(err, keyring.ErrWrap) || key.Len() != 0 {
		t.Errorf("Open: %v", err)
	}
	if key, err := k.Reopen(t.Context(), h, h.Wrap.Key, 0); !errors.Is(err, keyring.ErrWrap) || key.Len() != 0 {
		t.Errorf("Reopen: %v", err)
	}
}

// TestOldIntake: an old key opens what was accepted under it and nothing new,
// also while its data key is held.
func TestOldIntake(t *testing.T) {
	in, to, k := newIntakes(t, &vault{})
	h := sealedTo(t, to)
	if _, err := k.Open(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	in.old = []string{to.ID()}
	if key, err := k.Open(t.Context(), h); !errors.Is(err, keyring.ErrWrap) || key.Len() != 0 {
		t.Errorf("new: %v", err)
	}
	if key, err := k.Reopen(t.Context(), h, to.ID(), 0); err != nil || !key.Equal(ownKey()) {
		t.Errorf("accepted before: %v", err)
	}
	for name, c := range map[string]struct {
		key   string
		epoch uint64
	}{"recorded under a KMS key": {colonKey, 0}, "recorded in an epoch": {to.ID(), 1}} {
		if key, err := k.Reopen(t.Context(), h, c.key, c.epoch); !errors.Is(err, keyring.ErrWrap) || key.Len() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	clear(in.keys)
	k.Close()
	if key, err := k.Reopen(t.Context(), h, to.ID(), 0); !errors.Is(err, errNoKey) || key.Len() != 0 {
		t.Errorf("a key that is gone: %v", err)
	}
}
