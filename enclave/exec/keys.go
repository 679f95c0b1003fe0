package exec

import (
	"math/bits"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

const (
	// fewGroups is how many groups always have a place each, whether there are
	// rows for them or not.
	fewGroups = 4 << 10
	// rowsPerGroup is how many rows a table has at least for each place, when
	// there are more.
	rowsPerGroup = 8
)

// keys says how the values of the keys become one number, as digits do, or a
// few numbers when 64 bits don't hold them.
type keys struct {
	snap   *table.Snapshot
	fields []int
	digits []digit
	words  int
	// places is how many groups there can be, 0 when it is too many to give
	// each a place.
	places int
}

// digit is one place of a number.
type digit struct {
	field  int
	word   int
	stride uint64
	size   uint64 // how many values it has; 0 for 2^64
	low    int64  // the value of 0
	step   uint64
	labels *labels // stand in the place of values; nil for none
	// null says that the largest one is for NULL, only that the others are one
	// for all values.
	null, only bool
}

func newKeys(snap *table.Snapshot, fields []int, lookups map[int]*labels) *keys {
	k := &keys{snap: snap, fields: fields}
	used := uint64(0) // of the last word
	for _, field := range fields {
		digits := digitsOf(field, snap.Range(field))
		if l := lookups[field]; l != nil {
			digits = []digit{{field: field, size: max(1, uint64(len(l.texts))), step: 1, labels: l}}
		}
		for _, d := range digits {
			high, product := bits.Mul64(used, d.size)
			if used == 0 || d.size == 0 || high > 0 {
				k.words++
				used, product = 1, d.size
			}
			d.word, d.stride = k.words-1, used
			if used = product; used == 0 {
				used = ^uint64(0) // nothing else fits
			}
			k.digits = append(k.digits, d)
		}
	}
	switch {
	case k.words == 0:
		k.places = 1
	case k.words == 1 && used <= uint64(max(fewGroups, snap.Rows()/rowsPerGroup)):
		k.places = int(used)
	}
	return k
}

// digitsOf answers the digits of a column: two when one can't tell all of its
// values and NULL apart.
func digitsOf(field int, r table.Range) []digit {
	d := digit{field: field, size: 1, low: r.Low, step: max(r.Step, 1), null: r.Null}
	if r.Value {
		d.size = (uint64(r.High)-uint64(r.Low))/d.step + 1
	}
	switch {
	case !r.Null || !r.Value:
		return []digit{d}
	case d.size+1 > 1:
		d.size++
		return []digit{d}
	}
	d.null = false
	return []digit{d, {field: field, size: 2, step: 1, null: true, only: true}}
}

// number adds what a digit contributes to the numbers of a part's rows. nulls
// is room for the places of NULLs.
func number[T uint32 | uint64](d *digit, p *part, to []T, nulls []uint16) {
	piece := p.span.Column(d.field)
	base := T(0)
	if !d.only {
		base = T(d.place(piece.Base) * d.stride)
		table.Add(&piece, p.rows, to, base, T(piece.Step/d.step*d.stride))
	}
	null := T(0)
	if d.null {
		null = T((d.size - 1) * d.stride)
	}
	for _, i := range piece.Nulls(p.rows, p.n, nulls) {
		to[i] += null - base // the offset of a NULL is 0
	}
}

// place answers how many steps a value lies over the lowest one, wrapping
// around below it.
func (d *digit) place(v int64) uint64 {
	if v < d.low {
		return -((uint64(d.low) - uint64(v)) / d.step)
	}
	return (uint64(v) - uint64(d.low)) / d.step
}

// values answers the values of the keys in a group that has these words.
func (k *keys) values(words []uint64) []contract.Value {
	all := make([]contract.Value, len(k.fields))
	for i := range all {
		all[i] = k.value(i, words)
	}
	return all
}

func (k *keys) value(key int, words []uint64) contract.Value {
	var v contract.Value
	for _, d := range k.digits {
		if d.field != k.fields[key] {
			continue
		}
		n := words[d.word] / d.stride
		if d.size != 0 {
			n %= d.size
		}
		if d.null && n == d.size-1 {
			return contract.Value{Null: true}
		}
		if d.labels != nil {
			return d.labels.value(n)
		}
		if !d.only {
			v.Int = d.low + int64(n*d.step)
		}
	}
	if k.snap.Contract().Fields[k.fields[key]].Type == contract.String {
		return contract.Value{Text: string(k.snap.Texts(k.fields[key]).At(int(v.Int)))}
	}
	return v
}
