package binding_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/cloisterhq/cloister/enclave/server/binding"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/limits"
)

// one is a record of one value, or NULL, of a type.
func one(t arrow.DataType, fill func(array.Builder)) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "p", Type: t, Nullable: true}}, nil))
	defer b.Release()
	if fill == nil {
		b.Field(0).AppendNull()
	} else {
		fill(b.Field(0))
	}
	return b.NewRecordBatch()
}

// from appends a value as its text.
func from(text string) func(array.Builder) {
	return func(b array.Builder) {
		if err := b.AppendValueFromString(text); err != nil {
			panic(err)
		}
	}
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestTypes reads one value of every type that can be bound, as arrow-go's own
// writer sends it.
func TestTypes(t *testing.T) {
	at := moment(t, "2024-02-29T23:59:59.987654321Z")
	instant := func(unit arrow.TimeUnit) func(array.Builder) {
		return func(b array.Builder) {
			v, err := arrow.TimestampFromTime(at, unit)
			if err != nil {
				t.Fatal(err)
			}
			b.(*array.TimestampBuilder).Append(v)
		}
	}
	day := func(b array.Builder) {
		switch b := b.(type) {
		case *array.Date32Builder:
			b.Append(arrow.Date32FromTime(at))
		case *array.Date64Builder:
			b.Append(arrow.Date64FromTime(at))
		}
	}
	for name, c := range map[string]struct {
		record arrow.RecordBatch
		want   string
	}{
		"null":          {one(arrow.Null, nil), "NULL"},
		"no int":        {one(arrow.PrimitiveTypes.Int64, nil), "NULL"},
		"no text":       {one(arrow.BinaryTypes.String, nil), "NULL"},
		"int8":          {one(arrow.PrimitiveTypes.Int8, from("-128")), "-128"},
		"uint8":         {one(arrow.PrimitiveTypes.Uint8, from("255")), "255"},
		"int16":         {one(arrow.PrimitiveTypes.Int16, from("-32768")), "-32768"},
		"uint16":        {one(arrow.PrimitiveTypes.Uint16, from("65535")), "65535"},
		"int32":         {one(arrow.PrimitiveTypes.Int32, from("-2147483648")), "-2147483648"},
		"uint32":        {one(arrow.PrimitiveTypes.Uint32, from("4294967295")), "4294967295"},
		"int64":         {one(arrow.PrimitiveTypes.Int64, from("-9223372036854775808")), "-9223372036854775808"},
		"uint64":        {one(arrow.PrimitiveTypes.Uint64, from("18446744073709551615")), "18446744073709551615"},
		"float64":       {one(arrow.PrimitiveTypes.Float64, from("0.1")), "0.1"},
		"whole float64": {one(arrow.PrimitiveTypes.Float64, from("-250")), "-250"},
		"great float64": {one(arrow.PrimitiveTypes.Float64, from("1e300")), "1e+300"},
		"15 digits":     {one(arrow.PrimitiveTypes.Float64, from("1.23456789012345")), "1.23456789012345"},
		"float32":       {one(arrow.PrimitiveTypes.Float32, from("0.1")), "0.1"},
		"utf8":          {one(arrow.BinaryTypes.String, from("it's ü")), "'it''s ü'"},
		"no utf8 text":  {one(arrow.BinaryTypes.String, from("")), "''"},
		"large utf8":    {one(arrow.BinaryTypes.LargeString, from("x")), "'x'"},
		"true":          {one(arrow.FixedWidthTypes.Boolean, from("true")), "TRUE"},
		"false":         {one(arrow.FixedWidthTypes.Boolean, from("false")), "FALSE"},
		"decimal32":     {one(&arrow.Decimal32Type{Precision: 9, Scale: 2}, from("-12.50")), "-12.50"},
		"decimal64":     {one(&arrow.Decimal64Type{Precision: 18, Scale: 4}, from("0.0001")), "0.0001"},
		"decimal128": {one(&arrow.Decimal128Type{Precision: 38, Scale: 2}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(decimal128.FromI64(-5))
		}), "-0.05"},
		"decimal128, in thousands": {one(&arrow.Decimal128Type{Precision: 10, Scale: -3}, func(b array.Builder) {
			b.(*array.Decimal128Builder).Append(decimal128.FromI64(12))
		}), "12000"},
		"decimal256": {one(&arrow.Decimal256Type{Precision: 76, Scale: 1}, func(b array.Builder) {
			b.(*array.Decimal256Builder).Append(decimal256.FromI64(-7))
		}), "-0.7"},
		"date32":                 {one(arrow.FixedWidthTypes.Date32, day), "DATE '2024-02-29'"},
		"date64":                 {one(arrow.FixedWidthTypes.Date64, day), "DATE '2024-02-29'"},
		"seconds":                {one(arrow.FixedWidthTypes.Timestamp_s, instant(arrow.Second)), "TIMESTAMP '2024-02-29T23:59:59Z'"},
		"milliseconds":           {one(arrow.FixedWidthTypes.Timestamp_ms, instant(arrow.Millisecond)), "TIMESTAMP '2024-02-29T23:59:59.987Z'"},
		"microseconds":           {one(arrow.FixedWidthTypes.Timestamp_us, instant(arrow.Microsecond)), "TIMESTAMP '2024-02-29T23:59:59.987654Z'"},
		"nanoseconds":            {one(arrow.FixedWidthTypes.Timestamp_ns, instant(arrow.Nanosecond)), "TIMESTAMP '2024-02-29T23:59:59.987654321Z'"},
		"an instant of no zone":  {one(&arrow.TimestampType{Unit: arrow.Second}, instant(arrow.Second)), "TIMESTAMP '2024-02-29T23:59:59Z'"},
		"before 1970":            {one(arrow.FixedWidthTypes.Timestamp_ms, func(b array.Builder) { b.(*array.TimestampBuilder).Append(-1) }), "TIMESTAMP '1969-12-31T23:59:59.999Z'"},
		"an instant of one zone": {one(&arrow.TimestampType{Unit: arrow.Second, TimeZone: "Asia/Tokyo"}, instant(arrow.Second)), "TIMESTAMP '2024-02-29T23:59:59Z'"},
		"dictionary":             {one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, from("it")), "'it'"},
		"unsigned dictionary":    {one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint64, ValueType: arrow.PrimitiveTypes.Int16}, from("7")), "7"},
		"no entry":               {one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, nil), "NULL"},
	} {
		got, err := read(messages(t, c.record))
		if literals := sql.Literals(got); err != nil || !slices.Equal(literals, []string{c.want}) {
			t.Errorf("%s: %v, %v", name, literals, err)
		}
	}
}

// TestRefused: what can't be bound says why, and nothing of the value.
func TestRefused(t *testing.T) {
	const private = "Lovelace"
	long := strings.Repeat("x", limits.Query)
	texts := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}, {Name: "b", Type: arrow.BinaryTypes.String}}, nil)
	for name, c := range map[string]struct {
		record arrow.RecordBatch
		code   string
	}{
		"half float": {one(arrow.FixedWidthTypes.Float16, func(b array.Builder) { b.(*array.Float16Builder).Append(float16.New(1)) }), "PQ205"},
		"not a number": {one(arrow.PrimitiveTypes.Float64, func(b array.Builder) {
			b.(*array.Float64Builder).Append(math.NaN())
		}), "PQ205"},
		"infinity": {one(arrow.PrimitiveTypes.Float32, func(b array.Builder) {
			b.(*array.Float32Builder).Append(float32(math.Inf(-1)))
		}), "PQ205"},
		"a calculated float": {one(arrow.PrimitiveTypes.Float64, func(b array.Builder) {
			third := 1.0
			b.(*array.Float64Builder).Append(third / 3)
		}), "PQ205"},
		"a float32 of 8 digits":    {one(arrow.PrimitiveTypes.Float32, from("16777217.5")), "PQ205"},
		"bytes":                    {one(arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte(private)) }), "PQ205"},
		"a time of day":            {one(arrow.FixedWidthTypes.Time64us, from("10:00:00")), "PQ205"},
		"a duration":               {one(arrow.FixedWidthTypes.Duration_s, nil), "PQ205"},
		"a list":                   {one(arrow.ListOf(arrow.PrimitiveTypes.Int8), nil), "PQ205"},
		"a struct":                 {one(arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int8}), nil), "PQ205"},
		"a dictionary of bytes":    {one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.Binary}, nil), "PQ205"},
		"a day of no calendar":     {one(arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).Append(math.MaxInt32) }), "PQ205"},
		"half a day":               {one(arrow.FixedWidthTypes.Date64, func(b array.Builder) { b.(*array.Date64Builder).Append(1) }), "PQ205"},
		"the end of time":          {one(arrow.FixedWidthTypes.Timestamp_s, func(b array.Builder) { b.(*array.TimestampBuilder).Append(math.MaxInt64) }), "PQ205"},
		"the year zero":            {one(arrow.FixedWidthTypes.Timestamp_s, func(b array.Builder) { b.(*array.TimestampBuilder).Append(-62135596801) }), "PQ205"},
		"text that isn't UTF-8":    {one(arrow.BinaryTypes.String, func(b array.Builder) { b.(*array.StringBuilder).Append(private + "\xff") }), "PQ101"},
		"a text longer than 64 Ki": {one(arrow.BinaryTypes.String, from(long+"x")), "PQ102"},
		"together longer": {record(texts, func(b *array.RecordBuilder) {
			b.Field(0).(*array.StringBuilder).Append(long)
			b.Field(1).(*array.StringBuilder).Append("x")
		}), "PQ102"},
		"two rows": {record(texts, func(b *array.RecordBuilder) {
			for i := range 2 {
				b.Field(i).(*array.StringBuilder).AppendValues([]string{private, private}, nil)
			}
		}), "PQ205"},
		"no row": {record(texts, func(*array.RecordBuilder) {}), "PQ205"},
	} {
		got, err := read(messages(t, c.record))
		refusal, ok := errors.AsType[*sql.Refusal](err)
		if !ok || len(refusal.Violations) != 1 || refusal.Violations[0].Code != c.code || got != nil {
			t.Errorf("%s: %v, %v", name, sql.Literals(got), err)
		}
		if err != nil && strings.Contains(err.Error(), private) {
			t.Errorf("%s: the refusal shows the value: %v", name, err)
		}
	}
}

// TestStreams: one schema, then one row in all.
func TestStreams(t *testing.T) {
	row := messages(t, one(arrow.PrimitiveTypes.Int64, from("7")))
	none := messages(t, record(arrow.NewSchema([]arrow.Field{{Name: "p", Type: arrow.PrimitiveTypes.Int64}}, nil), func(*array.RecordBuilder) {}))
	nothing := messages(t, record(arrow.NewSchema(nil, nil), func(*array.RecordBuilder) {}))
	wide := make([]arrow.Field, 1025)
	for i := range wide {
		wide[i] = arrow.Field{Name: "p", Type: arrow.Null}
	}
	large := slices.Clone(row)
	large[1].body = make([]byte, 1<<20)
	for name, c := range map[string]struct {
		stream []message
		want   string
	}{
		"a row":                   {row, "7"},
		"a row and an empty one":  {slices.Concat(row, none[1:]), "7"},
		"an empty one and a row":  {slices.Concat(none, row[1:]), "7"},
		"two rows":                {slices.Concat(row, row[1:]), "PQ205"},
		"a schema alone":          {row[:1], "PQ205"},
		"two schemas":             {slices.Concat(row[:1], row), "PQ101"},
		"no schema":               {row[1:], "PQ101"},
		"nothing at all":          {nil, ""},
		"no columns":              {nothing, ""},
		"a row of other columns":  {slices.Concat(nothing[:1], row[1:]), "PQ101"},
		"too many columns":        {messages(t, record(arrow.NewSchema(wide, nil), func(*array.RecordBuilder) {})), "PQ102"},
		"a body of any length":    {large, "PQ102"},
		"a dictionary of nothing": {slices.Concat(row[:1], messages(t, one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, from("x")))[1:2]), "PQ101"},
		"an index of nothing": {func() []message {
			all := messages(t, one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, from("x")))
			return slices.Concat(all[:1], all[2:])
		}(), "PQ101"},
		"compressed": {compressed(t, one(arrow.BinaryTypes.String, from(strings.Repeat("x", 1000)))), "PQ101"},
	} {
		got, err := read(c.stream)
		switch {
		case strings.HasPrefix(c.want, "PQ"):
			if refusal, ok := errors.AsType[*sql.Refusal](err); !ok || refusal.Violations[0].Code != c.want {
				t.Errorf("%s: %v, %v", name, sql.Literals(got), err)
			}
		case err != nil || strings.Join(sql.Literals(got), " ") != c.want:
			t.Errorf("%s: %v, %v", name, sql.Literals(got), err)
		}
	}
}

func read(stream []message) ([]sql.Parameter, error) {
	var r binding.Reader
	for _, m := range stream {
		if err := r.Read(m.metadata, m.body); err != nil {
			return nil, err
		}
	}
	return r.Values()
}
