package exec

import (
	"math/bits"
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// MaxBuckets is the largest number of buckets of a Sketch.
const MaxBuckets = 4 << 10

// Sketch asks for the distribution of a measure in each group: exact counts of
// values over buckets of the interval that the contract allows. All buckets are
// equally wide, a power of two of stored units, which depends on the contract
// alone. The counts of disjoint rows add up to those of all rows, and they are
// what noise is added to. Memory is eight bytes a bucket and group.
//
// The error: ranks at the borders of buckets are exact, so a quantile lies in
// the bucket that is answered for it, and the bucket is narrower than twice the
// interval's share, 2 * (maximum - minimum + 1) / Buckets. With as many buckets
// as there are values in the interval, quantiles are exact.
//
// With bounds, a unit counts with at most MaxCount values in each of its chosen
// groups: those at evenly spaced ranks among its own, which don't depend on the
// order of rows.
type Sketch struct {
	// Field is a measure of the contract.
	Field int
	// Buckets is how many there are at most, 2 to MaxBuckets.
	Buckets int
}

// fit says whether a contract bounds the field.
func (s Sketch) fit(c *contract.Contract) bool {
	if s.Field < 0 || s.Field >= len(c.Fields) || s.Buckets < 2 || s.Buckets > MaxBuckets {
		return false
	}
	f := &c.Fields[s.Field]
	return f.Role == contract.Measure && f.Minimum != nil && f.Maximum != nil && *f.Minimum <= *f.Maximum
}

// prepared is the sketch with its buckets.
func (s Sketch) prepared(c *contract.Contract, column int) sketch {
	low, high := *c.Fields[s.Field].Minimum, *c.Fields[s.Field].Maximum
	last := uint64(high) - uint64(low)
	shift := max(0, bits.Len64(last/uint64(s.Buckets))-1)
	for last>>shift >= uint64(s.Buckets) {
		shift++
	}
	return sketch{column: column, low: low, high: high, shift: shift, buckets: int(last>>shift) + 1}
}

// sketch is a distribution's buckets: 2^shift values wide, from low on.
type sketch struct {
	column    int // of the run
	low, high int64
	shift     int
	buckets   int
}

// bucket answers where a value belongs. Tables hold none outside of the
// contract's interval; one would go to the end.
func (s *sketch) bucket(v int64) uint32 {
	return uint32((uint64(min(max(v, s.low), s.high)) - uint64(s.low)) >> s.shift)
}

// sketchTotals is the distributions of all groups.
type sketchTotals struct {
	sketch
	counts []int64 // by group and bucket
}

// add counts values; valid says which of them there are, nil for all.
func (s *sketchTotals) add(groups []uint32, values []int64, valid []bool) {
	for i, group := range groups {
		if valid == nil || valid[i] {
			s.counts[int(group)*s.buckets+int(s.bucket(values[i]))]++
		}
	}
}

// join adds what another worker counted of a group.
func (s *sketchTotals) join(to int, other *sketchTotals, from int) {
	own := s.counts[to*s.buckets : (to+1)*s.buckets]
	for i, n := range other.counts[from*s.buckets : (from+1)*s.buckets] {
		own[i] += n
	}
}

// fewValues is how many values of an entry are sorted, rather than counted by
// bucket.
const fewValues = 32

// personalSketch holds the buckets of the values of units that aren't whole yet.
type personalSketch struct {
	totals  *sketchTotals
	memory  *budget
	ended   func() error
	entries []uint32 // of each value
	buckets []uint32
	sorted  []uint32 // buckets by entry
	ends    []uint32 // by entry, in sorted
	own     []uint32 // by bucket, of one entry
}

func newPersonalSketch(memory *budget, t *sketchTotals, ended func() error) (personalSketch, error) {
	own, err := allocate[uint32](memory, t.buckets)
	return personalSketch{totals: t, memory: memory, ended: ended, own: own}, err
}

// add keeps the values of rows that belong to entries.
func (s *personalSketch) add(of []uint32, values []int64, valid []bool) error {
	at := len(s.entries)
	if err := reach(s.memory, &s.entries, at+len(of)); err != nil {
		return err
	}
	if err := reach(s.memory, &s.buckets, at+len(of)); err != nil {
		return err
	}
	for i, entry := range of {
		if valid == nil || valid[i] {
			s.entries[at], s.buckets[at] = entry, s.totals.bucket(values[i])
			at++
		}
	}
	s.entries, s.buckets = s.entries[:at], s.buckets[:at]
	return nil
}

// flush counts the values of those of the first entries that are kept, at most
// so many of each, and forgets the values of all of them.
func (s *personalSketch) flush(whose []owner, kept []uint32, whole int, most int64) error {
	if err := s.sort(whole); err != nil {
		return err
	}
	for i, entry := range kept {
		if i%stride == 0 {
			if err := s.ended(); err != nil {
				return err
			}
		}
		from := uint32(0)
		if entry > 0 {
			from = s.ends[entry-1]
		}
		group := int(whose[entry].group)
		s.count(s.totals.counts[group*s.totals.buckets:(group+1)*s.totals.buckets], s.sorted[from:s.ends[entry]], most)
	}
	left := 0
	for i, entry := range s.entries {
		if int(entry) >= whole {
			s.entries[left], s.buckets[left] = entry-uint32(whole), s.buckets[i]
			left++
		}
	}
	s.entries, s.buckets = s.entries[:left], s.buckets[:left]
	return nil
}

// sort deals the values of the first entries to them.
func (s *personalSketch) sort(whole int) error {
	if err := reach(s.memory, &s.ends, whole); err != nil {
		return err
	}
	if err := reach(s.memory, &s.sorted, len(s.entries)); err != nil {
		return err
	}
	ends := s.ends[:whole]
	clear(ends)
	for _, entry := range s.entries {
		if int(entry) < whole {
			ends[entry]++
		}
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	for i, entry := range s.entries {
		if int(entry) < whole {
			s.sorted[ends[entry]] = s.buckets[i]
			ends[entry]++
		}
	}
	return s.ended()
}

// count adds values of one unit to the buckets of one group: all of them, or
// those at evenly spaced ranks.
func (s *personalSketch) count(counts []int64, own []uint32, most int64) {
	n := int64(len(own))
	if n <= most {
		for _, bucket := range own {
			counts[bucket]++
		}
		return
	}
	next, seen := int64(0), int64(0) // the next of the chosen, and the rank so far
	take := func(bucket uint32, values int64) {
		for seen += values; next < most && (2*next+1)*n/(2*most) < seen; next++ {
			counts[bucket]++
		}
	}
	if n <= fewValues {
		slices.Sort(own)
		for _, bucket := range own {
			take(bucket, 1)
		}
		return
	}
	for _, bucket := range own {
		s.own[bucket]++
	}
	for bucket, values := range s.own {
		if values > 0 {
			take(uint32(bucket), int64(values))
		}
	}
	clear(s.own)
}

// Distribution is the counts of a Sketch in one group.
type Distribution struct {
	sketch sketch
	counts []int64
}

// Distribution answers the k-th sketch of the i-th group.
func (g *Groups) Distribution(i, k int) Distribution {
	s, group := &g.totals.sketches[k], int(g.groups[i])
	return Distribution{s.sketch, s.counts[group*s.buckets : (group+1)*s.buckets]}
}

// Len is the number of buckets.
func (d Distribution) Len() int { return len(d.counts) }

// Bucket answers the i-th bucket: its interval, of stored units, and how many
// values lie in it.
func (d Distribution) Bucket(i int) (Interval, int64) {
	low := uint64(d.sketch.low) + uint64(i)<<d.sketch.shift
	high := min(low-uint64(d.sketch.low)+1<<d.sketch.shift-1, uint64(d.sketch.high)-uint64(d.sketch.low))
	return Interval{int64(low), int64(uint64(d.sketch.low) + high)}, d.counts[i]
}

// Values is the number of values that count.
func (d Distribution) Values() int64 {
	sum := int64(0)
	for _, n := range d.counts {
		sum += n
	}
	return sum
}

// Quantile answers the bucket in which the n/of-quantile lies: the smallest
// value that at least so large a share of all values doesn't exceed. It is
// false without values, and for a share that isn't from 0 to 1.
func (d Distribution) Quantile(n, of int64) (Interval, bool) {
	all := d.Values()
	if all == 0 || n < 0 || of < 1 || n > of {
		return Interval{}, false
	}
	high, low := bits.Mul64(uint64(all), uint64(n))
	rank, rest := bits.Div64(high, low, uint64(of))
	if rest > 0 || rank == 0 {
		rank++
	}
	seen := uint64(0)
	for i, count := range d.counts {
		if seen += uint64(count); seen >= rank {
			bucket, _ := d.Bucket(i)
			return bucket, true
		}
	}
	return Interval{}, false
}
