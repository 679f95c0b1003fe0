package contract

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/limits"
)

// ErrContract is wrapped by every error of Check and Problems. Their texts name
// columns and rules of the contract, which are configuration, not data.
var ErrContract = errors.New("contract")

// FieldError is an error of one column, so that a reader can say where it is.
type FieldError struct {
	// Index is the column's position in Contract.Fields.
	Index int
	// Name is its name.
	Name string
	// Reason says what is wrong, in constant words and the contract's own.
	Reason string
}

// Error says which column and what is wrong.
func (e *FieldError) Error() string {
	return fmt.Sprintf("contract: column %q: %s", e.Name, e.Reason)
}

// Unwrap makes errors.Is(err, ErrContract) true.
func (e *FieldError) Unwrap() error { return ErrContract }

// SettingError is an error of the contract as a whole.
type SettingError struct {
	// Setting is one of the Setting constants.
	Setting string
	// Reason says what is wrong, in constant words and the contract's own.
	Reason string
}

// The settings that a SettingError names.
const (
	SettingDataset     = "dataset name"
	SettingID          = "id"
	SettingVersion     = "version"
	SettingDescription = "description"
	SettingFloor       = "floor"
	SettingMode        = "mode"
	SettingColumns     = "columns"
	SettingUnit        = "unit"
)

// Error says which setting and what is wrong.
func (e *SettingError) Error() string { return fmt.Sprintf("contract: %s: %s", e.Setting, e.Reason) }

// Unwrap makes errors.Is(err, ErrContract) true.
func (e *SettingError) Unwrap() error { return ErrContract }

// Check holds every invariant of a contract: names, roles, bounds that fit
// their types, exactly one unit. It answers the first of Problems, or nil.
func (c *Contract) Check() error {
	if problems := c.Problems(); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// Problems answers everything that is wrong with a contract: at most one
// *SettingError for each setting, then at most one *FieldError for each
// column, then what concerns all columns. All wrap ErrContract.
func (c *Contract) Problems() []error {
	problems := c.settings()
	if len(c.Fields) == 0 || len(c.Fields) > limits.Columns {
		return append(problems, &SettingError{SettingColumns, fmt.Sprintf("1 to %d", limits.Columns)})
	}
	seen := map[string]bool{}
	units := 0
	for i := range c.Fields {
		f := &c.Fields[i]
		// SQL doesn't tell letters' case apart, so neither may two names.
		folded := strings.ToLower(f.Name)
		if f.Role == Unit {
			units++
		}
		reason := ""
		if err := f.check(); err != nil {
			reason = err.Error()
		} else if seen[folded] {
			reason = "stands twice (case doesn't count)"
		} else if f.Role == Unit && units > 1 {
			reason = "is a second unit; exactly one column has the role unit"
		}
		if reason != "" {
			problems = append(problems, &FieldError{Index: i, Name: f.Name, Reason: reason})
		}
		seen[folded] = true
	}
	if units == 0 {
		problems = append(problems, &SettingError{SettingUnit, "no column has the role unit; exactly one must"})
	}
	return problems
}

func (c *Contract) settings() (problems []error) {
	for _, s := range []struct {
		ok              bool
		setting, reason string
	}{
		{IsID(c.Dataset), SettingDataset, "1 to 63 of a-z, 0-9 and -"},
		{printable(c.ID, MaxID) && c.ID != "", SettingID, fmt.Sprintf("1 to %d bytes of printable text", MaxID)},
		{isVersion(c.Version), SettingVersion, "1 to 64 letters, digits, dots, plus and minus signs"},
		{printable(c.Description, MaxDescription), SettingDescription, fmt.Sprintf("at most %d bytes of printable text", MaxDescription)},
		{c.Floor >= MinFloor && c.Floor <= MaxFloor, SettingFloor, fmt.Sprintf("%d to %d", MinFloor, MaxFloor)},
		{c.Mode <= Threshold, SettingMode, "dp or threshold"},
	} {
		if !s.ok {
			problems = append(problems, &SettingError{s.setting, s.reason})
		}
	}
	return problems
}

func (f *Field) check() error {
	switch {
	case !isName(f.Name):
		return errors.New("name: a letter or _, then letters, digits and _, at most 63 bytes")
	case f.Type < String || f.Type > Timestamp:
		return errors.New("unknown type")
	case f.Role > Restricted:
		return errors.New("unknown role")
	case !printable(f.Description, MaxDescription):
		return fmt.Errorf("description: at most %d bytes of printable text", MaxDescription)
	case f.Scale < 0 || f.Scale > MaxScale:
		return fmt.Errorf("scale: 0 to %d", MaxScale)
	case f.Scale != 0 && f.Type != Number:
		return errors.New("scale is for numbers only")
	case f.Role == Unit && f.Type != String && f.Type != Integer:
		return errors.New("the unit must be a string or an integer")
	case f.Role == Measure && f.Type != Integer && f.Type != Number:
		return errors.New("a measure must be an integer or a number")
	case f.Role == Measure && (f.Minimum == nil || f.Maximum == nil):
		return errors.New("a measure needs minimum and maximum")
	}
	if err := f.checkRange(); err != nil {
		return err
	}
	if err := f.checkText(); err != nil {
		return err
	}
	return f.checkEnum()
}

func (f *Field) checkRange() error {
	if (f.Type == String || f.Type == Boolean) && (f.Minimum != nil || f.Maximum != nil) {
		return errors.New("minimum and maximum are for integers, numbers, dates and timestamps")
	}
	for _, bound := range []*int64{f.Minimum, f.Maximum} {
		switch {
		case bound == nil:
		case !f.fits(*bound):
			return errors.New("minimum and maximum must be values of the column's type, years 1 to 9999")
		case f.Role == Measure && (*bound > MaxMeasure || *bound < -MaxMeasure):
			return errors.New("a measure's bounds must lie within 2^53 stored units; lower the scale or the bounds")
		}
	}
	if f.Minimum != nil && f.Maximum != nil && *f.Minimum > *f.Maximum {
		return errors.New("minimum is over maximum")
	}
	return nil
}

func (f *Field) checkText() error {
	if f.Type != String && (f.MinLength != nil || f.MaxLength != nil || f.Pattern != "") {
		return errors.New("minLength, maxLength and pattern are for strings")
	}
	for _, n := range []*int{f.MinLength, f.MaxLength} {
		if n != nil && (*n < 0 || *n > limits.Text) {
			return fmt.Errorf("minLength and maxLength: 0 to %d", limits.Text)
		}
	}
	if f.MinLength != nil && f.MaxLength != nil && *f.MinLength > *f.MaxLength {
		return errors.New("minLength is over maxLength")
	}
	if len(f.Pattern) > MaxPattern {
		return fmt.Errorf("pattern: at most %d bytes", MaxPattern)
	}
	if _, err := f.pattern(); err != nil {
		return errors.New("pattern isn't a regular expression in RE2's syntax")
	}
	return nil
}

func (f *Field) checkEnum() error {
	if len(f.Enum) > MaxEnum {
		return fmt.Errorf("enum: at most %d values", MaxEnum)
	}
	bare := *f
	bare.Enum = nil
	r, err := bare.rules()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, text := range f.Enum {
		v, err := f.Parse(text)
		switch {
		case err != nil || f.Format(v) != text:
			return fmt.Errorf("enum: value %d isn't of type %s as Cloister writes it", i+1, f.Type)
		case seen[text]:
			return fmt.Errorf("enum: value %d stands twice", i+1)
		}
		if rule := r.validate(v); rule != "" {
			return fmt.Errorf("enum: value %d breaks the column's own %s", i+1, rule)
		}
		seen[text] = true
	}
	return nil
}

// pattern compiles the pattern so that it matches whole texts only, nil
// without one. It is compiled alone first: parentheses that close ours would
// make another expression.
func (f *Field) pattern() (*regexp.Regexp, error) {
	if f.Pattern == "" {
		return nil, nil
	}
	if _, err := regexp.Compile(f.Pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + f.Pattern + `)\z`)
}

func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 63
}

func isVersion(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

// printable says whether s is short enough and can be shown in a terminal.
func printable(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
