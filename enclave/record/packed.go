package record

import (
	"slices"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
)

// takePacked judges records that are packed by column, a column at a time. It
// accepts and reports what take does with the same records.
func (d *decoder) takePacked(content []byte, rows int) error {
	packed, err := columns.DecodePacked(content, rows)
	if err != nil {
		return err
	}
	p := &packedRecords{
		decoder: d, rows: rows, fields: make([]*columns.Column, len(d.contract.Fields)),
		broken: contract.NewMarks(rows), nobody: contract.NewMarks(rows),
	}
	for i := range packed.Columns() {
		c := packed.Column(i)
		p.columns = append(p.columns, c)
		p.assign(&c)
	}
	for i := range p.fields {
		p.check(i)
	}
	rejected := p.broken.Count(rows)
	if rejected > 0 {
		p.report()
	}
	d.batch.rows = rows - rejected
	for i := range p.fields {
		d.batch.columns[i] = p.column(i, d.batch.rows)
	}
	return nil
}

// packedRecords are records on their way from columns into a batch.
type packedRecords struct {
	decoder *decoder
	rows    int
	columns []columns.Column
	fields  []*columns.Column // by field: the values of its own kind, nil for none
	broken  contract.Marks    // the records that break a rule
	nobody  []uint64          // no record
	absent  absence
}

// assign finds the field of a column. Where no field is meant, all records that
// have a value are broken.
func (p *packedRecords) assign(c *columns.Column) {
	i, known := p.decoder.index[c.Name]
	switch {
	case known && c.Kind == columns.KindNull:
	case known && c.Kind == kindOf(p.decoder.contract.Fields[i].Type):
		p.fields[i] = c
	default:
		p.mark(c.Present)
	}
}

// mark breaks the records that are present.
func (p *packedRecords) mark(present []uint64) {
	for i := range p.broken {
		if present == nil {
			p.broken[i] = ^uint64(0)
		} else {
			p.broken[i] |= present[i]
		}
	}
}

// check marks the records that break a rule of a field.
func (p *packedRecords) check(i int) {
	v, c := p.decoder.validator, p.fields[i]
	if c == nil {
		v.Nulls(i, p.nobody, p.broken)
		return
	}
	v.Nulls(i, c.Present, p.broken)
	switch c.Kind {
	case columns.KindInt:
		v.Ints(i, c.Ints, c.Min, c.Max, c.Present, p.broken)
	case columns.KindText:
		v.Texts(i, c.Dictionary, c.Codes, c.Present, p.broken)
	case columns.KindBool:
		v.Bools(i, c.Bools, c.Present, p.broken)
	}
}

// report judges the broken records again, one by one, for what is wrong with
// each: as many as the report lists.
func (p *packedRecords) report() {
	var r columns.Record
	for number := range p.rows {
		if !p.broken.Has(number) {
			continue
		}
		if p.decoder.report.Truncated {
			return
		}
		r = r[:0]
		for i := range p.columns {
			if c := &p.columns[i]; c.Has(number) {
				r = append(r, c.Cell(number))
			}
		}
		p.decoder.judge(number, r)
	}
}

// column answers the values of a field in the records that aren't broken, of
// which there are so many.
func (p *packedRecords) column(i, good int) Column {
	c := p.fields[i]
	if c == nil {
		return p.absent.column(good, p.decoder.contract.Fields[i].Type == contract.String)
	}
	all := Column{Ints: c.Ints, Texts: c.Dictionary, Codes: c.Codes}
	if c.Kind == columns.KindBool {
		all.Ints = make([]int64, p.rows)
		for row := range all.Ints {
			all.Ints[row] = int64(c.Bools[row/64] >> (row % 64) & 1)
		}
	}
	if c.Present != nil {
		all.Null = make([]bool, p.rows)
		for row := range all.Null {
			all.Null[row] = c.Present[row/64]>>(row%64)&1 == 0
		}
	}
	if good < p.rows {
		all.Ints, all.Codes, all.Null = keep(all.Ints, p.broken, good), keep(all.Codes, p.broken, good), keep(all.Null, p.broken, good)
	}
	return all
}

// absence is the columns that no record has: all of them share their values, so
// that a contract with many columns costs nothing.
type absence struct {
	ints  []int64
	codes []uint16
	null  []bool
}

// column answers one of so many records, of texts or of integers.
func (a *absence) column(rows int, text bool) Column {
	if a.null == nil {
		a.ints, a.codes, a.null = make([]int64, rows), make([]uint16, rows), slices.Repeat([]bool{true}, rows)
	}
	if text {
		return Column{Texts: []string{""}, Codes: a.codes, Null: a.null}
	}
	return Column{Ints: a.ints, Null: a.null}
}

// keep answers the values of the records that aren't broken; there are so many.
func keep[T any](all []T, broken contract.Marks, good int) []T {
	if all == nil {
		return nil
	}
	kept := make([]T, 0, good)
	for i, v := range all {
		if !broken.Has(i) {
			kept = append(kept, v)
		}
	}
	return kept
}
