package columns

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/cloisterhq/cloister/internal/limits"
)

// The classes of what is wrong with packed columns (docs/spec/columns.md).
const (
	faultLimit   = "limit"
	faultWire    = "wire"
	faultName    = "name"
	faultOrder   = "order"
	faultKind    = "kind"
	faultPresent = "present"
	faultTexts   = "texts"
	faultValues  = "values"
)

// DecodePacked reads packed columns of exactly rows records. There is one
// encoding of each batch; all else is ErrMalformed, with the number of the
// column and the class of what is wrong.
func DecodePacked(content []byte, rows int) (*Batch, error) {
	if rows < 0 || rows > limits.BatchRows || len(content) > limits.Envelope {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, faultLimit)
	}
	u := unpacker{rows: rows}
	for w := (wire{content}); len(w.rest) > 0; {
		number := len(u.columns)
		if fault := u.column(&w); fault != "" {
			return nil, fmt.Errorf("%w: column %d: %s", ErrMalformed, number, fault)
		}
	}
	b := &Batch{rows: rows, columns: u.columns}
	if u.textMost > limits.Envelope && b.text() > limits.Envelope {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, faultLimit)
	}
	return b, nil
}

// text is how many bytes of text the records hold, each text counted for every
// record that has it.
func (b *Batch) text() (total int) {
	for i := range b.columns {
		c := &b.columns[i]
		for row, code := range c.Codes {
			if c.Has(row) {
				total += len(c.Dictionary[code])
			}
		}
	}
	return total
}

// unpacker collects the columns of a batch. What it allocates for a column is
// bounded by limits.Cells as a whole and else by bytes that were read.
type unpacker struct {
	rows    int
	columns []Column
	// textMost is how many bytes of text the records hold at most, if each text
	// were the longest of its column.
	textMost int
}

// fields are the parts of a column's message, as they stand. A part that isn't
// there is nil; none that is there is empty, but for texts.
type fields struct {
	name    []byte
	kind    Kind
	present []byte
	base    int64
	texts   []byte // with their tags and lengths
	values  []byte
}

// column reads one column and answers the class of what is wrong with it.
func (u *unpacker) column(w *wire) (fault string) {
	if len(u.columns) == limits.Columns || u.rows*(len(u.columns)+1) > limits.Cells {
		return faultLimit
	}
	f, ok := w.column()
	if !ok {
		return faultWire
	}
	if len(f.name) == 0 || len(f.name) > maxColumnName || !utf8.Valid(f.name) {
		return faultName
	}
	if f.kind > KindBool || f.kind != KindInt && f.base != 0 || f.kind != KindText && f.texts != nil || f.kind == KindNull && f.values != nil {
		return faultKind
	}
	c := Column{Name: string(f.name), Kind: f.kind}
	if !u.follows(&c) {
		return faultOrder
	}
	if !u.present(&c, f.present) {
		return faultPresent
	}
	switch c.Kind {
	case KindInt:
		if !u.ints(&c, f) {
			return faultValues
		}
	case KindText:
		if fault := u.texts(&c, f); fault != "" {
			return fault
		}
	case KindBool:
		if !u.bools(&c, f.values) {
			return faultValues
		}
	}
	u.columns = append(u.columns, c)
	return ""
}

// follows says that c comes after the column before it.
func (u *unpacker) follows(c *Column) bool {
	if len(u.columns) == 0 {
		return true
	}
	before := &u.columns[len(u.columns)-1]
	order := compareNames(before.Name, c.Name)
	return order < 0 || order == 0 && before.Kind < c.Kind
}

// present reads which records have a value: some, not all, and none that has
// one in another column of the name.
func (u *unpacker) present(c *Column, raw []byte) bool {
	if raw != nil {
		if c.Present = bitmap(raw, u.rows); c.Present == nil {
			return false
		}
		if n := count(c.Present); n == 0 || n == u.rows {
			return false
		}
	} else if u.rows == 0 {
		return false
	}
	for i := len(u.columns) - 1; i >= 0 && u.columns[i].Name == c.Name; i-- {
		if overlap(u.columns[i].Present, c.Present) {
			return false
		}
	}
	return true
}

// ints reads the distances of values from the smallest one, in the fewest of 1,
// 2, 4 and 8 bytes each.
func (u *unpacker) ints(c *Column, f fields) bool {
	n := c.Count(u.rows)
	width := len(f.values) / n
	if len(f.values) != n*width {
		return false
	}
	switch width {
	case 1, 2, 4, 8:
	default:
		return false
	}
	c.Ints = make([]int64, u.rows)
	low, high := widen(c.Ints[:n], f.values, width, f.base)
	if low != 0 || width != widthOf(high) || high > math.MaxInt64-uint64(f.base) {
		return false
	}
	c.Min, c.Max = f.base, f.base+int64(high)
	if c.Present != nil {
		spread(c.Ints, n, c.Present)
	}
	return true
}

// texts reads the dictionary and the codes.
func (u *unpacker) texts(c *Column, f fields) (fault string) {
	longest, ok := c.dictionary(f.texts, c.Count(u.rows))
	if !ok {
		return faultTexts
	}
	n, size := c.Count(u.rows), codeSize(len(c.Dictionary))
	if len(f.values) != n*size {
		return faultValues
	}
	c.Codes = make([]uint16, u.rows)
	if !widenCodes(c.Codes[:n], f.values, size, len(c.Dictionary)) {
		return faultValues
	}
	u.textMost += n * longest
	if c.Present != nil {
		spread(c.Codes, n, c.Present)
	}
	return ""
}

// dictionary reads at most most texts, each greater than the one before, and
// answers the length of the longest. All share one copy of their bytes.
func (c *Column) dictionary(raw []byte, most int) (longest int, ok bool) {
	all := string(raw)
	w := wire{raw}
	for w.tag(tagTexts) {
		text, ok := w.bytes()
		if !ok || len(text) > limits.Text || len(c.Dictionary) == most {
			return 0, false
		}
		end := len(all) - len(w.rest)
		s := all[end-len(text) : end]
		if n := len(c.Dictionary); n > 0 && c.Dictionary[n-1] >= s || !utf8.ValidString(s) {
			return 0, false
		}
		c.Dictionary = append(c.Dictionary, s)
		longest = max(longest, len(s))
	}
	return longest, len(c.Dictionary) > 0
}

// bools reads one bit a record, 0 where there is no value.
func (u *unpacker) bools(c *Column, raw []byte) bool {
	if c.Bools = bitmap(raw, u.rows); c.Bools == nil {
		return false
	}
	for i, w := range c.Present {
		if c.Bools[i]&^w != 0 {
			return false
		}
	}
	return true
}
