package binding_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/flight"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/cloisterhq/cloister/enclave/server/binding"
	"github.com/cloisterhq/cloister/enclave/sql"
)

// message is one IPC message as Flight carries it.
type message struct{ metadata, body []byte }

// sink takes what a client's stream would send.
type sink struct{ sent []message }

// Send keeps a copy.
func (s *sink) Send(d *flight.FlightData) error {
	s.sent = append(s.sent, message{slices.Clone(d.GetDataHeader()), slices.Clone(d.GetDataBody())})
	return nil
}

// messages are those that arrow-go's client sends for a record.
func messages(t testing.TB, r arrow.RecordBatch, options ...ipc.Option) []message {
	t.Helper()
	defer r.Release()
	var s sink
	w := flight.NewRecordWriter(&s, append(options, ipc.WithSchema(r.Schema()))...)
	if err := w.Write(r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return s.sent
}

func compressed(t testing.TB, r arrow.RecordBatch) []message { return messages(t, r, ipc.WithLZ4()) }

func record(schema *arrow.Schema, fill func(*array.RecordBuilder)) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	fill(b)
	return b.NewRecordBatch()
}

// TestRandomRows compares rows of random columns with what was written.
func TestRandomRows(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		n := random.IntN(12)
		fields, values, want := make([]arrow.Field, n), make([]string, n), make([]string, n)
		for i := range fields {
			fields[i].Name, fields[i].Nullable = strconv.Itoa(i), true
			switch random.IntN(5) {
			case 0:
				values[i] = strconv.FormatInt(int64(random.Uint64()), 10)
				fields[i].Type, want[i] = arrow.PrimitiveTypes.Int64, values[i]
			case 1:
				values[i] = fmt.Sprint(random.IntN(2) == 0)
				fields[i].Type, want[i] = arrow.FixedWidthTypes.Boolean, sql.BoolParameter(values[i] == "true").Literal()
			case 2:
				values[i] = string(rune('a' + random.IntN(26)))
				fields[i].Type, want[i] = arrow.BinaryTypes.String, sql.TextParameter(values[i]).Literal()
			case 3:
				values[i] = string(rune('a' + random.IntN(26)))
				fields[i].Type = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: arrow.BinaryTypes.String}
				want[i] = sql.TextParameter(values[i]).Literal()
			default:
				values[i] = strconv.FormatInt(int64(random.IntN(2000)-1000), 10) + ".25"
				fields[i].Type, want[i] = &arrow.Decimal128Type{Precision: 20, Scale: 2}, values[i]
			}
			if random.IntN(4) == 0 {
				values[i], want[i] = "", "NULL"
			}
		}
		got, err := read(messages(t, record(arrow.NewSchema(fields, nil), func(b *array.RecordBuilder) {
			for i, v := range values {
				if want[i] == "NULL" {
					b.Field(i).AppendNull()
				} else if err := b.Field(i).AppendValueFromString(v); err != nil {
					t.Fatal(err)
				}
			}
		})))
		if n == 0 {
			want = nil
		}
		if literals := sql.Literals(got); err != nil || !slices.Equal(literals, want) {
			t.Fatalf("seed %d: %v, not %v: %v", seed, literals, want, err)
		}
	}
}

// TestMutations changes every byte of good streams: whatever comes of it is a
// row of as many values, or a refusal.
func TestMutations(t *testing.T) {
	for _, r := range []arrow.RecordBatch{
		one(arrow.BinaryTypes.String, from("text")), one(arrow.PrimitiveTypes.Int64, nil),
		one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, from("x")),
	} {
		good := messages(t, r)
		for i := range good {
			for _, part := range [][]byte{good[i].metadata, good[i].body} {
				for k := range part {
					for _, flip := range []byte{1, 0x80, 0xff} {
						part[k] ^= flip
						check(t, good)
						part[k] ^= flip
					}
				}
				for cut := range part {
					shorter := slices.Clone(good)
					if &part[0] == &good[i].metadata[0] {
						shorter[i].metadata = part[:cut]
					} else {
						shorter[i].body = part[:cut]
					}
					check(t, shorter)
				}
			}
		}
	}
}

// check demands a row or a refusal.
func check(t testing.TB, stream []message) {
	t.Helper()
	got, err := read(stream)
	if _, refused := errors.AsType[*sql.Refusal](err); err != nil && !refused {
		t.Fatalf("%v", err)
	}
	for _, p := range got {
		if p == (sql.Parameter{}) {
			t.Fatal("a value of no kind")
		}
	}
}

// FuzzRead reads any messages. The input is the length and the bytes of each
// part in turn.
func FuzzRead(f *testing.F) {
	for _, r := range []arrow.RecordBatch{
		one(arrow.BinaryTypes.String, from("text")), one(arrow.PrimitiveTypes.Float64, from("0.5")), one(arrow.Null, nil),
		one(&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, from("x")),
		one(&arrow.Decimal128Type{Precision: 38, Scale: 2}, from("1.25")),
	} {
		var input []byte
		for _, m := range messages(f, r) {
			for _, part := range [][]byte{m.metadata, m.body} {
				input = append(binary.LittleEndian.AppendUint16(input, uint16(len(part))), part...)
			}
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		next := func() []byte {
			if len(input) < 2 {
				input = nil
				return nil
			}
			n := min(int(binary.LittleEndian.Uint16(input)), len(input)-2)
			part := input[2 : 2+n]
			input = input[2+n:]
			return part
		}
		var r binding.Reader
		for len(input) > 0 {
			metadata := next()
			if err := r.Read(metadata, next()); err != nil {
				if _, refused := errors.AsType[*sql.Refusal](err); !refused {
					t.Fatalf("%v", err)
				}
				return
			}
		}
		values, err := r.Values()
		if err != nil {
			return
		}
		for _, p := range values {
			again, ok := sql.ParseParameter(p.Literal())
			if !ok || again != p {
				t.Fatalf("%q isn't read back", p.Literal())
			}
		}
	})
}
