package arrowform_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
)

func signer() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
}

func service() ed25519.PublicKey { return signer().Public().(ed25519.PublicKey) }

// whole is an answer with every type, their extremes and NULL.
func whole() *answer.Answer {
	nines := strings.Repeat("9", 38)
	return &answer.Answer{
		Mode: answer.ModeThreshold, Protected: true, Dataset: "colon", Snapshot: math.MaxUint64, Floor: -1, Suppressed: true,
		AuditID: "ü\x00", Genesis: [32]byte{1}, Manifest: math.MaxUint64, Query: answer.QueryDigest("SELECT 1"),
		Columns: []answer.Column{
			{Name: "s", Type: answer.String}, {Name: "s", Type: answer.Int64}, {Name: "", Type: answer.Decimal, Scale: 38},
			{Name: "d0", Type: answer.Decimal}, {Name: "b", Type: answer.Boolean}, {Name: "day", Type: answer.Date}, {Name: "at", Type: answer.Timestamp},
		},
		Rows: [][]answer.Cell{
			{{Text: ""}, {Int: math.MinInt64}, {Text: "-0." + nines}, {Text: nines}, {Int: 1}, {Int: math.MinInt32}, {Int: math.MinInt64}},
			{{Text: "a\x00b"}, {Int: math.MaxInt64}, {Text: "0." + strings.Repeat("0", 38)}, {Text: "-" + nines}, {}, {Int: math.MaxInt32}, {Int: math.MaxInt64}},
			{{Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}},
		},
	}
}

// record answers the Arrow form of a signed answer.
func record(t testing.TB, a *answer.Answer) arrow.RecordBatch {
	t.Helper()
	signature, err := answer.Sign(a, signer())
	if err != nil {
		t.Fatal(err)
	}
	r, err := arrowform.Record(a, signature)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	return r
}

// travel sends records through Arrow's stream format, as Flight does.
func travel(t testing.TB, schema *arrow.Schema, records ...arrow.RecordBatch) (*arrow.Schema, []arrow.RecordBatch) {
	t.Helper()
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(schema))
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	reader, err := ipc.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	var out []arrow.RecordBatch
	for reader.Next() {
		r := reader.RecordBatch()
		r.Retain()
		out = append(out, r)
	}
	if err := reader.Err(); err != nil {
		t.Fatal(err)
	}
	return reader.Schema(), out
}

// same checks that an answer came back as it was, signature included.
func same(t testing.TB, want *answer.Answer, schema *arrow.Schema, records []arrow.RecordBatch) {
	t.Helper()
	got, signature, err := arrowform.Answer(schema, records)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Verify(got, signature, service()); err != nil {
		t.Errorf("the signature doesn't hold any more: %v", err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("came back changed:\n%+v\n%+v", got, want)
	}
}

func TestRoundTrip(t *testing.T) {
	a := whole()
	r := record(t, a)
	same(t, a, r.Schema(), []arrow.RecordBatch{r})
	schema, records := travel(t, r.Schema(), r)
	same(t, a, schema, records)
}

// TestBatches cuts an answer into records at every place.
func TestBatches(t *testing.T) {
	a := whole()
	r := record(t, a)
	for i := range r.NumRows() + 1 {
		head, tail := r.NewSlice(0, i), r.NewSlice(i, r.NumRows())
		schema, records := travel(t, r.Schema(), head, tail)
		same(t, a, schema, records)
		head.Release()
		tail.Release()
	}
}

func TestNoRows(t *testing.T) {
	a := whole()
	a.Rows = nil
	r := record(t, a)
	for name, records := range map[string][]arrow.RecordBatch{"an empty record": {r}, "no record": nil} {
		got, signature, err := arrowform.Answer(r.Schema(), records)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := answer.Verify(got, signature, service()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRandom sends random answers through the form and the stream format.
func TestRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	types := []answer.Type{answer.String, answer.Int64, answer.Decimal, answer.Boolean, answer.Date, answer.Timestamp}
	for range 100 {
		a := &answer.Answer{Mode: "m", Dataset: "d", AuditID: "a", Rows: [][]answer.Cell{}}
		for range 1 + random.IntN(6) {
			c := answer.Column{Name: "c", Type: types[random.IntN(len(types))]}
			if c.Type == answer.Decimal {
				c.Scale = random.IntN(39)
			}
			a.Columns = append(a.Columns, c)
		}
		for range random.IntN(20) {
			row := make([]answer.Cell, len(a.Columns))
			for i, c := range a.Columns {
				row[i] = randomCell(random, c)
			}
			a.Rows = append(a.Rows, row)
		}
		r := record(t, a)
		schema, records := travel(t, r.Schema(), r)
		same(t, a, schema, records)
	}
}

func randomCell(random *rand.Rand, c answer.Column) answer.Cell {
	if random.IntN(4) == 0 {
		return answer.Cell{Null: true}
	}
	switch c.Type {
	case answer.String:
		return answer.Cell{Text: strings.Repeat("ä", random.IntN(5))}
	case answer.Decimal:
		v := new(big.Int).SetUint64(random.Uint64())
		v.Lsh(v, uint(random.IntN(60)))
		if random.IntN(2) == 0 {
			v.Neg(v)
		}
		return answer.Cell{Text: answer.FormatDecimal(v, c.Scale)}
	case answer.Boolean:
		return answer.Cell{Int: random.Int64N(2)}
	case answer.Date:
		return answer.Cell{Int: int64(int32(random.Uint32()))}
	default:
		return answer.Cell{Int: int64(random.Uint64())}
	}
}

func TestRecordRefuses(t *testing.T) {
	one := func(c answer.Column, cell answer.Cell) func(*answer.Answer) {
		return func(a *answer.Answer) { a.Columns, a.Rows = []answer.Column{c}, [][]answer.Cell{{cell}} }
	}
	for name, c := range map[string]struct {
		change func(*answer.Answer)
		want   error
	}{
		"a cell of another type":    {func(a *answer.Answer) { a.Rows[0][0] = answer.Cell{Int: 1} }, answer.ErrShape},
		"no columns":                {func(a *answer.Answer) { a.Columns, a.Rows = nil, nil }, answer.ErrShape},
		"39 digits":                 {one(answer.Column{Type: answer.Decimal}, answer.Cell{Text: "1" + strings.Repeat("0", 38)}), arrowform.ErrForm},
		"39 negative digits":        {one(answer.Column{Type: answer.Decimal}, answer.Cell{Text: "-1" + strings.Repeat("0", 38)}), arrowform.ErrForm},
		"scale 39":                  {one(answer.Column{Type: answer.Decimal, Scale: 39}, answer.Cell{Null: true}), arrowform.ErrForm},
		"a date beyond 32 bits":     {one(answer.Column{Type: answer.Date}, answer.Cell{Int: math.MaxInt32 + 1}), arrowform.ErrForm},
		"a date before 32 bits":     {one(answer.Column{Type: answer.Date}, answer.Cell{Int: math.MinInt32 - 1}), arrowform.ErrForm},
		"too many columns":          {func(a *answer.Answer) { a.Columns, a.Rows = slices.Repeat(a.Columns[:1], 1025), nil }, arrowform.ErrForm},
		"too many cells":            {func(a *answer.Answer) { a.Columns, a.Rows = manyCells() }, arrowform.ErrForm},
		"a long audit id":           {func(a *answer.Answer) { a.AuditID = strings.Repeat("a", 4097) }, arrowform.ErrForm},
		"more text than the bounds": {one(answer.Column{Type: answer.String}, answer.Cell{Text: strings.Repeat("a", 1<<28+1)}), arrowform.ErrForm},
	} {
		a := whole()
		c.change(a)
		if r, err := arrowform.Record(a, make([]byte, 64)); r != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := arrowform.Record(whole(), make([]byte, 1<<10+1)); !errors.Is(err, arrowform.ErrForm) {
		t.Errorf("a long signature: %v", err)
	}
}

// manyCells answers more cells than the bound; all rows are one.
func manyCells() ([]answer.Column, [][]answer.Cell) {
	columns := slices.Repeat([]answer.Column{{Type: answer.Int64}}, 1024)
	return columns, slices.Repeat([][]answer.Cell{make([]answer.Cell, 1024)}, 1<<14+1)
}

func TestAnswerRefusesMetadata(t *testing.T) {
	r := record(t, whole())
	original := r.Schema().Metadata()
	set := func(key, value string) func(map[string]string) {
		return func(m map[string]string) { m[key] = value }
	}
	changes := map[string]func(map[string]string){
		"an unknown key":       set("cloister.extra", "1"),
		"a replaced key":       func(m map[string]string) { delete(m, "cloister.mode"); m["cloister.Mode"] = "threshold" },
		"another version":      set("cloister.answer", "2"),
		"a truth in capitals":  set("cloister.suppressed", "True"),
		"a negative snapshot":  set("cloister.snapshot", "-1"),
		"a snapshot with zero": set("cloister.snapshot", "01"),
		"a signed snapshot":    set("cloister.snapshot", "+1"),
		"a large snapshot":     set("cloister.snapshot", "18446744073709551616"),
		"no floor":             set("cloister.floor", ""),
		"a floor with zero":    set("cloister.floor", "-0"),
		"a short genesis":      set("cloister.genesis", "00"),
		"capital digits":       set("cloister.genesis", strings.Repeat("AA", 32)),
		"no digits":            set("cloister.query", strings.Repeat("zz", 32)),
		"base64 without end":   set("cloister.signature", "AQ"),
		"base64 with a break":  set("cloister.signature", "AQ==\n"),
		"loose base64":         set("cloister.signature", "AR=="),
		"a long value":         set("cloister.mode", strings.Repeat("a", 4097)),
		"text that isn't text": set("cloister.dataset", "\xff"),
	}
	for _, key := range original.Keys() {
		changes["no "+key] = func(m map[string]string) { delete(m, key) }
	}
	for name, change := range changes {
		m := original.ToMap()
		change(m)
		metadata := arrow.MetadataFrom(m)
		schema := arrow.NewSchema(r.Schema().Fields(), &metadata)
		if a, signature, err := arrowform.Answer(schema, []arrow.RecordBatch{r}); a != nil || signature != nil || !errors.Is(err, arrowform.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys, values := slices.Clone(original.Keys()), slices.Clone(original.Values())
	keys[1] = keys[2]
	twice := arrow.NewMetadata(keys, values)
	if _, _, err := arrowform.Answer(arrow.NewSchema(r.Schema().Fields(), &twice), nil); !errors.Is(err, arrowform.ErrForm) {
		t.Errorf("a key that stands twice: %v", err)
	}
}

func TestAnswerRefusesFields(t *testing.T) {
	metadata := record(t, whole()).Schema().Metadata()
	extra := arrow.NewMetadata([]string{"k"}, []string{"v"})
	for name, f := range map[string]arrow.Field{
		"another integer":       {Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		"a float":               {Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		"large text":            {Type: arrow.BinaryTypes.LargeString, Nullable: true},
		"bytes":                 {Type: arrow.BinaryTypes.Binary, Nullable: true},
		"milliseconds":          {Type: arrow.FixedWidthTypes.Timestamp_ms, Nullable: true},
		"another zone":          {Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "Europe/Berlin"}, Nullable: true},
		"no zone":               {Type: &arrow.TimestampType{Unit: arrow.Microsecond}, Nullable: true},
		"other dates":           {Type: arrow.FixedWidthTypes.Date64, Nullable: true},
		"another precision":     {Type: &arrow.Decimal128Type{Precision: 37, Scale: 2}, Nullable: true},
		"a negative scale":      {Type: &arrow.Decimal128Type{Precision: 38, Scale: -1}, Nullable: true},
		"a large scale":         {Type: &arrow.Decimal128Type{Precision: 38, Scale: 39}, Nullable: true},
		"a column without NULL": {Type: arrow.PrimitiveTypes.Int64},
		"a field with metadata": {Type: arrow.PrimitiveTypes.Int64, Nullable: true, Metadata: extra},
		"a list":                {Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
		"a name that isn't one": {Name: "\xff", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	} {
		schema := arrow.NewSchema([]arrow.Field{f}, &metadata)
		if a, _, err := arrowform.Answer(schema, nil); a != nil || !errors.Is(err, arrowform.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
	fields := slices.Repeat([]arrow.Field{{Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, 1025)
	for name, schema := range map[string]*arrow.Schema{
		"no schema": nil, "no field": arrow.NewSchema(nil, &metadata), "too many fields": arrow.NewSchema(fields, &metadata),
	} {
		if _, _, err := arrowform.Answer(schema, nil); !errors.Is(err, arrowform.ErrForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnswerRefusesRecords(t *testing.T) {
	r := record(t, whole())
	fewer := whole()
	fewer.Columns = fewer.Columns[:6]
	for i := range fewer.Rows {
		fewer.Rows[i] = fewer.Rows[i][:6]
	}
	if _, _, err := arrowform.Answer(r.Schema(), []arrow.RecordBatch{r, record(t, fewer)}); !errors.Is(err, arrowform.ErrForm) {
		t.Errorf("a record with another schema: %v", err)
	}
	// A decimal of 38 digits by its type and 39 in truth.
	b := array.NewDecimal128Builder(memory.DefaultAllocator, &arrow.Decimal128Type{Precision: 38})
	defer b.Release()
	if err := b.UnmarshalJSON([]byte(`["` + strings.Repeat("9", 38) + `"]`)); err != nil {
		t.Fatal(err)
	}
	large := b.NewDecimal128Array()
	defer large.Release()
	copy(large.Data().Buffers()[1].Buf(), bytes.Repeat([]byte{0xff}, 15))
	large.Data().Buffers()[1].Buf()[15] = 0x7f
	metadata := r.Schema().Metadata()
	schema := arrow.NewSchema([]arrow.Field{{Name: "d", Type: large.DataType(), Nullable: true}}, &metadata)
	over := array.NewRecordBatch(schema, []arrow.Array{large}, 1)
	defer over.Release()
	if _, _, err := arrowform.Answer(schema, []arrow.RecordBatch{over}); !errors.Is(err, arrowform.ErrForm) {
		t.Errorf("a decimal of 39 digits: %v", err)
	}
	// One record, many times: the number of rows is bounded before memory is.
	rows := whole()
	rows.Rows = slices.Repeat(rows.Rows, 1<<14)
	many := record(t, rows)
	if _, _, err := arrowform.Answer(many.Schema(), slices.Repeat([]arrow.RecordBatch{many}, 100)); !errors.Is(err, arrowform.ErrForm) {
		t.Errorf("too many rows: %v", err)
	}
}

// TestKeepsNoMemory: an answer outlives the records it was read from.
func TestKeepsNoMemory(t *testing.T) {
	pool := memory.NewCheckedAllocator(memory.NewGoAllocator())
	b := array.NewStringBuilder(pool)
	b.Append("Lev")
	text := b.NewStringArray()
	b.Release()
	metadata := record(t, whole()).Schema().Metadata()
	schema := arrow.NewSchema([]arrow.Field{{Name: "rx", Type: arrow.BinaryTypes.String, Nullable: true}}, &metadata)
	r := array.NewRecordBatch(schema, []arrow.Array{text}, 1)
	text.Release()
	a, _, err := arrowform.Answer(schema, []arrow.RecordBatch{r})
	if err != nil {
		t.Fatal(err)
	}
	for _, buffer := range r.Column(0).Data().Buffers() {
		if buffer != nil {
			clear(buffer.Buf())
		}
	}
	r.Release()
	pool.AssertSize(t, 0)
	if a.Rows[0][0].Text != "Lev" {
		t.Errorf("the text changed with the record: %q", a.Rows[0][0].Text)
	}
}
