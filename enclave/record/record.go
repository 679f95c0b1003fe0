// Package record turns the content of an opened envelope into a batch of
// columns and judges every record by the dataset's contract. It trusts the
// contract, which is measured; it doesn't trust the producer, who is
// authenticated and may still send garbage. A record that breaks a rule is
// left out and reported by number, column and rule, never by value.
package record

import (
	"errors"
	"fmt"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/receipt"
)

var (
	// ErrContract says that the envelope was sealed for another dataset or
	// another version of the contract, or in a codec that isn't known.
	ErrContract = errors.New("record: sealed for another contract or codec")
	// ErrContent says that the content isn't in its codec. The whole envelope
	// is bad: nothing tells where one record ends.
	ErrContent = errors.New("record: the content isn't in its codec")
)

// Column is one column of a batch. Ints holds the stored form of every type
// but strings, Texts that of strings; the other is nil. Where Codes isn't nil,
// Texts are different ones and Codes has each record's place among them. Where
// Null is true the value is zero; Null is nil when no value is NULL.
type Column struct {
	Ints  []int64
	Texts []string
	Codes []uint16
	Null  []bool
}

// Batch is the accepted records of one envelope, by column, in the order of
// the contract's fields. Only Decode makes one.
type Batch struct {
	contract *contract.Contract
	rows     int
	columns  []Column
}

// Contract is the contract that the records were judged by. It mustn't be
// changed.
func (b *Batch) Contract() *contract.Contract { return b.contract }

// Dataset is the name of the dataset.
func (b *Batch) Dataset() string { return b.contract.Dataset }

// Len is the number of accepted records; it may be 0.
func (b *Batch) Len() int { return b.rows }

// Column answers the column of the contract's i-th field. It mustn't be changed.
func (b *Batch) Column(i int) Column { return b.columns[i] }

// Decode judges every record of an envelope by the contract of v, in whichever
// codec they are.
func Decode(o *envelope.Opened, v *contract.Validator) (*Batch, *receipt.Report, error) {
	c, h := v.Contract(), o.Header()
	if h.Dataset != c.Dataset || h.Contract != c.Version {
		return nil, nil, ErrContract
	}
	d := newDecoder(c, v)
	var err error
	switch h.Codec {
	case columns.Codec:
		err = columns.Decode(o.Content(), o.Rows(), d.take)
	case columns.CodecPacked:
		err = d.takePacked(o.Content(), o.Rows())
	default:
		return nil, nil, ErrContract
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	d.report.Accepted = d.batch.rows
	d.report.Rejected = o.Rows() - d.batch.rows
	return d.batch, d.report, nil
}

// decoder collects a batch. It grows with records that were accepted and never
// with numbers that were announced.
type decoder struct {
	contract  *contract.Contract
	validator *contract.Validator
	index     map[string]int
	row       []contract.Value // the record at hand, by field
	typed     []bool           // fields of row whose values are of their types
	batch     *Batch
	report    *receipt.Report
}

func newDecoder(c *contract.Contract, v *contract.Validator) *decoder {
	d := &decoder{
		contract: c, validator: v, index: make(map[string]int, len(c.Fields)),
		row: make([]contract.Value, len(c.Fields)), typed: make([]bool, len(c.Fields)),
		batch: &Batch{contract: c, columns: make([]Column, len(c.Fields))}, report: new(receipt.Report),
	}
	for i := range c.Fields {
		d.index[c.Fields[i].Name] = i
	}
	return d
}

// take judges one record, and adds it to the batch when it keeps all rules.
func (d *decoder) take(number int, r columns.Record) error {
	if d.judge(number, r) {
		d.accept()
	}
	return nil
}

// judge reports what is wrong with a record: columns that aren't the contract's
// in the order of the encoding, then, in the order of the contract, types and
// rules.
func (d *decoder) judge(number int, r columns.Record) bool {
	good := true
	for i := range d.row {
		d.row[i], d.typed[i] = contract.Value{Null: true}, true
	}
	for _, cell := range r {
		i, known := d.index[cell.Name]
		if !known {
			d.report.Reject(number, cell.Name, contract.RuleUnknown)
			good = false
			continue
		}
		d.row[i], d.typed[i] = stored(d.contract.Fields[i].Type, cell)
	}
	for i, value := range d.row {
		rule := contract.RuleType
		if d.typed[i] {
			rule = d.validator.Validate(i, value)
		}
		if rule != "" {
			d.report.Reject(number, d.contract.Fields[i].Name, rule)
			good = false
		}
	}
	return good
}

// stored answers a cell's value when its kind is the type's own.
func stored(t contract.Type, c columns.Cell) (contract.Value, bool) {
	if c.Kind == columns.KindNull {
		return contract.Value{Null: true}, true
	}
	return contract.Value{Int: c.Int, Text: c.Text}, c.Kind == kindOf(t)
}

// kindOf is the only kind of value that a type has, beside null.
func kindOf(t contract.Type) columns.Kind {
	switch t {
	case contract.String:
		return columns.KindText
	case contract.Boolean:
		return columns.KindBool
	}
	return columns.KindInt
}

// accept adds the record at hand to the batch.
func (d *decoder) accept() {
	for i, value := range d.row {
		column := &d.batch.columns[i]
		column.Null = append(column.Null, value.Null)
		if d.contract.Fields[i].Type == contract.String {
			column.Texts = append(column.Texts, value.Text)
		} else {
			column.Ints = append(column.Ints, value.Int)
		}
	}
	d.batch.rows++
}
