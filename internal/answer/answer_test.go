package answer_test

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/cloisterhq/cloister/internal/answer"
)

// vector is the answer in docs/spec/answer.md.
func vector() *answer.Answer {
	return &answer.Answer{
		Mode: answer.ModeThreshold, Dataset: "colon", Snapshot: 12, Floor: 10,
		Columns: []answer.Column{
			{Name: "rx", Type: answer.String}, {Name: "n", Type: answer.Int64}, {Name: "avg_age", Type: answer.Decimal, Scale: 6},
		},
		Rows: [][]answer.Cell{
			{{Text: "Lev"}, {Int: 620}, {Text: "59.991935"}},
			{{Null: true}, {Int: 17}, {Null: true}},
		},
		AuditID: "a-1", Genesis: [32]byte{1}, Manifest: 7, Query: answer.QueryDigest("SELECT 1"),
	}
}

func TestCheck(t *testing.T) {
	column := func(typ answer.Type, scale int) []answer.Column {
		return []answer.Column{{Name: "c", Type: typ, Scale: scale}}
	}
	for _, c := range []struct {
		name    string
		columns []answer.Column
		cells   []answer.Cell
		ok      bool
	}{
		{"text", column(answer.String, 0), []answer.Cell{{Text: "ü"}}, true},
		{"empty text", column(answer.String, 0), []answer.Cell{{}}, true},
		{"text that isn't UTF-8", column(answer.String, 0), []answer.Cell{{Text: "\xff"}}, false},
		{"text with a number", column(answer.String, 0), []answer.Cell{{Text: "a", Int: 1}}, false},
		{"null", column(answer.String, 0), []answer.Cell{{Null: true}}, true},
		{"null with a text", column(answer.String, 0), []answer.Cell{{Null: true, Text: "a"}}, false},
		{"null with a number", column(answer.Int64, 0), []answer.Cell{{Null: true, Int: 1}}, false},
		{"smallest int64", column(answer.Int64, 0), []answer.Cell{{Int: math.MinInt64}}, true},
		{"int64 as text", column(answer.Int64, 0), []answer.Cell{{Text: "1"}}, false},
		{"int64 with a scale", column(answer.Int64, 2), []answer.Cell{{Int: 1}}, false},
		{"decimal", column(answer.Decimal, 2), []answer.Cell{{Text: "-1.50"}}, true},
		{"decimal of another scale", column(answer.Decimal, 2), []answer.Cell{{Text: "1.5"}}, false},
		{"decimal with a number", column(answer.Decimal, 0), []answer.Cell{{Text: "1", Int: 1}}, false},
		{"negative scale", column(answer.Decimal, -1), []answer.Cell{{Text: "1"}}, false},
		{"true", column(answer.Boolean, 0), []answer.Cell{{Int: 1}}, true},
		{"a third truth", column(answer.Boolean, 0), []answer.Cell{{Int: 2}}, false},
		{"boolean as text", column(answer.Boolean, 0), []answer.Cell{{Text: "true"}}, false},
		{"date", column(answer.Date, 0), []answer.Cell{{Int: -1}}, true},
		{"timestamp", column(answer.Timestamp, 0), []answer.Cell{{Int: 1}}, true},
		{"unknown type", column("float", 0), []answer.Cell{{}}, false},
		{"no columns", nil, nil, false},
		{"a cell too few", column(answer.Int64, 0), nil, false},
		{"a cell too many", column(answer.Int64, 0), []answer.Cell{{}, {}}, false},
		{"name that isn't UTF-8", []answer.Column{{Name: "\xff", Type: answer.Int64}}, []answer.Cell{{}}, false},
	} {
		a := vector()
		a.Columns, a.Rows = c.columns, [][]answer.Cell{c.cells}
		if err := a.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, answer.ErrShape) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for name, spoil := range map[string]func(*answer.Answer){
		"mode": func(a *answer.Answer) { a.Mode = "\xff" }, "dataset": func(a *answer.Answer) { a.Dataset = "\xff" },
		"audit": func(a *answer.Answer) { a.AuditID = "\xff" },
	} {
		a := vector()
		if spoil(a); !errors.Is(a.Check(), answer.ErrShape) {
			t.Errorf("%s that isn't UTF-8 passes", name)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		typ  answer.Type
		cell answer.Cell
		want string
	}{
		{answer.String, answer.Cell{Text: "a\x1b"}, "a\x1b"},
		{answer.String, answer.Cell{Null: true}, ""},
		{answer.Int64, answer.Cell{Int: math.MinInt64}, "-9223372036854775808"},
		{answer.Decimal, answer.Cell{Text: "0.10"}, "0.10"},
		{answer.Boolean, answer.Cell{Int: 1}, "true"},
		{answer.Boolean, answer.Cell{}, "false"},
		{answer.Date, answer.Cell{Int: 0}, "1970-01-01"},
		{answer.Date, answer.Cell{Int: -1}, "1969-12-31"},
		{answer.Date, answer.Cell{Int: 11016}, "2000-02-29"},
		{answer.Timestamp, answer.Cell{Int: 1}, "1970-01-01T00:00:00.000001Z"},
		{answer.Timestamp, answer.Cell{Int: -1_000_000}, "1969-12-31T23:59:59Z"},
	} {
		if got := (answer.Column{Type: c.typ}).Format(c.cell); got != c.want {
			t.Errorf("%s %+v: %q, not %q", c.typ, c.cell, got, c.want)
		}
	}
}

func TestDecimal(t *testing.T) {
	for _, c := range []struct {
		unscaled int64
		scale    int
		want     string
	}{
		{0, 0, "0"}, {0, 3, "0.000"}, {5, 0, "5"}, {-5, 0, "-5"}, {5, 1, "0.5"}, {-5, 1, "-0.5"}, {-5, 3, "-0.005"},
		{123456, 3, "123.456"}, {100, 2, "1.00"}, {math.MinInt64, 6, "-9223372036854.775808"},
	} {
		if got := answer.FormatDecimal(big.NewInt(c.unscaled), c.scale); got != c.want {
			t.Errorf("%d with scale %d: %s, not %s", c.unscaled, c.scale, got, c.want)
		}
		if v, err := answer.ParseDecimal(c.want, c.scale); err != nil || v.Int64() != c.unscaled {
			t.Errorf("%s with scale %d reads as %v: %v", c.want, c.scale, v, err)
		}
	}
	for _, c := range []struct {
		text  string
		scale int
	}{
		{"", 0}, {"-", 0}, {"-0", 0}, {"+1", 0}, {"01", 0}, {"1.", 0}, {".5", 1}, {"0,5", 1}, {"0.5", 0}, {"0.50", 1}, {"-0.0", 1},
		{" 1", 0}, {"1e3", 0}, {"1_000", 0}, {"0x1", 0}, {"1.2.3", 1}, {"12.", 1}, {"5", 1}, {"NaN", 0}, {"0.-5", 2},
		{"1111111111111111111111111111111111111111111111111", 0},
	} {
		if v, err := answer.ParseDecimal(c.text, c.scale); !errors.Is(err, answer.ErrShape) {
			t.Errorf("%q with scale %d reads as %v: %v", c.text, c.scale, v, err)
		}
	}
}

// TestDecimalProperty checks that writing and reading are inverse on values of
// every length.
func TestDecimalProperty(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		digits := make([]byte, 1+random.IntN(38))
		for i := range digits {
			digits[i] = byte('0' + random.IntN(10))
		}
		v, _ := new(big.Int).SetString(string(digits), 10)
		if random.IntN(2) == 0 {
			v.Neg(v)
		}
		scale := random.IntN(10)
		text := answer.FormatDecimal(v, scale)
		back, err := answer.ParseDecimal(text, scale)
		if err != nil || back.Cmp(v) != 0 {
			t.Fatalf("%v with scale %d: %s reads as %v: %v", v, scale, text, back, err)
		}
	}
}

// FuzzParseDecimal checks that a value has one text.
func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"0", "-1.50", "-0", "1.", "00.1", "12345678901234567890123456789012345678", "é"} {
		f.Add(s, 2)
	}
	f.Fuzz(func(t *testing.T, text string, scale int) {
		if scale < 0 || scale > 100 {
			return
		}
		v, err := answer.ParseDecimal(text, scale)
		if err != nil {
			if v != nil || !errors.Is(err, answer.ErrShape) {
				t.Fatalf("%v, %v", v, err)
			}
			return
		}
		if answer.FormatDecimal(v, scale) != text {
			t.Fatalf("%q reads as %v, which is written another way", text, v)
		}
	})
}
