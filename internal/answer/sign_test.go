package answer_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/answer"
)

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return ed25519.PublicKey(k[32:]) }

func sign(t *testing.T, a *answer.Answer) []byte {
	t.Helper()
	signature, err := answer.Sign(a, key(1))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// spec is docs/spec/answer.md without white space.
func spec(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "answer.md"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), "")
}

func TestGolden(t *testing.T) {
	a := vector()
	encoded, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"encoding": encoded, "signature": sign(t, a)} {
		if !strings.Contains(spec(t), hex.EncodeToString(b)) {
			t.Errorf("the %s isn't the one in docs/spec/answer.md: %x", name, b)
		}
	}
	line, err := a.JSON(sign(t, a))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(spec(t), strings.Join(strings.Fields(string(line)), "")) {
		t.Errorf("the JSON isn't the one in docs/spec/answer.md: %s", line)
	}
}

// TestSignatureCoversEverything changes one value after another.
func TestSignatureCoversEverything(t *testing.T) {
	signature := sign(t, vector())
	if err := answer.Verify(vector(), signature, public(key(1))); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*answer.Answer){
		"mode":          func(a *answer.Answer) { a.Mode = "dp" },
		"protected":     func(a *answer.Answer) { a.Protected = true },
		"dataset":       func(a *answer.Answer) { a.Dataset = "flchain" },
		"snapshot":      func(a *answer.Answer) { a.Snapshot++ },
		"floor":         func(a *answer.Answer) { a.Floor-- },
		"column name":   func(a *answer.Answer) { a.Columns[0].Name = "RX" },
		"column type":   func(a *answer.Answer) { a.Columns[1].Type = answer.Timestamp },
		"number":        func(a *answer.Answer) { a.Rows[0][1].Int++ },
		"text":          func(a *answer.Answer) { a.Rows[0][0].Text = "Obs" },
		"decimal":       func(a *answer.Answer) { a.Rows[0][2].Text = "59.991936" },
		"null":          func(a *answer.Answer) { a.Rows[1][0] = answer.Cell{} },
		"order of rows": func(a *answer.Answer) { slices.Reverse(a.Rows) },
		"a row less":    func(a *answer.Answer) { a.Rows = a.Rows[:1] },
		"no rows":       func(a *answer.Answer) { a.Rows = nil },
		"suppressed":    func(a *answer.Answer) { a.Suppressed = true },
		"audit id":      func(a *answer.Answer) { a.AuditID = "a-2" },
		"genesis":       func(a *answer.Answer) { a.Genesis[31] = 1 },
		"manifest":      func(a *answer.Answer) { a.Manifest++ },
		"query":         func(a *answer.Answer) { a.Query = answer.QueryDigest("SELECT 2") },
		"a column dropped": func(a *answer.Answer) {
			a.Columns = a.Columns[:2]
			for i := range a.Rows {
				a.Rows[i] = a.Rows[i][:2]
			}
		},
	} {
		a := vector()
		change(a)
		if err := answer.Verify(a, signature, public(key(1))); !errors.Is(err, answer.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	signature := sign(t, vector())
	for name, c := range map[string]struct {
		signature []byte
		service   ed25519.PublicKey
	}{
		"another key": {signature, public(key(2))}, "no key": {signature, nil}, "half a key": {signature, public(key(1))[:16]},
		"no signature": {nil, public(key(1))}, "half a signature": {signature[:32], public(key(1))},
		"a longer signature":  {append(slices.Clone(signature), 0), public(key(1))},
		"a changed signature": {append(slices.Clone(signature[:63]), signature[63]^1), public(key(1))},
	} {
		if err := answer.Verify(vector(), c.signature, c.service); !errors.Is(err, answer.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := vector()
	bad.Rows[0][1].Text = "620"
	if err := answer.Verify(bad, signature, public(key(1))); !errors.Is(err, answer.ErrShape) {
		t.Errorf("not well formed: %v", err)
	}
	if _, err := answer.Sign(bad, key(1)); !errors.Is(err, answer.ErrShape) {
		t.Errorf("signed what isn't well formed: %v", err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := answer.Sign(vector(), other); err == nil {
		t.Error("signed with a key that isn't Ed25519")
	}
}

// TestNoRows: an answer without rows has one encoding, however it is held.
func TestNoRows(t *testing.T) {
	a, b := vector(), vector()
	a.Rows, b.Rows = nil, [][]answer.Cell{}
	if !bytes.Equal(sign(t, a), sign(t, b)) {
		t.Error("nil and empty rows are signed differently")
	}
	if a.Rows != nil {
		t.Error("signing changed the answer")
	}
}

func TestJSON(t *testing.T) {
	a := vector()
	a.Columns = []answer.Column{
		{Name: "s", Type: answer.String}, {Name: "i", Type: answer.Int64}, {Name: "d", Type: answer.Decimal, Scale: 0},
		{Name: "b", Type: answer.Boolean}, {Name: "day", Type: answer.Date}, {Name: "at", Type: answer.Timestamp},
	}
	const exact = 1 << 53
	a.Rows = [][]answer.Cell{
		{{Text: "<a> & \u2028 \x1b\""}, {Int: exact}, {Text: "7"}, {Int: 1}, {Int: 0}, {Int: 0}},
		{{}, {Int: exact + 1}, {Text: "-7"}, {}, {Int: -1}, {Int: -1}},
		{{}, {Int: math.MinInt64}, {Null: true}, {Null: true}, {Null: true}, {Null: true}},
	}
	a.Suppressed = true
	line, err := a.JSON([]byte{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(line, "\n\x1b") {
		t.Errorf("not one plain line: %q", line)
	}
	var got struct {
		Schema     string
		Columns    []map[string]any
		Rows       [][]any
		Suppressed bool
		Signature  string
		Genesis    string
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != "cloister.query/v1" || !got.Suppressed || got.Signature != "AQI=" || len(got.Genesis) != 64 {
		t.Errorf("head: %s", line)
	}
	if scale, ok := got.Columns[2]["scale"]; !ok || scale != json.Number("0") {
		t.Errorf("a decimal's scale isn't there: %s", line)
	}
	if _, ok := got.Columns[1]["scale"]; ok {
		t.Errorf("an integer has a scale: %s", line)
	}
	want := [][]any{
		{"<a> & \u2028 \x1b\"", json.Number("9007199254740992"), "7", true, "1970-01-01", "1970-01-01T00:00:00Z"},
		{"", "9007199254740993", "-7", false, "1969-12-31", "1969-12-31T23:59:59.999999Z"},
		{"", "-9223372036854775808", nil, nil, nil, nil},
	}
	for i := range want {
		if !slices.Equal(got.Rows[i], want[i]) {
			t.Errorf("row %d: %v, not %v", i, got.Rows[i], want[i])
		}
	}
	a.Rows = nil
	if line, err = a.JSON(nil); err != nil || !bytes.Contains(line, []byte(`"rows":[]`)) {
		t.Errorf("no rows: %s, %v", line, err)
	}
	a.Columns = nil
	if _, err := a.JSON(nil); !errors.Is(err, answer.ErrShape) {
		t.Errorf("no columns: %v", err)
	}
}
