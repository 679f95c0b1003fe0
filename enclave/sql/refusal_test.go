package sql_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// shape is that of a violation as people read it.
var shape = regexp.MustCompile(`^PQ[1-4][0-9][0-9]H?_[A-Z_]+( at [0-9]+\.\.[0-9]+)?: [^\n]*[^.\n]\. Fix: [^\n]*[^.\n]\. No budget was charged\.$`)

// check holds what every refusal has.
func check(t testing.TB, text string, r *sql.Refusal) {
	t.Helper()
	if len(r.Violations) > 16 {
		t.Errorf("%d violations", len(r.Violations))
	}
	last := 0
	for i, v := range r.Violations {
		if !shape.MatchString(v.String()) {
			t.Errorf("not the shape of a violation: %s", v)
		}
		if v.Offset < last || v.Length < 0 || v.Offset+v.Length > len(text) {
			t.Errorf("violation at %d..%d, after %d, of a text of %d bytes", v.Offset, v.Offset+v.Length, last, len(text))
		}
		last = v.Offset
		for _, other := range r.Violations[:i] {
			if other == v {
				t.Errorf("twice: %s", v)
			}
		}
	}
}

// withoutHidden is the catalogue of somebody who has no hidden columns at all.
func withoutHidden(all catalog) catalog {
	out := catalog{}
	for name, c := range all {
		less := *c
		less.Fields = nil
		for _, f := range c.Fields {
			if f.Role != contract.Hidden {
				less.Fields = append(less.Fields, f)
			}
		}
		out[name] = &less
	}
	return out
}

// TestHiddenIsUnknown names a hidden column in every place that takes a name,
// and demands the very refusal, or the very plan, of a name that isn't there.
func TestHiddenIsUnknown(t *testing.T) {
	places := []string{
		"SELECT @ FROM patients", "SELECT p.@ FROM patients p", `SELECT "@" FROM patients`, "SELECT @.sex FROM patients", "SELECT sex.@ FROM patients",
		"SELECT COUNT(@) FROM patients", "SELECT COUNT(DISTINCT @) FROM patients", "SELECT SUM(@), AVG(@), MAX(@), MEDIAN(@) FROM patients",
		"SELECT SUM(@ + 1), SUM(CAST(@ AS INT)), SUM(CASE WHEN @ = 1 THEN birth_year END) FROM patients", "SELECT @(sex), @(@) FROM patients",
		"SELECT COUNT(*) FILTER (WHERE @ = 1), COUNT(*) OVER (PARTITION BY @) FROM patients", "SELECT DATE_TRUNC('day', @) FROM patients GROUP BY @",
		"SELECT COUNT(*) FROM patients WHERE @ = 'x'", "SELECT COUNT(*) FROM patients WHERE 'x' < @", "SELECT COUNT(*) FROM patients WHERE @ IN ('a', @)",
		"SELECT COUNT(*) FROM patients WHERE @ IS NULL OR sex = 'F'", "SELECT COUNT(*) FROM patients WHERE @ BETWEEN 'a' AND @ AND NOT @ = 5",
		"SELECT COUNT(*) FROM patients WHERE @", "SELECT COUNT(*) FROM patients WHERE @ LIKE 'x' AND lower(@) = 'x' AND sex = @ AND @ = @",
		"SELECT COUNT(*) FROM patients WHERE sex = 'F' AND (SELECT @ FROM patients) = 5", "SELECT @, COUNT(*) FROM patients GROUP BY @",
		"SELECT sex AS @, COUNT(*) FROM patients GROUP BY @", "SELECT sex AS @, COUNT(*) FROM patients GROUP BY @ HAVING @ > 5 ORDER BY @",
		"SELECT sex, COUNT(*) AS @ FROM patients GROUP BY sex HAVING @ > 5 ORDER BY @", "SELECT COUNT(*) AS @ FROM patients GROUP BY @",
		"SELECT sex, COUNT(*) FROM patients GROUP BY sex HAVING @ > 5 AND SUM(@) > 5 AND 5 < @ AND COUNT(*) > @ AND COUNT(@) > 5",
		"SELECT sex, COUNT(*) FROM patients GROUP BY sex ORDER BY @, patients.@, @ + 1, COUNT(@)", "SELECT COUNT(*) FROM patients GROUP BY lower(@), (@, sex), ROLLUP(@)",
		"SELECT COUNT(*) FROM patients LIMIT @", "SELECT COUNT(*) FROM patients JOIN encounters ON patients.@ = encounters.patient",
		"SELECT COUNT(*) FROM patients JOIN encounters e ON e.@ = patients.patient AND @ = 5", "SELECT COUNT(*) FROM @", "SELECT COUNT(*) FROM patients @ WHERE @.@ = 1",
		"SELECT COUNT(*, @ => 5) FROM patients", "SELECT @ AS a, a.@ AS a, @ FROM patients AS @",
	}
	seen, reduced := tables(t), withoutHidden(tables(t))
	answer := func(text string, from catalog) string {
		plan, refusal := compile(t, text, nil, from)
		if plan != nil {
			return string(plan.Canonical()) + fmt.Sprint(plan.Conditions(), plan.Outputs(), plan.Having(), plan.Order())
		}
		check(t, text, refusal)
		return fmt.Sprintf("%q %+v %s", refusal.Dataset, refusal.Violations, refusal)
	}
	plans := 0
	for _, place := range places {
		hidden := answer(strings.ReplaceAll(place, "@", "national_id"), seen)
		unknown := strings.ReplaceAll(answer(strings.ReplaceAll(place, "@", "national_ix"), seen), "national_ix", "national_id")
		if hidden != unknown {
			t.Errorf("%s\nhidden:  %s\nunknown: %s", place, hidden, unknown)
		}
		if without := answer(strings.ReplaceAll(place, "@", "national_id"), reduced); hidden != without {
			t.Errorf("%s\nhidden: %s\nabsent: %s", place, hidden, without)
		}
		if strings.HasPrefix(hidden, "cloister") {
			plans++
		}
	}
	if plans == 0 || plans == len(places) {
		t.Errorf("%d of %d are answered", plans, len(places))
	}
}

// phrases reads the list of all messages and fixes. Everything that a refusal
// says stands there, so nothing else of it can depend on a query's text.
func phrases(t testing.TB) map[string]bool {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "messages.txt"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		all[strings.TrimSuffix(line, "\n")] = true
	}
	return all
}

// TestRefusalTexts goes through all refused queries of the tables and of
// TestBounds. They say what is listed, all of it and nothing else.
func TestRefusalTexts(t *testing.T) {
	refused := bounds()
	for _, name := range []string{"refusals.txt", "adversarial.txt"} {
		for _, e := range examples(t, name) {
			refused = append(refused, bounded{name: name, text: e.text, parameters: e.parameters, code: "PQ"})
		}
	}
	listed, said := phrases(t), map[string]bool{}
	for _, c := range refused {
		_, refusal := compile(t, c.text, c.parameters, tables(t))
		if (refusal == nil) != (c.code == "") {
			t.Errorf("%s: %s: %v", c.name, c.text, refusal)
		}
		if refusal == nil {
			continue
		}
		check(t, c.text, refusal)
		for _, v := range refusal.Violations {
			said["code "+v.Code+"_"+v.Name], said["message "+v.Message], said["fix "+v.Fix] = true, true, true
		}
	}
	for _, phrase := range slices.Sorted(maps.Keys(said)) {
		if !listed[phrase] {
			t.Errorf("not listed: %s", phrase)
		}
	}
	for _, phrase := range slices.Sorted(maps.Keys(listed)) {
		if !said[phrase] {
			t.Errorf("never said: %s", phrase)
		}
	}
}

func TestRefusalForm(t *testing.T) {
	text := "SELECT COUNT(*) FROM patients WHERE patient = 'x'"
	_, err := sql.Compile(text, nil, tables(t))
	want := "PQ301_COLUMN_ROLE at 36..43: this column names the protected people and can only be counted. Fix: use it in COUNT(DISTINCT …) alone. No budget was charged."
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	refusal, _ := errors.AsType[*sql.Refusal](err)
	if refusal.Dataset != "patients" {
		t.Errorf("dataset %q", refusal.Dataset)
	}
	if got := refusal.Violations[0].Metadata(); !reflect.DeepEqual(got, map[string]string{"offset": "36", "length": "7", "fix": "use it in COUNT(DISTINCT …) alone"}) {
		t.Errorf("metadata %v", got)
	}
	later := sql.Refuse("patients", "PQ404_MODE_NOT_AVAILABLE", "a reason", "a way out")
	if got := later.Error(); got != "PQ404_MODE_NOT_AVAILABLE: a reason. Fix: a way out. No budget was charged." || later.Dataset != "patients" {
		t.Errorf("%q %q", got, later.Dataset)
	}
	// A refusal that names columns names their dataset, so that the right to
	// see them can be checked; of a second dataset nothing is looked up.
	for text, dataset := range map[string]string{
		"SELECT nothing FROM patients":          "patients",
		"SELECT nothing FROM nowhere":           "",
		"SELECT nothing FROM nowhere, patients": "",
		"SELECT 1 FROM":                         "",
		"DROP TABLE patients":                   "",
		"SELECT COUNT(*) FROM patients JOIN encounters ON patients.sex = encounters.icd_group": "patients",
	} {
		if _, r := compile(t, text, nil, tables(t)); r == nil || r.Dataset != dataset || dataset == "" && strings.Contains(r.Error(), "patient") {
			t.Errorf("%s: %+v", text, r)
		}
	}
}

// TestSecondTableIsNotLookedUp demands the same refusal of a join whether the
// second dataset exists or not.
func TestSecondTableIsNotLookedUp(t *testing.T) {
	for _, text := range []string{
		"SELECT COUNT(*), e.enc_id, icd_group FROM patients p JOIN encounters e ON e.patient = p.patient WHERE e.note = 5",
		"SELECT COUNT(*) FROM patients p, encounters e WHERE e.patient = p.patient",
		"SELECT COUNT(*) FROM nowhere p JOIN encounters e ON e.patient = p.patient GROUP BY e.los_days",
	} {
		all := tables(t)
		_, with := compile(t, text, nil, all)
		delete(all, "encounters")
		if _, without := compile(t, text, nil, all); !reflect.DeepEqual(with, without) {
			t.Errorf("%s\n%v\n%v", text, with, without)
		}
	}
}

// bounded is a query at or beyond a bound.
type bounded struct {
	name, text string
	parameters []sql.Parameter
	code       string // empty: answered
}

func bounds() []bounded {
	query := "SELECT COUNT(*) FROM patients WHERE sex = "
	many := func(n int, element, separator string) string {
		return strings.TrimSuffix(strings.Repeat(element+separator, n), separator)
	}
	items := func(n int) string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprint("COUNT(*) AS n", i))
		}
		return strings.Join(out, ", ")
	}
	parameters := func(n int, text string) (all []sql.Parameter) {
		for range n {
			all = append(all, sql.TextParameter(text))
		}
		return all
	}
	return []bounded{
		{"as long as can be", query + "'" + strings.Repeat("x", limits.Query-len(query)-2) + "'", nil, ""},
		{"too long", query + "'" + strings.Repeat("x", limits.Query-len(query)-1) + "'", nil, "PQ102"},
		{"not UTF-8", query + "'\xff'", nil, "PQ101"},
		{"NUL", query + "'\x00'", nil, "PQ101"},
		{"replacement character", query + "'\ufffd'", nil, ""},
		{"bound not UTF-8", query + "?", parameters(1, "\xff"), "PQ101"},
		{"bound too long", query + "?", parameters(1, strings.Repeat("x", limits.Query+1)), "PQ102"},
		{"bound together too long", query + "? AND region = ?", parameters(2, strings.Repeat("x", limits.Query/2+1)), "PQ102"},
		{"bound as long as can be", query + "?", parameters(1, strings.Repeat("x", limits.Query)), ""},
		{"too many bound", query + "?", parameters(1025, "x"), "PQ102"},
		{"256 items", "SELECT " + items(256) + " FROM patients", nil, ""},
		{"257 items", "SELECT " + items(257) + " FROM patients", nil, "PQ102"},
		{"256 keys", "SELECT COUNT(*) FROM patients GROUP BY " + many(256, "sex", ","), nil, ""},
		{"257 keys", "SELECT COUNT(*) FROM patients GROUP BY " + many(257, "sex", ","), nil, "PQ102"},
		{"256 conditions", "SELECT COUNT(*) FROM patients WHERE " + many(256, "sex = 'F'", " AND "), nil, ""},
		{"257 conditions", "SELECT COUNT(*) FROM patients WHERE " + many(257, "sex = 'F'", " AND "), nil, "PQ102"},
		{"257 of HAVING", "SELECT sex, COUNT(*) n FROM patients GROUP BY sex HAVING " + many(257, "n > 1", " AND "), nil, "PQ102"},
		{"257 sort keys", "SELECT sex, COUNT(*) n FROM patients GROUP BY sex ORDER BY " + many(257, "n", ","), nil, "PQ102"},
		{"50 alternatives", "SELECT COUNT(*) FROM patients WHERE " + many(50, "sex = 'F'", " OR "), nil, ""},
		{"51 alternatives", "SELECT COUNT(*) FROM patients WHERE " + many(51, "sex = 'F'", " OR "), nil, "PQ206"},
		{"50 in a list", "SELECT COUNT(*) FROM patients WHERE sex IN (" + many(50, "'F'", ",") + ")", nil, ""},
		{"51 in a list", "SELECT COUNT(*) FROM patients WHERE sex IN (" + many(51, "'F'", ",") + ")", nil, "PQ206"},
		{"deep", "SELECT COUNT(*) FROM patients WHERE " + strings.Repeat("(", 60) + "sex = 'F'" + strings.Repeat(")", 60), nil, ""},
		{"too deep", "SELECT COUNT(*) FROM patients WHERE " + strings.Repeat("(", 70) + "sex = 'F'" + strings.Repeat(")", 70), nil, "PQ102"},
		{"too many signs", "SELECT COUNT(*) FROM patients WHERE birth_year = " + strings.Repeat("- ", 70) + "5", nil, "PQ102"},
		{"too many NOTs", "SELECT COUNT(*) FROM patients WHERE " + strings.Repeat("NOT ", 70) + "sex = 'F'", nil, "PQ102"},
		{"a number of 256 digits", "SELECT COUNT(*) FROM patients WHERE birth_year < " + strings.Repeat("9", 256), nil, ""},
		{"a number of 257 digits", "SELECT COUNT(*) FROM patients WHERE birth_year < " + strings.Repeat("9", 257), nil, "PQ205"},
		{"alias of 63 bytes", "SELECT COUNT(*) AS " + strings.Repeat("x", 63) + " FROM patients", nil, ""},
		{"alias of 64 bytes", "SELECT COUNT(*) AS " + strings.Repeat("x", 64) + " FROM patients", nil, "PQ100"},
		{"alias that a terminal obeys", "SELECT COUNT(*) AS \"\x1b[2J\" FROM patients", nil, "PQ100"},
		{"zero parameter", query + "?", make([]sql.Parameter, 1), "PQ205"},
	}
}

func TestBounds(t *testing.T) {
	for _, c := range bounds() {
		_, refusal := compile(t, c.text, c.parameters, tables(t))
		got := ""
		if refusal != nil {
			got = refusal.Violations[0].Code
			check(t, c.text, refusal)
		}
		if got != c.code {
			t.Errorf("%s: code %q, want %q: %v", c.name, got, c.code, refusal)
		}
	}
}

// TestHardTexts compiles long texts that nest, repeat and break off.
func TestHardTexts(t *testing.T) {
	for _, piece := range []string{
		"(", "[", "NOT ", "-", "CASE WHEN ", "a = ", "a::int", "::int", "x IN (", "f(", "SELECT ", "a, ", "nope, ", "MAX(x), ", "'", "\"", "/*", "--\n", ".", "a.", "?,", "$1 ", "1e9,",
		"a AND ", "a OR ", "(a = 1 OR ", "JOIN b ON ", ", b", "GROUP BY ", "UNION ", "EXISTS (", "x BETWEEN ", "CAST(a AS ", "[1]", "COLLATE c ", "x(y => ", "OVER ", ";", "é", "1", "_", "-- ",
	} {
		for _, before := range []string{"SELECT ", "SELECT COUNT(*) FROM patients ", "SELECT COUNT(*) FROM patients WHERE sex = 'F' AND "} {
			text := before + strings.Repeat(piece, limits.Query/4/len(piece))
			plan, refusal := compile(t, text, nil, tables(t))
			if refusal != nil {
				check(t, text, refusal)
			} else if err := allowed(plan); err != nil { // a comment, or a long alias of the table
				t.Errorf("%q after %q: %v", piece, before, err)
			}
		}
	}
}
