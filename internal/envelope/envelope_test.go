package envelope_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
)

// counting answers n bytes: from, from+1, and so on.
func counting(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

// The fixed inputs of the golden vector in docs/spec/envelope.md.
func vectorHeader() envelope.Header {
	return envelope.Header{
		Version: envelope.Version, Deployment: "colon-study", Dataset: "colon", Contract: "1.0.0",
		Producer: "clinic-a", Stream: "s-1", Sequence: 7, Codec: 1,
		Wrap: envelope.Wrap{
			Kind: envelope.WrapKMS, Key: "arn:aws:kms:eu-central-1:111122223333:key/k", Epoch: 1, Blob: []byte("blob"),
		},
		Salt: [32]byte(counting(1, 32)),
	}
}

func vectorDEK() secret.Bytes            { return secret.New(counting(0x40, 32)) }
func vectorSigner() ed25519.PrivateKey   { return ed25519.NewKeyFromSeed(counting(0x80, 32)) }
func public(k ed25519.PrivateKey) []byte { return k[32:] }
func otherSigner() ed25519.PrivateKey    { return ed25519.NewKeyFromSeed(counting(0x10, 32)) }
func vectorContent() []byte              { return []byte("\xa1\x62id\x01") }
func vectorReport() []byte               { return []byte("report") }
func seal(t testing.TB) ([]byte, secret.Bytes) {
	t.Helper()
	return sealAs(t, vectorHeader(), vectorContent())
}

func sealAs(t testing.TB, h envelope.Header, content []byte) ([]byte, secret.Bytes) {
	t.Helper()
	raw, report, err := envelope.Seal(h, vectorDEK(), 1, content, vectorSigner())
	if err != nil {
		t.Fatal(err)
	}
	return raw, report
}

// walk takes an envelope through all three types.
func walk(raw []byte) (*envelope.Opened, error) {
	sealed, err := envelope.Parse(raw)
	if err != nil {
		return nil, err
	}
	authentic, err := sealed.Authenticate(public(vectorSigner()))
	if err != nil {
		return nil, err
	}
	return authentic.Open(vectorDEK())
}

func TestGolden(t *testing.T) {
	raw, reportKey := seal(t)
	report, err := envelope.SealReport(reportKey, sha256.Sum256(raw), vectorReport())
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("SHOW_VECTOR") != "" {
		t.Logf("\n%x\n%x\n%x\n%x", raw, sha256.Sum256(raw), reportKey.Expose(), report[:36])
	}
	spec, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "envelope.md"))
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(spec)), "")
	digest := sha256.Sum256(raw)
	for what, b := range map[string][]byte{"envelope": raw, "digest": digest[:], "report key": reportKey.Expose(), "report": report[:36]} {
		if !strings.Contains(flat, hex.EncodeToString(b)) {
			t.Errorf("the %s isn't the one in docs/spec/envelope.md: %x", what, b)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	// Sizes around the chunk boundary; the payload's own head takes a few bytes.
	for _, size := range []int{0, 1, 64<<10 - 7, 64<<10 - 6, 64<<10 - 5, 64 << 10, 200 << 10} {
		content := bytes.Repeat([]byte{0x5a}, size)
		raw, sealKey := sealAs(t, vectorHeader(), content)
		o, err := walk(raw)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if !bytes.Equal(o.Content(), content) || o.Rows() != 1 || o.Digest() != sha256.Sum256(raw) || !o.ReportKey().Equal(sealKey) {
			t.Errorf("%d bytes came back changed", size)
		}
		if h := o.Header(); h.Sequence != 7 || h.Producer != "clinic-a" || string(h.Wrap.Blob) != "blob" {
			t.Errorf("the header came back changed: %+v", h)
		}
	}
}

func TestHeaderIsACopy(t *testing.T) {
	raw, _ := seal(t)
	sealed, err := envelope.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	sealed.Header().Wrap.Blob[0] ^= 1
	if string(sealed.Header().Wrap.Blob) != "blob" {
		t.Error("a caller changed the parsed header")
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	raw, _ := seal(t)
	for n := range raw {
		if _, err := walk(raw[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were accepted", n, len(raw))
		}
	}
	if _, err := walk(append(bytes.Clone(raw), 0)); !errors.Is(err, envelope.ErrSignature) {
		t.Errorf("an appended byte: %v", err)
	}
}

func TestEveryBitFlipIsRefused(t *testing.T) {
	raw, _ := seal(t)
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if _, err := walk(bad); err == nil {
				t.Fatalf("bit %d of byte %d flipped, accepted", bit, i)
			}
		}
	}
}

// resign puts a good signature on changed bytes, as a hostile producer could.
func resign(raw []byte) []byte {
	body := bytes.Clone(raw[:len(raw)-ed25519.SignatureSize])
	sum := sha256.Sum256(body)
	return append(body, ed25519.Sign(vectorSigner(), append([]byte("cloister envelope v1\x00"), sum[:]...))...)
}

func TestProducerSignedChangesDontOpen(t *testing.T) {
	raw, _ := sealAs(t, vectorHeader(), bytes.Repeat([]byte{1}, 150<<10))
	head := bytes.Index(raw, []byte("blob")) + 4 + 2 + 1 + 32 // wrapped key, then key and head of the salt
	chunk := 64<<10 + 16
	first, second := head+32, head+32+chunk
	end := len(raw) - ed25519.SignatureSize
	cases := map[string][]byte{
		"commitment":          flip(raw, head),
		"first chunk":         flip(raw, first),
		"last tag":            flip(raw, end-1),
		"chunks swapped":      join(raw[:first], raw[second:second+chunk], raw[first:second], raw[second+chunk:]),
		"chunk dropped":       join(raw[:first], raw[second:]),
		"last chunk dropped":  join(raw[:second+chunk], raw[end:]),
		"chunk twice":         join(raw[:second], raw[first:second], raw[second:]),
		"cut inside a chunk":  join(raw[:end-1], raw[end:]),
		"last tag alone":      join(raw[:second+chunk+16], raw[end:]),
		"salt":                flip(raw, head-1),
		"byte after the last": join(raw[:end], []byte{0}, raw[end:]),
	}
	for name, bad := range cases {
		if _, err := walk(resign(bad)); !errors.Is(err, envelope.ErrOpen) {
			t.Errorf("%s: %v, want ErrOpen", name, err)
		}
	}
}

func flip(raw []byte, i int) []byte {
	b := bytes.Clone(raw)
	b[i] ^= 1
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestSwappedHeader(t *testing.T) {
	raw, _ := seal(t)
	h := vectorHeader()
	h.Sequence = 8
	other, _ := sealAs(t, h, vectorContent())
	at := bytes.Index(other, []byte("blob")) + 4 + 2 + 1 + 32
	mixed := join(other[:at], raw[at:])
	if _, err := walk(mixed); !errors.Is(err, envelope.ErrSignature) {
		t.Errorf("another header: %v", err)
	}
	if _, err := walk(resign(mixed)); !errors.Is(err, envelope.ErrOpen) {
		t.Errorf("another header, signed again: %v", err)
	}
}

func TestWrongKeys(t *testing.T) {
	raw, _ := seal(t)
	sealed, err := envelope.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]ed25519.PublicKey{"other producer": public(otherSigner()), "no key": nil, "short key": counting(0, 31)} {
		if a, err := sealed.Authenticate(key); a != nil || !errors.Is(err, envelope.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	authentic, err := sealed.Authenticate(public(vectorSigner()))
	if err != nil {
		t.Fatal(err)
	}
	for name, dek := range map[string]secret.Bytes{"other key": secret.New(counting(0x41, 32)), "no key": {}, "short key": secret.New(counting(0x40, 16))} {
		if o, err := authentic.Open(dek); o != nil || !errors.Is(err, envelope.ErrOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestContentDigest(t *testing.T) {
	a, _ := seal(t)
	h := vectorHeader()
	h.Salt = [32]byte{9}
	b, _ := sealAs(t, h, vectorContent())
	c, _ := sealAs(t, h, []byte("\xa1\x62id\x02"))
	open := func(raw []byte) [32]byte {
		o, err := walk(raw)
		if err != nil {
			t.Fatal(err)
		}
		return o.ContentDigest()
	}
	if open(a) != open(b) {
		t.Error("the same records sealed twice have two content digests")
	}
	if open(a) == open(c) {
		t.Error("other records have the same content digest")
	}
}

// intake is a header under an intake key.
func intake(change func(*envelope.Wrap)) envelope.Header {
	h := vectorHeader()
	h.Wrap = envelope.Wrap{Kind: envelope.WrapIntake, Key: "sha256:" + strings.Repeat("0a", 32), Blob: counting(0, 1168)}
	if change != nil {
		change(&h.Wrap)
	}
	return h
}

func TestIntakeWrap(t *testing.T) {
	raw, _ := sealAs(t, intake(nil), vectorContent())
	o, err := walk(raw)
	if err != nil {
		t.Fatal(err)
	}
	if w := o.Header().Wrap; w.Kind != envelope.WrapIntake || w.Epoch != 0 || !bytes.Equal(w.Blob, counting(0, 1168)) {
		t.Errorf("the wrap came back changed: %d, %d", w.Kind, w.Epoch)
	}
}

// TestNoContent: no content is an empty byte string, so that it has one form.
func TestNoContent(t *testing.T) {
	none, _ := sealAs(t, vectorHeader(), nil)
	empty, _ := sealAs(t, vectorHeader(), []byte{})
	if !bytes.Equal(none, empty) {
		t.Error("no content has two forms")
	}
	if o, err := walk(none); err != nil || o.Content() == nil || len(o.Content()) != 0 {
		t.Errorf("no content came back as something else: %v", err)
	}
}

func TestIntakeInfo(t *testing.T) {
	const want = "cloister envelope v1 intake\x00\x00\x00\x00\x01d\x00\x00\x00\x02ss\x00\x00\x00\x01p\x00\x00\x00\x00\x00\x00\x00\x01k"
	if got := envelope.IntakeInfo("d", "ss", "p", "", "k"); string(got) != want {
		t.Errorf("%q", got)
	}
	if bytes.Equal(envelope.IntakeInfo("a", "bc", "d", "e", "f"), envelope.IntakeInfo("ab", "c", "d", "e", "f")) {
		t.Error("two lists of names have one info")
	}
}

func TestSealRefuses(t *testing.T) {
	long := strings.Repeat("x", 7000)
	header := func(change func(*envelope.Header)) envelope.Header {
		h := vectorHeader()
		change(&h)
		return h
	}
	cases := map[string]envelope.Header{
		"version":       header(func(h *envelope.Header) { h.Version = 2 }),
		"no deployment": header(func(h *envelope.Header) { h.Deployment = "" }),
		"upper case":    header(func(h *envelope.Header) { h.Deployment = "A" }),
		"slash":         header(func(h *envelope.Header) { h.Dataset = "a/b" }),
		"long producer": header(func(h *envelope.Header) { h.Producer = long[:64] }),
		"contract":      header(func(h *envelope.Header) { h.Contract = "1 0" }),
		"stream":        header(func(h *envelope.Header) { h.Stream = "a\nb" }),
		"long stream":   header(func(h *envelope.Header) { h.Stream = long[:129] }),
		"codec":         header(func(h *envelope.Header) { h.Codec = 0 }),
		"wrap":          header(func(h *envelope.Header) { h.Wrap.Kind = 2 }),
		"key":           header(func(h *envelope.Header) { h.Wrap.Key = "" }),
		"no blob":       header(func(h *envelope.Header) { h.Wrap.Blob = nil }),
		"long blob":     header(func(h *envelope.Header) { h.Wrap.Blob = []byte(long) }),
		"no such kind":  header(func(h *envelope.Header) { h.Wrap.Kind = 3 }),
		"intake, ARN":   intake(func(w *envelope.Wrap) { w.Key = vectorHeader().Wrap.Key }),
		"intake, short": intake(func(w *envelope.Wrap) { w.Key = w.Key[:70] }),
		"intake, upper": intake(func(w *envelope.Wrap) { w.Key = "sha256:" + strings.Repeat("A", 64) }),
		"intake, hash":  intake(func(w *envelope.Wrap) { w.Key = w.Key[len("sha256:"):] }),
		"intake, epoch": intake(func(w *envelope.Wrap) { w.Epoch = 1 }),
		"intake, cut":   intake(func(w *envelope.Wrap) { w.Blob = w.Blob[1:] }),
		"intake, more":  intake(func(w *envelope.Wrap) { w.Blob = append(w.Blob, 0) }),
		"intake, none":  intake(func(w *envelope.Wrap) { w.Blob = nil }),
	}
	for name, h := range cases {
		if raw, _, err := envelope.Seal(h, vectorDEK(), 1, nil, vectorSigner()); raw != nil || !errors.Is(err, envelope.ErrHeader) {
			t.Errorf("%s: %v, want ErrHeader", name, err)
		}
	}
	if _, _, err := envelope.Seal(vectorHeader(), vectorDEK(), 1, make([]byte, limits.Envelope), vectorSigner()); !errors.Is(err, envelope.ErrTooLarge) {
		t.Errorf("too much content: %v", err)
	}
	for name, err := range map[string]error{
		"no rows":   sealError(vectorHeader(), vectorDEK(), 0),
		"rows":      sealError(vectorHeader(), vectorDEK(), limits.BatchRows+1),
		"zero salt": sealError(header(func(h *envelope.Header) { h.Salt = [32]byte{} }), vectorDEK(), 1),
		"no DEK":    sealError(vectorHeader(), secret.Bytes{}, 1),
	} {
		if err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func sealError(h envelope.Header, dek secret.Bytes, rows int) error {
	_, _, err := envelope.Seal(h, dek, rows, nil, vectorSigner())
	return err
}

func TestParseBounds(t *testing.T) {
	raw, _ := seal(t)
	lengths := func(n ...byte) []byte { return join(raw[:8], n, raw[12:]) }
	cases := map[string]struct {
		raw  []byte
		want error
	}{
		"empty":            {nil, envelope.ErrMalformed},
		"one byte":         {[]byte{'C'}, envelope.ErrMalformed},
		"header 0":         {lengths(0, 0, 0, 0), envelope.ErrHeader},
		"header 8193":      {lengths(0, 0, 0x20, 1), envelope.ErrMalformed},
		"header 2^32-1":    {lengths(255, 255, 255, 255), envelope.ErrMalformed},
		"larger than 16MB": {make([]byte, limits.Envelope+1), envelope.ErrTooLarge},
		"nothing sealed":   {join(raw[:len(raw)-64-16-13-32], raw[len(raw)-64:]), envelope.ErrMalformed},
	}
	for name, c := range cases {
		if s, err := envelope.Parse(c.raw); s != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestKMSContext(t *testing.T) {
	got := envelope.KMSContext("d", "s", "p", 3)
	want := map[string]string{"deployment": "d", "dataset": "s", "producer": "p", "purpose": "record", "epoch": "3"}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %q, want %q", k, got[k], v)
		}
	}
}
