package protect_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
)

// counted is groups as a test says them.
type counted []one

type one struct {
	units  int64
	keys   []contract.Value
	totals []protect.Total
}

func (c counted) Snapshot() uint64  { return 17 }
func (c counted) Len() int          { return len(c) }
func (c counted) Units(i int) int64 { return c[i].units }
func (c counted) Group(i int) ([]contract.Value, []protect.Total) {
	return c[i].keys, c[i].totals
}

func grant(t *testing.T, query string) *protect.Grant {
	t.Helper()
	gate := protect.New(protect.Config{Profile: bundle.Simulation, Audit: &notes{}})
	g, err := gate.Authorise(t.Context(), principal(t, "analyst"), compile(t, testContract(contract.Threshold), query))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// release answers what is released, as text.
func release(t *testing.T, query string, groups protect.Groups) string {
	t.Helper()
	released, err := protect.Release(grant(t, query), groups)
	if err != nil {
		t.Fatal(err)
	}
	a := released.Answer()
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Encode(); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, row := range a.Rows {
		var cells []string
		for i, c := range row {
			if c.Null {
				cells = append(cells, "NULL")
			} else {
				cells = append(cells, a.Columns[i].Format(c))
			}
		}
		all = append(all, strings.Join(cells, " "))
	}
	if a.Suppressed {
		all = append(all, "suppressed")
	}
	return strings.Join(all, "; ")
}

func sum(values ...int64) (s protect.Sum) {
	for _, v := range values {
		s = s.Add(v)
	}
	return s
}

func text(s string) []contract.Value { return []contract.Value{{Text: s}} }

// TestFloor is about a floor of 7.
func TestFloor(t *testing.T) {
	total := func(values, units, sum int64) []protect.Total {
		return []protect.Total{{Values: values, Units: units, Sum: protect.Sum{}.Add(sum)}}
	}
	const byText, whole = "SELECT text, %s FROM data GROUP BY text", "SELECT %s FROM data"
	tests := []struct {
		name, query, of string
		groups          counted
		want            string
	}{
		{"one under", byText, "COUNT(*)", counted{{6, text("a"), total(6, 6, 0)}}, ""},
		{"at it", byText, "COUNT(*)", counted{{7, text("a"), total(7, 7, 0)}}, "a 7"},
		{"many rows of few", byText, "COUNT(*)", counted{{6, text("a"), total(1000, 6, 0)}, {7, text("b"), total(1000, 7, 0)}}, "b 1000"},
		{"NULL is a key like others", byText, "COUNT(*)", counted{{6, text("a"), total(9, 6, 0)}, {8, []contract.Value{{Null: true}}, total(9, 8, 0)}}, "NULL 9"},
		{"small NULL", byText, "COUNT(*)", counted{{8, text("a"), total(9, 8, 0)}, {6, []contract.Value{{Null: true}}, total(9, 6, 0)}}, "a 9"},
		{"none", byText, "COUNT(*)", counted{}, ""},
		{"few values in a big group", byText, "COUNT(amount)", counted{{100, text("a"), total(50, 6, 0)}}, "a NULL"},
		{"enough values", byText, "COUNT(amount)", counted{{100, text("a"), total(50, 7, 0)}}, "a 50"},
		{"sum of few", byText, "SUM(amount)", counted{{100, text("a"), total(50, 6, 3)}}, "a NULL"},
		{"sum of enough", byText, "SUM(amount)", counted{{100, text("a"), total(50, 7, 3)}}, "a 3"},
		{"mean of few", byText, "AVG(amount)", counted{{100, text("a"), total(50, 6, 3)}}, "a NULL"},
		{"mean of nothing", byText, "AVG(amount)", counted{{100, text("a"), total(0, 0, 0)}}, "a NULL"},
		{"mean of enough", byText, "AVG(amount)", counted{{100, text("a"), total(50, 7, 3)}}, "a 0.060000"},
		{"whole, one under", whole, "COUNT(*)", counted{{6, nil, total(60, 6, 0)}}, "NULL; suppressed"},
		{"whole, nobody", whole, "COUNT(DISTINCT unit)", counted{{0, nil, total(0, 0, 0)}}, "NULL; suppressed"},
		{"whole, no group", whole, "COUNT(*)", counted{}, "NULL; suppressed"},
		{"whole, at it", whole, "COUNT(*)", counted{{7, nil, total(60, 7, 0)}}, "60"},
		{"whole, few values", whole, "SUM(amount)", counted{{7, nil, total(60, 6, 9)}}, "NULL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := release(t, fmt.Sprintf(tt.query, tt.of), tt.groups); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNumbers is about the spelling and rounding of aggregates.
func TestNumbers(t *testing.T) {
	big := int64(contract.MaxMeasure)
	tests := []struct {
		of     string
		values int64
		sum    protect.Sum
		want   string
	}{
		{"AVG(amount)", 3, sum(1), "0.333333"},
		{"AVG(amount)", 3, sum(2), "0.666667"},
		{"AVG(amount)", 3, sum(-2), "-0.666667"},
		{"AVG(amount)", 2_000_000, sum(1), "0.000001"},
		{"AVG(amount)", 2_000_000, sum(-1), "-0.000001"},
		{"AVG(amount)", 2_000_000, sum(3), "0.000002"},
		{"AVG(amount)", 2_000_000, sum(-3), "-0.000002"},
		{"AVG(amount)", 2_000_001, sum(1), "0.000000"},
		{"AVG(amount)", 2_000_001, sum(-1), "0.000000"},
		{"AVG(amount)", 1_999_999, sum(-1), "-0.000001"},
		{"AVG(amount)", 7, sum(), "0.000000"},
		{"AVG(amount)", 7, sum(big, big, big, big, big, big, big), "9007199254740992.000000"},
		{"AVG(price)", 8, sum(-1), "-0.001250"},
		{"AVG(price)", 32, sum(1), "0.000313"},
		{"AVG(price)", 32, sum(-1), "-0.000313"},
		{"AVG(price)", 7, sum(700), "1.000000"},
		{"AVG(fine)", 7, sum(3500), "0.000001"},
		{"AVG(fine)", 7, sum(-3500), "-0.000001"},
		{"AVG(fine)", 7, sum(3499), "0.000000"},
		{"AVG(coarse)", 8, sum(-4), "-0.500000"},
		{"SUM(amount)", 7, sum(math.MaxInt64), "9223372036854775807"},
		{"SUM(amount)", 7, sum(math.MinInt64), "-9223372036854775808"},
		{"SUM(price)", 7, sum(-5), "-0.05"},
		{"SUM(price)", 7, sum(), "0.00"},
		{"SUM(price)", 7, sum(math.MaxInt64, math.MaxInt64, math.MaxInt64), "276701161105643274.21"},
		{"SUM(fine)", 7, sum(math.MinInt64, math.MinInt64, -1), "-18446744073.709551617"},
		{"SUM(coarse)", 7, sum(math.MaxInt64, 1), "9223372036854775808"},
		{"COUNT(price)", math.MaxInt64, sum(), "9223372036854775807"},
	}
	for _, tt := range tests {
		groups := counted{{7, nil, []protect.Total{{Values: tt.values, Units: 7, Sum: tt.sum}}}}
		if got := release(t, "SELECT "+tt.of+" FROM data", groups); got != tt.want {
			t.Errorf("%s of %v in %d: got %s, want %s", tt.of, tt.sum.Big(), tt.values, got, tt.want)
		}
	}
}

// TestRange is a sum that its type can't hold: an error, and only for a group
// that is shown.
func TestRange(t *testing.T) {
	for _, s := range []protect.Sum{sum(math.MaxInt64, 1), sum(math.MinInt64, -1), sum(math.MaxInt64, math.MaxInt64)} {
		g := grant(t, "SELECT text, SUM(amount) FROM data GROUP BY text")
		for units, want := range map[int64]error{6: nil, 7: protect.ErrRange} {
			_, err := protect.Release(g, counted{{7, text("a"), []protect.Total{{Values: 9, Units: 7}}}, {units, text("b"), []protect.Total{{Values: 9, Units: units, Sum: s}}}})
			if !errors.Is(err, want) {
				t.Errorf("%v of %d units: %v", s.Big(), units, err)
			}
		}
	}
}

// TestKeys is about the types, spelling and order of group keys.
func TestKeys(t *testing.T) {
	ints := func(values ...int64) (groups counted) {
		groups = append(groups, one{7, []contract.Value{{Null: true}}, nil})
		for _, v := range values {
			groups = append(groups, one{7, []contract.Value{{Int: v}}, nil})
		}
		return groups
	}
	texts := func(values ...string) (groups counted) {
		groups = append(groups, one{7, []contract.Value{{Null: true}}, nil})
		for _, v := range values {
			groups = append(groups, one{7, text(v), nil})
		}
		return groups
	}
	tests := []struct {
		key    string
		column answer.Column
		groups counted
		want   string
		back   string
	}{
		{"text", answer.Column{Type: answer.String}, texts("b", "Z", "a", "é", "aa"), "Z; a; aa; b; é; NULL", "é; b; aa; a; Z; NULL"},
		{"whole", answer.Column{Type: answer.Int64}, ints(10, -1, 9, math.MinInt64, math.MaxInt64),
			"-9223372036854775808; -1; 9; 10; 9223372036854775807; NULL", "9223372036854775807; 10; 9; -1; -9223372036854775808; NULL"},
		{"point", answer.Column{Type: answer.Decimal, Scale: 3}, ints(10_000, 9_999, -5, 0), "-0.005; 0.000; 9.999; 10.000; NULL", "10.000; 9.999; 0.000; -0.005; NULL"},
		{"flag", answer.Column{Type: answer.Boolean}, ints(1, 0), "false; true; NULL", "true; false; NULL"},
		{"day", answer.Column{Type: answer.Date}, ints(1, -1, 0), "1969-12-31; 1970-01-01; 1970-01-02; NULL", "1970-01-02; 1970-01-01; 1969-12-31; NULL"},
		{"instant", answer.Column{Type: answer.Timestamp}, ints(1, -1), "1969-12-31T23:59:59.999999Z; 1970-01-01T00:00:00.000001Z; NULL",
			"1970-01-01T00:00:00.000001Z; 1969-12-31T23:59:59.999999Z; NULL"},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			query := "SELECT " + tt.key + " FROM data GROUP BY " + tt.key
			if got := release(t, query, tt.groups); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got := release(t, query+" ORDER BY "+tt.key+" DESC", tt.groups); got != tt.back {
				t.Errorf("descending: got %s, want %s", got, tt.back)
			}
			released, err := protect.Release(grant(t, query), tt.groups)
			if err != nil {
				t.Fatal(err)
			}
			tt.column.Name = tt.key
			if got := released.Answer().Columns; len(got) != 1 || got[0] != tt.column {
				t.Errorf("columns %v", got)
			}
		})
	}
}

// TestAnswer is about what stands beside the rows.
func TestAnswer(t *testing.T) {
	released, err := protect.Release(grant(t, "SELECT text FROM data GROUP BY text"), counted{})
	if err != nil {
		t.Fatal(err)
	}
	a := released.Answer()
	if a.Mode != answer.ModeThreshold || a.Protected || a.Dataset != "data" || a.Snapshot != 17 || a.Floor != 7 || a.AuditID != "entry 1" || a.Suppressed {
		t.Errorf("answer %+v", a)
	}
	if a.Rows == nil {
		t.Error("no rows are encoded as none at all")
	}
	a.Manifest, a.Floor = 5, 0
	if again := released.Answer(); again.Manifest != 0 || again.Floor != 7 {
		t.Error("what was released changed")
	}
}

func TestNoGrant(t *testing.T) {
	good := grant(t, "SELECT text, COUNT(*) FROM data GROUP BY text")
	whole := grant(t, "SELECT COUNT(*) FROM data")
	group := one{7, text("a"), make([]protect.Total, 1)}
	tests := []struct {
		name   string
		grant  *protect.Grant
		groups protect.Groups
	}{
		{"none", nil, counted{group}},
		{"made by hand", &protect.Grant{}, counted{group}},
		{"no groups", good, nil},
		{"fewer keys", good, counted{{7, nil, make([]protect.Total, 1)}}},
		{"more totals", good, counted{{7, text("a"), make([]protect.Total, 2)}}},
		{"two groups of a whole", whole, counted{{7, nil, make([]protect.Total, 1)}, {7, nil, make([]protect.Total, 1)}}},
	}
	for _, tt := range tests {
		if released, err := protect.Release(tt.grant, tt.groups); !errors.Is(err, protect.ErrGrant) || released != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestSum compares random sums with big integers, and stays near the ends of
// int64, where a carry could get lost.
func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		var got protect.Sum
		want := new(big.Int)
		for range 1 + r.IntN(40) {
			v := r.Int64() - r.Int64()
			switch r.IntN(4) {
			case 0:
				v = math.MinInt64 + r.Int64N(3)
			case 1:
				v = math.MaxInt64 - r.Int64N(3)
			case 2:
				v = r.Int64N(5) - 2
			}
			got = got.Add(v)
			want.Add(want, big.NewInt(v))
			if got.Big().Cmp(want) != 0 {
				t.Fatalf("got %v, want %v", got.Big(), want)
			}
		}
		n := r.Uint32() >> r.IntN(32)
		if product := new(big.Int).Mul(want, big.NewInt(int64(n))); got.Times(n).Big().Cmp(product) != 0 {
			t.Fatalf("%v times %d: got %v, want %v", want, n, got.Times(n).Big(), product)
		}
	}
}
