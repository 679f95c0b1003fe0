package binding

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
)

// kind is how values are read.
type kind uint8

const (
	unknown kind = iota
	null
	integer
	float
	text
	boolean
	decimal
	date
	timestamp
)

// The types of Arrow's Schema.fbs that are read, by their numbers there.
const (
	typeNull      = 1
	typeInt       = 2
	typeFloat     = 3
	typeUtf8      = 5
	typeBool      = 6
	typeDecimal   = 7
	typeDate      = 8
	typeTimestamp = 10
	typeLargeUtf8 = 20
)

// maxScale bounds the decimal places of a decimal, both signs: as many as 256
// bits have digits.
const maxScale = 76

// shape is a type.
type shape struct {
	kind kind
	// bits is the size of a value, of a text's offset.
	bits   int
	signed bool
	// scale is that of a decimal.
	scale int
	// unit is that of a date or timestamp, in nanoseconds.
	unit int64
}

// shape reads a type; unknown is the kind of all that aren't read.
func (f *flatbuffer) shape(number, table int) shape {
	switch number {
	case typeNull:
		return shape{kind: null}
	case typeInt:
		if s := (shape{kind: integer, bits: f.intField(table, 0, 0), signed: f.byteField(table, 1, 0) != 0}); slices.Contains([]int{8, 16, 32, 64}, s.bits) {
			return s
		}
	case typeFloat:
		switch f.shortField(table, 0, 0) {
		case 1:
			return shape{kind: float, bits: 32}
		case 2:
			return shape{kind: float, bits: 64}
		}
	case typeUtf8:
		return shape{kind: text, bits: 32}
	case typeLargeUtf8:
		return shape{kind: text, bits: 64}
	case typeBool:
		return shape{kind: boolean, bits: 1}
	case typeDecimal:
		s := shape{kind: decimal, bits: f.intField(table, 2, 128), signed: true, scale: f.intField(table, 1, 0)}
		if slices.Contains([]int{32, 64, 128, 256}, s.bits) && -maxScale <= s.scale && s.scale <= maxScale {
			return s
		}
	case typeDate:
		if f.shortField(table, 0, 1) == 0 {
			return shape{kind: date, bits: 32, signed: true, unit: 86400e9}
		}
		return shape{kind: date, bits: 64, signed: true, unit: 1e6}
	case typeTimestamp:
		if unit := f.shortField(table, 0, 0); 0 <= unit && unit <= 3 {
			return shape{kind: timestamp, bits: 64, signed: true, unit: [...]int64{1e9, 1e6, 1e3, 1}[unit]}
		}
	}
	return shape{}
}

// parameter answers a value that isn't a text.
func (a *array) parameter(i int) (sql.Parameter, error) {
	if a.null(i) {
		return sql.NullParameter(), nil
	}
	switch a.kind {
	case integer:
		return sql.NumberParameter(a.integer(i).String()), nil
	case float:
		return a.float(i)
	case boolean:
		return sql.BoolParameter(a.data[i/8]>>(i%8)&1 == 1), nil
	case decimal:
		n := a.integer(i)
		if a.scale < 0 {
			n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-a.scale)), nil))
		}
		return sql.NumberParameter(answer.FormatDecimal(n, max(a.scale, 0))), nil
	case date, timestamp:
		return a.instant(i)
	}
	return sql.Parameter{}, refuseType()
}

// integer reads a little-endian integer of any width.
func (a *array) integer(i int) *big.Int {
	size := a.bits / 8
	b := slices.Clone(a.data[i*size : (i+1)*size])
	slices.Reverse(b)
	n := new(big.Int).SetBytes(b)
	if a.signed && b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(a.bits))) //nolint:gosec // one of four widths
	}
	return n
}

// float answers the decimal that a float stands for: the one with at most 15
// digits, or 6 in 32 bits, of which it is the nearest float. There is at most
// one such, and none for most results of a calculation.
func (a *array) float(i int) (sql.Parameter, error) {
	var v float64
	digits := 15
	if a.bits == 64 {
		v = math.Float64frombits(binary.LittleEndian.Uint64(a.data[8*i:]))
	} else {
		v, digits = float64(math.Float32frombits(binary.LittleEndian.Uint32(a.data[4*i:]))), 6
	}
	mantissa, _, _ := strings.Cut(strconv.FormatFloat(math.Abs(v), 'e', -1, a.bits), "e")
	if math.IsNaN(v) || math.IsInf(v, 0) || len(strings.Replace(mantissa, ".", "", 1)) > digits {
		return sql.Parameter{}, refuseFloat()
	}
	return sql.NumberParameter(strconv.FormatFloat(v, 'g', -1, a.bits)), nil
}

// The first and last second of the years 1 to 9999.
const (
	minSecond = -62135596800
	maxSecond = 253402300799
)

// instant answers a day or an instant in UTC, exactly.
func (a *array) instant(i int) (sql.Parameter, error) {
	n := a.integer(i)
	seconds, rest := new(big.Int).DivMod(n.Mul(n, big.NewInt(a.unit)), big.NewInt(1e9), new(big.Int))
	if !seconds.IsInt64() || seconds.Int64() < minSecond || seconds.Int64() > maxSecond {
		return sql.Parameter{}, refuseRange()
	}
	t := time.Unix(seconds.Int64(), rest.Int64()).UTC()
	if a.kind == timestamp {
		return sql.TimestampParameter(t.Format(time.RFC3339Nano)), nil
	}
	if !t.Truncate(24 * time.Hour).Equal(t) {
		return sql.Parameter{}, refuseRange()
	}
	return sql.DateParameter(t.Format(time.DateOnly)), nil
}
