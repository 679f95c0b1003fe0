package protect

import (
	"math/big"
	"math/bits"

	"github.com/cloisterhq/cloister/internal/contract"
)

// Groups is what was counted of each group, hidden ones included. Without
// GROUP BY there is exactly one group, even over no rows.
type Groups interface {
	// Snapshot is the number of the snapshot that was read.
	Snapshot() uint64
	// Len is the number of groups, in no order.
	Len() int
	// Units is the number of different units in the i-th group.
	Units(i int) int64
	// Group answers the values of the plan's keys and the totals of its
	// aggregates for the i-th group.
	Group(i int) ([]contract.Value, []Total)
}

// Total is one aggregate over one group, exactly.
type Total struct {
	// Values counts what the aggregate counts: rows for COUNT(*), units for
	// COUNT(DISTINCT unit), values that aren't NULL for a column.
	Values int64
	// Units is the number of different units that Values come from.
	Units int64
	// Sum is the sum of the values in stored units; it is zero for text.
	Sum Sum
}

// Sum is an exact sum of int64 values in 128 bits, two's complement: more rows
// than a machine can hold don't overflow it. The zero value is 0.
type Sum struct {
	high int64
	low  uint64
}

// Add answers the sum and v.
func (s Sum) Add(v int64) Sum {
	low, carry := bits.Add64(s.low, uint64(v), 0)
	return Sum{high: s.high + v>>63 + int64(carry), low: low}
}

// Plus answers the sum of two sums.
func (s Sum) Plus(other Sum) Sum {
	low, carry := bits.Add64(s.low, other.low, 0)
	return Sum{high: s.high + other.high + int64(carry), low: low}
}

// Times answers the sum n times, for n of 0 or more.
func (s Sum) Times(n uint32) Sum {
	carry, low := bits.Mul64(s.low, uint64(n))
	return Sum{high: s.high*int64(n) + int64(carry), low: low}
}

// Clamp answers the sum when it is between two bounds, otherwise the nearer one.
func (s Sum) Clamp(low, high int64) int64 {
	switch small := s.high == int64(s.low)>>63; {
	case small:
		return min(max(int64(s.low), low), high)
	case s.high < 0:
		return low
	}
	return high
}

// Big answers the sum as an integer of its own.
func (s Sum) Big() *big.Int {
	n := new(big.Int).Lsh(big.NewInt(s.high), 64)
	return n.Add(n, new(big.Int).SetUint64(s.low))
}
