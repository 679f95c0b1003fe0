package columns

import (
	"errors"
	"math/bits"
)

// CodecPacked is the number of codec 2 in envelope headers: packed columns, the
// form of many records (docs/spec/columns.md).
const CodecPacked = 2

// ErrUnpackable says that records can't be written as packed columns, though
// Encode may write them: they have too many columns for their number, or too
// much text.
var ErrUnpackable = errors.New("columns: the records don't fit into packed columns")

// Batch is records by column, as codec 2 holds them. Only DecodePacked makes
// one. It keeps nothing of the content that it was decoded from.
type Batch struct {
	rows    int
	columns []Column
}

// Column is the values of one name and kind. Two columns may share a name when
// their kinds differ; they stand next to each other, and no record has a value
// in both. A record that has a value in no column of a name doesn't have the
// column. The slices belong to the batch and mustn't be changed; they stay as
// they are for as long as somebody has them.
type Column struct {
	// Name has 1 to 128 bytes of UTF-8.
	Name string
	Kind Kind
	// Present has bit i%64 of word i/64 set where record i has a value; bits
	// after the last record are 0. It is nil when all records have one. For
	// KindNull it is where the records hold null. At least one record has a value.
	Present []uint64
	// Ints has the values of KindInt, one a record, 0 where there is none.
	Ints []int64
	// Min and Max are the smallest and the largest value of KindInt.
	Min, Max int64
	// Codes has for each record its text's place in Dictionary (KindText), 0
	// where there is none: ask Present.
	Codes []uint16
	// Dictionary has every text of the column once, in the order of their
	// bytes. Each is UTF-8 of at most limits.Text bytes and is in some record.
	Dictionary []string
	// Bools has the values of KindBool as bits, like Present; 0 where there is
	// none.
	Bools []uint64
}

// Rows is the number of records.
func (b *Batch) Rows() int { return b.rows }

// Columns is the number of columns.
func (b *Batch) Columns() int { return len(b.columns) }

// Column answers the i-th column. They are in the order of their names, by
// length and then by bytes, and those of one name in the order of their kinds.
func (b *Batch) Column(i int) Column { return b.columns[i] }

// Has says whether record i has a value in the column.
func (c *Column) Has(i int) bool { return c.Present == nil || bit(c.Present, i) == 1 }

// Count is how many records have a value in the column, of rows.
func (c *Column) Count(rows int) int {
	if c.Present == nil {
		return rows
	}
	return count(c.Present)
}

// Each calls each with every record, in order, with the cells in the order in
// which Decode gives them. The record is valid during the call only; its texts
// stay valid. An error of each stops it and is answered as it is.
func (b *Batch) Each(each func(i int, r Record) error) error {
	record := make(Record, 0, len(b.columns))
	for i := range b.rows {
		record = record[:0]
		for j := range b.columns {
			if c := &b.columns[j]; c.Has(i) {
				record = append(record, c.Cell(i))
			}
		}
		if err := each(i, record); err != nil {
			return err
		}
	}
	return nil
}

// Cell answers the value that record i has; Has(i) must be true.
func (c *Column) Cell(i int) Cell {
	cell := Cell{Name: c.Name, Kind: c.Kind}
	switch c.Kind {
	case KindInt:
		cell.Int = c.Ints[i]
	case KindText:
		cell.Text = c.Dictionary[c.Codes[i]]
	case KindBool:
		cell.Int = int64(bit(c.Bools, i))
	}
	return cell
}

// words is how many words the bits of so many records take.
func words(rows int) int { return (rows + 63) / 64 }

func bit(of []uint64, i int) uint64 { return of[i/64] >> (i % 64) & 1 }

func setBit(of []uint64, i int) { of[i/64] |= 1 << (i % 64) }

func count(of []uint64) (n int) {
	for _, w := range of {
		n += bits.OnesCount64(w)
	}
	return n
}

// overlap says whether two bitmaps, nil for all records, have one in common.
// Each has some.
func overlap(a, b []uint64) bool {
	if a == nil || b == nil {
		return true
	}
	for i, w := range a {
		if w&b[i] != 0 {
			return true
		}
	}
	return false
}
