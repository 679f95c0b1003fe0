// Package contract is what a dataset promises: its columns, their rules, who
// may use them how, and the privacy settings. It trusts nothing: a Contract
// read from a bundle or from a file is worth something only after Check, and a
// value only after Validate. The YAML reader is apart, in package odcs.
package contract

// Type is a column's logical type, named as in the Open Data Contract Standard
// v3, section "Schema". The zero value is no type.
type Type uint8

// The logical types and their stored forms (see Value).
const (
	// String is UTF-8 text.
	String Type = iota + 1
	// Integer is an int64.
	Integer
	// Number is a decimal, kept as int64 fixed point with Field.Scale places.
	Number
	// Boolean is 0 or 1.
	Boolean
	// Date is a day of the proleptic Gregorian calendar, years 1 to 9999, kept
	// as days since 1970-01-01.
	Date
	// Timestamp is an instant, years 1 to 9999 in UTC, kept as microseconds
	// since 1970-01-01T00:00:00Z.
	Timestamp
)

// String is the type's name in a contract file.
func (t Type) String() string {
	if t < String || t > Timestamp {
		return "unknown"
	}
	return [...]string{"", "string", "integer", "number", "boolean", "date", "timestamp"}[t]
}

// Role says what a query may do with a column. The zero value, Hidden, allows
// nothing.
type Role uint8

// The roles; protected-queries.md section 2 holds the rules of each.
const (
	// Hidden columns don't exist for a query: naming one gives the answer that
	// an unknown name gives.
	Hidden Role = iota
	// Unit names the protected person or company. Exactly one column has it.
	Unit
	// Dimension columns may group and filter.
	Dimension
	// Measure columns may only be aggregated. They have bounds.
	Measure
	// Status columns are set by the server's scope, never by a query.
	Status
	// Restricted columns are listed in the catalogue and refuse every use.
	Restricted
)

// String is the role's name in a contract file.
func (r Role) String() string {
	if r > Restricted {
		return "unknown"
	}
	return [...]string{"hidden", "unit", "dimension", "measure", "status", "restricted"}[r]
}

// Mode is how a dataset's answers are protected. The zero value, DP, is the
// default.
type Mode uint8

// The modes.
const (
	// DP answers with user-level differential privacy behind the floor.
	DP Mode = iota
	// Threshold answers exactly above the floor and isn't protected against
	// differencing. Only the simulation profile allows it.
	Threshold
)

// String is the mode's name in a contract file.
func (m Mode) String() string {
	if m > Threshold {
		return "unknown"
	}
	return [...]string{"dp", "threshold"}[m]
}

// Bounds of what a contract may hold.
const (
	// DefaultFloor is the floor of a contract that names none.
	DefaultFloor = 10
	// MinFloor is the lowest floor there is; nothing goes under it.
	MinFloor = 5
	// MaxFloor is the highest floor that makes sense.
	MaxFloor = 1_000_000
	// MaxScale is the largest number of decimal places.
	MaxScale = 9
	// DefaultScale is the scale of a number that isn't a measure and names none.
	DefaultScale = 6
	// MaxEnum is the largest number of values an enum lists.
	MaxEnum = 1024
	// MaxPattern is the longest pattern, in bytes.
	MaxPattern = 1024
	// MaxID is the longest identifier of a contract, in bytes.
	MaxID = 256
	// MaxDescription is the longest description, in bytes.
	MaxDescription = 4096
	// MaxMeasure bounds a measure's bounds in stored units, both signs: beyond
	// it float64 consumers would lose units (protected-queries.md section 4.2).
	MaxMeasure = 1 << 53
)

// Field is one column. Its CBOR form is part of the bundle (docs/spec/bundle.md).
type Field struct {
	// Name is an SQL identifier: a letter or underscore, then letters, digits
	// and underscores, at most 63 bytes.
	Name string `cbor:"1,keyasint"`
	// Type is the logical type.
	Type Type `cbor:"2,keyasint"`
	// Role says what queries may do.
	Role Role `cbor:"3,keyasint"`
	// Required refuses NULL. The unit is always required.
	Required bool `cbor:"4,keyasint"`
	// Minimum and Maximum are inclusive, in stored units. Not for strings and
	// booleans; a measure has both.
	Minimum *int64 `cbor:"5,keyasint,omitempty"`
	Maximum *int64 `cbor:"6,keyasint,omitempty"`
	// MinLength and MaxLength count Unicode code points. Strings only.
	MinLength *int `cbor:"7,keyasint,omitempty"`
	MaxLength *int `cbor:"8,keyasint,omitempty"`
	// Pattern is an RE2 expression that the whole text must match; empty for
	// none. Strings only.
	Pattern string `cbor:"9,keyasint,omitempty"`
	// Enum lists the only values allowed, each as Format writes it; empty for
	// no list.
	Enum []string `cbor:"10,keyasint,omitempty"`
	// Scale is the number of decimal places a number keeps, 0 to MaxScale;
	// 0 for other types.
	Scale int `cbor:"11,keyasint,omitempty"`
	// Description is for people.
	Description string `cbor:"12,keyasint,omitempty"`
}

// Contract is one dataset's contract.
type Contract struct {
	// Dataset is the name of the dataset, [a-z0-9-]{1,63}.
	Dataset string `cbor:"1,keyasint"`
	// ID is the contract's own identifier, at most MaxID bytes.
	ID string `cbor:"2,keyasint"`
	// Version is the contract's version; envelopes name it. 1 to 64 letters,
	// digits, dots, plus and minus signs.
	Version string `cbor:"3,keyasint"`
	// Description is for people.
	Description string `cbor:"4,keyasint,omitempty"`
	// Floor is how many people a visible group has at least.
	Floor int `cbor:"5,keyasint"`
	// Mode is how answers are protected.
	Mode Mode `cbor:"6,keyasint"`
	// Fields are the columns, in the order of the contract.
	Fields []Field `cbor:"7,keyasint"`
}

// Index answers the position of the column with exactly this name, -1 for none.
func (c *Contract) Index(name string) int {
	for i := range c.Fields {
		if c.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// UnitIndex answers the position of the unit column, -1 when there is none.
func (c *Contract) UnitIndex() int {
	for i := range c.Fields {
		if c.Fields[i].Role == Unit {
			return i
		}
	}
	return -1
}

// TypeNamed answers the type of a name, false when there is none.
func TypeNamed(name string) (Type, bool) {
	for t := String; t <= Timestamp; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}

// RoleNamed answers the role of a name, false when there is none.
func RoleNamed(name string) (Role, bool) {
	for r := Hidden; r <= Restricted; r++ {
		if r.String() == name {
			return r, true
		}
	}
	return Hidden, false
}

// ModeNamed answers the mode of a name, false when there is none.
func ModeNamed(name string) (Mode, bool) {
	for m := DP; m <= Threshold; m++ {
		if m.String() == name {
			return m, true
		}
	}
	return DP, false
}

// IsID says whether s is an identifier of a deployment, dataset or producer:
// [a-z0-9-]{1,63}.
func IsID(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 63
}
