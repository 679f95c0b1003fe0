package contract

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/limits"
)

var (
	// ErrSyntax says that a text isn't a value of the column's type. It never
	// quotes the text.
	ErrSyntax = errors.New("contract: not a value of the column's type")
	// ErrRange says that a text is a value of the type beyond what the stored
	// form can hold. It never quotes the text.
	ErrRange = errors.New("contract: a value beyond the column's type")
)

// maxNumeral is the longest numeral read, in bytes.
const maxNumeral = 256

// The first and last day and microsecond of years 1 to 9999, in stored units.
const (
	minDay    = -719162
	maxDay    = 2932896
	dayMicros = 86_400_000_000
	minMicros = minDay * dayMicros
	maxMicros = (maxDay+1)*dayMicros - 1
)

// Value is one value in its stored form: text for a string, otherwise an int64
// in the unit of the column's type (see Type).
type Value struct {
	// Null says that there is no value; the other fields are zero then.
	Null bool
	// Int is the value of every type but String.
	Int int64
	// Text is the value of a String.
	Text string
}

// Parse converts the text of a value, as it stands in a CSV cell or between
// the quotes of an SQL literal, to its stored form. There is no text for NULL.
// An integer may be written as any whole decimal (12, 12.0, 1.2e1); a number
// beyond its scale is rounded half away from zero; a timestamp without offset
// is UTC and is rounded to the microsecond. Errors wrap ErrSyntax or ErrRange.
func (f *Field) Parse(text string) (Value, error) {
	switch f.Type {
	case String:
		if !utf8.ValidString(text) {
			return Value{}, ErrSyntax
		}
		if len(text) > limits.Text {
			return Value{}, ErrRange
		}
		return Value{Text: text}, nil
	case Integer:
		return whole(parseDecimal(text, 0))
	case Number:
		v, _, err := parseDecimal(text, f.Scale)
		return Value{Int: v}, err
	case Boolean:
		switch text {
		case "true", "True", "TRUE":
			return Value{Int: 1}, nil
		case "false", "False", "FALSE":
			return Value{}, nil
		}
		return Value{}, ErrSyntax
	case Date:
		return parseDate(text)
	case Timestamp:
		return parseTimestamp(text)
	}
	return Value{}, fmt.Errorf("%w: the column has no type", ErrSyntax)
}

// ParseExact is Parse for bounds and settings: a number that its scale would
// round is an error that wraps ErrRange.
func (f *Field) ParseExact(text string) (Value, error) {
	if f.Type != Number {
		return f.Parse(text)
	}
	v, exact, err := parseDecimal(text, f.Scale)
	if err == nil && !exact {
		return Value{}, fmt.Errorf("%w: more than %d decimal places", ErrRange, f.Scale)
	}
	return Value{Int: v}, err
}

func whole(v int64, exact bool, err error) (Value, error) {
	if err == nil && !exact {
		return Value{}, ErrSyntax
	}
	return Value{Int: v}, err
}

// Format writes a value as text: numbers with all places of their scale, dates
// as 2006-01-02, timestamps in UTC as RFC 3339 with the fraction that they
// have. Parse reads it back to the same value. NULL is the empty text.
func (f *Field) Format(v Value) string {
	if v.Null {
		return ""
	}
	switch f.Type {
	case String:
		return v.Text
	case Number:
		return formatDecimal(v.Int, f.Scale)
	case Boolean:
		return strconv.FormatBool(v.Int != 0)
	case Date:
		return time.Unix(v.Int*86400, 0).UTC().Format(time.DateOnly)
	case Timestamp:
		return time.UnixMicro(v.Int).UTC().Format("2006-01-02T15:04:05.999999Z07:00")
	default:
		return strconv.FormatInt(v.Int, 10)
	}
}

// fits says whether a stored value belongs to the column's type.
func (f *Field) fits(v int64) bool {
	low, high := f.span()
	return v >= low && v <= high
}

// span answers the smallest and the largest stored value of the column's type.
func (f *Field) span() (low, high int64) {
	switch f.Type {
	case Boolean:
		return 0, 1
	case Date:
		return minDay, maxDay
	case Timestamp:
		return minMicros, maxMicros
	}
	return math.MinInt64, math.MaxInt64
}

func formatDecimal(v int64, scale int) string {
	digits := strconv.FormatUint(magnitude(v), 10)
	if scale > 0 {
		if len(digits) <= scale {
			digits = strings.Repeat("0", scale-len(digits)+1) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if v < 0 {
		return "-" + digits
	}
	return digits
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// parseDecimal reads [+-]digits[.digits][e[+-]digits] as fixed point with scale
// places, rounded half away from zero; exact says that nothing was rounded.
// Either digits of the mantissa may be missing, not both.
func parseDecimal(text string, scale int) (v int64, exact bool, err error) {
	if len(text) > maxNumeral {
		return 0, false, ErrSyntax
	}
	n, ok := splitNumeral(text)
	if !ok {
		return 0, false, ErrSyntax
	}
	digits := strings.TrimLeft(n.whole+n.fraction, "0")
	if digits == "" {
		return 0, true, nil
	}
	// The value is digits x 10^shift stored units; keep are its whole ones.
	keep := len(digits) - len(n.fraction) + n.exponent + scale
	if keep > 19 {
		return 0, false, ErrRange
	}
	var m uint64
	for i := range max(keep, 0) {
		d := uint64(0)
		if i < len(digits) {
			d = uint64(digits[i] - '0')
		}
		// Nineteen digits always fit a uint64.
		m = m*10 + d
	}
	exact = keep >= 0 && (keep >= len(digits) || strings.Trim(digits[keep:], "0") == "")
	if keep >= 0 && keep < len(digits) && digits[keep] >= '5' {
		m++
	}
	switch {
	case n.negative && m <= 1<<63:
		return int64(-m), exact, nil
	case !n.negative && m <= math.MaxInt64:
		return int64(m), exact, nil
	}
	return 0, false, ErrRange
}

type numeral struct {
	negative        bool
	whole, fraction string
	exponent        int
}

func splitNumeral(text string) (numeral, bool) {
	var n numeral
	if strings.HasPrefix(text, "-") || strings.HasPrefix(text, "+") {
		n.negative, text = text[0] == '-', text[1:]
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		e, err := strconv.Atoi(text[i+1:])
		if err != nil {
			return n, false
		}
		text = text[:i]
		// Beyond this every value is zero or out of range all the same.
		n.exponent = min(max(e, -2*maxNumeral), 2*maxNumeral)
	}
	n.whole, n.fraction, _ = strings.Cut(text, ".")
	return n, isDigits(n.whole + n.fraction)
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
