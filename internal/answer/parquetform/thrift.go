package parquetform

import "encoding/binary"

// The types of Thrift's compact protocol that Parquet's metadata needs.
const (
	thriftTrue   = 1
	thriftInt32  = 5
	thriftInt64  = 6
	thriftBinary = 8
	thriftList   = 9
	thriftStruct = 12
)

// thrift writes one struct in Thrift's compact protocol. Fields come in the
// order of their numbers.
type thrift struct {
	b    []byte
	last int
}

// field begins a field: the distance from the one before, and its type.
func (t *thrift) field(number, kind int) {
	t.b = append(t.b, byte((number-t.last)<<4|kind)) //nolint:gosec // Parquet's numbers lie close together
	t.last = number
}

func (t *thrift) int32(number, v int) {
	t.field(number, thriftInt32)
	t.b = binary.AppendVarint(t.b, int64(v))
}

func (t *thrift) int64(number int, v int64) {
	t.field(number, thriftInt64)
	t.b = binary.AppendVarint(t.b, v)
}

func (t *thrift) text(number int, s string) {
	t.field(number, thriftBinary)
	t.b = appendText(t.b, s)
}

// yes writes a boolean field that is true.
func (t *thrift) yes(number int) { t.field(number, thriftTrue) }

// nested writes a field that is a struct.
func (t *thrift) nested(number int, fill func(*thrift)) {
	t.field(number, thriftStruct)
	t.b = append(t.b, structOf(fill)...)
}

// structs writes a field that is a list of n structs.
func (t *thrift) structs(number, n int, fill func(t *thrift, i int)) {
	t.list(number, n, thriftStruct)
	for i := range n {
		t.b = append(t.b, structOf(func(t *thrift) { fill(t, i) })...)
	}
}

// list begins a field that is a list of n elements of one type.
func (t *thrift) list(number, n, kind int) {
	t.field(number, thriftList)
	if n < 15 {
		t.b = append(t.b, byte(n<<4|kind)) //nolint:gosec // both have four bits
		return
	}
	t.b = binary.AppendUvarint(append(t.b, byte(0xf0|kind)), uint64(n)) //nolint:gosec // four bits, and a length
}

// structOf answers a whole struct, its end included.
func structOf(fill func(*thrift)) []byte {
	var t thrift
	fill(&t)
	return append(t.b, 0)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
