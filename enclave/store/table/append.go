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

// batch is rows on their way into the table.
type batch struct {
	units   []uint32  // codes
	columns [][]int64 // by field: codes or integers
	nulls   [][]bool  // by field, nil without NULL
}

// encode gives values their codes.
func (t *Table) encode(rows int, columns []Values) *batch {
	b := &batch{units: make([]uint32, rows), columns: make([][]int64, len(columns)), nulls: make([][]bool, len(columns))}
	for i, v := range columns {
		switch t.kept[i] {
		case keptUnits:
			t.encodeUnits(b.units, v)
		case keptInts:
			b.columns[i], b.nulls[i] = v.Ints, v.Null
		case keptCodes:
			codes := make([]int64, rows)
			t.texts[i].encode(&v, func(row int, code uint32) { codes[row] = int64(code) })
			b.columns[i], b.nulls[i] = codes, v.Null
		}
	}
	return b
}

func (t *Table) encodeUnits(codes []uint32, v Values) {
	if v.Texts != nil {
		t.units.encode(&v, func(row int, code uint32) { codes[row] = code })
		return
	}
	for row, value := range v.Ints {
		codes[row] = t.units.integer(value)
	}
}

// encode calls each with the code of every row that has a text.
func (l *lexicon) encode(v *Values, each func(row int, code uint32)) {
	if v.Codes == nil {
		for row, text := range v.Texts {
			if v.Null == nil || !v.Null[row] {
				each(row, l.text(text))
			}
		}
		return
	}
	// Each text is looked up when it comes first: what no row has isn't kept.
	known := make([]uint32, len(v.Texts)) // codes + 1
	for row, code := range v.Codes {
		if v.Null != nil && v.Null[row] {
			continue
		}
		if known[code] == 0 {
			known[code] = l.text(v.Texts[code]) + 1
		}
		each(row, known[code]-1)
	}
}

// build makes the runs of a batch, nil for a partition without rows.
func (t *Table) build(b *batch) (runs [partitions]*run) {
	order := b.order()
	for len(order) > 0 {
		partition, n := b.units[order[0]]%partitions, 1
		for n < len(order) && b.units[order[n]]%partitions == partition {
			n++
		}
		runs[partition] = t.buildRun(b, order[:n])
		order = order[n:]
	}
	return runs
}

// order answers the rows by partition and then by unit. Rows of a unit stay as
// they are.
func (b *batch) order() []uint32 {
	keys := make([]uint32, len(b.units))
	for row, code := range b.units {
		keys[row] = code%partitions<<(32-PartitionBits) | code/partitions
	}
	return NewSorter(len(keys)).Sort(keys, 0)
}

func (t *Table) buildRun(b *batch, rows []uint32) *run {
	w := t.newBuilder(len(rows))
	units, values, nulls := make([]uint32, len(rows)), make([]int64, len(rows)), make([]bool, len(rows))
	for i, row := range rows {
		units[i] = b.units[row] / partitions
	}
	w.addUnits(units)
	for field, column := range b.columns {
		if column == nil {
			continue
		}
		for i, row := range rows {
			values[i] = column[row]
		}
		if b.nulls[field] == nil {
			w.columns[field].add(values, nil)
			continue
		}
		for i, row := range rows {
			nulls[i] = b.nulls[field][row]
		}
		w.columns[field].add(values, nulls)
	}
	return w.finish()
}
