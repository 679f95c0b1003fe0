package server

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql/schema_ref"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
)

// noInformation is an empty answer to GetSqlInfo.
func noInformation() (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.SqlInfo, func(*array.RecordBuilder) {})
}

// xdbcType is a row of GetXdbcTypeInfo.
type xdbcType struct {
	of contract.Type
	// number is the type's, verbose the one that says whether it is a date, and
	// subcode then which.
	number, verbose pb.XdbcDataType
	subcode         pb.XdbcDatetimeSubcode
	size            int32
	prefix, suffix  string
	// radix is that of a number, and scale its largest number of places.
	radix, scale int32
}

// xdbcTypes are the types of columns, in the order of their numbers.
func xdbcTypes() []xdbcType {
	return []xdbcType{
		{of: contract.Boolean, number: pb.XdbcDataType_XDBC_BIT, size: 1},
		{of: contract.Integer, number: pb.XdbcDataType_XDBC_BIGINT, size: 19, radix: 10},
		{of: contract.Number, number: pb.XdbcDataType_XDBC_DECIMAL, size: decimalPrecision, radix: 10, scale: contract.MaxScale},
		{of: contract.String, number: pb.XdbcDataType_XDBC_VARCHAR, size: limits.Text, prefix: "'", suffix: "'"},
		{
			of: contract.Date, number: pb.XdbcDataType_XDBC_DATE, verbose: pb.XdbcDataType_XDBC_DATETIME,
			subcode: pb.XdbcDatetimeSubcode_XDBC_SUBCODE_DATE, size: 10, prefix: "DATE '", suffix: "'",
		},
		{
			of: contract.Timestamp, number: pb.XdbcDataType_XDBC_TIMESTAMP, verbose: pb.XdbcDataType_XDBC_DATETIME,
			subcode: pb.XdbcDatetimeSubcode_XDBC_SUBCODE_TIMESTAMP, size: 32, prefix: "TIMESTAMP '", suffix: "'",
		},
	}
}

// GetFlightInfoXdbcTypeInfo answers the ticket of the list of types.
func (q *queries) GetFlightInfoXdbcTypeInfo(_ context.Context, _ flightsql.GetXdbcTypeInfo, desc *flight.FlightDescriptor) (*flight.FlightInfo, error) {
	return newInfo(desc, schema_ref.XdbcTypeInfo, desc.GetCmd()), nil
}

// DoGetXdbcTypeInfo answers the types of columns, or the one asked for.
func (q *queries) DoGetXdbcTypeInfo(_ context.Context, cmd flightsql.GetXdbcTypeInfo) (*arrow.Schema, <-chan flight.StreamChunk, error) {
	return listing(schema_ref.XdbcTypeInfo, func(b *array.RecordBuilder) {
		for _, t := range xdbcTypes() {
			if wanted := cmd.GetDataType(); wanted == nil || *wanted == int32(t.number) {
				t.append(b)
			}
		}
	})
}

// append adds the row. The columns are those of FlightSql.proto,
// CommandGetXdbcTypeInfo.
func (t xdbcType) append(b *array.RecordBuilder) {
	row := typeRow{b: b}
	row.text(sqlType(t.of))
	row.number(int32(t.number))
	row.number(t.size)
	row.textOrNull(t.prefix)
	row.textOrNull(t.suffix)
	row.null()                                          // create_params
	row.number(int32(pb.Nullable_NULLABILITY_NULLABLE)) // nullable
	row.flag(t.of == contract.String)                   // case_sensitive
	row.number(int32(pb.Searchable_SEARCHABLE_BASIC))   // all but LIKE
	row.flagOrNull(t.radix != 0, false)                 // unsigned_attribute
	row.flag(false)                                     // fixed_prec_scale
	row.flagOrNull(t.radix != 0, false)                 // auto_increment
	row.text(t.of.String())                             // local_type_name
	row.numberOrNull(t.radix != 0, 0)                   // minimum_scale
	row.numberOrNull(t.radix != 0, t.scale)             // maximum_scale
	verbose := t.verbose
	if verbose == 0 {
		verbose = t.number
	}
	row.number(int32(verbose)) // sql_data_type
	row.numberOrNull(t.subcode != 0, int32(t.subcode))
	row.numberOrNull(t.radix != 0, t.radix)
	row.null() // interval_precision
}

// typeRow appends one value to each column in turn.
type typeRow struct {
	b  *array.RecordBuilder
	at int
}

func (r *typeRow) next() array.Builder {
	r.at++
	return r.b.Field(r.at - 1)
}

func (r *typeRow) null()              { r.next().AppendNull() }
func (r *typeRow) text(value string)  { r.next().(*array.StringBuilder).Append(value) }
func (r *typeRow) number(value int32) { r.next().(*array.Int32Builder).Append(value) }
func (r *typeRow) flag(value bool)    { r.next().(*array.BooleanBuilder).Append(value) }

func (r *typeRow) textOrNull(value string) {
	if value == "" {
		r.null()
		return
	}
	r.text(value)
}

func (r *typeRow) numberOrNull(known bool, value int32) {
	if !known {
		r.null()
		return
	}
	r.number(value)
}

func (r *typeRow) flagOrNull(known, value bool) {
	if !known {
		r.null()
		return
	}
	r.flag(value)
}
