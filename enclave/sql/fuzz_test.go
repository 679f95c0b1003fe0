package sql_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/contract"
)

// planted is a text that no message has by itself.
const planted = "zq7x"

// FuzzCompile holds for every text: it ends in a plan whose every part the
// contract's roles allow, or in a refusal that repeats nothing planted; twice the
// same; and a hidden column changes nothing.
func FuzzCompile(f *testing.F) {
	for _, name := range []string{"plans.txt", "refusals.txt", "adversarial.txt"} {
		for _, e := range examples(f, name) {
			f.Add(e.text, "F")
		}
	}
	all := tables(f)
	reduced, listed := withoutHidden(all), phrases(f)
	f.Fuzz(func(t *testing.T, text, value string) {
		parameters := []sql.Parameter{sql.TextParameter(value), sql.NumberParameter(value)}[:strings.Count(text, "?")%3]
		plan, refusal := compile(t, text, parameters, all)
		again, refusedAgain := compile(t, text, parameters, reduced)
		if refusal != nil {
			check(t, text, refusal)
			for _, v := range refusal.Violations {
				if !listed["message "+v.Message] || !listed["fix "+v.Fix] || !listed["code "+v.Code+"_"+v.Name] {
					t.Errorf("not a text that refusals have: %s", v)
				}
			}
			if strings.Contains(strings.ToLower(refusal.Error()), planted) {
				t.Errorf("the refusal repeats the query: %v", refusal)
			}
			if !reflect.DeepEqual(refusal, refusedAgain) {
				t.Errorf("a hidden column shows:\n%v\n%v", refusal, refusedAgain)
			}
			return
		}
		if refusedAgain != nil || string(plan.Canonical()) != string(again.Canonical()) || show(text, plan, nil) != show(text, again, nil) {
			t.Errorf("a hidden column shows: %v", refusedAgain)
		}
		if err := allowed(plan); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
}

// allowed holds a plan to the roles of its contract and to what its types say.
func allowed(p *sql.Plan) error {
	role := func(i int) contract.Role { return p.Contract().Fields[i].Role }
	for _, c := range p.Conditions() {
		if role(c.Field) != contract.Dimension || len(c.Any) == 0 {
			return fmt.Errorf("condition %+v", c)
		}
		for _, test := range c.Any {
			count, ok := map[sql.TestKind]int{sql.Compare: 1, sql.Between: 2, sql.IsNull: 0, sql.In: len(test.Values)}[test.Kind]
			if !ok || len(test.Values) != count || (test.Op != 0) != (test.Kind == sql.Compare) || test.Negated && test.Kind != sql.In && test.Kind != sql.IsNull {
				return fmt.Errorf("test %+v", test)
			}
			for i, v := range test.Values {
				if v.Null || i > 0 && test.Values[i-1] == v {
					return fmt.Errorf("values %+v", test.Values)
				}
			}
		}
	}
	for _, k := range p.Keys() {
		if role(k) != contract.Dimension {
			return fmt.Errorf("key %d", k)
		}
	}
	for _, a := range p.Aggregates() {
		ok := false
		switch a.Func {
		case sql.CountRows:
			ok = a.Field == -1
		case sql.CountUnits:
			ok = role(a.Field) == contract.Unit
		case sql.CountValues:
			ok = role(a.Field) == contract.Dimension || role(a.Field) == contract.Measure
		case sql.Sum, sql.Avg:
			ok = role(a.Field) == contract.Measure
		}
		if !ok {
			return fmt.Errorf("aggregate %+v", a)
		}
	}
	names := map[string]bool{}
	for _, o := range p.Outputs() {
		if (o.Key >= 0) == (o.Aggregate >= 0) || o.Key >= len(p.Keys()) || o.Aggregate >= len(p.Aggregates()) || o.Name == "" || names[o.Name] {
			return fmt.Errorf("output %+v", o)
		}
		names[o.Name] = true
	}
	if len(names) == 0 {
		return fmt.Errorf("no outputs")
	}
	for _, h := range p.Having() {
		if len(p.Keys()) == 0 || h.Aggregate < 0 || h.Aggregate >= len(p.Aggregates()) || h.Op < sql.Equal || h.Op > sql.GreaterOrEqual || h.Value == nil {
			return fmt.Errorf("having %+v", h)
		}
	}
	for _, o := range p.Order() {
		if o.Output < 0 || o.Output >= len(p.Outputs()) {
			return fmt.Errorf("order %+v", o)
		}
	}
	return nil
}
