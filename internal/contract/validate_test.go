package contract_test

import (
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
)

func at[T any](v T) *T { return &v }

// study is a contract with every type and every rule.
func study() *contract.Contract {
	return &contract.Contract{
		Dataset: "study", ID: "org.example.study", Version: "1.2.0-rc.1+b", Description: "what\n\tit is", Floor: 10, Mode: contract.DP,
		Fields: []contract.Field{
			{Name: "id", Type: contract.Integer, Role: contract.Unit},
			{Name: "arm", Type: contract.String, Role: contract.Dimension, Required: true, Enum: []string{"Obs", "Lev", "Lev+5FU"}},
			{Name: "code", Type: contract.String, Role: contract.Restricted, MinLength: at(2), MaxLength: at(4), Pattern: "[a-zé]+|X"},
			{Name: "age", Type: contract.Integer, Role: contract.Measure, Minimum: at(int64(0)), Maximum: at(int64(120))},
			{Name: "dose", Type: contract.Number, Role: contract.Measure, Minimum: at(int64(-150)), Maximum: at(int64(150)), Scale: 2},
			{Name: "stage", Type: contract.Integer, Role: contract.Dimension, Enum: []string{"1", "2", "4"}},
			{Name: "ok", Type: contract.Boolean, Role: contract.Dimension, Enum: []string{"true"}},
			{Name: "day", Type: contract.Date, Minimum: at(int64(0)), Maximum: at(int64(365))},
			{Name: "at", Type: contract.Timestamp, Role: contract.Status, Minimum: at(int64(0))},
		},
	}
}

func TestValidate(t *testing.T) {
	v, err := contract.NewValidator(study())
	if err != nil {
		t.Fatal(err)
	}
	text := func(s string) contract.Value { return contract.Value{Text: s} }
	number := func(n int64) contract.Value { return contract.Value{Int: n} }
	null := contract.Value{Null: true}
	for _, c := range []struct {
		name, column string
		value        contract.Value
		want         string
	}{
		{"the unit", "id", number(math.MinInt64), ""},
		{"no unit", "id", null, contract.RuleRequired},
		{"a unit that is text", "id", text("1"), contract.RuleType},
		{"a required one missing", "arm", null, contract.RuleRequired},
		{"listed", "arm", text("Lev+5FU"), ""},
		{"not listed", "arm", text("lev"), contract.RuleEnum},
		{"empty text", "arm", text(""), contract.RuleEnum},
		{"a number for a text", "arm", number(1), contract.RuleType},
		{"text that isn't UTF-8", "arm", text("\xff"), contract.RuleType},
		{"missing", "code", null, ""},
		{"as long as may be", "code", text("éééé"), ""},
		{"too long", "code", text("ééééé"), contract.RuleMaxLength},
		{"as short as may be", "code", text("ab"), ""},
		{"too short", "code", text("X"), contract.RuleMinLength},
		{"another pattern", "code", text("aB"), contract.RulePattern},
		{"the pattern and more", "code", text("ab\n"), contract.RulePattern},
		{"an alternative and more", "code", text("Xa"), contract.RulePattern},
		{"the minimum", "age", number(0), ""},
		{"under it", "age", number(-1), contract.RuleMinimum},
		{"the maximum", "age", number(120), ""},
		{"over it", "age", number(121), contract.RuleMaximum},
		{"under a number's minimum", "dose", number(-151), contract.RuleMinimum},
		{"a number's maximum", "dose", number(150), ""},
		{"a listed integer", "stage", number(4), ""},
		{"an unlisted integer", "stage", number(3), contract.RuleEnum},
		{"a listed boolean", "ok", number(1), ""},
		{"an unlisted boolean", "ok", number(0), contract.RuleEnum},
		{"no boolean", "ok", number(2), contract.RuleType},
		{"a day", "day", number(365), ""},
		{"a later day", "day", number(366), contract.RuleMaximum},
		{"beyond the calendar", "day", number(2932897), contract.RuleType},
		{"before the calendar", "day", number(-719163), contract.RuleType},
		{"before all time", "at", number(-62135596800_000_001), contract.RuleType},
		{"the last microsecond", "at", number(253402300799_999_999), ""},
		{"after it", "at", number(253402300800_000_000), contract.RuleType},
		{"before the minimum", "at", number(-1), contract.RuleMinimum},
	} {
		i := v.Contract().Index(c.column)
		if got := v.Validate(i, c.value); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := v.Contract().Fields[i].Validate(c.value); got != c.want {
			t.Errorf("%s, by the field alone: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestValidateByManyAtOnce is for the race detector.
func TestValidateByManyAtOnce(t *testing.T) {
	v, err := contract.NewValidator(study())
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 1000 {
				if got := v.Validate(2, contract.Value{Text: "abc"}); got != "" {
					t.Errorf("breaks %s", got)
				}
			}
		})
	}
	group.Wait()
}

func TestNewValidatorRefuses(t *testing.T) {
	c := study()
	c.Fields[1].Enum = append(c.Fields[1].Enum, "Obs")
	if v, err := contract.NewValidator(c); !errors.Is(err, contract.ErrContract) || v != nil {
		t.Errorf("%v, %v", v, err)
	}
	// A field that never passed Check accepts nothing.
	if got := (&contract.Field{Type: contract.String, Pattern: "("}).Validate(contract.Value{Text: "("}); got != contract.RuleType {
		t.Errorf("a broken pattern: %q", got)
	}
}

func TestNames(t *testing.T) {
	for typ := contract.String; typ <= contract.Timestamp; typ++ {
		if got, ok := contract.TypeNamed(typ.String()); !ok || got != typ {
			t.Errorf("%s: %v", typ, got)
		}
	}
	for role := contract.Hidden; role <= contract.Restricted; role++ {
		if got, ok := contract.RoleNamed(role.String()); !ok || got != role {
			t.Errorf("%s: %v", role, got)
		}
	}
	for mode := contract.DP; mode <= contract.Threshold; mode++ {
		if got, ok := contract.ModeNamed(mode.String()); !ok || got != mode {
			t.Errorf("%s: %v", mode, got)
		}
	}
	for _, name := range []string{"", "unknown", "Integer", "int"} {
		_, typ := contract.TypeNamed(name)
		role, isRole := contract.RoleNamed(name)
		mode, isMode := contract.ModeNamed(name)
		if typ || isRole || isMode || role != contract.Hidden || mode != contract.DP {
			t.Errorf("%q names something", name)
		}
	}
	if contract.Type(0).String() != "unknown" || contract.Type(9).String() != "unknown" || contract.Role(9).String() != "unknown" || contract.Mode(9).String() != "unknown" {
		t.Error("what there is not has a name")
	}
}

func TestIndex(t *testing.T) {
	c := study()
	if c.Index("dose") != 4 || c.Index("Dose") != -1 || c.Index("") != -1 {
		t.Errorf("dose %d, Dose %d", c.Index("dose"), c.Index("Dose"))
	}
	if c.UnitIndex() != 0 {
		t.Errorf("the unit is %d", c.UnitIndex())
	}
	c.Fields = c.Fields[1:]
	if c.UnitIndex() != -1 {
		t.Errorf("the unit is %d", c.UnitIndex())
	}
}

func TestIsID(t *testing.T) {
	for s, want := range map[string]bool{
		"a": true, "-": true, "colon-2": true, strings.Repeat("a", 63): true,
		"": false, strings.Repeat("a", 64): false, "A": false, "a_b": false, "a.b": false, "a b": false, "é": false, "a\n": false, "../a": false,
	} {
		if got := contract.IsID(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}
