package draft

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/internal/contract"
)

// maxBound is the largest bound that is proposed: beyond it a float64 loses
// whole numbers.
const maxBound = 1e15

// bounds are a column's minimum and maximum as a contract writes them.
type bounds struct {
	low, high string
	// units is how large they are in stored units, at most.
	units float64
}

// bounds answers the column's range, rounded outward to one digit of its width
// or to whole years, and to the next one where an extreme value lies on it, so
// that bounds don't tell extreme values. It answers false for a column that has
// none.
func (c *column) bounds() (bounds, bool) {
	if c.filled == 0 {
		return bounds{}, false
	}
	low, high := c.span()
	switch c.kind() {
	case contract.Integer:
		return rounded(low, high, 0)
	case contract.Number:
		return rounded(low, high, c.places)
	case contract.Date:
		return years(low*86400, high*86400, "-01-01", "-12-31")
	case contract.Timestamp:
		return years(low/1e6, high/1e6, "-01-01T00:00:00Z", "-12-31T23:59:59.999999Z")
	}
	return bounds{}, false
}

// rounded rounds to a power of ten that is no finer than the stored unit.
func rounded(low, high float64, places int) (bounds, bool) {
	if math.Abs(low) > maxBound || math.Abs(high) > maxBound {
		return bounds{}, false
	}
	width := high - low
	if width == 0 {
		width = math.Abs(high)
	}
	exponent := 0
	if width > 0 {
		exponent = int(math.Floor(math.Log10(width)))
	}
	exponent = max(exponent, -places)
	step := math.Pow10(exponent)
	// A little more, since a division may lose something.
	l, h := int64(math.Floor(low/step-1e-9)), int64(math.Ceil(high/step+1e-9))
	if low >= 0 {
		l = max(l, 0)
	}
	return bounds{
		low: decimal(l, exponent), high: decimal(h, exponent),
		units: math.Max(math.Abs(float64(l)), math.Abs(float64(h))) * step * math.Pow10(places),
	}, true
}

// decimal writes v times ten to the exponent.
func decimal(v int64, exponent int) string {
	digits := strconv.FormatInt(max(v, -v), 10)
	switch {
	case v == 0:
		return "0"
	case exponent >= 0:
		digits += strings.Repeat("0", exponent)
	default:
		if len(digits) <= -exponent {
			digits = strings.Repeat("0", 1-exponent-len(digits)) + digits
		}
		point := len(digits) + exponent
		digits = digits[:point] + "." + digits[point:]
	}
	if v < 0 {
		return "-" + digits
	}
	return digits
}

// years rounds seconds since 1970 to whole years.
func years(low, high float64, begin, end string) (bounds, bool) {
	year := func(seconds float64, suffix string) string {
		y := strconv.Itoa(time.Unix(int64(math.Floor(seconds)), 0).UTC().Year())
		return strconv.Quote(strings.Repeat("0", max(4-len(y), 0)) + y + suffix)
	}
	return bounds{low: year(low, begin), high: year(high, end)}, true
}

// roomy rounds a length up to a power of two, at least 8.
func roomy(length int) int {
	n := 8
	for n < length {
		n *= 2
	}
	return n
}
