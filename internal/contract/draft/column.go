package draft

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/contract"
)

// kinds are the types that a column may have as long as no value contradicts,
// the most telling first.
var kinds = [...]contract.Type{contract.Boolean, contract.Integer, contract.Number, contract.Date, contract.Timestamp}

// column is what was seen of one column.
type column struct {
	name string
	// can says for each of kinds whether all values so far are of it.
	can           [len(kinds)]bool
	empty, filled int
	values        distinct
	// low and high are the least and the greatest value, as numbers, days or
	// microseconds.
	low, high extremes
	places    int // decimal places, at most contract.MaxScale
	length    int // longest text, in code points
	mangled   bool
}

// extremes are the extreme values under each of kinds.
type extremes [len(kinds)]float64

func newColumn(name string) *column {
	c := &column{name: name, values: newDistinct()}
	for i := range kinds {
		c.can[i] = true
		c.low[i], c.high[i] = math.Inf(1), math.Inf(-1)
	}
	return c
}

// see takes one cell. An empty one is NULL, as it is when it is submitted.
func (c *column) see(text string) {
	if text == "" {
		c.empty++
		return
	}
	c.filled++
	c.values.add(text)
	c.length = max(c.length, utf8.RuneCountInString(text))
	c.mangled = c.mangled || !utf8.ValidString(text)
	for i, kind := range kinds {
		if !c.can[i] {
			continue
		}
		v, ok := c.read(kind, text)
		c.can[i] = ok
		c.low[i], c.high[i] = math.Min(c.low[i], v), math.Max(c.high[i], v)
	}
}

// read answers a text as a value of a kind. It is stricter than the contract's
// own reader where the stored form would lose something: a code such as 007 is
// text, and so is what only looks like a whole number.
func (c *column) read(kind contract.Type, text string) (float64, bool) {
	f := contract.Field{Type: kind, Scale: contract.MaxScale}
	if kind == contract.Integer || kind == contract.Number {
		digits := strings.TrimLeft(text, "+-")
		if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
			return 0, false
		}
		if kind == contract.Integer && strings.ContainsAny(text, ".eE") {
			return 0, false
		}
	}
	if kind == contract.Number {
		// What its scale can't hold fails here.
		f.Scale = min(places(text), contract.MaxScale)
		c.places = max(c.places, f.Scale)
	}
	v, err := f.Parse(text)
	if err != nil {
		return 0, false
	}
	return float64(v.Int) / math.Pow10(f.Scale*isNumber(kind)), true
}

func isNumber(kind contract.Type) int {
	if kind == contract.Number {
		return 1
	}
	return 0
}

// places counts a numeral's decimal places. One with an exponent counts as
// having all.
func places(text string) int {
	if strings.ContainsAny(text, "eE") {
		return contract.MaxScale
	}
	_, fraction, _ := strings.Cut(text, ".")
	return len(strings.TrimRight(fraction, "0"))
}

// kind is the column's type: the first that nothing contradicts, text for a
// column without values.
func (c *column) kind() contract.Type {
	for i, kind := range kinds {
		if c.can[i] && c.filled > 0 {
			return kind
		}
	}
	return contract.String
}

// span answers the extremes of the column's type.
func (c *column) span() (low, high float64) {
	for i, kind := range kinds {
		if kind == c.kind() {
			return c.low[i], c.high[i]
		}
	}
	return 0, 0
}
