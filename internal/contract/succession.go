package contract

import (
	"fmt"
	"strings"
)

// Succeeds says whether every record that an older version of the contract
// allows can stand under this one: columns are found by name, whatever the
// case of its letters; those that are new are NULL in it, those that are gone
// are left out. Both contracts passed Check. The answer depends on no record:
// whether one that is stored would break a rule is nobody's business. Errors
// are as those of Check.
func (c *Contract) Succeeds(old *Contract) error {
	if c.Dataset != old.Dataset {
		return &SettingError{SettingDataset, "records of another dataset can't be taken over"}
	}
	if unit := c.UnitIndex(); c.Predecessor(old, unit) != old.UnitIndex() {
		return &FieldError{unit, c.Fields[unit].Name, fmt.Sprintf("wasn't the unit in version %s, of which records are stored", old.Version)}
	}
	for i := range c.Fields {
		reason := ""
		if at := c.Predecessor(old, i); at >= 0 {
			reason = c.Fields[i].admits(&old.Fields[at])
		} else if !c.Fields[i].nullable() {
			reason = RuleRequired
		}
		if reason != "" {
			return &FieldError{i, c.Fields[i].Name, fmt.Sprintf("doesn't allow all that version %s did, of which records are stored: %s", old.Version, reason)}
		}
	}
	return nil
}

// Predecessor answers the position in an older version of the column that this
// contract's i-th is, -1 when it is new.
func (c *Contract) Predecessor(old *Contract, i int) int {
	for at := range old.Fields {
		if strings.EqualFold(old.Fields[at].Name, c.Fields[i].Name) {
			return at
		}
	}
	return -1
}

func (f *Field) nullable() bool { return !f.Required && f.Role != Unit }

// admits answers the first rule that a value which old allows may break, ""
// when there is none.
func (f *Field) admits(old *Field) (rule string) {
	switch {
	case f.Type != old.Type:
		return RuleType
	case f.Scale != old.Scale:
		return "scale"
	case old.nullable() && !f.nullable():
		return RuleRequired
	}
	if values := old.values(); values != nil {
		return f.admitsAll(values)
	}
	switch {
	case f.Minimum != nil && (old.Minimum == nil || *old.Minimum < *f.Minimum):
		return RuleMinimum
	case f.Maximum != nil && (old.Maximum == nil || *old.Maximum > *f.Maximum):
		return RuleMaximum
	case f.MinLength != nil && *f.MinLength > 0 && (old.MinLength == nil || *old.MinLength < *f.MinLength):
		return RuleMinLength
	case f.MaxLength != nil && (old.MaxLength == nil || *old.MaxLength > *f.MaxLength):
		return RuleMaxLength
	case f.Pattern != "" && f.Pattern != old.Pattern:
		return RulePattern
	case len(f.Enum) > 0:
		return RuleEnum
	}
	return ""
}

// values answers all values that a column allows, nil when it doesn't list
// them.
func (f *Field) values() (all []Value) {
	if f.Type == Boolean && len(f.Enum) == 0 {
		return []Value{{Int: 0}, {Int: 1}}
	}
	for _, text := range f.Enum {
		if v, err := f.Parse(text); err == nil { // Check has parsed it
			all = append(all, v)
		}
	}
	return all
}

func (f *Field) admitsAll(values []Value) (rule string) {
	r, err := f.rules()
	if err != nil {
		return RuleType
	}
	for _, v := range values {
		if rule := r.validate(v); rule != "" {
			return rule
		}
	}
	return ""
}
