package arrowform

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/limits"
)

// Answer reads an answer and its signature back from a schema and the records
// of a stream, in their order. Whatever Record doesn't write is ErrForm. The
// answer keeps no memory of the records.
func Answer(schema *arrow.Schema, records []arrow.RecordBatch) (*answer.Answer, []byte, error) {
	if schema == nil || schema.NumFields() == 0 || schema.NumFields() > limits.Columns {
		return nil, nil, ErrForm
	}
	a, signature, err := readMetadata(schema.Metadata())
	if err != nil {
		return nil, nil, err
	}
	a.Columns = make([]answer.Column, schema.NumFields())
	for i, f := range schema.Fields() {
		if a.Columns[i], err = column(f); err != nil {
			return nil, nil, err
		}
	}
	rows, err := count(schema, records)
	if err != nil {
		return nil, nil, err
	}
	a.Rows = make([][]answer.Cell, 0, rows)
	for _, record := range records {
		if a.Rows, err = appendRows(a.Rows, a.Columns, record); err != nil {
			return nil, nil, err
		}
	}
	if a.Check() != nil || bounded(a) != nil {
		return nil, nil, ErrForm
	}
	return a, signature, nil
}

// column answers the column that a field was made from.
func column(f arrow.Field) (answer.Column, error) {
	c := answer.Column{Name: f.Name}
	switch t := f.Type.(type) {
	case *arrow.StringType:
		c.Type = answer.String
	case *arrow.Int64Type:
		c.Type = answer.Int64
	case *arrow.BooleanType:
		c.Type = answer.Boolean
	case *arrow.Date32Type:
		c.Type = answer.Date
	case *arrow.TimestampType:
		c.Type = answer.Timestamp
	case *arrow.Decimal128Type:
		c.Type, c.Scale = answer.Decimal, int(t.Scale)
	}
	want, err := dataType(c)
	if err != nil || !arrow.TypeEqual(f.Type, want) || !f.Nullable || f.HasMetadata() {
		return answer.Column{}, ErrForm
	}
	return c, nil
}

// count answers the number of rows of all records together, before memory is
// taken for them.
func count(schema *arrow.Schema, records []arrow.RecordBatch) (int, error) {
	most := int64(maxCells / schema.NumFields())
	rows := int64(0)
	for _, r := range records {
		if !r.Schema().Equal(schema) || r.NumRows() > most-rows {
			return 0, ErrForm
		}
		rows += r.NumRows()
	}
	return int(rows), nil
}

// appendRows adds the rows of one record.
func appendRows(rows [][]answer.Cell, columns []answer.Column, record arrow.RecordBatch) ([][]answer.Cell, error) {
	width, height := len(columns), int(record.NumRows())
	cells := make([]answer.Cell, width*height)
	for i, c := range columns {
		values := record.Column(i)
		if values.Len() != height {
			return nil, ErrForm
		}
		for j := range height {
			var err error
			if cells[j*width+i], err = cell(values, c, j); err != nil {
				return nil, err
			}
		}
	}
	for j := range height {
		rows = append(rows, cells[j*width:(j+1)*width:(j+1)*width])
	}
	return rows, nil
}

// cell reads one value.
func cell(values arrow.Array, c answer.Column, i int) (answer.Cell, error) {
	if values.IsNull(i) {
		return answer.Cell{Null: true}, nil
	}
	switch v := values.(type) {
	case *array.String:
		return answer.Cell{Text: strings.Clone(v.Value(i))}, nil
	case *array.Int64:
		return answer.Cell{Int: v.Value(i)}, nil
	case *array.Boolean:
		if v.Value(i) {
			return answer.Cell{Int: 1}, nil
		}
		return answer.Cell{}, nil
	case *array.Date32:
		return answer.Cell{Int: int64(v.Value(i))}, nil
	case *array.Timestamp:
		return answer.Cell{Int: int64(v.Value(i))}, nil
	case *array.Decimal128:
		n := v.Value(i).BigInt()
		if !fits(n) {
			return answer.Cell{}, ErrForm
		}
		return answer.Cell{Text: answer.FormatDecimal(n, c.Scale)}, nil
	default:
		return answer.Cell{}, ErrForm
	}
}
