package odcs_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/contract/odcs"
)

func at[T any](v T) *T { return &v }

// colon is what the example of docs/spec/contract.md says.
func colon() *contract.Contract {
	return &contract.Contract{
		Dataset: "colon", ID: "colon", Version: "1.0.0", Floor: 10, Mode: contract.Threshold,
		Fields: []contract.Field{
			{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true},
			{Name: "rx", Type: contract.String, Role: contract.Dimension, Required: true, MaxLength: at(16), Enum: []string{"Obs", "Lev", "Lev+5FU"}},
			{Name: "age", Type: contract.Integer, Role: contract.Measure, Minimum: at(int64(0)), Maximum: at(int64(120))},
			{Name: "nodes", Type: contract.Integer, Role: contract.Dimension, Minimum: at(int64(0)), Maximum: at(int64(100))},
		},
	}
}

func read(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// show writes a contract so that a difference can be read.
func show(c *contract.Contract) string {
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// example answers the YAML block of docs/spec/contract.md that begins with
// these words.
func example(t testing.TB, begins string) []byte {
	t.Helper()
	spec := string(read(t, "..", "..", "..", "docs", "spec", "contract.md"))
	_, rest, ok := strings.Cut(spec, "```yaml\n"+begins)
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("docs/spec/contract.md has no example that begins with %q", begins)
	}
	return []byte(begins + block)
}

func TestExample(t *testing.T) {
	for name, b := range map[string][]byte{
		"docs/spec/contract.md":                   example(t, "apiVersion: v3.0.2\nkind: DataContract\nid: colon\n"),
		"test/data/colon/contracts/colon.yaml":    read(t, "..", "..", "..", "test", "data", "colon", "contracts", "colon.yaml"),
		"the same with DOS line ends":             []byte(strings.ReplaceAll(string(example(t, "apiVersion: v3.0.2\nkind: DataContract\nid: colon\n")), "\n", "\r\n")),
		"the same with a document mark and a BOM": append([]byte("\xef\xbb\xbf---\n"), example(t, "apiVersion: v3.0.2\nkind: DataContract\nid: colon\n")...),
	} {
		got, err := odcs.Read(b, "colon.yaml")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, colon()) {
			t.Errorf("%s: %s\nwant %s", name, show(got), show(colon()))
		}
	}
}

// TestStandard reads a contract that uses the whole standard: what other tools
// need is passed over.
func TestStandard(t *testing.T) {
	got, err := odcs.Read(read(t, "testdata", "standard.yaml"), "standard.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := &contract.Contract{
		Dataset: "payments", ID: "53581432-6c55-4ba2-a65f-72344a91553a", Version: "1.1.0", Description: "One payment a row.\nNo refunds.", Floor: 10, Mode: contract.DP,
		Fields: []contract.Field{
			{Name: "receiver", Type: contract.String, Role: contract.Unit, Required: true, MinLength: at(1), MaxLength: at(18), Pattern: "[A-Z0-9]+", Description: "who is paid"},
			{Name: "day", Type: contract.Date, Role: contract.Dimension, Minimum: at(int64(18262)), Maximum: at(int64(47481))},
			{Name: "at", Type: contract.Timestamp, Role: contract.Status, Minimum: at(int64(1577836800_000_001))},
			{Name: "amount", Type: contract.Number, Role: contract.Measure, Required: true, Minimum: at(int64(1)), Maximum: at(int64(99999)), Scale: 2},
			{Name: "rate", Type: contract.Number, Role: contract.Dimension, Enum: []string{"0.500000", "1.000000", "-2.250000"}, Scale: 6},
			{Name: "items", Type: contract.Integer, Role: contract.Measure, Minimum: at(int64(0)), Maximum: at(int64(255))},
			{Name: "port", Type: contract.Integer, Minimum: at(int64(0)), Maximum: at(int64(65535))},
			{Name: "refund", Type: contract.Boolean, Role: contract.Dimension, Enum: []string{"false"}},
			{Name: "country", Type: contract.String, Role: contract.Restricted, Enum: []string{"no", "1", "2020-01-01"}},
			{Name: "note", Type: contract.String},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s\nwant %s", show(got), show(want))
	}
	if err := got.Check(); err != nil {
		t.Error(err)
	}
}

// TestSameBytesSameContract holds that names of files and comments don't
// matter, and that reading is repeatable.
func TestSameBytesSameContract(t *testing.T) {
	b := read(t, "testdata", "standard.yaml")
	first, err := odcs.Read(b, "a")
	if err != nil {
		t.Fatal(err)
	}
	second, err := odcs.Read(append([]byte("# a comment\n"), b...), "b")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(first, second) {
		t.Errorf("%s\n%s", show(first), show(second))
	}
}
