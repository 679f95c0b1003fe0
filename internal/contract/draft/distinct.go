package draft

import (
	"hash/maphash"
	"math"
	"math/bits"
)

const (
	// maxValues is how many distinct values are kept.
	maxValues = 16
	// maxValue is the longest value that is kept, in bytes.
	maxValue = 64
	// registerBits is how many bits of a hash choose a register. The sketch's
	// standard error is about 1.04/sqrt(registers), 0.8 %: six of them lie between
	// all different values and mostlyDifferent of them.
	registerBits = 14
	registers    = 1 << registerBits
	shift        = 64 - registerBits
)

// distinct counts different values: exactly as long as there are few, else by
// a HyperLogLog sketch (Flajolet et al. 2007), which holds no value.
type distinct struct {
	seed   maphash.Seed
	counts map[string]int // nil when there are more than maxValues
	sketch []uint8
}

func newDistinct() distinct {
	return distinct{seed: maphash.MakeSeed(), counts: map[string]int{}, sketch: make([]uint8, registers)}
}

func (d *distinct) add(text string) {
	if d.counts != nil {
		if _, known := d.counts[text]; !known && (len(d.counts) == maxValues || len(text) > maxValue) {
			d.counts = nil
		} else {
			// A new key is a copy of its own: text is part of a whole record.
			d.count(text)
		}
	}
	h := maphash.String(d.seed, text)
	rank := uint8(bits.LeadingZeros64(h<<registerBits|1<<(registerBits-1)) + 1) //nolint:gosec // at most 64-registerBits+1
	if r := &d.sketch[h>>shift]; rank > *r {
		*r = rank
	}
}

func (d *distinct) count(text string) {
	if _, known := d.counts[text]; !known {
		text = string([]byte(text))
	}
	d.counts[text]++
}

// few answers the different values and how often each stands there, false when
// there are many.
func (d *distinct) few() (map[string]int, bool) { return d.counts, d.counts != nil }

// estimate answers about how many different values there are.
func (d *distinct) estimate() float64 {
	if d.counts != nil {
		return float64(len(d.counts))
	}
	sum, zeros := 0.0, 0
	for _, r := range d.sketch {
		sum += math.Exp2(-float64(r))
		if r == 0 {
			zeros++
		}
	}
	m := float64(registers)
	e := 0.7213 / (1 + 1.079/m) * m * m / sum
	if e <= 2.5*m && zeros > 0 {
		return m * math.Log(m/float64(zeros))
	}
	return e
}
