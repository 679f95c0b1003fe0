package attls_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/canonical"
	"github.com/cloisterhq/cloister/internal/limits"
)

// numbers answers n bytes that count up from first.
func numbers(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

// vector is the evidence in docs/spec/attls.md.
func vector() attls.Evidence {
	return attls.Evidence{
		Document: []byte("document"), Bundle: []byte("bundle"),
		ServiceKey: numbers(0x20, 32), IntakeKey: numbers(0x40, 32), Genesis: numbers(0x60, 32),
	}
}

// vectorBinding is the binding in docs/spec/attls.md.
func vectorBinding() attls.Binding {
	return attls.Binding{
		SPKI: [32]byte(numbers(0, 32)), ServiceKey: numbers(0x20, 32), IntakeKey: numbers(0x40, 32), Genesis: numbers(0x60, 32),
		BundleDigest: [48]byte(numbers(0x80, 48)),
	}
}

// inSpec says whether docs/spec/attls.md shows these bytes.
func inSpec(t *testing.T, b []byte) bool {
	t.Helper()
	spec, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "attls.md"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(strings.Join(strings.Fields(string(spec)), ""), hex.EncodeToString(b))
}

func TestGolden(t *testing.T) {
	request, err := attls.EncodeRequest(numbers(0, 32))
	if err != nil {
		t.Fatal(err)
	}
	full, err := vector().Encode()
	if err != nil {
		t.Fatal(err)
	}
	locked, err := attls.Evidence{Document: []byte("document"), Bundle: []byte("bundle")}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	all := vectorBinding()
	some := attls.Binding{SPKI: all.SPKI, BundleDigest: all.BundleDigest}
	a, b := all.UserData(), some.UserData()
	for name, raw := range map[string][]byte{
		"request": request, "evidence": full, "evidence without keys": locked, "user data": a[:], "user data without keys": b[:],
	} {
		if !inSpec(t, raw) {
			t.Errorf("the %s isn't the one in docs/spec/attls.md: %x", name, raw)
		}
	}
}

// TestUserData checks that every value counts, at its own place, and that
// absent is different from everything present.
func TestUserData(t *testing.T) {
	empty := []byte{}
	zeros := make([]byte, 32)
	seen := map[[48]byte]string{}
	for name, change := range map[string]func(*attls.Binding){
		"as it is":              func(*attls.Binding) {},
		"another connection":    func(b *attls.Binding) { b.SPKI[31]++ },
		"another service key":   func(b *attls.Binding) { b.ServiceKey = zeros },
		"no service key":        func(b *attls.Binding) { b.ServiceKey = nil },
		"an empty service key":  func(b *attls.Binding) { b.ServiceKey = empty },
		"another intake key":    func(b *attls.Binding) { b.IntakeKey = zeros },
		"no intake key":         func(b *attls.Binding) { b.IntakeKey = nil },
		"an empty intake key":   func(b *attls.Binding) { b.IntakeKey = empty },
		"another genesis":       func(b *attls.Binding) { b.Genesis = zeros },
		"no genesis":            func(b *attls.Binding) { b.Genesis = nil },
		"another bundle":        func(b *attls.Binding) { b.BundleDigest[0]++ },
		"keys exchanged":        func(b *attls.Binding) { b.ServiceKey, b.IntakeKey = b.IntakeKey, b.ServiceKey },
		"a service key moved":   func(b *attls.Binding) { b.ServiceKey, b.IntakeKey, b.Genesis = nil, b.ServiceKey, b.IntakeKey },
		"bytes moved over":      func(b *attls.Binding) { b.ServiceKey, b.IntakeKey = numbers(0x20, 33), b.IntakeKey[1:] },
		"nothing but the ends":  func(b *attls.Binding) { b.ServiceKey, b.IntakeKey, b.Genesis = nil, nil, nil },
		"nothing, but present":  func(b *attls.Binding) { b.ServiceKey, b.IntakeKey, b.Genesis = empty, empty, empty },
		"the genesis as intake": func(b *attls.Binding) { b.IntakeKey, b.Genesis = b.Genesis, nil },
	} {
		b := vectorBinding()
		change(&b)
		if other, ok := seen[b.UserData()]; ok {
			t.Errorf("%q and %q bind the same", name, other)
		}
		seen[b.UserData()] = name
	}
}

func TestEvidenceRoundTrip(t *testing.T) {
	largest := vector()
	largest.Document, largest.Bundle = make([]byte, limits.Document), make([]byte, limits.Bundle)
	for name, e := range map[string]attls.Evidence{
		"vector": vector(), "largest": largest,
		"no keys":   {Document: []byte{1}, Bundle: []byte{2}},
		"no intake": {Document: []byte{1}, Bundle: []byte{2}, ServiceKey: numbers(0, 32), Genesis: numbers(1, 32)},
	} {
		raw, err := e.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := attls.ReadEvidence(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("%s: came back changed", name)
		}
		framed, err := attls.ReadFrame(iotest.OneByteReader(bytes.NewReader(raw[:min(len(raw), 1<<10)])), limits.Evidence)
		if len(raw) <= 1<<10 && (err != nil || !bytes.Equal(framed, raw)) {
			t.Errorf("%s: byte by byte: %v", name, err)
		}
	}
}

// spoiled are evidences that no server sends.
func spoiled() map[string]func(*attls.Evidence) {
	return map[string]func(*attls.Evidence){
		"no document":              func(e *attls.Evidence) { e.Document = nil },
		"an empty document":        func(e *attls.Evidence) { e.Document = []byte{} },
		"a large document":         func(e *attls.Evidence) { e.Document = make([]byte, limits.Document+1) },
		"no bundle":                func(e *attls.Evidence) { e.Bundle = nil },
		"a large bundle":           func(e *attls.Evidence) { e.Bundle = make([]byte, limits.Bundle+1) },
		"a short service key":      func(e *attls.Evidence) { e.ServiceKey = e.ServiceKey[:31] },
		"an empty service key":     func(e *attls.Evidence) { e.ServiceKey = []byte{} },
		"a long intake key":        func(e *attls.Evidence) { e.IntakeKey = make([]byte, 33) },
		"an empty intake key":      func(e *attls.Evidence) { e.IntakeKey = []byte{} },
		"a short genesis":          func(e *attls.Evidence) { e.Genesis = e.Genesis[:31] },
		"a service key by itself":  func(e *attls.Evidence) { e.Genesis = nil },
		"a genesis by itself":      func(e *attls.Evidence) { e.ServiceKey = nil },
		"an intake key of nothing": func(e *attls.Evidence) { *e = attls.Evidence{IntakeKey: e.IntakeKey} },
	}
}

// message is the server's message as any program could write it.
type message struct {
	Version    any `cbor:"1,keyasint"`
	Document   any `cbor:"2,keyasint"`
	Bundle     any `cbor:"3,keyasint"`
	ServiceKey any `cbor:"4,keyasint"`
	IntakeKey  any `cbor:"5,keyasint"`
	Genesis    any `cbor:"6,keyasint"`
}

// frame encodes anything as a message.
func frame(t testing.TB, v any) []byte {
	t.Helper()
	body, err := canonical.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func isMalformed(err error) bool {
	refusal, ok := errors.AsType[*attestation.Error](err)
	return ok && refusal.Class == attestation.Malformed
}

func TestEvidenceRefuses(t *testing.T) {
	for name, spoil := range spoiled() {
		e := vector()
		spoil(&e)
		if raw, err := e.Encode(); raw != nil || err == nil {
			t.Errorf("%s: encoded", name)
		}
		raw := frame(t, message{1, e.Document, e.Bundle, []byte(e.ServiceKey), e.IntakeKey, e.Genesis})
		if _, err := attls.ReadEvidence(raw); !isMalformed(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good, err := vector().Encode()
	if err != nil {
		t.Fatal(err)
	}
	e := vector()
	body := func(change func([]byte) []byte) []byte {
		b := change(slices.Clone(good[4:]))
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	for name, raw := range map[string][]byte{
		"nothing": nil, "half a length": good[:3], "a length alone": {0, 0, 0, 0}, "another length": append([]byte{0, 0, 0, 1}, good[4:]...),
		"a byte more": append(slices.Clone(good), 0), "a byte more inside": body(func(b []byte) []byte { return append(b, 0) }),
		"a byte less": good[:len(good)-1], "a large length": {0xff, 0xff, 0xff, 0xff},
		"a tag":           body(func(b []byte) []byte { return append([]byte{0xd9, 0xd9, 0xf7}, b...) }),
		"a long head":     body(func(b []byte) []byte { return append([]byte{0xb8, 6}, b[1:]...) }),
		"an open map":     body(func(b []byte) []byte { return append(append([]byte{0xbf}, b[1:]...), 0xff) }),
		"version 2":       frame(t, message{2, e.Document, e.Bundle, nil, nil, nil}),
		"version as text": frame(t, message{"1", e.Document, e.Bundle, nil, nil, nil}),
		"text as bytes":   frame(t, message{1, "document", e.Bundle, nil, nil, nil}),
		"a list as bytes": frame(t, message{1, e.Document, []int{1, 2}, nil, nil, nil}),
		"a missing key":   frame(t, map[int]any{1: 1, 2: e.Document, 3: e.Bundle, 4: nil, 5: nil}),
		"an unknown key":  frame(t, map[int]any{1: 1, 2: e.Document, 3: e.Bundle, 4: nil, 5: nil, 6: nil, 7: nil}),
		"an array":        frame(t, []any{1, e.Document, e.Bundle, nil, nil, nil}),
	} {
		if got, err := attls.ReadEvidence(raw); !isMalformed(err) || !reflect.DeepEqual(got, attls.Evidence{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRequestRefuses(t *testing.T) {
	type request struct {
		Version any `cbor:"1,keyasint"`
		Nonce   any `cbor:"2,keyasint"`
	}
	nonce := numbers(0, 32)
	if got, err := attls.ParseRequest(frame(t, request{1, nonce})[4:]); err != nil || !bytes.Equal(got, nonce) {
		t.Fatalf("a good request: %v", err)
	}
	for name, body := range map[string][]byte{
		"nothing": {}, "version 0": frame(t, request{0, nonce})[4:], "version 2": frame(t, request{2, nonce})[4:],
		"no nonce": frame(t, request{1, nil})[4:], "a short nonce": frame(t, request{1, nonce[:31]})[4:],
		"a long nonce": frame(t, request{1, numbers(0, 33)})[4:], "text": frame(t, request{1, strings.Repeat("n", 32)})[4:],
		"a byte more": append(frame(t, request{1, nonce})[4:], 0),
		"another map": frame(t, map[int]any{1: 1, 2: nonce, 3: 0})[4:],
		"too long":    frame(t, request{1, make([]byte, limits.EvidenceRequest)})[4:],
	} {
		if got, err := attls.ParseRequest(body); got != nil || !errors.Is(err, attls.ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadFrame(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing": {nil, attls.ErrExchange}, "half a length": {[]byte{0, 0}, attls.ErrExchange},
		"less than said": {[]byte{0, 0, 0, 2, 1}, io.ErrUnexpectedEOF}, "nothing of what was said": {[]byte{0, 0, 0, 2}, io.ErrUnexpectedEOF},
		"one more than allowed": {[]byte{0, 0, 0, 17}, attls.ErrMessage}, "as much as can be": {[]byte{0xff, 0xff, 0xff, 0xff}, attls.ErrMessage},
	} {
		if raw, err := attls.ReadFrame(bytes.NewReader(c.raw), 16); raw != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What follows a message stays where it is.
	r := bytes.NewReader([]byte{0, 0, 0, 1, 42, 43})
	raw, err := attls.ReadFrame(r, 1)
	if err != nil || !bytes.Equal(raw, []byte{0, 0, 0, 1, 42}) || r.Len() != 1 {
		t.Errorf("%v, %v, %d left", raw, err, r.Len())
	}
	// A length that is only said takes no memory.
	declared := binary.BigEndian.AppendUint32(nil, limits.Evidence)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if _, err := attls.ReadFrame(bytes.NewReader(declared), limits.Evidence); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / 100; n > 64<<10 {
		t.Errorf("a message that never comes takes %d bytes", n)
	}
}

// FuzzReadEvidence checks that whatever reads as evidence is written back the
// same, so that a message has one reading and one writing.
func FuzzReadEvidence(f *testing.F) {
	good, err := vector().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := attls.ReadEvidence(raw)
		if err != nil {
			if !isMalformed(err) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again, err := e.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("written another way: %v", err)
		}
	})
}

// FuzzParseRequest checks the same of the client's message.
func FuzzParseRequest(f *testing.F) {
	good, err := attls.EncodeRequest(numbers(0, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[4:])
	f.Add(good)
	f.Fuzz(func(t *testing.T, body []byte) {
		nonce, err := attls.ParseRequest(body)
		if err != nil {
			if nonce != nil {
				t.Fatal("an error and a nonce")
			}
			return
		}
		again, err := attls.EncodeRequest(nonce)
		if err != nil || !bytes.Equal(again[4:], body) {
			t.Fatalf("written another way: %v", err)
		}
	})
}
