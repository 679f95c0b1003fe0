package sql_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
)

// TestCanonical has questions, each in several forms. Forms of one question
// have the same bytes, two questions never (A07 of protected-queries.md).
func TestCanonical(t *testing.T) {
	count := func(where ...string) []string {
		for i := range where {
			where[i] = `SELECT COUNT(*) FROM "all-types" WHERE ` + where[i]
		}
		return where
	}
	questions := [][]string{
		{
			"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region='R9' GROUP BY sex",
			"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region IN ('R9') GROUP BY sex",
			"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region IN ('R9','R9') GROUP BY sex",
			"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE 'R9' = region GROUP BY sex",
			"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region='R9' AND region='R9' GROUP BY sex",
			"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE (region='R9' OR region = 'R9') GROUP BY sex",
			"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region BETWEEN 'R9' AND 'R9' GROUP BY sex",
			"sElEcT\n SEX,count( distinct \"PATIENT\" )as n /* n */from Patients p where P.Region='R9' group by p.sex -- end",
			"SELECT COUNT(DISTINCT patient) AS n, sex AS s FROM patients WHERE region='R9' GROUP BY s, sex",
			"SELECT COUNT(DISTINCT patient) FROM patients WHERE region='R9' GROUP BY sex HAVING count > 5 ORDER BY count DESC LIMIT 3;",
		},
		{"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region='R8' GROUP BY sex"},
		{"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region='r9' GROUP BY sex"},
		{"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region<>'R9' GROUP BY sex", "SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE region NOT IN ('R9') GROUP BY sex"},
		{"SELECT sex, COUNT(DISTINCT patient) FROM patients WHERE sex='R9' GROUP BY sex"},
		{"SELECT sex, COUNT(DISTINCT patient) FROM patients GROUP BY sex"},
		{"SELECT COUNT(DISTINCT patient) FROM patients"},
		{"SELECT COUNT(*) FROM patients"},
		{"SELECT COUNT(*) FROM encounters"},
		{"SELECT COUNT(*), COUNT(DISTINCT patient) AS n FROM patients", "SELECT COUNT(DISTINCT patient) AS n, COUNT(*), COUNT(*) AS m FROM patients"},
		{"SELECT COUNT(sex) FROM patients"},
		{"SELECT COUNT(los_days) FROM encounters"},
		{"SELECT SUM(los_days) FROM encounters"},
		{"SELECT AVG(los_days) FROM encounters"},
		{"SELECT AVG(cost_cents) FROM encounters"},
		{"SELECT sex, region, COUNT(*) FROM patients GROUP BY region, sex", "SELECT COUNT(*), region FROM patients GROUP BY sex, region, sex"},
		count("price < 1.2345", "price <= 1.23", "price <= 1.239", "price < 1.24", "1.24 > price", "price < 124e-2", "price <= '1.230'"),
		count("price < 1.23", "price <= 1.22"),
		count("price > 1.2345", "price >= 1.24", "price > 1.23"),
		count("pieces BETWEEN 2 AND 5", "pieces >= 2 AND pieces <= 5", "pieces > 1 AND pieces < 6", "pieces < 5.5 AND 1.5 < pieces"),
		count("pieces BETWEEN 2 AND 5 OR pieces IS NULL"),
		count("pieces IN (1, 2, 3)", "pieces = 3 OR pieces = 1 OR pieces = 2", "pieces IN (3.0, 2) OR pieces = 1", "(pieces IN (1,2,3,3) AND pieces IN (3,2,1))"),
		count("pieces NOT IN (1, 2)", "pieces <> 2 AND pieces <> 1", "pieces <> 1 AND pieces NOT IN (1, 2)", "1 <> pieces AND pieces NOT IN (2, 2.0)"),
		count("pieces <> 1 OR pieces <> 2"),
		count("pieces = 1 AND price = 2", "price = 2 AND pieces = 1"),
		count("pieces = 2 AND price = 1"),
		count("pieces IS NULL OR pieces < 3", "pieces <= 2 OR pieces IS NULL", "pieces < 3 OR pieces IS NULL OR pieces < 3"),
		count("pieces = 1.5", "pieces IN (1.5, 2.5)", "pieces BETWEEN 5 AND 1", "pieces > 1e99", "pieces > 9223372036854775807", "pieces < -9223372036854775808"),
		count("pieces <> 1.5", "pieces IS NOT NULL", "pieces < 1e99", "pieces NOT IN (0.5)"),
		count("express < FALSE"),
		count("express <= TRUE"),
		count("express > TRUE"),
		count("express >= TRUE"),
		count("day = '2024-01-01'", "day = DATE '2024-01-01'"),
		count("sent >= '2024-01-01'", "sent >= DATE '2024-01-01'", "sent >= TIMESTAMP '2024-01-01 02:00:00+02:00'", "sent > '2023-12-31 23:59:59.999999'"),
		// Texts that look like the form itself.
		count("product = 'a' OR product = 'b'", "product IN ('b', 'a')"),
		count("product = 'a'' ''b'"),
		count("product = 'a' AND pieces IS NULL"),
		count("product = 'a''\nwhere Pieces is null\n'"),
		count("product = 'a'' or Product is null'"),
		count("product = 'a' OR product IS NULL"),
	}
	seen := map[string]string{}
	for _, forms := range questions {
		first := string(mustCompile(t, forms[0]).Canonical())
		if other, twice := seen[first]; twice {
			t.Errorf("two questions have one form:\n%s\n%s", other, forms[0])
		}
		seen[first] = forms[0]
		for _, form := range forms[1:] {
			if got := string(mustCompile(t, form).Canonical()); got != first {
				t.Errorf("%s\nhas the form\n%sinstead of\n%s", form, got, first)
			}
		}
	}
}

// TestCanonicalGolden pins the form, because fingerprints are kept.
func TestCanonicalGolden(t *testing.T) {
	got := string(mustCompile(t, `SELECT product, AVG(weight), COUNT(*), COUNT(DISTINCT company) AS n, COUNT(pieces) AS c, SUM(weight) FROM "all-types"
		WHERE product NOT IN ('it''s', 'b') AND price < 1.5 AND (pieces BETWEEN 1 AND 3 OR pieces IS NULL) AND express = TRUE AND day IS NOT NULL
		AND sent > '1970-01-01' GROUP BY product, day`).Canonical())
	want := `cloister.question/v1
from all-types
where Day is not null
where Express in 1
where Pieces between 1 3 or Pieces is null
where Price <= 1.49
where Product not in 'b'
where Product not in 'it''s'
where Sent >= 1
group Day
group Product
of avg(Weight)
of count(*)
of count(Pieces)
of count(unit)
of sum(Weight)
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestCanonicalIsSound makes many small conditions and demands that those of
// one form let the same values pass.
func TestCanonicalIsSound(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	from := scales(t)
	atom := func() string {
		n := func() string { return []string{"-1", "0", "0.5", "1", "1.5", "2"}[r.IntN(6)] }
		switch r.IntN(5) {
		case 0:
			return "n0 " + []string{"=", "<>", "<", "<=", ">", ">="}[r.IntN(6)] + " " + n()
		case 1:
			return "n0 IN (" + n() + ", " + n() + ")"
		case 2:
			return "n0 NOT IN (" + n() + ", " + n() + ")"
		case 3:
			return "n0 BETWEEN " + n() + " AND " + n()
		}
		return "n0 IS " + []string{"", "NOT "}[r.IntN(2)] + "NULL"
	}
	type truth [8]bool
	seen, repeated := map[string]truth{}, 0
	texts := map[string]string{}
	for range 3000 {
		var conjuncts []string
		for range 1 + r.IntN(2) {
			alternatives := []string{atom()}
			for range r.IntN(3) {
				alternatives = append(alternatives, atom())
			}
			conjuncts = append(conjuncts, "("+strings.Join(alternatives, " OR ")+")")
		}
		where := strings.Join(conjuncts, " AND ")
		plan, refusal := compile(t, "SELECT COUNT(*) FROM scales WHERE "+where, nil, from)
		if refusal != nil {
			t.Fatalf("%s is refused: %v", where, refusal)
		}
		values := truth{passes(plan.Conditions(), contract.Value{Null: true})}
		for i := 1; i < len(values); i++ {
			values[i] = passes(plan.Conditions(), contract.Value{Int: int64(i - 4)})
		}
		form := string(plan.Canonical())
		if before, ok := seen[form]; ok {
			repeated++
			if before != values {
				t.Fatalf("one form of two questions:\n%s\n%s\n%s", texts[form], where, form)
			}
		}
		seen[form], texts[form] = values, where
	}
	if repeated < 300 {
		t.Errorf("only %d conditions share a form with another", repeated)
	}
}

// TestNames holds names to what outputs and plans show, for values beyond the
// constants too.
func TestNames(t *testing.T) {
	for f, want := range map[sql.Func]string{0: "unknown", sql.CountRows: "count", sql.CountValues: "count", sql.CountUnits: "count", sql.Sum: "sum", sql.Avg: "avg", 99: "unknown"} {
		if got := f.String(); got != want {
			t.Errorf("function %d is %q, want %q", f, got, want)
		}
	}
	for o, want := range map[sql.Op]string{0: "unknown", sql.Equal: "=", sql.NotEqual: "<>", sql.Less: "<", sql.LessOrEqual: "<=", sql.Greater: ">", sql.GreaterOrEqual: ">=", 99: "unknown"} {
		if got := o.String(); got != want {
			t.Errorf("relation %d is %q, want %q", o, got, want)
		}
	}
}

// TestPlanIsUnshared changes whatever a plan answers, and demands that the plan
// doesn't change.
func TestPlanIsUnshared(t *testing.T) {
	plan := mustCompile(t, `SELECT sex, COUNT(*) AS n FROM patients WHERE region IN ('a', 'b') AND birth_year > 5 GROUP BY sex HAVING n > 5 ORDER BY n`)
	show := func() string {
		return fmt.Sprintf("%+v %v %v %v %v %v %s", plan.Conditions(), plan.Keys(), plan.Aggregates(), plan.Outputs(), plan.Having(), plan.Order(), plan.Canonical())
	}
	before := show()
	plan.Conditions()[0].Any[0].Values[0].Text = "changed"
	plan.Conditions()[0].Any[0].Negated = true
	plan.Conditions()[1].Field = 99
	plan.Keys()[0] = 99
	plan.Aggregates()[0].Field = 99
	plan.Outputs()[0].Name = "changed"
	plan.Having()[0].Value.SetInt64(99)
	plan.Having()[0].Aggregate = 99
	plan.Order()[0].Output = 99
	plan.Canonical()[0] = 'x'
	if after := show(); after != before {
		t.Errorf("the plan changed:\n%s\n%s", before, after)
	}
	if n, ok := plan.Limit(); ok || n != 0 {
		t.Errorf("limit %d, %v without LIMIT", n, ok)
	}
	if again := mustCompile(t, `SELECT COUNT(*) FROM patients LIMIT 7`); !reflect.DeepEqual(again.Contract(), tables(t)["patients"]) || again.Dataset() != "patients" {
		t.Error("the plan has another contract")
	}
}
