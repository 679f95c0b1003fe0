package contract

import (
	"regexp"
	"unicode/utf8"
)

// The rules that a value can break, as reports and rejects files name them.
const (
	RuleRequired  = "required"
	RuleType      = "type"
	RuleMinimum   = "minimum"
	RuleMaximum   = "maximum"
	RuleMinLength = "minLength"
	RuleMaxLength = "maxLength"
	RulePattern   = "pattern"
	RuleEnum      = "enum"
	// RuleUnknown is for a column that the contract doesn't have.
	RuleUnknown = "unknown"
)

// Validator checks values by one contract, with its patterns and enums ready.
// It is safe for use by several goroutines at once.
type Validator struct {
	contract *Contract
	rules    []rules
}

// NewValidator answers the validator of a contract that passes Check, or
// Check's error. The contract must not change afterwards.
func NewValidator(c *Contract) (*Validator, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	v := &Validator{contract: c, rules: make([]rules, len(c.Fields))}
	for i := range c.Fields {
		var err error
		if v.rules[i], err = c.Fields[i].rules(); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Contract is the contract that values are checked by.
func (v *Validator) Contract() *Contract { return v.contract }

// Validate answers the first rule that a value of column i breaks, "" for none.
func (v *Validator) Validate(i int, value Value) (rule string) {
	return v.rules[i].validate(value)
}

// Validate answers the first rule that a value breaks, "" for none. It compiles
// the column's pattern each time; a Validator does that once.
func (f *Field) Validate(v Value) (rule string) {
	r, err := f.rules()
	if err != nil {
		return RuleType
	}
	return r.validate(v)
}

// rules is a column made ready for many values.
type rules struct {
	field   *Field
	pattern *regexp.Regexp
	ints    map[int64]bool
	texts   map[string]bool
	// The bounds of integers, and those of ints as a bitmap from first on, nil
	// when they lie too far apart. See compile.
	low, high, first int64
	listed           Marks
}

func (f *Field) rules() (rules, error) {
	p, err := f.pattern()
	if err != nil {
		return rules{}, err
	}
	r := rules{field: f, pattern: p}
	if len(f.Enum) > 0 && f.Type == String {
		r.texts = make(map[string]bool, len(f.Enum))
	} else if len(f.Enum) > 0 {
		r.ints = make(map[int64]bool, len(f.Enum))
	}
	for _, text := range f.Enum {
		v, err := f.Parse(text)
		if err != nil {
			return rules{}, err
		}
		if f.Type == String {
			r.texts[v.Text] = true
		} else {
			r.ints[v.Int] = true
		}
	}
	r.compile()
	return r, nil
}

func (r *rules) validate(v Value) string {
	f := r.field
	switch {
	case v.Null && (f.Required || f.Role == Unit):
		return RuleRequired
	case v.Null:
		return ""
	case f.Type == String:
		return r.text(v)
	case v.Text != "" || !f.fits(v.Int):
		return RuleType
	case f.Minimum != nil && v.Int < *f.Minimum:
		return RuleMinimum
	case f.Maximum != nil && v.Int > *f.Maximum:
		return RuleMaximum
	case r.ints != nil && !r.ints[v.Int]:
		return RuleEnum
	}
	return ""
}

func (r *rules) text(v Value) string {
	f := r.field
	if v.Int != 0 || !utf8.ValidString(v.Text) {
		return RuleType
	}
	n := utf8.RuneCountInString(v.Text)
	switch {
	case f.MinLength != nil && n < *f.MinLength:
		return RuleMinLength
	case f.MaxLength != nil && n > *f.MaxLength:
		return RuleMaxLength
	case r.pattern != nil && !r.pattern.MatchString(v.Text):
		return RulePattern
	case r.texts != nil && !r.texts[v.Text]:
		return RuleEnum
	}
	return ""
}
