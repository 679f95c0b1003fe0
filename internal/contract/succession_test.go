package contract_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
)

// TestSucceeds changes one thing of a contract and asks whether older records
// can stand under it.
func TestSucceeds(t *testing.T) {
	type c = contract.Contract
	type f = contract.Field
	column := func(name string, change func(*f)) func(*c) {
		return func(c *c) { change(&c.Fields[c.Index(name)]) }
	}
	added := func(more f) func(*c) { return func(c *c) { c.Fields = append(c.Fields, more) } }
	const taken = "doesn't allow all that version 1.2.0-rc.1+b did, of which records are stored: "
	for _, test := range []struct {
		name   string
		change func(*c)
		want   string // in the error; "" for none
	}{
		{"nothing", func(*c) {}, ""},
		{"version, floor, mode and words", func(c *c) { c.Version, c.Floor, c.Mode, c.Description, c.ID = "9", 50, contract.Threshold, "", "x" }, ""},
		{"a column more", added(f{Name: "more", Type: contract.Integer}), ""},
		{"a required column more", added(f{Name: "more", Type: contract.Integer, Required: true}), `column "more": ` + taken + "required"},
		{"a column less", func(c *c) { c.Fields = c.Fields[:len(c.Fields)-1] }, ""},
		{"another order", func(c *c) { c.Fields[0], c.Fields[8] = c.Fields[8], c.Fields[0] }, ""},
		{"a letter's case", column("age", func(f *f) { f.Name = "AGE" }), ""},
		{"another dataset", func(c *c) { c.Dataset = "other" }, "another dataset"},
		{"another unit", func(c *c) {
			c.Fields[0].Role, c.Fields[c.Index("stage")].Role = contract.Hidden, contract.Unit
		}, `column "stage": wasn't the unit`},
		{"a new unit", func(c *c) {
			c.Fields[0].Role = contract.Hidden
			c.Fields = append(c.Fields, f{Name: "person", Type: contract.String, Role: contract.Unit})
		}, `column "person": wasn't the unit`},
		{"another role", column("age", func(f *f) { f.Role = contract.Dimension }), ""},

		{"another type", column("day", func(f *f) { f.Type = contract.Timestamp }), `column "day": ` + taken + "type"},
		{"another scale", column("dose", func(f *f) { f.Scale = 1 }), `column "dose": ` + taken + "scale"},
		{"required", column("age", func(f *f) { f.Required = true }), `column "age": ` + taken + "required"},
		{"no more required", column("arm", func(f *f) { f.Required = false }), ""},
		{"a higher minimum", column("age", func(f *f) { f.Minimum = at(int64(1)) }), `column "age": ` + taken + "minimum"},
		{"a lower minimum", column("age", func(f *f) { f.Minimum = at(int64(-1)) }), ""},
		{"no minimum", column("at", func(f *f) { f.Minimum = nil }), ""},
		{"a minimum", column("id", func(f *f) { f.Minimum = at(int64(-1 << 60)) }), `column "id": ` + taken + "minimum"},
		{"a lower maximum", column("age", func(f *f) { f.Maximum = at(int64(119)) }), `column "age": ` + taken + "maximum"},
		{"a maximum", column("id", func(f *f) { f.Maximum = at(int64(1 << 60)) }), `column "id": ` + taken + "maximum"},
		{"a higher maximum", column("age", func(f *f) { f.Maximum = at(int64(121)) }), ""},
		{"longer", column("code", func(f *f) { f.MinLength = at(3) }), `column "code": ` + taken + "minLength"},
		{"no shortest", column("code", func(f *f) { f.MinLength = nil }), ""},
		{"shorter", column("code", func(f *f) { f.MaxLength = at(3) }), `column "code": ` + taken + "maxLength"},
		{"no longest", column("code", func(f *f) { f.MaxLength = nil }), ""},
		{"another pattern", column("code", func(f *f) { f.Pattern = ".*" }), `column "code": ` + taken + "pattern"},
		{"no pattern", column("code", func(f *f) { f.Pattern = "" }), ""},
		{"a list", column("code", func(f *f) { f.Enum = []string{"ab"} }), `column "code": ` + taken + "enum"},
		{"a shorter list", column("arm", func(f *f) { f.Enum = f.Enum[1:] }), `column "arm": ` + taken + "enum"},
		{"a longer list", column("arm", func(f *f) { f.Enum = append(f.Enum, "new") }), ""},
		{"no list", column("arm", func(f *f) { f.Enum = nil }), ""},
		{"a range for a list", column("stage", func(f *f) { f.Enum, f.Minimum, f.Maximum = nil, at(int64(1)), at(int64(4)) }), ""},
		{"a narrow range for a list", column("stage", func(f *f) { f.Enum, f.Maximum = nil, at(int64(3)) }), `column "stage": ` + taken + "maximum"},
		{"a pattern for a list", column("arm", func(f *f) { f.Enum, f.Pattern = nil, "[A-Za-z0-9+]+" }), ""},
		{"a narrow pattern for a list", column("arm", func(f *f) { f.Enum, f.Pattern = nil, "[A-Z]+" }), `column "arm": ` + taken + "pattern"},
		{"both truths", column("ok", func(f *f) { f.Enum = nil }), ""},
	} {
		old, next := study(), study()
		test.change(next)
		if err := next.Check(); err != nil {
			t.Errorf("%s: not a contract: %v", test.name, err)
			continue
		}
		err := next.Succeeds(old)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, contract.ErrContract)):
			t.Errorf("%s: %v", test.name, err)
		}
	}
	// One truth is no successor of both, nor the other way round.
	old := study()
	old.Fields[6].Enum = nil
	if err := study().Succeeds(old); err == nil {
		t.Error("false was allowed before and isn't now")
	}
}

// TestSuccession draws columns and values at random: what the older column
// allows, a successor allows.
func TestSuccession(t *testing.T) {
	r := source()
	succeeded, values := 0, 0
	for range 40_000 {
		old, next := drawn(r), drawn(r)
		was, is := single(old), single(next)
		if was.Check() != nil || is.Check() != nil || is.Succeeds(was) != nil {
			continue
		}
		succeeded++
		for range 20 {
			v := contract.Value{Null: r.IntN(5) == 0}
			switch {
			case v.Null:
			case old.Type == contract.String:
				v.Text = []string{"", "a", "b", "ab", "aab", "é", "c"}[r.IntN(7)]
			default:
				v.Int = int64(r.IntN(9) - 3)
			}
			if old.Validate(v) != "" {
				continue
			}
			values++
			if rule := next.Validate(v); rule != "" {
				t.Fatalf("%+v\nsucceeds %+v\nbut breaks %s for %+v", next, old, rule, v)
			}
		}
	}
	if succeeded < 1000 || values < 1000 {
		t.Errorf("only %d pairs and %d values", succeeded, values)
	}
}

// single is a contract of a unit and one column.
func single(f contract.Field) *contract.Contract {
	return &contract.Contract{Dataset: "d", ID: "d", Version: "1", Floor: 5, Fields: []contract.Field{
		{Name: "id", Type: contract.Integer, Role: contract.Unit}, f,
	}}
}

// drawn is a column with few rules, so that pairs often fit.
func drawn(r *rand.Rand) contract.Field {
	f := contract.Field{Name: "x", Type: []contract.Type{contract.String, contract.Integer, contract.Boolean}[r.IntN(3)], Required: r.IntN(3) == 0}
	maybe := func() bool { return r.IntN(3) == 0 }
	switch f.Type {
	case contract.String:
		if maybe() {
			f.MinLength = at(r.IntN(3))
		}
		if maybe() {
			f.MaxLength = at(1 + r.IntN(3))
		}
		if maybe() {
			f.Pattern = []string{"[ab]*", "a+", ".*"}[r.IntN(3)]
		}
		if maybe() {
			f.Enum = [][]string{{"a"}, {"a", "ab"}, {"b", "a"}}[r.IntN(3)]
		}
	case contract.Integer:
		if maybe() {
			f.Minimum = at(int64(r.IntN(4) - 2))
		}
		if maybe() {
			f.Maximum = at(int64(2 + r.IntN(4)))
		}
		if maybe() {
			f.Enum = [][]string{{"2"}, {"1", "2"}, {"2", "0"}}[r.IntN(3)]
		}
	default:
		if maybe() {
			f.Enum = [][]string{{"true"}, {"true", "false"}}[r.IntN(2)]
		}
	}
	return f
}
