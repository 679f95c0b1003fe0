package contract

import (
	"math"
	"math/bits"
)

// maxListed is the widest enum of integers that is kept as a bitmap.
const maxListed = 1 << 16

// Marks has a bit for each of some rows, row i at bit i%64 of word i/64. A
// Validator only sets bits. Bits after the last row mean nothing.
type Marks []uint64

// NewMarks answers as many marks as there are rows, none of them set.
func NewMarks(rows int) Marks { return make(Marks, (rows+63)/64) }

// Has says whether row i is marked.
func (m Marks) Has(i int) bool { return m[i/64]>>(i%64)&1 == 1 }

func (m Marks) set(i int) { m[i/64] |= 1 << (i % 64) }

// Count is how many of so many rows are marked.
func (m Marks) Count(rows int) (n int) {
	for i, word := range m {
		if left := rows - 64*i; left < 64 {
			word &= 1<<left - 1
		}
		n += bits.OnesCount64(word)
	}
	return n
}

// Nulls marks the rows that have no value, when column i demands one. present
// has the bits of those that have one; it is nil when all do.
func (v *Validator) Nulls(i int, present []uint64, broken Marks) {
	if f := v.rules[i].field; present == nil || !f.Required && f.Role != Unit {
		return
	}
	for at, word := range present {
		broken[at] |= ^word
	}
}

// Ints marks the rows whose value breaks a rule of column i, which isn't one of
// strings or booleans. low and high are the smallest and the largest value of
// the rows that have one.
func (v *Validator) Ints(i int, values []int64, low, high int64, present []uint64, broken Marks) {
	r := &v.rules[i]
	if low < r.low || high > r.high {
		for row, value := range values {
			if (value < r.low || value > r.high) && has(present, row) {
				broken.set(row)
			}
		}
	}
	if r.ints == nil {
		return
	}
	for row, value := range values {
		if !r.lists(value) && has(present, row) {
			broken.set(row)
		}
	}
}

// Texts marks the rows whose text breaks a rule of column i, which is one of
// strings. codes has each row's place in texts, of which each is judged once.
func (v *Validator) Texts(i int, texts []string, codes []uint16, present []uint64, broken Marks) {
	var bad []bool // nil as long as none is
	for at, text := range texts {
		if v.rules[i].text(Value{Text: text}) != "" {
			if bad == nil {
				bad = make([]bool, len(texts))
			}
			bad[at] = true
		}
	}
	if bad == nil {
		return
	}
	for row, code := range codes {
		if bad[code] && has(present, row) {
			broken.set(row)
		}
	}
}

// Bools marks the rows whose truth value breaks a rule of column i, which is
// one of booleans: the bits of truths that are true.
func (v *Validator) Bools(i int, truths, present []uint64, broken Marks) {
	refused := [2]bool{v.rules[i].validate(Value{}) != "", v.rules[i].validate(Value{Int: 1}) != ""}
	for at, truth := range truths {
		var word uint64
		if refused[0] {
			word |= ^truth
		}
		if refused[1] {
			word |= truth
		}
		if present != nil {
			word &= present[at]
		}
		broken[at] |= word
	}
}

func has(present []uint64, row int) bool { return present == nil || Marks(present).Has(row) }

// compile notes the bounds of the column's type and rules together, and its
// enum as a bitmap when that is small.
func (r *rules) compile() {
	r.low, r.high = r.field.span()
	if r.field.Minimum != nil {
		r.low = max(r.low, *r.field.Minimum)
	}
	if r.field.Maximum != nil {
		r.high = min(r.high, *r.field.Maximum)
	}
	if len(r.ints) == 0 {
		return
	}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for value := range r.ints {
		low, high = min(low, value), max(high, value)
	}
	if width := uint64(high) - uint64(low); width < maxListed {
		r.first, r.listed = low, NewMarks(int(width)+1)
		for value := range r.ints {
			r.listed.set(int(value - low))
		}
	}
}

// lists says whether the enum has a value.
func (r *rules) lists(value int64) bool {
	if r.listed == nil {
		return r.ints[value]
	}
	at := uint64(value) - uint64(r.first)
	return at < uint64(64*len(r.listed)) && r.listed.Has(int(at))
}
