package sql_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// question is a query as a model: what is asked, apart from how it is written.
// Its parts are in the words of show.
type question struct {
	conditions, keys, aggregates, order []string
	having                              string
	limit                               int
}

// The parts that questions over encounters are made of: what show writes, and
// ways to write it in SQL.
var (
	conditionForms = map[string][]string{
		`icd_group = "F20"`:             {"icd_group = 'F20'", "'F20' = icd_group", "icd_group IN ('F20')", "icd_group IN ('F20', 'F20')", "(icd_group = 'F20')"},
		`icd_group in "F20" "it's"`:     {"icd_group IN ('F20', 'it''s')", "icd_group IN ('it''s', 'F20', 'it''s')"},
		`icd_group not in "a" "b"`:      {"icd_group NOT IN ('b', 'a')"},
		`icd_group <> "a"`:              {"icd_group <> 'a'", "'a' != icd_group", "icd_group NOT IN ('a')"},
		`icd_group null`:                {"icd_group IS NULL", "(icd_group IS NULL OR icd_group IS NULL)"},
		`ts not null or < 0`:            {"(ts IS NOT NULL OR ts < DATE '1970-01-01')", "(ts IS NOT NULL OR (TIMESTAMP '1970-01-01 00:00:00' > ts))"},
		`ts >= 86400000000`:             {"ts >= DATE '1970-01-02'", "'1970-01-02' <= ts", "ts >= TIMESTAMP '1970-01-02T01:00:00+01:00'"},
		`ts between 0 86400000000`:      {"ts BETWEEN DATE '1970-01-01' AND '1970-01-02'"},
		`icd_group < "b" or > "y"`:      {"(icd_group < 'b' OR 'y' < icd_group)"},
		`icd_group between "a" "b"`:     {"icd_group BETWEEN 'a' AND 'b'", "((icd_group BETWEEN ('a') AND 'b'))"},
		`ts < 1500000`:                  {"ts < TIMESTAMP '1970-01-01 00:00:01.5'", "'1970-01-01T00:00:01.500Z' > ts"},
		`icd_group = " -- /* ; \"\" '"`: {`icd_group = ' -- /* ; "" '''`},
	}
	keyForms       = map[string][]string{"icd_group": {"icd_group", "e.icd_group", `"icd_group"`, "(icd_group)"}, "ts": {"ts", `"E".ts`, `e."TS"`}}
	aggregateForms = map[string][]string{
		"rows": {"COUNT(*)", "COUNT( * )"}, "units patient": {"COUNT(DISTINCT patient)", `COUNT(DISTINCT e."patient")`},
		"values los_days": {"COUNT(los_days)", "COUNT(ALL los_days)"}, "values ts": {"COUNT(ts)"},
		"sum cost_cents": {"SUM(cost_cents)", "SUM((cost_cents))"}, "avg los_days": {"AVG(los_days)", "AVG(e.los_days)"},
	}
)

func pick(r *rand.Rand, from map[string][]string, least, most int) []string {
	var all []string
	for k := range from {
		all = append(all, k)
	}
	slices.Sort(all)
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:least+r.IntN(most-least+1)]
}

func ask(r *rand.Rand) question {
	q := question{conditions: pick(r, conditionForms, 0, 4), keys: pick(r, keyForms, 0, 2), aggregates: pick(r, aggregateForms, 1, 4), limit: r.IntN(3) - 1}
	if len(q.keys) > 0 && r.IntN(2) == 0 {
		q.having = fmt.Sprintf("%s %s %d", q.aggregates[0], []string{"=", "<>", "<", "<=", ">", ">="}[r.IntN(6)], r.IntN(100)-50)
	}
	for i := range q.aggregates {
		if r.IntN(3) == 0 {
			q.order = append(q.order, fmt.Sprintf("a%d%s", i, []string{"", " desc"}[r.IntN(2)]))
		}
	}
	return q
}

// plan is what show should write.
func (q question) plan() string {
	out := "from encounters\n"
	add := func(head string, lines ...string) {
		for _, l := range lines {
			out += head + " " + l + "\n"
		}
	}
	add("where", q.conditions...)
	add("key", q.keys...)
	add("aggregate", q.aggregates...)
	for i, k := range q.keys {
		add("output", fmt.Sprintf("k%d = key %s", i, k))
	}
	for i, a := range q.aggregates {
		add("output", fmt.Sprintf("a%d = %s", i, a))
	}
	if q.having != "" {
		add("having", q.having)
	}
	add("order", q.order...)
	if q.limit >= 0 {
		add("limit", fmt.Sprint(q.limit))
	}
	return out
}

// write puts a question into SQL, in one of many ways.
func (q question) write(r *rand.Rand) string {
	one := func(forms []string) string { return forms[r.IntN(len(forms))] }
	var items, conditions, keys, order []string
	for i, k := range q.keys {
		items = append(items, fmt.Sprintf(`%s %s "k%d"`, one(keyForms[k]), one([]string{"AS", ""}), i))
		keys = append(keys, one(append([]string{fmt.Sprintf("K%d", i)}, keyForms[k]...)))
	}
	for i, a := range q.aggregates {
		items = append(items, fmt.Sprintf(`%s %s "a%d"`, one(aggregateForms[a]), one([]string{"AS", ""}), i))
	}
	for _, c := range q.conditions {
		conditions = append(conditions, one(conditionForms[c]))
	}
	if len(q.conditions) > 0 { // once more, which changes nothing
		conditions = append(conditions, one(conditionForms[q.conditions[0]]))
	}
	for _, o := range q.order {
		i, descending := int(o[1]-'0'), strings.HasSuffix(o, "desc")
		element := one([]string{fmt.Sprintf("a%d", i), one(aggregateForms[q.aggregates[i]]), fmt.Sprint(len(q.keys) + i + 1)})
		order = append(order, element+" "+map[bool]string{true: "DESC", false: one([]string{"ASC", ""})}[descending])
	}
	out := "SELECT " + strings.Join(items, ", ") + " FROM " + one([]string{"encounters e", `"Encounters" AS "E"`})
	if len(conditions) > 0 {
		out += " WHERE " + strings.Join(conditions, " AND ")
	}
	if len(keys) > 0 {
		out += " GROUP BY " + strings.Join(keys, ", ")
	}
	if q.having != "" {
		left, rest, _ := strings.Cut(strings.TrimPrefix(q.having, q.aggregates[0]), " ")
		out += " HAVING " + left + one([]string{"a0", one(aggregateForms[q.aggregates[0]])}) + " " + rest
	}
	if len(order) > 0 {
		out += " ORDER BY " + strings.Join(order, ", ")
	}
	if q.limit >= 0 {
		out += fmt.Sprintf(" LIMIT %d", q.limit)
	}
	return respell(r, out+one([]string{"", ";"}))
}

// respell changes what doesn't count outside of quotes: case and white space.
func respell(r *rand.Rand, text string) string {
	var out strings.Builder
	quote := byte(0)
	for i := range len(text) {
		c := text[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
			out.WriteByte(c)
		case c == '\'' || c == '"':
			quote = c
			out.WriteByte(c)
		case c == ' ':
			out.WriteString([]string{" ", "\n", "\t ", " -- it's a comment\n", "/* \" */", " /* FROM */ "}[r.IntN(6)])
		case r.IntN(2) == 0:
			out.WriteString(strings.ToLower(string(c)))
		default:
			out.WriteString(strings.ToUpper(string(c)))
		}
	}
	return out.String()
}

// TestSpellings writes questions in many ways and demands the plan of the
// question each time, and one canonical form.
func TestSpellings(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	from := tables(t)
	for range 150 {
		q := ask(r)
		canonical := ""
		for range 4 {
			text := q.write(r)
			plan, refusal := compile(t, text, nil, from)
			got := show(text, plan, refusal)
			if got != q.plan() {
				t.Fatalf("%s\n--- got\n%s--- want\n%s", text, got, q.plan())
			}
			if form := string(plan.Canonical()); canonical != "" && form != canonical {
				t.Fatalf("%s\nhas the form\n%sinstead of\n%s", text, form, canonical)
			} else {
				canonical = form
			}
		}
	}
}
