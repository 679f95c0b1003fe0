package contract_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

func field(t contract.Type, scale int) *contract.Field {
	return &contract.Field{Name: "x", Type: t, Scale: scale}
}

const (
	maxInt = "9223372036854775807"
	minInt = "-9223372036854775808"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		typ   contract.Type
		scale int
		text  string
		want  int64
		err   error
	}{
		{contract.Integer, 0, "0", 0, nil},
		{contract.Integer, 0, "-0", 0, nil},
		{contract.Integer, 0, "+12", 12, nil},
		{contract.Integer, 0, "0012", 12, nil},
		{contract.Integer, 0, "12.0", 12, nil},
		{contract.Integer, 0, "12.", 12, nil},
		{contract.Integer, 0, "1.2e1", 12, nil},
		{contract.Integer, 0, "120E-1", 12, nil},
		{contract.Integer, 0, maxInt, math.MaxInt64, nil},
		{contract.Integer, 0, minInt, math.MinInt64, nil},
		{contract.Integer, 0, "0e999999", 0, nil},
		{contract.Integer, 0, "9223372036854775808", 0, contract.ErrRange},
		{contract.Integer, 0, "-9223372036854775809", 0, contract.ErrRange},
		{contract.Integer, 0, "99999999999999999999999999", 0, contract.ErrRange},
		{contract.Integer, 0, "1e19", 0, contract.ErrRange},
		{contract.Integer, 0, "1e999999", 0, contract.ErrRange},
		{contract.Integer, 0, "12.5", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1e-1", 0, contract.ErrSyntax},
		{contract.Integer, 0, "", 0, contract.ErrSyntax},
		{contract.Integer, 0, ".", 0, contract.ErrSyntax},
		{contract.Integer, 0, "-", 0, contract.ErrSyntax},
		{contract.Integer, 0, "e5", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1e", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1e5.0", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1e99999999999999999999", 0, contract.ErrSyntax},
		{contract.Integer, 0, "--1", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1.2.3", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1,000", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1_000", 0, contract.ErrSyntax},
		{contract.Integer, 0, "0x10", 0, contract.ErrSyntax},
		{contract.Integer, 0, " 1", 0, contract.ErrSyntax},
		{contract.Integer, 0, "1\n", 0, contract.ErrSyntax},
		{contract.Integer, 0, "١", 0, contract.ErrSyntax},
		{contract.Integer, 0, "NaN", 0, contract.ErrSyntax},
		{contract.Integer, 0, "Inf", 0, contract.ErrSyntax},
		{contract.Integer, 0, "true", 0, contract.ErrSyntax},
		{contract.Integer, 0, strings.Repeat("0", 256), 0, nil},
		{contract.Integer, 0, strings.Repeat("0", 257), 0, contract.ErrSyntax},

		{contract.Number, 0, "0.5", 1, nil},
		{contract.Number, 0, "-0.5", -1, nil},
		{contract.Number, 0, "0.49", 0, nil},
		{contract.Number, 2, "1.005", 101, nil},
		{contract.Number, 2, "-1.005", -101, nil},
		{contract.Number, 2, "1.0049", 100, nil},
		{contract.Number, 2, ".5", 50, nil},
		{contract.Number, 2, "12", 1200, nil},
		{contract.Number, 2, "0.004", 0, nil},
		{contract.Number, 2, "0.0049e1", 5, nil},
		{contract.Number, 2, "1e-300", 0, nil},
		{contract.Number, 9, "0.000000001", 1, nil},
		{contract.Number, 9, "9223372036.854775807", math.MaxInt64, nil},
		{contract.Number, 9, "-9223372036.854775808", math.MinInt64, nil},
		{contract.Number, 9, "9223372036.8547758074", math.MaxInt64, nil},
		{contract.Number, 9, "9223372036.8547758075", 0, contract.ErrRange},
		{contract.Number, 0, "9.99999999999999999995e18", 0, contract.ErrRange},
		{contract.Number, 4, "1e300", 0, contract.ErrRange},
		{contract.Number, 4, "1.2,3", 0, contract.ErrSyntax},

		{contract.Boolean, 0, "true", 1, nil},
		{contract.Boolean, 0, "TRUE", 1, nil},
		{contract.Boolean, 0, "False", 0, nil},
		{contract.Boolean, 0, "1", 0, contract.ErrSyntax},
		{contract.Boolean, 0, "yes", 0, contract.ErrSyntax},
		{contract.Boolean, 0, "tRUE", 0, contract.ErrSyntax},

		{contract.Date, 0, "1970-01-01", 0, nil},
		{contract.Date, 0, "1969-12-31", -1, nil},
		{contract.Date, 0, "2000-02-29", 11016, nil},
		{contract.Date, 0, "0001-01-01", -719162, nil},
		{contract.Date, 0, "9999-12-31", 2932896, nil},
		{contract.Date, 0, "1900-02-29", 0, contract.ErrSyntax},
		{contract.Date, 0, "2026-04-31", 0, contract.ErrSyntax},
		{contract.Date, 0, "0000-12-31", 0, contract.ErrSyntax},
		{contract.Date, 0, "10000-01-01", 0, contract.ErrSyntax},
		{contract.Date, 0, "2026-1-1", 0, contract.ErrSyntax},
		{contract.Date, 0, "2026-00-10", 0, contract.ErrSyntax},
		{contract.Date, 0, "2026-13-10", 0, contract.ErrSyntax},
		{contract.Date, 0, "20260110", 0, contract.ErrSyntax},
		{contract.Date, 0, "2026/01/10", 0, contract.ErrSyntax},
		{contract.Date, 0, "2026-01-10 ", 0, contract.ErrSyntax},
		{contract.Date, 0, "2026-01-10T00:00:00Z", 0, contract.ErrSyntax},

		{contract.Timestamp, 0, "1970-01-01T00:00:00Z", 0, nil},
		{contract.Timestamp, 0, "1970-01-01 00:00:01", 1_000_000, nil},
		{contract.Timestamp, 0, "1970-01-01T02:00:00+02:00", 0, nil},
		{contract.Timestamp, 0, "1969-12-31T18:30:00-05:30", 0, nil},
		{contract.Timestamp, 0, "1970-01-01T00:00:00.1Z", 100_000, nil},
		{contract.Timestamp, 0, "1970-01-01T00:00:00.0000005Z", 1, nil},
		{contract.Timestamp, 0, "1970-01-01T00:00:00.000000499Z", 0, nil},
		{contract.Timestamp, 0, "1969-12-31T23:59:59.9999999Z", 0, nil},
		{contract.Timestamp, 0, "0001-01-01T00:00:00Z", -62135596800_000_000, nil},
		{contract.Timestamp, 0, "9999-12-31T23:59:59.999999Z", 253402300799_999_999, nil},
		{contract.Timestamp, 0, "0001-01-01T00:00:00+00:01", 0, contract.ErrRange},
		{contract.Timestamp, 0, "9999-12-31T23:59:59.9999999Z", 0, contract.ErrRange},
		{contract.Timestamp, 0, "1970-01-01", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T24:00:00Z", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00:60Z", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00:00.Z", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00:00.1234567890Z", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00:00+0200", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00:00+24:00", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00:00 Z", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01t00:00:00Z", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-01-01T00:00:00ZZ", 0, contract.ErrSyntax},
		{contract.Timestamp, 0, "1970-02-30T00:00:00Z", 0, contract.ErrSyntax},

		{0, 0, "1", 0, contract.ErrSyntax},
		{contract.Timestamp + 1, 0, "1", 0, contract.ErrSyntax},
	} {
		got, err := field(c.typ, c.scale).Parse(c.text)
		if !errors.Is(err, c.err) || err == nil && got != (contract.Value{Int: c.want}) || err != nil && got != (contract.Value{}) {
			t.Errorf("%s, scale %d, %q: %+v, %v; want %d, %v", c.typ, c.scale, c.text, got, err, c.want, c.err)
		}
	}
}

func TestParseString(t *testing.T) {
	f := field(contract.String, 0)
	for text, want := range map[string]error{
		"": nil, " a\x00b ": nil, "naïve 日本": nil, strings.Repeat("a", limits.Text): nil,
		strings.Repeat("a", limits.Text+1): contract.ErrRange, "a\xff": contract.ErrSyntax,
	} {
		v, err := f.Parse(text)
		if !errors.Is(err, want) || err == nil && (v != contract.Value{Text: text}) {
			t.Errorf("%d bytes: %v, want %v", len(text), err, want)
		}
	}
}

func TestParseExact(t *testing.T) {
	for _, c := range []struct {
		typ   contract.Type
		scale int
		text  string
		want  int64
		err   error
	}{
		{contract.Number, 2, "1.25", 125, nil},
		{contract.Number, 2, "1.2500", 125, nil},
		{contract.Number, 2, "125e-2", 125, nil},
		{contract.Number, 2, "1.255", 0, contract.ErrRange},
		{contract.Number, 2, "1e-3", 0, contract.ErrRange},
		{contract.Number, 0, "0.5", 0, contract.ErrRange},
		{contract.Number, 2, "x", 0, contract.ErrSyntax},
		{contract.Number, 2, "1e17", 0, contract.ErrRange},
		{contract.Integer, 0, "12.5", 0, contract.ErrSyntax},
		{contract.Date, 0, "1970-01-02", 1, nil},
	} {
		got, err := field(c.typ, c.scale).ParseExact(c.text)
		if !errors.Is(err, c.err) || err == nil && got.Int != c.want {
			t.Errorf("%s, scale %d, %q: %+v, %v; want %d, %v", c.typ, c.scale, c.text, got, err, c.want, c.err)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		typ   contract.Type
		scale int
		v     contract.Value
		want  string
	}{
		{contract.Integer, 0, contract.Value{Int: -12}, "-12"},
		{contract.Integer, 0, contract.Value{Int: math.MinInt64}, minInt},
		{contract.Integer, 0, contract.Value{Null: true}, ""},
		{contract.Number, 0, contract.Value{Int: 7}, "7"},
		{contract.Number, 2, contract.Value{Int: 7}, "0.07"},
		{contract.Number, 2, contract.Value{Int: -7}, "-0.07"},
		{contract.Number, 2, contract.Value{Int: 100}, "1.00"},
		{contract.Number, 2, contract.Value{}, "0.00"},
		{contract.Number, 9, contract.Value{Int: math.MinInt64}, "-9223372036.854775808"},
		{contract.Boolean, 0, contract.Value{Int: 1}, "true"},
		{contract.Boolean, 0, contract.Value{}, "false"},
		{contract.Date, 0, contract.Value{Int: -719162}, "0001-01-01"},
		{contract.Timestamp, 0, contract.Value{Int: 1}, "1970-01-01T00:00:00.000001Z"},
		{contract.Timestamp, 0, contract.Value{Int: -500_000}, "1969-12-31T23:59:59.5Z"},
		{contract.Timestamp, 0, contract.Value{Int: 86400_000_000}, "1970-01-02T00:00:00Z"},
		{contract.String, 0, contract.Value{Text: "a,\"b"}, "a,\"b"},
	} {
		if got := field(c.typ, c.scale).Format(c.v); got != c.want {
			t.Errorf("%s, scale %d, %+v: %q, want %q", c.typ, c.scale, c.v, got, c.want)
		}
	}
}

// TestErrorsShowNoValue holds that no error repeats what it couldn't read.
func TestErrorsShowNoValue(t *testing.T) {
	const secret = "73571"
	for typ := contract.String; typ <= contract.Timestamp; typ++ {
		for _, text := range []string{secret + "x", secret + "e99", secret + "\xff", "19" + secret, secret + "-01-01"} {
			_, err := field(typ, 2).Parse(text)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", typ, err)
			}
		}
	}
}
