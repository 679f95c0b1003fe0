package ingest_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

// spied are the state's intake keys; it counts HPKE openings.
type spied struct {
	*intake.Keys
	opens int
}

func (s *spied) Unwrap(key string, info, blob []byte) (secret.Bytes, error) {
	s.opens++
	return s.Keys.Unwrap(key, info, blob)
}

// withIntake gives a life of the record path a real keyring, in which KMS is
// never asked, and intake keys of its state.
func withIntake(t *testing.T, w *world) *spied {
	t.Helper()
	keys, err := intake.Open(t.Context(), intake.Config{Objects: w.disk, Sealer: w.state, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	s := &spied{Keys: keys}
	ring := keyring.New(keyring.Config{
		Intake: s, Deployment: w.bundle.Deployment, Max: 8, TTL: time.Hour, Now: w.clock,
		Dataset: func(name string) (string, uint64, bool) {
			d, ok := w.bundle.Dataset(name)
			if !ok {
				return "", 0, false
			}
			return d.KeyARN, d.KeyEpoch, true
		},
	})
	t.Cleanup(ring.Close)
	if w.in, err = ingest.New(ingest.Config{Bundle: w.bundle, Keys: ring, State: w.state, Store: w.tables, Now: w.clock}); err != nil {
		t.Fatal(err)
	}
	return s
}

// sealTo makes a letter's data key one that is sealed to the newest intake key,
// as its header says at that moment.
func sealTo(t *testing.T, k *spied, l *letter) {
	t.Helper()
	public, _, _ := k.Current()
	wrapTo(t, public, l)
}

func wrapTo(t *testing.T, public *intakekey.Public, l *letter) {
	t.Helper()
	h := &l.header
	blob, err := public.Wrap(dek(l.dek), envelope.IntakeInfo(h.Deployment, h.Dataset, h.Producer, h.Stream, public.ID()))
	if err != nil {
		t.Fatal(err)
	}
	h.Wrap = envelope.Wrap{Kind: envelope.WrapIntake, Key: public.ID(), Blob: blob}
}

// TestIntakeKey: a stream under an intake key is accepted, counted once, and
// there again after a restart, when the key is years old.
func TestIntakeKey(t *testing.T) {
	w := newWorld(t)
	k := withIntake(t, w)
	first := write(1)
	sealTo(t, k, &first)
	second := write(2)
	second.header.Wrap = first.header.Wrap
	rawFirst, reportKey := first.seal(t)
	receipt, report := w.verified(w.accepts(rawFirst), rawFirst, reportKey)
	if report.Accepted != 3 || receipt.Repeat {
		t.Errorf("accepted %d, repeat %t", report.Accepted, receipt.Repeat)
	}
	w.accepts(second.raw(t))
	if k.opens != 1 {
		t.Errorf("%d HPKE openings of one stream", k.opens)
	}
	before := w.rows("colon")

	w.now = w.now.Add(10 * 365 * 24 * time.Hour)
	w.start()
	k = withIntake(t, w)
	for _, a := range w.state.Accepted() {
		if err := w.in.Replay(t.Context(), a, w.inbox[a.Envelope]); err != nil {
			t.Fatalf("replay: %v", err)
		}
	}
	if got := w.rows("colon"); got != before {
		t.Errorf("after a restart: %s, before: %s", got, before)
	}
	again := w.accepts(rawFirst) // the receipt again, however old the key
	w.verified(again, rawFirst, reportKey)
	third := write(3)
	third.header.Wrap = first.header.Wrap
	if _, err := w.accept(third.raw(t)); reason(err) != ingest.ReasonIntake {
		t.Errorf("a new envelope under a key that expired: %v", err)
	}
	sealTo(t, k, &third)
	w.accepts(third.raw(t))
}

// TestGarbageToIntakeKey: everybody can seal to a public key. Whoever isn't a
// producer with the right to the dataset gets a refusal, before anything is
// opened: HPKE says nothing about who sealed.
func TestGarbageToIntakeKey(t *testing.T) {
	w := newWorld(t)
	k := withIntake(t, w)
	seal := func(change func(*letter)) []byte {
		l := write(1)
		change(&l)
		sealTo(t, k, &l)
		return l.raw(t)
	}
	good := seal(func(*letter) {})
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"the parent as clinic-a":  {seal(func(l *letter) { l.signer = "parent" }), ingest.ReasonSignature},
		"the parent as itself":    {seal(func(l *letter) { l.header.Producer, l.signer = "parent", "parent" }), ingest.ReasonProducer},
		"another producer":        {seal(func(l *letter) { l.signer = "clinic-b" }), ingest.ReasonSignature},
		"a retired one":           {seal(func(l *letter) { l.header.Producer, l.signer = "clinic-r", "clinic-r" }), ingest.ReasonRetired},
		"no right to the dataset": {seal(func(l *letter) { l.header.Producer, l.signer = "clinic-b", "clinic-b" }), ingest.ReasonRight},
		"another deployment":      {seal(func(l *letter) { l.header.Deployment = "other-study" }), ingest.ReasonDeployment},
		"another contract":        {seal(func(l *letter) { l.header.Contract = "1.0.1" }), ingest.ReasonContract},
		"unsigned noise":          {append(bytes.Clone(good[:len(good)-64]), make([]byte, 64)...), ingest.ReasonSignature},
	} {
		if a, err := w.accept(c.raw); a != nil || reason(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if k.opens != 0 || w.state.Head() != 0 {
		t.Errorf("%d data keys were opened, %d envelopes accepted", k.opens, w.state.Head())
	}
}

// TestSwappedIntakeWrap: what a producer itself may sign doesn't open in another
// place than the one that it was sealed for.
func TestSwappedIntakeWrap(t *testing.T) {
	w := newWorld(t)
	k := withIntake(t, w)
	own, err := intakekey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		before, after func(*letter)
		want          string
	}{
		"for another dataset": {func(l *letter) { l.header.Dataset = "visits" }, func(l *letter) { l.header.Dataset = "colon" }, ingest.ReasonSealed},
		"for another stream":  {func(l *letter) { l.header.Stream = "t" }, func(l *letter) { l.header.Stream = "s" }, ingest.ReasonSealed},
		"of another producer": {func(l *letter) { l.header.Producer = "clinic-b" }, func(l *letter) { l.header.Producer = "clinic-a" }, ingest.ReasonSealed},
		"another blob":        {func(*letter) {}, func(l *letter) { l.header.Wrap.Blob[1] ^= 1 }, ingest.ReasonSealed},
		"another data key":    {func(*letter) {}, func(l *letter) { l.dek = 2 }, ingest.ReasonOpen},
		"a key of its own":    {func(*letter) {}, func(l *letter) { wrapTo(t, own.Public(), l) }, ingest.ReasonIntake},
		"its key, our name": {func(*letter) {}, func(l *letter) {
			name := l.header.Wrap.Key
			wrapTo(t, own.Public(), l)
			l.header.Wrap.Key = name
		}, ingest.ReasonSealed},
	} {
		l := write(1)
		c.before(&l)
		sealTo(t, k, &l)
		c.after(&l)
		if a, err := w.accept(l.raw(t)); a != nil || reason(err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if w.state.Head() != 0 || w.rows("colon") != "0 " {
		t.Error("something was kept")
	}
}
