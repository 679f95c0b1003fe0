package ingest_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/internal/limits"
)

// TestAskedNobody has each reason for which an envelope is refused before any
// key is asked for, from the outside in: whoever breaks several rules learns
// the first.
func TestAskedNobody(t *testing.T) {
	type spoiled func(l *letter)
	sign := func(l *letter) { l.signer = "clinic-b" }
	unknown := func(l *letter) { l.header.Producer, l.signer = "clinic-x", "clinic-x" }
	retired := func(l *letter) { l.header.Producer, l.signer = "clinic-r", "clinic-r" }
	deployment := func(l *letter) { l.header.Deployment = "other-study" }
	noRight := func(l *letter) { l.header.Producer, l.signer, l.header.Dataset = "clinic-b", "clinic-b", "colon" }
	noDataset := func(l *letter) { l.header.Dataset = "nothing" }
	version := func(l *letter) { l.header.Contract = "1.0.1" }
	key := func(l *letter) { l.header.Wrap.Key = keyVisits }
	stateKey := func(l *letter) { l.header.Wrap.Key = keyState }
	epoch := func(l *letter) { l.header.Wrap.Epoch = 2 }
	later := func(l *letter) { l.header.Wrap.Epoch = 4 }
	inside := func(l *letter) { l.content, l.header.Codec, l.dek = []byte("noise"), 9, 77 } // all that only a key finds
	for name, tt := range map[string]struct {
		spoil []spoiled
		want  string
	}{
		"producer":    {[]spoiled{unknown, deployment, noDataset, version, key, inside}, ingest.ReasonProducer},
		"signature":   {[]spoiled{sign, deployment, noDataset, version, key, inside}, ingest.ReasonSignature},
		"retired":     {[]spoiled{retired, deployment, noDataset, version, key, inside}, ingest.ReasonRetired},
		"deployment":  {[]spoiled{deployment, noDataset, version, key, inside}, ingest.ReasonDeployment},
		"dataset":     {[]spoiled{noDataset, version, key, inside}, ingest.ReasonRight},
		"right":       {[]spoiled{noRight, version, key, inside}, ingest.ReasonRight},
		"contract":    {[]spoiled{version, key, inside}, ingest.ReasonContract},
		"key":         {[]spoiled{key, inside}, ingest.ReasonKey},
		"state key":   {[]spoiled{stateKey}, ingest.ReasonKey},
		"epoch":       {[]spoiled{epoch, inside}, ingest.ReasonKey},
		"epoch to be": {[]spoiled{later}, ingest.ReasonKey},
	} {
		w := newWorld(t)
		in, err := ingest.New(ingest.Config{Bundle: w.bundle, Keys: forbidden{t}, State: w.state, Store: w.tables, Now: w.clock})
		if err != nil {
			t.Fatal(err)
		}
		l := write(1)
		for _, spoil := range tt.spoil {
			spoil(&l)
		}
		accepted, err := in.Accept(t.Context(), l.raw(t))
		if got := reason(err); got != tt.want || accepted != nil {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if w.state.Head() != 0 || w.rows("colon") != "0 " {
			t.Errorf("%s: something was kept", name)
		}
	}
}

// TestSizeAndForm come before everything, and before the form the size.
func TestSizeAndForm(t *testing.T) {
	w := newWorld(t)
	in, err := ingest.New(ingest.Config{Bundle: w.bundle, Keys: forbidden{t}, State: w.state, Store: w.tables, Now: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	whole := write(1).raw(t)
	refused := func(name string, raw []byte, want string) {
		t.Helper()
		if accepted, err := in.Accept(t.Context(), raw); reason(err) != want || accepted != nil {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	refused("larger than all", make([]byte, limits.Envelope+1), ingest.ReasonSize)
	refused("empty", nil, ingest.ReasonMalformed)
	refused("noise", bytes.Repeat([]byte{7}, 1000), ingest.ReasonMalformed)
	refused("zeros", make([]byte, limits.Envelope), ingest.ReasonMalformed)
	for n := range whole { // what is left of the header decides
		_, err := in.Accept(t.Context(), whole[:n])
		if got := reason(err); got != ingest.ReasonMalformed && got != ingest.ReasonSignature {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	// No byte can be changed: even where the form holds, it isn't signed.
	for i := range whole {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		_, err := in.Accept(t.Context(), changed)
		if got := reason(err); got != ingest.ReasonMalformed && got != ingest.ReasonSignature && got != ingest.ReasonProducer {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	// The bundle's limit is inclusive.
	w.bundle.Limits.MaxEnvelope = int64(len(whole)) - 1
	refused("larger than the deployment allows", whole, ingest.ReasonSize)
	w.bundle.Limits.MaxEnvelope++
	w.accepts(whole)
}

// TestOpening has the reasons that need the data key.
func TestOpening(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(l *letter)
		want  string
	}{
		"another data key":        {func(l *letter) { l.dek = 2 }, ingest.ReasonOpen},
		"another codec":           {func(l *letter) { l.header.Codec = 3 }, ingest.ReasonContent},
		"noise":                   {func(l *letter) { l.content = []byte("\xff noise") }, ingest.ReasonContent},
		"a row too many":          {func(l *letter) { l.rows = 1 }, ingest.ReasonContent},
		"a row too few":           {func(l *letter) { l.rows = -1 }, ingest.ReasonContent},
		"the key of another blob": {func(l *letter) { l.header.Wrap.Blob = []byte{0} }, ingest.ReasonOpen},
		"nothing but bytes":       {func(l *letter) { l.content = []byte{} }, ingest.ReasonContent},
	} {
		w := newWorld(t)
		l := write(1)
		tt.spoil(&l)
		accepted, err := w.accept(l.raw(t))
		if reason(err) != tt.want || accepted != nil {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if w.state.Head() != 0 || w.rows("colon") != "0 " {
			t.Errorf("%s: something was kept", name)
		}
		// The number isn't used up.
		w.accepts(write(1).raw(t))
	}
}

// TestBrokenBlob refuses for good what KMS can never open, and waits for
// everything else that KMS may say.
func TestBrokenBlob(t *testing.T) {
	w := newWorld(t)
	raw := write(1).raw(t)
	w.keys.err = fmt.Errorf("keyring: kms: Decrypt: %w (InvalidCiphertextException)", kms.ErrCiphertext)
	if accepted, err := w.accept(raw); reason(err) != ingest.ReasonBlob || accepted != nil {
		t.Errorf("got %v", err)
	}
	for _, other := range []error{kms.ErrDenied, kms.ErrRefused, kms.ErrUnavailable, kms.ErrAnswer} {
		w.keys.err = fmt.Errorf("keyring: %w", other)
		if _, err := w.accept(raw); !errors.Is(err, other) || reason(err) != "" {
			t.Errorf("%v: got %v", other, err)
		}
	}
	if w.state.Head() != 0 {
		t.Error("something was accepted")
	}
	// Once accepted it can't be refused: the parent would throw it away.
	w.keys.err = nil
	w.accepts(raw)
	w.keys.err = kms.ErrCiphertext
	if _, err := w.accept(raw); !errors.Is(err, kms.ErrCiphertext) || reason(err) != "" {
		t.Errorf("the accepted one: %v", err)
	}
}

// TestRefusalsAreConstant: what the parent reads of a refusal is one of the
// phrases, and none of them holds anything of the envelope.
func TestRefusalsAreConstant(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range []string{
		ingest.ReasonSize, ingest.ReasonMalformed, ingest.ReasonProducer, ingest.ReasonRetired, ingest.ReasonSignature, ingest.ReasonRight,
		ingest.ReasonDeployment, ingest.ReasonContract, ingest.ReasonKey, ingest.ReasonBlob, ingest.ReasonOpen, ingest.ReasonContent, ingest.ReasonConflict,
	} {
		if r == "" || seen[r] {
			t.Errorf("%q stands twice or says nothing", r)
		}
		seen[r] = true
	}
	w := newWorld(t)
	l := write(1)
	l.header.Stream, l.header.Producer, l.signer = "canary-stream", "canary-producer", "canary-producer"
	if _, err := w.accept(l.raw(t)); err == nil || strings.Contains(err.Error(), "canary") || !seen[reason(err)] {
		t.Errorf("got %v", err)
	}
}
