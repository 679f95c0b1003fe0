package table

import (
	"slices"

	"github.com/cloisterhq/cloister/internal/contract"
)

// check finds everything that could go wrong before anything changes.
func (t *Table) check(rows int, columns []Values) error {
	if rows < 0 || len(columns) != len(t.contract.Fields) {
		return ErrShape
	}
	for i := range t.contract.Fields {
		f, v := &t.contract.Fields[i], &columns[i]
		if !v.shaped(rows, f.Type == contract.String) || (f.Required || i == t.unit) && slices.Contains(v.Null, true) {
			return ErrShape
		}
		if l := t.dictionary(i); l != nil && (l.texts.Len()+v.different() > maxCodes || len(l.texts.bytes)+v.bytes() > maxBytes) {
			return ErrFull
		}
	}
	return nil
}

// shaped says whether a column has so many rows of texts, or else of integers.
func (v *Values) shaped(rows int, texts bool) bool {
	switch {
	case v.Null != nil && len(v.Null) != rows:
		return false
	case !texts:
		return len(v.Ints) == rows && v.Texts == nil && v.Codes == nil
	case v.Codes == nil:
		return len(v.Texts) == rows && v.Ints == nil
	}
	for _, code := range v.Codes {
		if int(code) >= len(v.Texts) {
			return false
		}
	}
	return len(v.Codes) == rows && v.Ints == nil
}

// different is how many different values a column has at most.
func (v *Values) different() int {
	if v.Ints != nil {
		return len(v.Ints)
	}
	return len(v.Texts)
}

// dictionary answers the dictionary of a field, nil when it has none.
func (t *Table) dictionary(field int) *lexicon {
	if field == t.unit {
		return t.units
	}
	return t.texts[field]
}

// bytes is the size of all values, in bytes.
func (v *Values) bytes() int {
	n := 8 * len(v.Ints)
	for _, text := range v.Texts {
		n += len(text)
	}
	return n
}

// need answers how many bytes rows could take at most: that all values are new
// and none is packed.
func (t *Table) need(rows int, columns []Values) int64 {
	all := int64(0)
	for i, v := range columns {
		if l := t.dictionary(i); l != nil {
			all += l.need(v.different(), v.bytes())
		}
	}
	return all + t.unpacked(rows, min(rows, partitions))
}

// unpacked is how many bytes so many rows take at most, in so many runs.
func (t *Table) unpacked(rows, runs int) int64 {
	const overhead = 512 // of a column of a run with few rows
	row := int64(8 + 8)  // the unit, and its mark
	for _, k := range t.kept {
		if k == keptCodes || k == keptInts {
			row += 8 + 1
		}
	}
	return int64(rows)*row + int64(runs)*int64(len(t.kept)+1)*overhead
}
