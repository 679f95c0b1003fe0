package contract_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// TestCheck breaks each invariant of a contract once.
func TestCheck(t *testing.T) {
	type c = contract.Contract
	const (
		name   = "name: a letter or _, then letters, digits and _, at most 63 bytes"
		bounds = "minimum and maximum are for integers, numbers, dates and timestamps"
		texts  = "minLength, maxLength and pattern are for strings"
		values = "minimum and maximum must be values of the column's type, years 1 to 9999"
		wide   = "a measure's bounds must lie within 2^53 stored units; lower the scale or the bounds"
	)
	id, arm, code, age, dose, stage, ok, day, at0 := 0, 1, 2, 3, 4, 5, 6, 7, 8
	column := func(i int, breaks func(*contract.Field)) func(*c) {
		return func(c *c) { breaks(&c.Fields[i]) }
	}
	type f = contract.Field
	for _, test := range []struct {
		name   string
		breaks func(*c)
		want   string
	}{
		{"no dataset", func(c *c) { c.Dataset = "" }, "dataset name: 1 to 63 of a-z, 0-9 and -"},
		{"dataset with a capital", func(c *c) { c.Dataset = "Study" }, "dataset name: 1 to 63 of a-z, 0-9 and -"},
		{"no id", func(c *c) { c.ID = "" }, "id: 1 to 256 bytes of printable text"},
		{"long id", func(c *c) { c.ID = strings.Repeat("a", 257) }, "id: 1 to 256 bytes of printable text"},
		{"id with an escape", func(c *c) { c.ID = "\x1b[31m" }, "id: 1 to 256 bytes of printable text"},
		{"no version", func(c *c) { c.Version = "" }, "version: 1 to 64 letters, digits, dots, plus and minus signs"},
		{"version with a space", func(c *c) { c.Version = "1 0" }, "version: 1 to 64 letters, digits, dots, plus and minus signs"},
		{"long version", func(c *c) { c.Version = strings.Repeat("1", 65) }, "version: 1 to 64 letters, digits, dots, plus and minus signs"},
		{"long description", func(c *c) { c.Description = strings.Repeat("a", 4097) }, "description: at most 4096 bytes of printable text"},
		{"description that isn't UTF-8", func(c *c) { c.Description = "\xff" }, "description: at most 4096 bytes of printable text"},
		{"low floor", func(c *c) { c.Floor = 4 }, "floor: 5 to 1000000"},
		{"high floor", func(c *c) { c.Floor = 1_000_001 }, "floor: 5 to 1000000"},
		{"unknown mode", func(c *c) { c.Mode = 2 }, "mode: dp or threshold"},
		{"no columns", func(c *c) { c.Fields = nil }, "columns: 1 to 1024"},
		{"many columns", func(c *c) { c.Fields = make([]contract.Field, limits.Columns+1) }, "columns: 1 to 1024"},
		{"no unit", column(id, func(f *f) { f.Role = contract.Dimension }), "unit: no column has the role unit; exactly one must"},

		{"two units", column(stage, func(f *f) { f.Role = contract.Unit }), `column "stage": is a second unit; exactly one column has the role unit`},
		{"a name twice", column(dose, func(f *f) { f.Name = "AGE" }), `column "AGE": stands twice (case doesn't count)`},
		{"no name", column(age, func(f *f) { f.Name = "" }), `column "": ` + name},
		{"name with a digit first", column(age, func(f *f) { f.Name = "1a" }), `column "1a": ` + name},
		{"name with a quote", column(age, func(f *f) { f.Name = `a"b` }), `column "a\"b": ` + name},
		{"long name", column(age, func(f *f) { f.Name = strings.Repeat("a", 64) }), `column "` + strings.Repeat("a", 64) + `": ` + name},
		{"no type", column(day, func(f *f) { f.Type = 0 }), `column "day": unknown type`},
		{"unknown type", column(day, func(f *f) { f.Type = 7 }), `column "day": unknown type`},
		{"unknown role", column(day, func(f *f) { f.Role = 6 }), `column "day": unknown role`},
		{"column's description", column(day, func(f *f) { f.Description = "\x00" }), `column "day": description: at most 4096 bytes of printable text`},
		{"scale under 0", column(dose, func(f *f) { f.Scale = -1 }), `column "dose": scale: 0 to 9`},
		{"scale over 9", column(dose, func(f *f) { f.Scale = 10 }), `column "dose": scale: 0 to 9`},
		{"scale of an integer", column(age, func(f *f) { f.Scale = 1 }), `column "age": scale is for numbers only`},
		{"the unit is a date", column(id, func(f *f) { f.Type = contract.Date }), `column "id": the unit must be a string or an integer`},
		{"the unit is a number", column(id, func(f *f) { f.Type = contract.Number }), `column "id": the unit must be a string or an integer`},
		{"a measure that is text", column(code, func(f *f) { f.Role = contract.Measure }), `column "code": a measure must be an integer or a number`},
		{"a measure without minimum", column(age, func(f *f) { f.Minimum = nil }), `column "age": a measure needs minimum and maximum`},
		{"a measure without maximum", column(dose, func(f *f) { f.Maximum = nil }), `column "dose": a measure needs minimum and maximum`},

		{"a text's minimum", column(code, func(f *f) { f.Minimum = at(int64(0)) }), `column "code": ` + bounds},
		{"a boolean's maximum", column(ok, func(f *f) { f.Maximum = at(int64(1)) }), `column "ok": ` + bounds},
		{"minimum over maximum", column(age, func(f *f) { f.Minimum = at(int64(121)) }), `column "age": minimum is over maximum`},
		{"a day in year 0", column(day, func(f *f) { f.Minimum = at(int64(-719163)) }), `column "day": ` + values},
		{"a time in year 10000", column(at0, func(f *f) { f.Maximum = at(int64(253402300800_000_000)) }), `column "at": ` + values},
		{"a wide measure", column(age, func(f *f) { f.Maximum = at(int64(1<<53 + 1)) }), `column "age": ` + wide},
		{"a measure wide below", column(dose, func(f *f) { f.Minimum = at(int64(math.MinInt64)) }), `column "dose": ` + wide},

		{"an integer's pattern", column(stage, func(f *f) { f.Pattern = "1" }), `column "stage": ` + texts},
		{"a date's length", column(day, func(f *f) { f.MaxLength = at(10) }), `column "day": ` + texts},
		{"length under 0", column(code, func(f *f) { f.MinLength = at(-1) }), `column "code": minLength and maxLength: 0 to 65536`},
		{"length over the limit", column(code, func(f *f) { f.MaxLength = at(65537) }), `column "code": minLength and maxLength: 0 to 65536`},
		{"minLength over maxLength", column(code, func(f *f) { f.MinLength = at(5) }), `column "code": minLength is over maxLength`},
		{"long pattern", column(code, func(f *f) { f.Pattern = strings.Repeat("a", 1025) }), `column "code": pattern: at most 1024 bytes`},
		{"no expression", column(code, func(f *f) { f.Pattern = "(" }), `column "code": pattern isn't a regular expression in RE2's syntax`},
		{"an expression that closes ours", column(code, func(f *f) { f.Pattern = `a)|(?:b` }), `column "code": pattern isn't a regular expression in RE2's syntax`},
		{"a pattern with a back reference", column(code, func(f *f) { f.Pattern = `(a)\1` }), `column "code": pattern isn't a regular expression in RE2's syntax`},

		{"a long enum", column(arm, func(f *f) { f.Enum = make([]string, 1025) }), `column "arm": enum: at most 1024 values`},
		{"enum value twice", column(arm, func(f *f) { f.Enum = []string{"a", "a"} }), `column "arm": enum: value 2 stands twice`},
		{"enum value of another type", column(stage, func(f *f) { f.Enum = []string{"1", "x"} }), `column "stage": enum: value 2 isn't of type integer as Cloister writes it`},
		{"enum value in another form", column(stage, func(f *f) { f.Enum = []string{"01"} }), `column "stage": enum: value 1 isn't of type integer as Cloister writes it`},
		{"enum value beyond the scale", column(dose, func(f *f) { f.Enum = []string{"0.005"} }), `column "dose": enum: value 1 isn't of type number as Cloister writes it`},
		{"enum value over the maximum", column(age, func(f *f) { f.Enum = []string{"120", "121"} }), `column "age": enum: value 2 breaks the column's own maximum`},
		{"enum value against the pattern", column(code, func(f *f) { f.Enum = []string{"12"} }), `column "code": enum: value 1 breaks the column's own pattern`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := study()
			if problems := c.Problems(); problems != nil {
				t.Fatalf("before: %v", problems)
			}
			test.breaks(c)
			err := c.Check()
			if !errors.Is(err, contract.ErrContract) || err.Error() != "contract: "+test.want {
				t.Errorf("got  %v\nwant contract: %s", err, test.want)
			}
			if f, ok := errors.AsType[*contract.FieldError](err); ok && c.Fields[f.Index].Name != f.Name {
				t.Errorf("column %d isn't %s", f.Index, f.Name)
			}
		})
	}
}

// TestCheckAccepts holds what stands just within the bounds.
func TestCheckAccepts(t *testing.T) {
	for name, change := range map[string]func(*contract.Contract){
		"floor":       func(c *contract.Contract) { c.Floor = contract.MinFloor },
		"a text unit": func(c *contract.Contract) { c.Fields[0].Type = contract.String },
		"widest measure": func(c *contract.Contract) {
			c.Fields[3].Minimum, c.Fields[3].Maximum = at(int64(-1<<53)), at(int64(1<<53))
		},
		"one value":       func(c *contract.Contract) { c.Fields[3].Minimum = at(int64(120)) },
		"a long name":     func(c *contract.Contract) { c.Fields[3].Name = "_" + strings.Repeat("Z9", 31) },
		"scale of 9":      func(c *contract.Contract) { c.Fields[4].Scale = 9 },
		"an enum's zeros": func(c *contract.Contract) { c.Fields[4].Enum = []string{"0.50", "-1.00"} },
		"any length":      func(c *contract.Contract) { c.Fields[2].MinLength, c.Fields[2].MaxLength = at(0), at(limits.Text) },
		"a wide enum": func(c *contract.Contract) {
			c.Fields[5].Enum = nil
			for i := range contract.MaxEnum {
				c.Fields[5].Enum = append(c.Fields[5].Enum, fmt.Sprint(i))
			}
		},
		"many columns": func(c *contract.Contract) {
			for i := len(c.Fields); i < limits.Columns; i++ {
				c.Fields = append(c.Fields, contract.Field{Name: fmt.Sprintf("c%d", i), Type: contract.Date})
			}
		},
	} {
		c := study()
		change(c)
		if problems := c.Problems(); problems != nil {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// TestProblems holds that one run tells everything, in order, and that Check
// tells the first of it.
func TestProblems(t *testing.T) {
	c := study()
	c.Version, c.Floor = "", 1
	c.Fields[0].Role = contract.Hidden
	c.Fields[3].Minimum = nil
	c.Fields[6].Name = "Day"
	var got []string
	for _, p := range c.Problems() {
		if !errors.Is(p, contract.ErrContract) {
			t.Errorf("%v doesn't wrap ErrContract", p)
		}
		got = append(got, p.Error())
	}
	want := []string{
		"contract: version: 1 to 64 letters, digits, dots, plus and minus signs",
		"contract: floor: 5 to 1000000",
		`contract: column "age": a measure needs minimum and maximum`,
		`contract: column "day": stands twice (case doesn't count)`,
		"contract: unit: no column has the role unit; exactly one must",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if err := c.Check(); err == nil || err.Error() != want[0] {
		t.Errorf("Check: %v", err)
	}
}
