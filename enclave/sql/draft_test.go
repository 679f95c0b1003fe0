package sql_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

// typed is a catalogue of one dataset with a dimension of every type.
func typed(t *testing.T) genuine.Catalog {
	t.Helper()
	low, high := int64(0), int64(1000)
	catalog, err := genuine.NewCatalog(&contract.Contract{
		Dataset: "typed", ID: "typed", Version: "1", Floor: 5, Mode: contract.Threshold,
		Fields: []contract.Field{
			{Name: "u", Type: contract.Integer, Role: contract.Unit, Required: true},
			{Name: "s", Type: contract.String, Role: contract.Dimension},
			{Name: "i", Type: contract.Integer, Role: contract.Dimension},
			{Name: "n", Type: contract.Number, Role: contract.Dimension, Scale: 2},
			{Name: "b", Type: contract.Boolean, Role: contract.Dimension},
			{Name: "d", Type: contract.Date, Role: contract.Dimension},
			{Name: "t", Type: contract.Timestamp, Role: contract.Dimension},
			{Name: "m", Type: contract.Number, Role: contract.Measure, Scale: 3, Minimum: &low, Maximum: &high},
			{Name: "r", Type: contract.String, Role: contract.Restricted},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

// TestDescribe tells what each placeholder wants, from where it stands.
func TestDescribe(t *testing.T) {
	text, integer, number := sql.Placeholder{Type: contract.String}, sql.Placeholder{Type: contract.Integer}, sql.Placeholder{Type: contract.Number, Scale: 2}
	for query, want := range map[string][]sql.Placeholder{
		"SELECT COUNT(*) FROM typed":                                                                    {},
		"SELECT COUNT(*) FROM typed WHERE s = ?":                                                        {text},
		"SELECT COUNT(*) FROM typed WHERE ? <> s AND i > ?":                                             {text, integer},
		"SELECT COUNT(*) FROM typed WHERE i IN (?, 7, ?) AND n BETWEEN ? AND 8":                         {integer, integer, number},
		"SELECT COUNT(*) FROM typed WHERE (b = ? OR b IS NULL) AND d < ?":                               {{Type: contract.Boolean}, {Type: contract.Date}},
		"SELECT COUNT(*) FROM typed WHERE t >= $1 AND t < $2":                                           {{Type: contract.Timestamp}, {Type: contract.Timestamp}},
		"SELECT COUNT(*) FROM typed WHERE n > $1 AND n <> $1":                                           {number},
		"SELECT COUNT(*) FROM typed WHERE n > $1 AND i <> $1 AND i < $2":                                {text, integer}, // any text may be a number
		"SELECT s, COUNT(*) AS k FROM typed GROUP BY s HAVING k > ? LIMIT ?":                            {integer, integer},
		"SELECT s, SUM(m), AVG(m) AS a FROM typed GROUP BY s HAVING SUM(m) < ? AND a >= ?":              {{Type: contract.Number, Scale: 3}, {Type: contract.Number, Scale: 6}},
		"SELECT s, COUNT(DISTINCT u) FROM typed WHERE i = $2 GROUP BY s HAVING $1 <= COUNT(DISTINCT u)": {integer, integer},
	} {
		draft, err := sql.Describe(query, typed(t))
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if got := draft.Placeholders(); !slices.Equal(got, want) {
			t.Errorf("%s: %v", query, got)
		}
		if draft.Contract().Dataset != "typed" {
			t.Errorf("%s: bound to %s", query, draft.Contract().Dataset)
		}
	}
}

// TestDescribeRefuses: what no value can make right is refused before there is
// one, as Compile refuses it.
func TestDescribeRefuses(t *testing.T) {
	for query, code := range map[string]string{
		"SELECT s FROM typed WHERE s = ?":                                   "PQ201",
		"SELECT COUNT(*) FROM typed WHERE r = ?":                            "PQ203",
		"SELECT COUNT(*) FROM typed WHERE u = ?":                            "PQ301",
		"SELECT COUNT(*) FROM typed WHERE m > ?":                            "PQ301",
		"SELECT COUNT(*) FROM typed WHERE s LIKE ?":                         "PQ205",
		"SELECT COUNT(*) FROM typed WHERE ? = ?":                            "PQ206",
		"SELECT ? FROM typed":                                               "PQ205",
		"SELECT s, COUNT(*) FROM typed GROUP BY ?":                          "PQ201",
		"SELECT COUNT(*) FROM ?":                                            "PQ100",
		"SELECT COUNT(*) FROM typed WHERE s = ? AND i = $1":                 "PQ100",
		"SELECT COUNT(*) FROM typed WHERE i = $1 AND i <> $3":               "PQ205",
		"SELECT COUNT(*) FROM typed WHERE i = $0":                           "PQ102",
		"SELECT COUNT(*) FROM typed WHERE i = $1025":                        "PQ102",
		"SELECT COUNT(*) FROM typed WHERE i = $99999999999999999999":        "PQ102",
		"SELECT COUNT(*) FROM nowhere WHERE i = ?":                          "PQ302",
		"SELECT COUNT(*) FROM typed WHERE s = ?" + strings.Repeat(" ", 1e5): "PQ102",
	} {
		_, err := sql.Describe(query, typed(t))
		refusal, ok := errors.AsType[*sql.Refusal](err)
		if !ok || !slices.ContainsFunc(refusal.Violations, func(v sql.Violation) bool { return v.Code == code }) {
			t.Errorf("%.60s: %v", query, err)
		}
	}
}

// TestDraftLikePlan: a draft has the outputs of every plan that it can become.
func TestDraftLikePlan(t *testing.T) {
	const query = "SELECT s, COUNT(*) AS n, AVG(m) FROM typed WHERE i BETWEEN ? AND ? AND d > ? GROUP BY s HAVING n > ? ORDER BY n LIMIT ?"
	draft, err := sql.Describe(query, typed(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range [][]sql.Parameter{
		{sql.NumberParameter("1"), sql.NumberParameter("2"), sql.DateParameter("2024-01-31"), sql.NumberParameter("3.5"), sql.NumberParameter("10")},
		{sql.TextParameter("9"), sql.NumberParameter("2"), sql.TextParameter("0001-01-01"), sql.NumberParameter("-1"), sql.NumberParameter("0")},
	} {
		plan, err := sql.Compile(query, values, typed(t))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(plan.Keys(), draft.Keys()) || !slices.Equal(plan.Aggregates(), draft.Aggregates()) || !slices.Equal(plan.Outputs(), draft.Outputs()) {
			t.Errorf("%v: not the draft's outputs", sql.Literals(values))
		}
	}
}

// TestParametersAreTyped: a value is compared as one of its column's type, in
// the form that the literal in its place would have, or refused.
func TestParametersAreTyped(t *testing.T) {
	for _, c := range []struct {
		column string
		value  sql.Parameter
		like   string // the literal, or the code of the refusal
	}{
		{"i", sql.NumberParameter("7"), "7"},
		{"i", sql.NumberParameter("7.0"), "7"},
		{"i", sql.NumberParameter("70e-1"), "7"},
		{"i", sql.TextParameter("7"), "7"},
		{"i", sql.TextParameter("seven"), "PQ205"},
		{"i", sql.BoolParameter(true), "PQ205"},
		{"i", sql.DateParameter("2024-01-31"), "PQ205"},
		{"n", sql.NumberParameter("1.250"), "1.25"},
		{"n", sql.NumberParameter("1.255"), "1.255"},
		{"n", sql.NumberParameter("x"), "PQ205"},
		{"s", sql.TextParameter("it's"), "'it''s'"},
		{"s", sql.TextParameter("' OR ''='"), "''' OR ''''='''"},
		{"s", sql.NumberParameter("7"), "PQ205"},
		{"s", sql.DateParameter("2024-01-31"), "PQ205"},
		{"b", sql.BoolParameter(false), "FALSE"},
		{"b", sql.TextParameter("false"), "FALSE"},
		{"b", sql.NumberParameter("0"), "PQ205"},
		{"d", sql.DateParameter("2024-01-31"), "DATE '2024-01-31'"},
		{"d", sql.TextParameter("2024-01-31"), "DATE '2024-01-31'"},
		{"d", sql.DateParameter("2024-02-31"), "PQ205"},
		{"d", sql.TimestampParameter("2024-01-31T00:00:00Z"), "PQ205"},
		{"t", sql.TimestampParameter("2024-01-31T12:00:00+02:00"), "TIMESTAMP '2024-01-31 10:00:00'"},
		{"t", sql.DateParameter("2024-01-31"), "TIMESTAMP '2024-01-31 00:00:00'"},
		{"s", sql.NullParameter(), "PQ206"},
		{"i", sql.Parameter{}, "PQ205"},
	} {
		got, err := sql.Compile("SELECT COUNT(*) FROM typed WHERE "+c.column+" < ?", []sql.Parameter{c.value}, typed(t))
		if strings.HasPrefix(c.like, "PQ") {
			refusal, ok := errors.AsType[*sql.Refusal](err)
			if !ok || refusal.Violations[0].Code != c.like {
				t.Errorf("%s < %s: %v", c.column, c.value.Literal(), err)
			}
			continue
		}
		want, wrong := sql.Compile("SELECT COUNT(*) FROM typed WHERE "+c.column+" < "+c.like, nil, typed(t))
		if err != nil || wrong != nil || string(got.Canonical()) != string(want.Canonical()) {
			t.Errorf("%s < %s: %v, %v", c.column, c.value.Literal(), err, wrong)
		}
	}
}

// TestTextAsNumber: a bound text that is a number is one wherever a number is
// wanted, for clients that bind everything as text.
func TestTextAsNumber(t *testing.T) {
	const query = "SELECT s, COUNT(*) AS n FROM typed WHERE i > ? GROUP BY s HAVING n > ? LIMIT ?"
	got, err := sql.Compile(query, []sql.Parameter{sql.TextParameter("1"), sql.TextParameter("2.5"), sql.TextParameter("3")}, typed(t))
	if err != nil {
		t.Fatal(err)
	}
	if limit, ok := got.Limit(); !ok || limit != 3 || got.Having()[0].Value.RatString() != "5/2" {
		t.Errorf("limit %d, %v", limit, got.Having())
	}
	for _, bad := range [][]sql.Parameter{
		{sql.TextParameter("1"), sql.TextParameter("x"), sql.TextParameter("3")},
		{sql.TextParameter("1"), sql.TextParameter("2"), sql.TextParameter("3.5")},
		{sql.TextParameter("1"), sql.TextParameter("2"), sql.TextParameter("-3")},
		{sql.TextParameter(""), sql.TextParameter("2"), sql.TextParameter("3")},
		{sql.TextParameter("1"), sql.BoolParameter(true), sql.TextParameter("3")},
	} {
		if _, err := sql.Compile(query, bad, typed(t)); err == nil {
			t.Errorf("%v", sql.Literals(bad))
		}
	}
}

// TestLiterals are read back to the same value, and no two values have one.
func TestLiterals(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range []sql.Parameter{
		sql.NullParameter(), sql.BoolParameter(true), sql.BoolParameter(false), sql.NumberParameter("-12.5"), sql.NumberParameter("1e300"),
		sql.TextParameter(""), sql.TextParameter("'"), sql.TextParameter("''"), sql.TextParameter("NULL"), sql.TextParameter("DATE '2024-01-31'"),
		sql.TextParameter("a\nb"), sql.DateParameter("2024-01-31"), sql.DateParameter(""), sql.TimestampParameter("2024-01-31T00:00:00Z"), sql.TextParameter("ü#"),
	} {
		literal := p.Literal()
		if again, ok := sql.ParseParameter(literal); !ok || again != p || seen[literal] {
			t.Errorf("%s: %v, %t", literal, again == p, seen[literal])
		}
		seen[literal] = true
	}
	for _, bad := range []string{"'", "'a", "'a'b'", "DATE ", "DATE '", "DATE x", "TIMESTAMP 'a'b'", "'a''"} {
		if p, ok := sql.ParseParameter(bad); ok {
			t.Errorf("%s: %s", bad, p.Literal())
		}
	}
}

// FuzzParameter demands that what is read is written as it was.
func FuzzParameter(f *testing.F) {
	for _, literal := range []string{"'it''s'", "-12.5", "NULL", "TRUE", "DATE '2024-01-31'", "TIMESTAMP 'x'", "'"} {
		f.Add(literal)
	}
	f.Fuzz(func(t *testing.T, literal string) {
		if p, ok := sql.ParseParameter(literal); ok && p.Literal() != literal {
			t.Errorf("%q became %q", literal, p.Literal())
		}
	})
}
