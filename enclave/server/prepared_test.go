package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/flight/flightsql"
	pb "github.com/apache/arrow-go/v18/arrow/flight/gen/flight"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cloisterhq/cloister/enclave/audit"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/limits"
)

// bind makes the one row of values, each appended to a column of its type.
func bind(t *testing.T, types []arrow.DataType, fill func(*array.RecordBuilder)) arrow.RecordBatch {
	t.Helper()
	var fields []arrow.Field
	for i, dt := range types {
		fields = append(fields, arrow.Field{Name: fmt.Sprint(i), Type: dt, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	fill(b)
	r := b.NewRecordBatch()
	t.Cleanup(r.Release)
	return r
}

// TestPrepare: a prepared statement tells what it answers and what it wants,
// and the answer has that schema, whatever is bound.
func TestPrepare(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	const text = "SELECT rx, weight, AVG(age) AS mean, COUNT(*) AS n FROM colon WHERE weight < ? AND seen >= ? AND at >= ? AND smoker = ? AND nodes <> ? GROUP BY rx, weight HAVING n > ?"
	s, err := c.Prepare(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	if update, known := s.IsUpdate(); update || !known {
		t.Error("it isn't said to be a query")
	}
	var wants []string
	for _, f := range s.ParameterSchema().Fields() {
		wants = append(wants, f.Name+" "+f.Type.String())
	}
	if want := []string{"$1 decimal(38, 2)", "$2 date32", "$3 timestamp[ms, tz=UTC]", "$4 bool", "$5 int64", "$6 int64"}; !slices.Equal(wants, want) {
		t.Errorf("%v", wants)
	}
	s.SetParameters(bind(t, []arrow.DataType{
		&arrow.Decimal128Type{Precision: 38, Scale: 2}, arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Timestamp_ns, arrow.FixedWidthTypes.Boolean,
		&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.PrimitiveTypes.Int32}, arrow.PrimitiveTypes.Float64,
	}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.Decimal128Builder).Append(decimal128.FromI64(7050))
		b.Field(1).(*array.Date32Builder).Append(19000)
		b.Field(2).(*array.TimestampBuilder).Append(1_700_000_000_000_000_000)
		b.Field(3).(*array.BooleanBuilder).Append(true)
		if err := b.Field(4).AppendValueFromString("4"); err != nil {
			t.Fatal(err)
		}
		b.Field(5).(*array.Float64Builder).Append(5.5)
	}))
	info, err := s.Execute(ctx)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := c.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	if !slices.EqualFunc(reader.Schema().Fields(), s.DatasetSchema().Fields(), arrow.Field.Equal) {
		t.Errorf("%v, not %v", reader.Schema(), s.DatasetSchema())
	}
	if got, err := rows(ctx, c, info); err != nil || !slices.Equal(got, []string{"Lev|70|40|10|", "Obs|70.25|41|10|"}) {
		t.Errorf("%v, %v", got, err)
	}
	dryRuns(ctx, t, c, s, text)
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
	// Two answers were asked for; nothing else was written down.
	if got := d.outcomes(t); !slices.Equal(got, []audit.Outcome{audit.Answered, audit.Answered}) {
		t.Errorf("%v", got)
	}
}

// dryRuns demands that a statement's dry run, with its values and without,
// answers the schema that preparing it did.
func dryRuns(ctx context.Context, t *testing.T, c *flightsql.Client, s *flightsql.PreparedStatement, text string) {
	t.Helper()
	for name, call := range map[string]func() (*flight.SchemaResult, error){
		"bound": func() (*flight.SchemaResult, error) { return s.GetSchema(ctx) },
		"not bound": func() (*flight.SchemaResult, error) {
			return flightsql.NewPreparedStatement(c, []byte(text)).GetSchema(ctx)
		},
	} {
		r, err := call()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if schema, err := flight.DeserializeSchema(r.GetSchema(), memory.DefaultAllocator); err != nil || !schema.Equal(s.DatasetSchema()) {
			t.Errorf("%s: %v, %v", name, schema, err)
		}
	}
}

// TestHandle: a handle carries the statement and its values, so that another
// connection, or the enclave after a restart, can go on with it.
func TestHandle(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	s, err := c.Prepare(ctx, "SELECT COUNT(*) FROM colon WHERE rx = ? AND nodes IN (?, ?)")
	if err != nil {
		t.Fatal(err)
	}
	s.SetParameters(bind(t, []arrow.DataType{arrow.BinaryTypes.String, arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Int64}, func(b *array.RecordBuilder) {
		b.Field(0).(*array.StringBuilder).Append("Lev")
		b.Field(1).(*array.Uint8Builder).Append(0)
		b.Field(2).(*array.Int64Builder).Append(2)
	}))
	if err := s.ExecutePut(ctx); err != nil {
		t.Fatal(err)
	}
	d.paths.Shut("restarting")
	d.paths.Open(nil, d)
	ctx, c = d.client(t)
	info, err := flightsql.NewPreparedStatement(c, s.Handle()).Execute(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rows(ctx, c, info); err != nil || !slices.Equal(got, []string{"20|"}) {
		t.Errorf("%v, %v", got, err)
	}
	// The answer is for the text and the values, as docs/spec/answer.md says.
	reader, err := c.DoGet(ctx, info.GetEndpoint()[0].GetTicket())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	a, _, err := arrowform.Answer(reader.Schema(), nil)
	if err != nil || a.Query != answer.QueryDigest("SELECT COUNT(*) FROM colon WHERE rx = ? AND nodes IN (?, ?)", "'Lev'", "0", "2") {
		t.Errorf("%x, %v", a.Query, err)
	}
	// The handle is a ticket as well.
	command, err := anypb.New(&pb.CommandPreparedStatementQuery{PreparedStatementHandle: s.Handle()})
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := proto.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	direct := &flight.FlightInfo{Endpoint: []*flight.FlightEndpoint{{Ticket: &flight.Ticket{Ticket: ticket}}}}
	if got, err := rows(ctx, c, direct); err != nil || !slices.Equal(got, []string{"20|"}) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestHandles: whatever is presented as a handle is a statement or refused.
func TestHandles(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	const text = "SELECT COUNT(*) FROM colon WHERE rx = ?"
	for name, h := range map[string]struct {
		handle string
		code   codes.Code
		words  string
	}{
		"a value":            {text + "\x00'Lev'", codes.OK, ""},
		"an id":              {text + "\x00'Lev'\x00#1", codes.OK, ""},
		"nothing":            {"", codes.InvalidArgument, "PQ100_SYNTAX"},
		"no value":           {text, codes.InvalidArgument, "PQ205_EXPR_NOT_ALLOWED"},
		"a value too many":   {text + "\x00'Lev'\x00'Obs'", codes.InvalidArgument, "PQ205_EXPR_NOT_ALLOWED"},
		"half a value":       {text + "\x00'Lev", codes.InvalidArgument, "isn't one of this server"},
		"a value after it":   {text + "\x00'Lev'OR'x'", codes.InvalidArgument, "isn't one of this server"},
		"words as a value":   {text + "\x00Lev", codes.InvalidArgument, "PQ205_EXPR_NOT_ALLOWED"},
		"an id in between":   {text + "\x00#1\x00'Lev'", codes.InvalidArgument, "PQ205_EXPR_NOT_ALLOWED"},
		"not UTF-8":          {"\xff", codes.InvalidArgument, "PQ101_ENCODING"},
		"a long text":        {strings.Repeat("x", limits.Query+1), codes.InvalidArgument, "longer than 64 KiB"},
		"long values":        {text + "\x00'" + strings.Repeat("x", limits.Query+1) + "'", codes.InvalidArgument, "PQ102_TOO_LARGE"},
		"very long values":   {text + strings.Repeat("\x00'"+strings.Repeat("x", limits.Query)+"'", 3), codes.InvalidArgument, "longer than 64 KiB"},
		"thousands of those": {text + strings.Repeat("\x001", 2000), codes.InvalidArgument, "PQ102_TOO_LARGE"},
	} {
		_, err := flightsql.NewPreparedStatement(c, []byte(h.handle)).Execute(ctx)
		if status.Code(err) != h.code || err != nil && !strings.Contains(err.Error(), h.words) {
			t.Errorf("%s: %.200v", name, err)
		}
	}
	// A text with a zero byte isn't a text with values.
	for name, call := range map[string]func(string) error{
		"a statement": func(s string) error { _, err := c.Execute(ctx, s); return err },
		"prepared":    func(s string) error { _, err := c.Prepare(ctx, s); return err },
		"dry run":     func(s string) error { _, err := c.GetExecuteSchema(ctx, s); return err },
	} {
		if err := call(text + "\x00'Lev'"); err == nil || !strings.Contains(err.Error(), "PQ101_ENCODING") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBindRefused: what can't be bound is refused when it is bound, and not a
// decision about a query.
func TestBindRefused(t *testing.T) {
	d := deploy(t, nil)
	ctx, c := d.client(t)
	s, err := c.Prepare(ctx, "SELECT COUNT(*) FROM colon WHERE weight = ?")
	if err != nil {
		t.Fatal(err)
	}
	third := 1.0
	for name, v := range map[string]struct {
		record arrow.RecordBatch
		words  string
	}{
		"a calculated float": {bind(t, []arrow.DataType{arrow.PrimitiveTypes.Float64}, func(b *array.RecordBuilder) { b.Field(0).(*array.Float64Builder).Append(third / 3) }), "PQ205_EXPR_NOT_ALLOWED: a bound float"},
		"bytes":              {bind(t, []arrow.DataType{arrow.BinaryTypes.Binary}, func(b *array.RecordBuilder) { b.Field(0).(*array.BinaryBuilder).Append([]byte(data)) }), "PQ205_EXPR_NOT_ALLOWED: a value of this Arrow type"},
		"two rows":           {bind(t, []arrow.DataType{arrow.PrimitiveTypes.Int64}, func(b *array.RecordBuilder) { b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2}, nil) }), "PQ205_EXPR_NOT_ALLOWED: a query takes one row"},
	} {
		s.SetParameters(v.record)
		_, err := s.Execute(ctx)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), v.words) || strings.Contains(err.Error(), data) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(d.outcomes(t)); n != 0 {
		t.Errorf("%d entries", n)
	}
	// NULL can be bound, and no comparison takes it: that is about the query.
	s.SetParameters(bind(t, []arrow.DataType{arrow.Null}, func(b *array.RecordBuilder) { b.Field(0).AppendNull() }))
	if _, err := s.Execute(ctx); err == nil || !strings.Contains(err.Error(), "PQ206_PREDICATE_SHAPE") {
		t.Errorf("%v", err)
	}
	if got := d.outcomes(t); !slices.Equal(got, []audit.Outcome{audit.Refused}) {
		t.Errorf("%v", got)
	}
}
