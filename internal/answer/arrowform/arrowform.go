// Package arrowform writes a signed answer as an Arrow record whose schema
// carries the rest of the answer, and reads it back exactly, so that the
// signature holds over what any Arrow client shows. docs/spec/answer.md gives
// the form. It trusts nothing: what it reads is believed only after
// answer.Verify.
package arrowform

import (
	"errors"
	"math"
	"math/big"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// precision is the number of digits of every decimal column.
	precision = 38
	// maxCells bounds an answer: the number of its cells.
	maxCells = 1 << 24
	// maxText bounds an answer: the bytes of all its texts together.
	maxText = 1 << 28
)

// ErrForm says that an answer has no Arrow form, or that a schema and records
// aren't the form of an answer.
var ErrForm = errors.New("arrowform: not the Arrow form of an answer")

// Record answers the Arrow form of an answer and its signature: one record,
// which the caller releases. Every column is nullable. An answer without
// columns, one that is larger than the form's bounds, with a decimal of more than
// 38 digits or a date that doesn't fit in 32 bits has no such form: ErrForm. One that isn't well formed is
// answer.ErrShape.
func Record(a *answer.Answer, signature []byte) (arrow.RecordBatch, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	if err := bounded(a); err != nil || len(signature) > maxSignature {
		return nil, ErrForm
	}
	fields, err := fields(a.Columns)
	if err != nil {
		return nil, err
	}
	metadata := writeMetadata(a, signature)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, &metadata))
	defer builder.Release()
	builder.Reserve(len(a.Rows))
	for i, c := range a.Columns {
		for _, row := range a.Rows {
			if err := appendCell(builder.Field(i), c, row[i]); err != nil {
				return nil, err
			}
		}
	}
	return builder.NewRecordBatch(), nil
}

// Schema answers the schema of the records of every answer with these columns,
// but for its metadata, which each answer has of its own. Columns that Record
// has no form for are ErrForm.
func Schema(columns []answer.Column) (*arrow.Schema, error) {
	if len(columns) == 0 || len(columns) > limits.Columns {
		return nil, ErrForm
	}
	all, err := fields(columns)
	if err != nil {
		return nil, err
	}
	return arrow.NewSchema(all, nil), nil
}

func fields(columns []answer.Column) ([]arrow.Field, error) {
	all := make([]arrow.Field, len(columns))
	for i, c := range columns {
		t, err := dataType(c)
		if err != nil {
			return nil, err
		}
		all[i] = arrow.Field{Name: c.Name, Type: t, Nullable: true}
	}
	return all, nil
}

// bounded checks the bounds of the form before anything is built.
func bounded(a *answer.Answer) error {
	if len(a.Columns) == 0 || len(a.Columns) > limits.Columns || len(a.Rows) > maxCells/len(a.Columns) {
		return ErrForm
	}
	if max(len(a.Mode), len(a.Dataset), len(a.AuditID)) > maxValue {
		return ErrForm
	}
	text := 0
	for _, row := range a.Rows {
		for _, cell := range row {
			if text += len(cell.Text); text > maxText {
				return ErrForm
			}
		}
	}
	return nil
}

// dataType answers the Arrow type of a column.
func dataType(c answer.Column) (arrow.DataType, error) {
	switch c.Type {
	case answer.String:
		return arrow.BinaryTypes.String, nil
	case answer.Int64:
		return arrow.PrimitiveTypes.Int64, nil
	case answer.Boolean:
		return arrow.FixedWidthTypes.Boolean, nil
	case answer.Date:
		return arrow.FixedWidthTypes.Date32, nil
	case answer.Timestamp:
		return arrow.FixedWidthTypes.Timestamp_us, nil
	case answer.Decimal:
		if c.Scale >= 0 && c.Scale <= precision {
			return &arrow.Decimal128Type{Precision: precision, Scale: int32(c.Scale)}, nil //nolint:gosec // at most 38
		}
	}
	return nil, ErrForm
}

// appendCell adds one cell of a well-formed answer.
func appendCell(b array.Builder, c answer.Column, cell answer.Cell) error {
	if cell.Null {
		b.AppendNull()
		return nil
	}
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append(cell.Text)
	case *array.Int64Builder:
		b.Append(cell.Int)
	case *array.BooleanBuilder:
		b.Append(cell.Int == 1)
	case *array.Date32Builder:
		if cell.Int < math.MinInt32 || cell.Int > math.MaxInt32 {
			return ErrForm
		}
		b.Append(arrow.Date32(cell.Int)) //nolint:gosec // checked above
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(cell.Int))
	case *array.Decimal128Builder:
		v, err := answer.ParseDecimal(cell.Text, c.Scale)
		if err != nil || !fits(v) {
			return ErrForm
		}
		b.Append(decimal128.FromBigInt(v))
	default:
		return ErrForm
	}
	return nil
}

// fits says whether a decimal has at most 38 digits.
func fits(v *big.Int) bool {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(precision), nil)
	return v.CmpAbs(limit) < 0
}
