package sql_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
)

// catalog is the visible catalogue of the tests.
type catalog map[string]*contract.Contract

func (c catalog) Contract(dataset string) (*contract.Contract, bool) {
	found, ok := c[dataset]
	return found, ok
}

func ptr(v int64) *int64 { return &v }

// tables are those of protected-queries.md section 10, and one with every type.
// Hidden columns come last, so that a contract without them has the same
// indexes.
func tables(t testing.TB) catalog {
	t.Helper()
	all := catalog{}
	add := func(name string, fields ...contract.Field) {
		c := &contract.Contract{Dataset: name, ID: name, Version: "1.0.0", Floor: contract.DefaultFloor, Fields: fields}
		if err := c.Check(); err != nil {
			t.Fatal(err)
		}
		all[name] = c
	}
	text := func(name string, role contract.Role) contract.Field {
		return contract.Field{Name: name, Type: contract.String, Role: role}
	}
	add("patients",
		text("patient", contract.Unit), contract.Field{Name: "birth_year", Type: contract.Integer, Role: contract.Dimension},
		text("sex", contract.Dimension), text("region", contract.Dimension), text("postcode", contract.Restricted),
		text("project_id", contract.Status), text("entry_status", contract.Status), text("national_id", contract.Hidden))
	add("encounters",
		text("patient", contract.Unit), contract.Field{Name: "ts", Type: contract.Timestamp, Role: contract.Dimension},
		text("icd_group", contract.Dimension),
		contract.Field{Name: "los_days", Type: contract.Integer, Role: contract.Measure, Minimum: ptr(0), Maximum: ptr(60)},
		contract.Field{Name: "cost_cents", Type: contract.Integer, Role: contract.Measure, Minimum: ptr(0), Maximum: ptr(5_000_000)},
		text("enc_id", contract.Hidden), text("note", contract.Hidden))
	add("all-types",
		contract.Field{Name: "Company", Type: contract.Integer, Role: contract.Unit}, text("Product", contract.Dimension),
		contract.Field{Name: "Pieces", Type: contract.Integer, Role: contract.Dimension},
		contract.Field{Name: "Price", Type: contract.Number, Scale: 2, Role: contract.Dimension},
		contract.Field{Name: "Express", Type: contract.Boolean, Role: contract.Dimension},
		contract.Field{Name: "Day", Type: contract.Date, Role: contract.Dimension},
		contract.Field{Name: "Sent", Type: contract.Timestamp, Role: contract.Dimension},
		contract.Field{Name: "Weight", Type: contract.Number, Scale: 3, Role: contract.Measure, Minimum: ptr(0), Maximum: ptr(1000)},
		text("Secret", contract.Hidden))
	return all
}

// compile answers a plan or the refusal. Every other error fails the test.
func compile(t testing.TB, text string, parameters []sql.Parameter, from sql.Catalog) (*sql.Plan, *sql.Refusal) {
	t.Helper()
	plan, err := sql.Compile(text, parameters, from)
	if err == nil {
		return plan, nil
	}
	refusal, ok := errors.AsType[*sql.Refusal](err)
	if !ok || plan != nil || len(refusal.Violations) == 0 {
		t.Fatalf("got plan %v and error %v; every error is a refusal with violations, alone", plan != nil, err)
	}
	return nil, refusal
}

func mustCompile(t testing.TB, text string, parameters ...sql.Parameter) *sql.Plan {
	t.Helper()
	plan, refusal := compile(t, text, parameters, tables(t))
	if refusal != nil {
		t.Fatalf("%s\nis refused: %v", text, refusal)
	}
	return plan
}

// example is a case of the tables in testdata.
type example struct {
	text       string
	parameters []sql.Parameter
	want       string
}

// examples reads a table. A case is some lines of a query, a line of four
// dashes, and what is expected, up to an empty line. Lines that begin with #
// are comments. Before the query there may be lines with the bound values. A
// refusal is one line for each violation: code, offsets, and the piece of the
// query that they mean.
func examples(t testing.TB, name string) []example {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	for block := range strings.SplitSeq(strings.TrimSpace(string(content)), "\n\n") {
		lines := slices.DeleteFunc(strings.Split(block, "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
		query, want, ok := strings.Cut(strings.Join(lines, "\n")+"\n", "\n----\n")
		if !ok {
			t.Fatalf("%s: no ---- in\n%s", name, block)
		}
		e := example{want: want}
		e.text, e.parameters = bound(t, query)
		all = append(all, e)
	}
	return all
}

func TestQueries(t *testing.T) {
	for _, name := range []string{"plans.txt", "refusals.txt", "adversarial.txt"} {
		for _, e := range examples(t, name) {
			plan, refusal := compile(t, e.text, e.parameters, tables(t))
			if got := show(e.text, plan, refusal); got != e.want {
				t.Errorf("%s: %s\n--- got\n%s--- want\n%s", name, e.text, got, e.want)
			}
		}
	}
}

// bound takes the lines with bound values off a query.
func bound(t testing.TB, query string) (text string, parameters []sql.Parameter) {
	t.Helper()
	for strings.HasPrefix(query, "bind ") {
		var line string
		line, query, _ = strings.Cut(query, "\n")
		kind, value, _ := strings.Cut(strings.TrimPrefix(line, "bind "), " ")
		switch kind {
		case "null":
			parameters = append(parameters, sql.NullParameter())
		case "text":
			parameters = append(parameters, sql.TextParameter(value))
		case "number":
			parameters = append(parameters, sql.NumberParameter(value))
		case "bool":
			parameters = append(parameters, sql.BoolParameter(value == "true"))
		default:
			t.Fatalf("unknown kind of value %q", kind)
		}
	}
	return query, parameters
}

// show writes a plan or a refusal as the tables do.
func show(text string, p *sql.Plan, r *sql.Refusal) string {
	var out strings.Builder
	if r != nil {
		for _, v := range r.Violations {
			fmt.Fprintf(&out, "%s_%s %d..%d %s\n", v.Code, v.Name, v.Offset, v.Offset+v.Length, strings.ReplaceAll(text[v.Offset:v.Offset+v.Length], "\n", " "))
		}
		return out.String()
	}
	field := func(i int) string { return p.Contract().Fields[i].Name }
	fmt.Fprintf(&out, "from %s\n", p.Dataset())
	for _, c := range p.Conditions() {
		var any []string
		for _, test := range c.Any {
			any = append(any, showTest(&p.Contract().Fields[c.Field], test))
		}
		fmt.Fprintf(&out, "where %s %s\n", field(c.Field), strings.Join(any, " or "))
	}
	for _, k := range p.Keys() {
		fmt.Fprintf(&out, "key %s\n", field(k))
	}
	for _, a := range p.Aggregates() {
		fmt.Fprintf(&out, "aggregate %s\n", showAggregate(p, a))
	}
	for _, o := range p.Outputs() {
		if o.Key >= 0 {
			fmt.Fprintf(&out, "output %s = key %s\n", o.Name, field(p.Keys()[o.Key]))
		}
		if o.Aggregate >= 0 {
			fmt.Fprintf(&out, "output %s = %s\n", o.Name, showAggregate(p, p.Aggregates()[o.Aggregate]))
		}
	}
	for _, h := range p.Having() {
		fmt.Fprintf(&out, "having %s %s %s\n", showAggregate(p, p.Aggregates()[h.Aggregate]), h.Op, h.Value.RatString())
	}
	for _, o := range p.Order() {
		fmt.Fprintf(&out, "order %s%s\n", p.Outputs()[o.Output].Name, map[bool]string{true: " desc"}[o.Descending])
	}
	if n, ok := p.Limit(); ok {
		fmt.Fprintf(&out, "limit %d\n", n)
	}
	return out.String()
}

func showAggregate(p *sql.Plan, a sql.Aggregate) string {
	name := map[sql.Func]string{sql.CountRows: "rows", sql.CountValues: "values", sql.CountUnits: "units", sql.Sum: "sum", sql.Avg: "avg"}[a.Func]
	if a.Field < 0 {
		return name
	}
	return name + " " + p.Contract().Fields[a.Field].Name
}

// showTest writes literals in their stored form, texts in quotes.
func showTest(f *contract.Field, t sql.Test) string {
	out := map[sql.TestKind]string{sql.Compare: t.Op.String(), sql.In: "in", sql.Between: "between", sql.IsNull: "null"}[t.Kind]
	if t.Negated {
		out = "not " + out
	}
	for _, v := range t.Values {
		if f.Type == contract.String {
			out += fmt.Sprintf(" %q", v.Text)
		} else {
			out += fmt.Sprintf(" %d", v.Int)
		}
	}
	return out
}
