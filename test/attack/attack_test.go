package attack_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

// TestParentEndsTLS: a parent that answers for KMS has no certificate that the
// enclave believes. It sees no request, and so no document and no key to forge
// an answer for.
func TestParentEndsTLS(t *testing.T) {
	w := newWorld(t)
	// All test servers have one certificate, so the enclave believes none here.
	if _, err := w.open(w.clientWith(x509.NewCertPool())); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("the state opened over the parent's TLS: %v", err)
	}
	if n := w.evil.requests(); n != 0 {
		t.Errorf("the parent saw %d requests", n)
	}
	w.nothingStored("the parent's TLS")
	w.start().holds("afterwards", 0, 0, 0)
}

func (w *world) nothingStored(what string) {
	w.t.Helper()
	if names, err := w.objects.List(w.t.Context(), "", "", 10); err != nil || len(names) > 0 {
		w.t.Errorf("%s: stored %v: %v", what, names, err)
	}
}

// TestGenesis attacks the birth of the state's key: nothing is stored until KMS
// really answers.
func TestGenesis(t *testing.T) {
	w := newWorld(t)
	for name, a := range w.onAnswers() {
		a.operation = "GenerateDataKey"
		w.evil.strike(a.attack)
		_, err := w.open(w.client())
		struck := w.evil.strike(attack{})
		if name == "an answer that is cut" && errors.Is(err, kms.ErrUnavailable) {
			err = kms.ErrAnswer // a cut answer may come again
		}
		if struck == 0 || !errors.Is(err, a.class) {
			t.Errorf("%s: struck %d times: %v; want %v", name, struck, err, a.class)
		}
		w.nothingStored(name)
	}
	e := w.start()
	genesis := e.state.Genesis()
	if again := w.start().state.Genesis(); again != genesis {
		t.Error("the state that opened at last isn't the one that is kept")
	}
}

// TestForgedGenesis: whoever ends TLS can choose the key. The blob then isn't
// that key's, and the next boot doesn't open the state.
func TestForgedGenesis(t *testing.T) {
	for name, fault := range map[string]kmssim.Fault{"chosen key": kmssim.Forged, "swapped blob": kmssim.SwappedBlob} {
		w := newWorld(t)
		w.evil.strike(attack{operation: "GenerateDataKey", forge: fault})
		_, err := w.open(w.client())
		must(t, err)
		if w.evil.strike(attack{}) == 0 {
			t.Fatalf("%s: no attack", name)
		}
		if _, err := w.open(w.client()); !errors.Is(err, state.ErrCorrupt) {
			t.Errorf("%s: the next boot: %v", name, err)
		}
	}
}

// TestDecrypt attacks the unwrapping of a record's key. Each attack has its own
// error, nothing is counted, and the same envelope is accepted afterwards.
func TestDecrypt(t *testing.T) {
	w := newWorld(t)
	all := w.onAnswers()
	other, elsewhere := w.write(colon, "other", 0), w.write(visits, "other", 0)
	whole := func(m message) { // blob, context and key of another dataset's record
		m["CiphertextBlob"], m["KeyId"] = elsewhere.header.Wrap.Blob, w.keys[visits]
		m["EncryptionContext"].(map[string]any)["dataset"] = visits
	}
	maps.Copy(all, map[string]assault{
		"another record's blob":          {attack{request: func(m message) { m["CiphertextBlob"] = other.header.Wrap.Blob }}, nil, ingest.ReasonOpen},
		"another dataset's blob":         {attack{request: func(m message) { m["CiphertextBlob"] = elsewhere.header.Wrap.Blob }}, nil, ingest.ReasonBlob},
		"blob and context as a whole":    {attack{request: whole}, kms.ErrAnswer, ""},
		"and the ARN put right again":    {attack{request: whole, answer: func(m message) { m["KeyId"] = w.keys[colon] }}, nil, ingest.ReasonOpen},
		"another dataset in the context": {attack{request: func(m message) { m["EncryptionContext"].(map[string]any)["dataset"] = visits }}, kms.ErrDenied, ""},
		"another producer's context":     {attack{request: func(m message) { m["EncryptionContext"].(map[string]any)["producer"] = "x" }}, nil, ingest.ReasonBlob},
		"another epoch's context":        {attack{request: func(m message) { m["EncryptionContext"].(map[string]any)["epoch"] = "2" }}, nil, ingest.ReasonBlob},
		"no context":                     {attack{request: func(m message) { delete(m, "EncryptionContext") }}, kms.ErrDenied, ""},
		"an alias that names nothing":    {attack{request: func(m message) { m["KeyId"] = "alias/colon" }}, kms.ErrRefused, ""},
		"a key of the attacker's choice": {attack{forge: kmssim.Forged}, nil, ingest.ReasonOpen},
	})
	e := w.start()
	first := w.seal(w.write(colon, "first", 0))
	_, err := e.ingest.Accept(t.Context(), first)
	must(t, err)
	raw := w.seal(w.write(colon, "attacked", 0))
	for name, a := range all {
		a.operation = "Decrypt"
		w.evil.strike(a.attack)
		got, err := e.ingest.Accept(t.Context(), raw)
		struck := w.evil.strike(attack{})
		if got != nil || struck == 0 {
			t.Errorf("%s: struck %d times and was accepted: %t", name, struck, got != nil)
		}
		switch {
		case a.class == nil:
			refused(t, name, err, a.reason)
		case name == "an answer that is cut" && errors.Is(err, kms.ErrUnavailable):
		case !errors.Is(err, a.class):
			t.Errorf("%s: %v; want %v", name, err, a.class)
		}
		e.holds(name, 1, 3, 0)
	}
	for _, id := range []string{w.keys[visits], w.keys[""], strings.Split(w.keys[colon], "key/")[0] + "alias/colon"} {
		w.evil.strike(attack{operation: "Decrypt", answer: func(m message) { m["KeyId"] = id }})
		if _, err := e.ingest.Accept(t.Context(), raw); !errors.Is(err, kms.ErrAnswer) {
			t.Errorf("the answer names %s: %v", id, err)
		}
		e.holds(id, 1, 3, 0)
	}
	w.evil.strike(attack{})
	_, err = e.ingest.Accept(t.Context(), raw)
	must(t, err)
	e.holds("after the attacks", 2, 6, 0)
	w.start(first, raw).holds("after another boot", 2, 6, 0)
}

// TestEnvelopes attacks what the parent carries: wrapped keys that are moved
// between records and datasets, by an edit or by a producer that signs it.
func TestEnvelopes(t *testing.T) {
	w := newWorld(t)
	e := w.start()
	one, two, three := w.write(colon, "one", 0), w.write(colon, "two", 0), w.write(visits, "three", 0)
	raw := w.seal(one)
	wrap := one.header.Wrap
	for name, edited := range map[string][]byte{
		"another record's blob":  splice(t, raw, wrap.Blob, two.header.Wrap.Blob),
		"another dataset's blob": splice(t, raw, wrap.Blob, three.header.Wrap.Blob),
		"another dataset's ARN":  splice(t, raw, []byte(wrap.Key), []byte(three.header.Wrap.Key)),
		"another salt":           splice(t, raw, one.header.Salt[:], two.header.Salt[:]),
	} {
		before := w.evil.requests()
		_, err := e.ingest.Accept(t.Context(), edited)
		refused(t, name, err, ingest.ReasonSignature)
		if w.evil.requests() != before {
			t.Errorf("%s: KMS was asked", name)
		}
		e.holds(name, 0, 0, 0)
	}
	for name, c := range map[string]struct {
		edit   func(*draft)
		reason string
	}{
		"another record's blob, signed":  {func(d *draft) { d.header.Wrap.Blob = two.header.Wrap.Blob }, ingest.ReasonOpen},
		"another dataset's blob, signed": {func(d *draft) { d.header.Wrap.Blob = three.header.Wrap.Blob }, ingest.ReasonBlob},
		"blob and ARN, signed":           {func(d *draft) { d.header.Wrap = three.header.Wrap }, ingest.ReasonKey},
		"blob, ARN and dataset, signed":  {func(d *draft) { d.header.Wrap, d.header.Dataset = three.header.Wrap, visits }, ingest.ReasonOpen},
		"an alias, signed":               {func(d *draft) { d.header.Wrap.Key = strings.Split(wrap.Key, "key/")[0] + "alias/colon" }, ingest.ReasonKey},
		"another region's key, signed":   {func(d *draft) { d.header.Wrap.Key = strings.Replace(wrap.Key, region, "eu-west-1", 1) }, ingest.ReasonKey},
		"the state's key, signed":        {func(d *draft) { d.header.Wrap.Key = w.keys[""] }, ingest.ReasonKey},
		"another epoch, signed":          {func(d *draft) { d.header.Wrap.Epoch = 2 }, ingest.ReasonKey},
		"a broken blob, signed":          {func(d *draft) { d.header.Wrap.Blob = bytes.Repeat([]byte{1}, 100) }, ingest.ReasonBlob},
		"another deployment, signed":     {func(d *draft) { d.header.Deployment = "other" }, ingest.ReasonDeployment},
	} {
		d := one
		c.edit(&d)
		_, err := e.ingest.Accept(t.Context(), w.seal(d))
		refused(t, name, err, c.reason)
		e.holds(name, 0, 0, 0)
	}
	_, err := e.ingest.Accept(t.Context(), raw)
	must(t, err)
	_, err = e.ingest.Accept(t.Context(), w.seal(three))
	must(t, err)
	e.holds("the genuine ones", 2, 3, 3)
}

// TestReplay hands every accepted envelope in again, before and after another
// boot: one copy counts, with one manifest.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	e := w.start()
	var all [][]byte
	for i := range uint64(3) {
		all = append(all, w.seal(w.write(colon, "s", i)))
	}
	for range 2 {
		for _, raw := range all {
			_, err := e.ingest.Accept(t.Context(), raw)
			must(t, err)
		}
		e.holds("sent again", 3, 9, 0)
	}
	e = w.start(all...)
	e.holds("another boot", 3, 9, 0)
	for i, raw := range all {
		a, _, ok := e.state.Lookup("clinic", "s", uint64(i), colon)
		if !ok || a.Envelope != sha256.Sum256(raw) {
			t.Fatalf("envelope %d is gone", i)
		}
		_, err := e.ingest.Accept(t.Context(), raw)
		must(t, err)
	}
	e.holds("sent again after another boot", 3, 9, 0)
	conflict := w.write(colon, "s", 1)
	conflict.shift = 5
	_, err := e.ingest.Accept(t.Context(), w.seal(conflict))
	refused(t, "another envelope under a number that was used", err, ingest.ReasonConflict)
	e.holds("a conflict", 3, 9, 0)
}

// TestAnotherBoot attacks the state's key when an enclave comes back: the state
// stays shut, and it is whole when the attack ends.
func TestAnotherBoot(t *testing.T) {
	w := newWorld(t)
	raw := w.seal(w.write(colon, "s", 0))
	_, err := w.start().ingest.Accept(t.Context(), raw)
	must(t, err)
	record := w.write(colon, "x", 0)
	all := w.onAnswers()
	maps.Copy(all, map[string]assault{
		"a key of the attacker's choice": {attack{forge: kmssim.Forged}, state.ErrCorrupt, ""},
		"a record's blob":                {attack{request: func(m message) { m["CiphertextBlob"] = record.header.Wrap.Blob }}, kms.ErrCiphertext, ""},
		"a record's purpose":             {attack{request: func(m message) { m["EncryptionContext"].(map[string]any)["purpose"] = "record" }}, kms.ErrCiphertext, ""},
	})
	for name, a := range all {
		a.operation = "Decrypt"
		w.evil.strike(a.attack)
		s, err := w.open(w.client())
		struck := w.evil.strike(attack{})
		if name == "an answer that is cut" && errors.Is(err, kms.ErrUnavailable) {
			err = kms.ErrAnswer
		}
		if s != nil || struck == 0 || !errors.Is(err, a.class) {
			t.Errorf("%s: struck %d times: %v; want %v", name, struck, err, a.class)
		}
	}
	w.start(raw).holds("after the attacks", 1, 3, 0)
}
