package parquetform

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// page answers the body of a data page, version 1: which values there are,
// then those that are, in PLAIN encoding (Parquet encodings, "PLAIN").
func page(column arrow.Array) []byte {
	b := levels(column)
	var bits bitWriter
	for i := range column.Len() {
		if column.IsNull(i) {
			continue
		}
		switch c := column.(type) {
		case *array.String:
			b = binary.LittleEndian.AppendUint32(b, uint32(len(c.Value(i)))) //nolint:gosec // far below
			b = append(b, c.Value(i)...)
		case *array.Int64:
			b = binary.LittleEndian.AppendUint64(b, uint64(c.Value(i))) //nolint:gosec // two's complement
		case *array.Timestamp:
			b = binary.LittleEndian.AppendUint64(b, uint64(c.Value(i))) //nolint:gosec // two's complement
		case *array.Date32:
			b = binary.LittleEndian.AppendUint32(b, uint32(c.Value(i))) //nolint:gosec // two's complement
		case *array.Decimal128:
			b = appendDecimal(b, c.Value(i))
		case *array.Boolean:
			bits.add(c.Value(i))
		}
	}
	return append(b, bits.bytes...)
}

// levels answers the definition levels, 1 for a value and 0 for NULL: their
// length, then one bit-packed run of them all (Parquet encodings, "RLE").
func levels(column arrow.Array) []byte {
	var bits bitWriter
	for i := range column.Len() {
		bits.add(column.IsValid(i))
	}
	run := binary.AppendUvarint(nil, uint64(len(bits.bytes))<<1|1)
	run = append(run, bits.bytes...)
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(run))), run...) //nolint:gosec // far below
}

// bitWriter packs bits, the least significant of a byte first.
type bitWriter struct {
	bytes []byte
	n     int
}

func (w *bitWriter) add(bit bool) {
	if w.n%8 == 0 {
		w.bytes = append(w.bytes, 0)
	}
	if bit {
		w.bytes[w.n/8] |= 1 << (w.n % 8)
	}
	w.n++
}

// appendDecimal writes a decimal's unscaled value as 16 bytes, big endian,
// two's complement (Parquet logical types, "DECIMAL").
func appendDecimal(b []byte, v decimal128.Num) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(v.HighBits())) //nolint:gosec // two's complement
	return binary.BigEndian.AppendUint64(b, v.LowBits())
}
