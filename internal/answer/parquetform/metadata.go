package parquetform

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"
)

// Numbers of parquet.thrift.
const (
	physicalBoolean   = 0
	physicalInt32     = 1
	physicalInt64     = 2
	physicalByteArray = 6
	physicalFixed     = 7

	convertedUTF8            = 0
	convertedDecimal         = 5
	convertedDate            = 6
	convertedTimestampMicros = 10

	logicalString    = 1
	logicalDecimal   = 5
	logicalDate      = 6
	logicalTimestamp = 8
	unitMicros       = 2

	repetitionOptional = 1
	encodingPlain      = 0
	encodingRLE        = 3
	codecUncompressed  = 0
	pageData           = 0

	formatVersion = 2
	decimalSize   = 16
)

// createdBy names the writer to readers that work around others' mistakes.
const createdBy = "cloister"

// pageHeader writes a PageHeader for a data page, version 1.
func pageHeader(size, values int) []byte {
	return structOf(func(t *thrift) {
		t.int32(1, pageData)
		t.int32(2, size)
		t.int32(3, size)
		t.nested(5, func(t *thrift) {
			t.int32(1, values)
			t.int32(2, encodingPlain)
			t.int32(3, encodingRLE)
			t.int32(4, encodingRLE)
		})
	})
}

// metadata writes the FileMetaData.
func metadata(schema *arrow.Schema, rows int64, groups []rowGroup) []byte {
	fields, facts := schema.Fields(), schema.Metadata()
	return structOf(func(t *thrift) {
		t.int32(1, formatVersion)
		t.structs(2, len(fields)+1, func(t *thrift, i int) {
			if i == 0 {
				t.text(4, "schema")
				t.int32(5, len(fields))
				return
			}
			element(t, fields[i-1])
		})
		t.int64(3, rows)
		t.structs(4, len(groups), func(t *thrift, i int) { groups[i].write(t, fields) })
		t.structs(5, facts.Len(), func(t *thrift, i int) {
			t.text(1, facts.Keys()[i])
			t.text(2, facts.Values()[i])
		})
		t.text(6, createdBy)
	})
}

// physical answers how a type's values are stored.
func physical(t arrow.DataType) int {
	switch t.(type) {
	case *arrow.BooleanType:
		return physicalBoolean
	case *arrow.Date32Type:
		return physicalInt32
	case *arrow.StringType:
		return physicalByteArray
	case *arrow.Decimal128Type:
		return physicalFixed
	default:
		return physicalInt64
	}
}

// element writes a column's SchemaElement, with its type in the old words and
// in the new ones.
func element(t *thrift, f arrow.Field) {
	t.int32(1, physical(f.Type))
	decimal, isDecimal := f.Type.(*arrow.Decimal128Type)
	if isDecimal {
		t.int32(2, decimalSize)
	}
	t.int32(3, repetitionOptional)
	t.text(4, f.Name)
	nothing := func(*thrift) {}
	switch f.Type.(type) {
	case *arrow.StringType:
		t.int32(6, convertedUTF8)
		t.nested(10, func(t *thrift) { t.nested(logicalString, nothing) })
	case *arrow.Date32Type:
		t.int32(6, convertedDate)
		t.nested(10, func(t *thrift) { t.nested(logicalDate, nothing) })
	case *arrow.TimestampType:
		t.int32(6, convertedTimestampMicros)
		t.nested(10, func(t *thrift) {
			t.nested(logicalTimestamp, func(t *thrift) {
				t.yes(1)
				t.nested(2, func(t *thrift) { t.nested(unitMicros, nothing) })
			})
		})
	case *arrow.Decimal128Type:
		t.int32(6, convertedDecimal)
		t.int32(7, int(decimal.Scale))
		t.int32(8, int(decimal.Precision))
		t.nested(10, func(t *thrift) {
			t.nested(logicalDecimal, func(t *thrift) {
				t.int32(1, int(decimal.Scale))
				t.int32(2, int(decimal.Precision))
			})
		})
	}
}

// write writes the RowGroup.
func (g rowGroup) write(t *thrift, fields []arrow.Field) {
	size := int64(0)
	t.structs(1, len(g.chunks), func(t *thrift, i int) {
		c, f := g.chunks[i], fields[i]
		size += c.size
		t.int64(2, c.at)
		t.nested(3, func(t *thrift) {
			t.int32(1, physical(f.Type))
			t.list(2, 2, thriftInt32)
			t.b = binary.AppendVarint(binary.AppendVarint(t.b, encodingPlain), encodingRLE)
			t.list(3, 1, thriftBinary)
			t.b = appendText(t.b, f.Name)
			t.int32(4, codecUncompressed)
			t.int64(5, g.rows)
			t.int64(6, c.size)
			t.int64(7, c.size)
			t.int64(9, c.at)
		})
	})
	t.int64(2, size)
	t.int64(3, g.rows)
}
