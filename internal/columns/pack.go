package columns

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cloisterhq/cloister/internal/limits"
)

// EncodePacked writes records as packed columns, which hold all that Encode
// writes. It answers ErrUnpackable for records that Encode must write. An error
// names the record's number and, at most, the column.
func EncodePacked(records []Record) ([]byte, error) {
	if len(records) > limits.BatchRows {
		return nil, fmt.Errorf("columns: at most %d records", limits.BatchRows)
	}
	p := packer{rows: len(records), names: map[string]*heading{}, textLeft: limits.Envelope}
	for i, r := range records {
		if err := p.record(i, r); err != nil {
			return nil, err
		}
	}
	return p.encode()
}

// packer collects records by column.
type packer struct {
	rows     int
	names    map[string]*heading
	order    []*heading // of the record before
	columns  []*packing
	textLeft int
}

// heading is a column's name and its values of each kind.
type heading struct {
	name string
	last int // 1 plus the number of the last record that has the column
	of   [KindBool + 1]*packing
}

// packing is the values of one name and kind.
type packing struct {
	name    string
	kind    Kind
	present []uint64
	ints    []int64
	bools   []uint64
	// The texts in the order in which they were seen, their places in it, and
	// the values' places.
	dictionary []string
	places     map[string]uint16
	codes      []uint16
}

func (p *packer) record(i int, r Record) error {
	if len(r) > limits.Columns {
		return fmt.Errorf("columns: record %d has more than %d columns", i, limits.Columns)
	}
	for at, c := range r {
		h, err := p.heading(at, c.Name)
		if err == nil && h.last == i+1 {
			err = fmt.Errorf("column %q stands twice", c.Name)
		}
		if err == nil {
			err = checkValue(c)
		}
		if err != nil {
			return fmt.Errorf("columns: record %d: %w", i, err)
		}
		h.last = i + 1
		if err := p.add(h, i, c); err != nil {
			return err
		}
	}
	return nil
}

// add puts a value of record i into the column of its name and kind.
func (p *packer) add(h *heading, i int, c Cell) error {
	column := h.of[c.Kind]
	if column == nil {
		if len(p.columns) == limits.Columns || p.rows*(len(p.columns)+1) > limits.Cells {
			return fmt.Errorf("%w: %d columns", ErrUnpackable, len(p.columns)+1)
		}
		column = newPacking(h.name, c.Kind, p.rows)
		h.of[c.Kind] = column
		p.columns = append(p.columns, column)
	}
	setBit(column.present, i)
	switch c.Kind {
	case KindInt:
		column.ints = append(column.ints, c.Int)
	case KindText:
		if p.textLeft -= len(c.Text); p.textLeft < 0 {
			return fmt.Errorf("%w: more than %d bytes of text", ErrUnpackable, limits.Envelope)
		}
		column.text(c.Text)
	case KindBool:
		column.bools[i/64] |= uint64(c.Int) << (i % 64)
	}
	return nil
}

// heading finds a column. Records mostly have the same columns in the same
// order.
func (p *packer) heading(at int, name string) (*heading, error) {
	if at < len(p.order) && p.order[at].name == name {
		return p.order[at], nil
	}
	h := p.names[name]
	if h == nil {
		if err := checkName(name); err != nil {
			return nil, err
		}
		h = &heading{name: name}
		p.names[name] = h
	}
	if at < len(p.order) {
		p.order[at] = h
	} else {
		p.order = append(p.order, h)
	}
	return h, nil
}

func newPacking(name string, kind Kind, rows int) *packing {
	c := &packing{name: name, kind: kind, present: make([]uint64, words(rows))}
	switch kind {
	case KindText:
		c.places = map[string]uint16{}
	case KindBool:
		c.bools = make([]uint64, words(rows))
	}
	return c
}

// text adds a text by its place among those that were seen. There are no more
// than limits.BatchRows.
func (c *packing) text(s string) {
	place, ok := c.places[s]
	if !ok {
		place = uint16(len(c.dictionary))
		c.places[s] = place
		c.dictionary = append(c.dictionary, s)
	}
	c.codes = append(c.codes, place)
}

func (p *packer) encode() ([]byte, error) {
	slices.SortFunc(p.columns, func(a, b *packing) int {
		if order := compareNames(a.name, b.name); order != 0 {
			return order
		}
		return int(a.kind) - int(b.kind)
	})
	var out, body []byte
	for _, c := range p.columns {
		body = c.append(body[:0], p.rows)
		if out = appendBytes(out, tagColumn, body); len(out) > limits.Envelope {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrUnpackable, limits.Envelope)
		}
	}
	return out, nil
}

// append writes the column's message.
func (c *packing) append(out []byte, rows int) []byte {
	out = appendBytes(out, tagName, c.name)
	if c.kind != KindNull {
		out = append(out, tagKind, byte(c.kind))
	}
	if count(c.present) < rows {
		out = appendBits(out, tagPresent, c.present, rows)
	}
	switch c.kind {
	case KindInt:
		return c.appendInts(out)
	case KindText:
		return c.appendTexts(out)
	case KindBool:
		return appendBits(out, tagValues, c.bools, rows)
	default:
		return out
	}
}

func (c *packing) appendInts(out []byte) []byte {
	base := slices.Min(c.ints)
	if base != 0 {
		out = binary.LittleEndian.AppendUint64(append(out, tagBase), uint64(base))
	}
	width := widthOf(uint64(slices.Max(c.ints)) - uint64(base))
	out = appendLength(out, tagValues, width*len(c.ints))
	for _, v := range c.ints {
		out = appendFixed(out, uint64(v)-uint64(base), width)
	}
	return out
}

func (c *packing) appendTexts(out []byte) []byte {
	order := make([]uint16, len(c.dictionary)) // places as they were seen, sorted
	for i := range order {
		order[i] = uint16(i)
	}
	slices.SortFunc(order, func(a, b uint16) int { return strings.Compare(c.dictionary[a], c.dictionary[b]) })
	sorted := make([]uint16, len(order)) // by place as seen, that in the sorted order
	for i, place := range order {
		sorted[place] = uint16(i)
		out = appendBytes(out, tagTexts, c.dictionary[place])
	}
	width := codeSize(len(c.dictionary))
	out = appendLength(out, tagValues, width*len(c.codes))
	for _, place := range c.codes {
		out = appendFixed(out, uint64(sorted[place]), width)
	}
	return out
}

// appendLength writes the beginning of a field of n bytes.
func appendLength(out []byte, tag byte, n int) []byte {
	out = slices.Grow(out, n+8)
	return binary.AppendUvarint(append(out, tag), uint64(n))
}

// appendFixed writes the lowest bytes of v, the lowest one first.
func appendFixed(out []byte, v uint64, width int) []byte {
	switch width {
	case 1:
		return append(out, byte(v))
	case 2:
		return binary.LittleEndian.AppendUint16(out, uint16(v))
	case 4:
		return binary.LittleEndian.AppendUint32(out, uint32(v))
	default:
		return binary.LittleEndian.AppendUint64(out, v)
	}
}

func appendBits(out []byte, tag byte, of []uint64, rows int) []byte {
	n := (rows + 7) / 8
	out = appendLength(out, tag, n)
	for i := range n {
		out = append(out, byte(of[i/8]>>(8*(i%8))))
	}
	return out
}
