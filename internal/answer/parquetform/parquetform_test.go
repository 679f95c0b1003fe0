package parquetform_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/answer/parquetform"
)

var update = flag.Bool("update", false, "write testdata/whole.parquet anew; then read it with another reader")

// whole is an answer with every type, their extremes and NULL.
func whole() *answer.Answer {
	nines := strings.Repeat("9", 38)
	return &answer.Answer{
		Mode: answer.ModeThreshold, Dataset: "colon", Snapshot: math.MaxUint64, Floor: 10, AuditID: "ü", Genesis: [32]byte{1}, Manifest: 7,
		Query: answer.QueryDigest("SELECT 1"),
		Columns: []answer.Column{
			{Name: "s", Type: answer.String}, {Name: "n", Type: answer.Int64}, {Name: "d38", Type: answer.Decimal, Scale: 38},
			{Name: "d0", Type: answer.Decimal}, {Name: "b", Type: answer.Boolean}, {Name: "day", Type: answer.Date}, {Name: "at", Type: answer.Timestamp},
		},
		Rows: [][]answer.Cell{
			{{Text: ""}, {Int: math.MinInt64}, {Text: "-0." + nines}, {Text: nines}, {Int: 1}, {Int: -719162}, {Int: -62135596800000000}},
			{{Text: "a\x00bü"}, {Int: math.MaxInt64}, {Text: "0." + strings.Repeat("0", 38)}, {Text: "-" + nines}, {}, {Int: 2932896}, {Int: 253402300799999999}},
			{{Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}},
		},
	}
}

// texts is what a reader shall see of the rows.
func texts(a *answer.Answer) [][]any {
	var rows [][]any
	for _, row := range a.Rows {
		var out []any
		for i, cell := range row {
			if cell.Null {
				out = append(out, nil)
				continue
			}
			out = append(out, a.Columns[i].Format(cell))
		}
		rows = append(rows, out)
	}
	return rows
}

func write(t *testing.T, a *answer.Answer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := parquetform.Write(&b, a, bytes.Repeat([]byte{7}, 64)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func check(t *testing.T, a *answer.Answer) {
	t.Helper()
	p := read(t, write(t, a))
	if !reflect.DeepEqual(p.rows, texts(a)) {
		t.Errorf("got  %v\nwant %v", p.rows, texts(a))
	}
	if p.meta[3] != int64(len(a.Rows)) || len(p.meta[2].([]any)) != len(a.Columns)+1 {
		t.Errorf("metadata of another table: %v", p.meta)
	}
}

func TestWhole(t *testing.T) { check(t, whole()) }

// TestMetadata holds that the file carries the facts that the signature is on.
func TestMetadata(t *testing.T) {
	a := whole()
	record, err := arrowform.Record(a, bytes.Repeat([]byte{7}, 64))
	if err != nil {
		t.Fatal(err)
	}
	defer record.Release()
	want := map[string]string{}
	for i, k := range record.Schema().Metadata().Keys() {
		want[k] = record.Schema().Metadata().Values()[i]
	}
	got := map[string]string{}
	for _, kv := range read(t, write(t, a)).meta[5].([]any) {
		pair := kv.(map[int]any)
		got[pair[1].(string)] = pair[2].(string)
	}
	if !reflect.DeepEqual(got, want) || got["cloister.signature"] == "" {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestGolden holds the bytes of a file that pyarrow 26 and DuckDB read with the values,
// types and metadata of the answer.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "whole.parquet")
	got := write(t, whole())
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("another file than the one that another reader was tried on")
	}
}

func TestSizes(t *testing.T) {
	for _, rows := range []int{0, 1, 7, 8, 9, 64, 1000, 64 << 10, 64<<10 + 1, 130_000} {
		a := &answer.Answer{Mode: answer.ModeThreshold, Columns: []answer.Column{{Name: "n", Type: answer.Int64}, {Name: "b", Type: answer.Boolean}}}
		for i := range rows {
			a.Rows = append(a.Rows, []answer.Cell{{Int: int64(i)}, {Null: i%3 == 0, Int: int64(i % 3 % 2)}})
		}
		check(t, a)
	}
}

// TestRandom compares random answers with what another reader sees.
func TestRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	types := []answer.Type{answer.String, answer.Int64, answer.Decimal, answer.Boolean, answer.Date, answer.Timestamp}
	for range 200 {
		a := &answer.Answer{Mode: answer.ModeThreshold}
		for i := range 1 + random.IntN(20) {
			c := answer.Column{Name: fmt.Sprintf("c%d", i), Type: types[random.IntN(len(types))]}
			if c.Type == answer.Decimal {
				c.Scale = random.IntN(39)
			}
			a.Columns = append(a.Columns, c)
		}
		for range random.IntN(40) {
			var row []answer.Cell
			for _, c := range a.Columns {
				row = append(row, cell(random, c))
			}
			a.Rows = append(a.Rows, row)
		}
		check(t, a)
	}
}

func cell(random *rand.Rand, c answer.Column) answer.Cell {
	switch {
	case random.IntN(4) == 0:
		return answer.Cell{Null: true}
	case c.Type == answer.String:
		return answer.Cell{Text: strings.Repeat("é\n", random.IntN(20))}
	case c.Type == answer.Boolean:
		return answer.Cell{Int: random.Int64N(2)}
	case c.Type == answer.Decimal:
		v := new(big.Int).Mul(big.NewInt(random.Int64()), big.NewInt(random.Int64N(1_000_000)-500_000))
		return answer.Cell{Text: answer.FormatDecimal(v, c.Scale)}
	case c.Type == answer.Date:
		return answer.Cell{Int: random.Int64N(100_000) - 50_000}
	case c.Type == answer.Timestamp:
		return answer.Cell{Int: random.Int64N(1<<52) - 1<<51}
	default:
		return answer.Cell{Int: int64(random.Uint64())}
	}
}

func TestRefuses(t *testing.T) {
	twice := whole()
	twice.Columns[1].Name = "s"
	if err := parquetform.Write(&bytes.Buffer{}, twice, nil); !errors.Is(err, parquetform.ErrForm) {
		t.Errorf("a name twice: %v", err)
	}
	short := whole()
	short.Rows[0] = short.Rows[0][1:]
	if err := parquetform.Write(&bytes.Buffer{}, short, nil); !errors.Is(err, answer.ErrShape) {
		t.Errorf("a short row: %v", err)
	}
	if err := parquetform.Write(&bytes.Buffer{}, &answer.Answer{}, nil); !errors.Is(err, answer.ErrShape) {
		t.Errorf("no columns: %v", err)
	}
}

// full is a disk that has room for so many bytes.
type full int

var errFull = errors.New("no space left")

// Write takes what fits.
func (f *full) Write(p []byte) (int, error) {
	n := min(int(*f), len(p))
	*f -= full(n)
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriteFails(t *testing.T) {
	size := len(write(t, whole()))
	for room := range size {
		f := full(room)
		if err := parquetform.Write(&f, whole(), bytes.Repeat([]byte{7}, 64)); !errors.Is(err, errFull) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
	}
}
