package columns_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/limits"
)

func decode(content []byte, rows int) ([]columns.Record, error) {
	var out []columns.Record
	err := columns.Decode(content, rows, func(_ int, r columns.Record) error {
		out = append(out, append(columns.Record{}, r...))
		return nil
	})
	return out, err
}

// some are records in the order of their encoding.
func some() []columns.Record {
	return []columns.Record{
		{columns.Int("id", 1), columns.Text("rx", "Lev"), columns.Bool("old", true)},
		{columns.Int("id", math.MinInt64), columns.Text("rx", ""), columns.Bool("old", false)},
		{},
		{
			columns.Int("a", math.MaxInt64), columns.Int("b", -1), columns.Int("c", 23), columns.Int("d", 24), columns.Int("e", 256),
			columns.Int("f", -65537), columns.Null("g"), columns.Text("h", "é\x00"), columns.Int(strings.Repeat("n", 24), 1<<32),
		},
	}
}

func encode(t testing.TB, records ...columns.Record) []byte {
	t.Helper()
	b, err := columns.Encode(records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	content := encode(t, some()...)
	got, err := decode(content, len(some()))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, some()) {
		t.Errorf("came back changed: %+v", got)
	}
	size := 0
	for _, r := range some() {
		size += columns.Size(r)
	}
	if size != len(content) {
		t.Errorf("Size says %d bytes, Encode wrote %d", size, len(content))
	}
}

func TestGolden(t *testing.T) {
	got := hex.EncodeToString(encode(t, columns.Record{columns.Text("rx", "Lev"), columns.Int("id", -5), columns.Null("age"), columns.Bool("x", true)}))
	if want := "a46178f562696424627278634c657663616765f6"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestAgainstLibrary compares with an independent encoder.
func TestAgainstLibrary(t *testing.T) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range some() {
		m := map[string]any{}
		for _, c := range r {
			switch c.Kind {
			case columns.KindNull:
				m[c.Name] = nil
			case columns.KindInt:
				m[c.Name] = c.Int
			case columns.KindText:
				m[c.Name] = c.Text
			case columns.KindBool:
				m[c.Name] = c.Int == 1
			}
		}
		want, err := mode.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := encode(t, r); !bytes.Equal(got, want) {
			t.Errorf("got  %x\nwant %x", got, want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	const canary = "canary-value"
	wide := make(columns.Record, limits.Columns+1)
	for name, r := range map[string]columns.Record{
		"twice":     {columns.Int("a", 1), columns.Text("a", canary)},
		"no name":   {columns.Text("", canary)},
		"long name": {columns.Text(strings.Repeat("n", 129), canary)},
		"long text": {columns.Text("a", canary+strings.Repeat("x", limits.Text))},
		"not UTF-8": {columns.Text("a", canary+"\xff")},
		"odd name":  {columns.Text("\xff", canary)},
		"odd bool":  {{Name: "a", Kind: columns.KindBool, Int: 2}},
		"odd kind":  {{Name: "a", Kind: 9}},
		"too wide":  wide,
	} {
		b, err := columns.Encode([]columns.Record{r})
		if b != nil || err == nil {
			t.Errorf("%s: encoded", name)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error holds a value: %v", name, err)
		}
	}
	if _, err := columns.Encode(make([]columns.Record, limits.BatchRows+1)); err == nil {
		t.Error("too many records: encoded")
	}
}

func TestDecodeRefuses(t *testing.T) {
	cases := map[string]struct {
		hex  string
		rows int
	}{
		"no record":             {"", 1},
		"one record too few":    {"a0", 2},
		"a byte left over":      {"a000", 1},
		"a record left over":    {"a0a0", 1},
		"negative rows":         {"", -1},
		"too many rows":         {"", limits.BatchRows + 1},
		"array":                 {"80", 1},
		"indefinite map":        {"bf616101ff", 1},
		"tag":                   {"c0a0", 1},
		"long map head":         {"b801616101", 1},
		"long text head":        {"a178016101", 1},
		"long integer":          {"a161611801", 1},
		"long integer, 8 bytes": {"a161611b00000000ffffffff", 1},
		"above int64":           {"a161611b8000000000000000", 1},
		"below int64":           {"a161613b8000000000000000", 1},
		"float":                 {"a16161f93c00", 1},
		"undefined":             {"a16161f7", 1},
		"simple 0":              {"a16161e0", 1},
		"byte string":           {"a161614101", 1},
		"nested map":            {"a16161a0", 1},
		"nested array":          {"a1616180", 1},
		"indefinite text":       {"a161617f6161ff", 1},
		"integer name":          {"a10101", 1},
		"empty name":            {"a16001", 1},
		"name twice":            {"a2616101616102", 1},
		"names out of order":    {"a2616201616102", 1},
		"length before bytes":   {"a262616101616201", 1},
		"name not UTF-8":        {"a161ff01", 1},
		"text not UTF-8":        {"a1616161ff", 1},
		"text of 2^64-1":        {"a161617bffffffffffffffff", 1},
		"text over the limit":   {"a161617a00010001" + strings.Repeat("61", limits.Text+1), 1},
		"name over the limit":   {"a17881" + strings.Repeat("61", 129) + "01", 1},
		"map of 2^32-1":         {"baffffffff", 1},
		"map of 1025":           {"b90401", 1},
		"reserved head":         {"bc", 1},
	}
	for name, c := range cases {
		content, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(content, c.rows); !errors.Is(err, columns.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	if _, err := decode(make([]byte, limits.Envelope+1), 1); !errors.Is(err, columns.ErrMalformed) {
		t.Errorf("over the limit: %v", err)
	}
}

func TestDecodeTruncations(t *testing.T) {
	content := encode(t, some()...)
	for n := range content {
		if _, err := decode(content[:n], len(some())); !errors.Is(err, columns.ErrMalformed) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}

func TestDecodeStops(t *testing.T) {
	stop, calls := errors.New("stop"), 0
	err := columns.Decode(encode(t, some()...), len(some()), func(int, columns.Record) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls: %v", calls, err)
	}
}

// TestNamesDontMix changes the columns from record to record: a name kept from
// the record before must not stand in for another.
func TestNamesDontMix(t *testing.T) {
	want := []columns.Record{
		{columns.Int("a", 1), columns.Int("b", 2)}, {columns.Int("b", 3)}, {columns.Int("a", 4), columns.Int("c", 5), columns.Int("d", 6)}, {columns.Int("d", 7)},
	}
	got, err := decode(encode(t, want...), len(want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v: %v", got, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(f, some()...), 4)
	f.Add([]byte{0xa1, 0x61, 'a', 0xf6}, 1)
	f.Add([]byte{0xa0}, 1)
	f.Fuzz(func(t *testing.T, content []byte, rows int) {
		records, err := decode(content, rows)
		if err != nil {
			return
		}
		if again := encode(t, records...); !bytes.Equal(again, content) {
			t.Fatalf("content has two encodings:\n%x\n%x", content, again)
		}
	})
}
