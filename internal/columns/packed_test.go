package columns_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/limits"
)

// unpack answers the records of packed columns.
func unpack(content []byte, rows int) ([]columns.Record, error) {
	b, err := columns.DecodePacked(content, rows)
	if err != nil {
		return nil, err
	}
	if b.Rows() != rows {
		return nil, fmt.Errorf("%d rows instead of %d", b.Rows(), rows)
	}
	return records(b)
}

func records(b *columns.Batch) (out []columns.Record, err error) {
	err = b.Each(func(_ int, r columns.Record) error {
		out = append(out, append(columns.Record{}, r...))
		return nil
	})
	return out, err
}

func pack(t testing.TB, records ...columns.Record) []byte {
	t.Helper()
	b, err := columns.EncodePacked(records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// generator draws records whose columns mostly keep their kinds.
type generator struct {
	*rand.Rand
	names  []string
	widths []int64
}

func newGenerator(seed uint64) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, seed))}
	for i := range 1 + g.IntN(8) {
		g.names = append(g.names, strings.Repeat("n", i%3)+string(rune('a'+i)))
		g.widths = append(g.widths, []int64{0, 1, 255, 256, 65535, 65536, math.MaxUint32, 1 << 32, math.MaxInt64}[g.IntN(9)])
	}
	return g
}

func (g *generator) cell(column int) columns.Cell {
	name, kind := g.names[column], columns.Kind(column%3+1)
	if g.IntN(10) == 0 {
		kind = columns.Kind(g.IntN(4))
	}
	switch kind {
	case columns.KindInt:
		v := g.widths[column]
		if v = g.Int64N(v/2+1)*2 + int64(g.IntN(2)); g.IntN(4) == 0 {
			v = -v
		}
		return columns.Int(name, v)
	case columns.KindText:
		return columns.Text(name, strings.Repeat("é", g.IntN(3))+fmt.Sprint(g.Int64N(g.widths[column]/2+1)))
	case columns.KindBool:
		return columns.Bool(name, g.IntN(2) == 0)
	default:
		return columns.Null(name)
	}
}

func (g *generator) records(rows int) []columns.Record {
	all := make([]columns.Record, rows)
	for i := range all {
		for j := range g.names {
			if g.IntN(8) > 0 {
				all[i] = append(all[i], g.cell(j))
			}
		}
		g.Shuffle(len(all[i]), func(a, b int) { all[i][a], all[i][b] = all[i][b], all[i][a] })
	}
	return all
}

// TestCodecsAgree: both codecs give the same records back, and a batch has one
// encoding.
func TestCodecsAgree(t *testing.T) {
	for seed := range uint64(300) {
		g := newGenerator(seed)
		rows := g.IntN(300)
		if seed%50 == 0 {
			rows = 5000
		}
		all := g.records(rows)
		want, err := decode(encode(t, all...), rows)
		if err != nil {
			t.Fatal(err)
		}
		content := pack(t, all...)
		got, err := unpack(content, rows)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: the codecs give different records", seed)
		}
		if again := pack(t, got...); !bytes.Equal(again, content) {
			t.Fatalf("seed %d: the same records have two encodings", seed)
		}
	}
}

// TestColumns holds what a column says against its cells.
func TestColumns(t *testing.T) {
	for seed := range uint64(100) {
		rows := int(1 + seed*3)
		b, err := columns.DecodePacked(pack(t, newGenerator(seed).records(rows)...), rows)
		if err != nil {
			t.Fatal(err)
		}
		all, err := records(b)
		if err != nil {
			t.Fatal(err)
		}
		cells := 0
		for i := range b.Columns() {
			c := b.Column(i)
			checkColumn(t, &c, all)
			cells += c.Count(rows)
		}
		for _, r := range all {
			cells -= len(r)
		}
		if cells != 0 {
			t.Errorf("seed %d: columns and records have %d cells of difference", seed, cells)
		}
	}
}

func checkColumn(t *testing.T, c *columns.Column, all []columns.Record) {
	t.Helper()
	have, low, high, texts := 0, int64(math.MaxInt64), int64(math.MinInt64), map[string]bool{}
	for i, r := range all {
		at := slices.IndexFunc(r, func(cell columns.Cell) bool { return cell.Name == c.Name && cell.Kind == c.Kind })
		if c.Has(i) != (at >= 0) {
			t.Fatalf("record %d of column %s: Has says %v", i, c.Name, c.Has(i))
		}
		var want columns.Cell
		if at >= 0 {
			have, want = have+1, r[at]
			low, high = min(low, want.Int), max(high, want.Int)
			texts[want.Text] = true
		}
		switch c.Kind {
		case columns.KindInt:
			if c.Ints[i] != want.Int {
				t.Fatalf("record %d of column %s: %d, want %d", i, c.Name, c.Ints[i], want.Int)
			}
		case columns.KindText:
			if at >= 0 && c.Dictionary[c.Codes[i]] != want.Text || at < 0 && c.Codes[i] != 0 {
				t.Fatalf("record %d of column %s: code %d", i, c.Name, c.Codes[i])
			}
		case columns.KindBool:
			if int64(c.Bools[i/64]>>(i%64)&1) != want.Int {
				t.Fatalf("record %d of column %s: another truth", i, c.Name)
			}
		}
	}
	if have == 0 || have != c.Count(len(all)) || (c.Present == nil) != (have == len(all)) {
		t.Errorf("column %s: Count says %d of %d", c.Name, c.Count(len(all)), have)
	}
	if c.Kind == columns.KindInt && (c.Min != low || c.Max != high) {
		t.Errorf("column %s: from %d to %d instead of from %d to %d", c.Name, c.Min, c.Max, low, high)
	}
	if c.Kind == columns.KindText && (len(c.Dictionary) != len(texts) || !slices.IsSorted(c.Dictionary)) {
		t.Errorf("column %s: %d texts in the dictionary and %d in records", c.Name, len(c.Dictionary), len(texts))
	}
}

// TestPackedSizes: rows around the words of bitmaps, integers around widths and
// codes around one byte.
func TestPackedSizes(t *testing.T) {
	for _, rows := range []int{1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, limits.BatchRows} {
		for _, missing := range []int{0, 1, rows / 2, rows - 1, rows} {
			all := make([]columns.Record, rows)
			for i := range all {
				all[i] = columns.Record{columns.Bool("all", i%3 == 0)}
				if i < missing {
					continue
				}
				all[i] = append(all[i], columns.Int("int", math.MinInt64+int64(i)), columns.Text("text", fmt.Sprint(i)), columns.Int("wide", int64(i)<<47))
			}
			if missing%2 == 1 {
				slices.Reverse(all)
			}
			got, err := unpack(pack(t, all...), rows)
			if err != nil {
				t.Fatalf("%d rows without %d: %v", rows, missing, err)
			}
			want, err := decode(encode(t, all...), rows)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("%d rows without %d: came back changed (%v)", rows, missing, err)
			}
		}
	}
	b, err := columns.DecodePacked(nil, 5)
	if err != nil || b.Rows() != 5 || b.Columns() != 0 {
		t.Errorf("records without columns: %v", err)
	}
}

// TestPackedRefuses: EncodePacked refuses what Encode refuses, and says when
// only packing is impossible.
func TestPackedRefuses(t *testing.T) {
	const canary = "canary-value"
	for name, r := range map[string]columns.Record{
		"twice":            {columns.Int("a", 1), columns.Int("a", 2)},
		"twice, two kinds": {columns.Int("a", 1), columns.Text("a", canary)},
		"no name":          {columns.Text("", canary)},
		"long text":        {columns.Text("a", canary+strings.Repeat("x", limits.Text))},
		"not UTF-8":        {columns.Text("a", canary+"\xff")},
		"odd bool":         {{Name: "a", Kind: columns.KindBool, Int: 2}},
		"odd kind":         {{Name: "a", Kind: 9}},
		"too wide":         make(columns.Record, limits.Columns+1),
	} {
		b, err := columns.EncodePacked([]columns.Record{{columns.Int("b", 1)}, r})
		if b != nil || err == nil || errors.Is(err, columns.ErrUnpackable) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error holds a value: %v", name, err)
		}
	}
	if _, err := columns.EncodePacked(make([]columns.Record, limits.BatchRows+1)); err == nil {
		t.Error("too many records: encoded")
	}
	for name, all := range map[string][]columns.Record{"cells": manyCells(1), "columns": manyColumns(), "text": manyTexts()} {
		if _, err := columns.EncodePacked(all); !errors.Is(err, columns.ErrUnpackable) {
			t.Errorf("too many %s: %v", name, err)
		}
	}
}

// manyCells are records with so many cells more than packed columns may have,
// though each has only a few of the columns.
func manyCells(more int) []columns.Record {
	const rows = limits.Cells / 256
	all := make([]columns.Record, rows)
	for i := range 256 + more {
		all[i] = columns.Record{columns.Int(fmt.Sprint(i), 1)}
	}
	return all
}

func manyColumns() []columns.Record {
	all := make([]columns.Record, 2)
	for i := range limits.Columns {
		all[0] = append(all[0], columns.Int(fmt.Sprint(i), 1))
	}
	all[1] = columns.Record{columns.Text("0", "one more")}
	return all
}

func manyTexts() []columns.Record {
	all := make([]columns.Record, limits.Envelope/limits.Text+1)
	for i := range all {
		all[i] = columns.Record{columns.Text("a", strings.Repeat("x", limits.Text))}
	}
	return all
}

// TestPackedLimits decodes what is just within the limits.
func TestPackedLimits(t *testing.T) {
	for name, all := range map[string][]columns.Record{"cells": manyCells(0), "columns": manyColumns()[:1], "text": manyTexts()[1:]} {
		if _, err := unpack(pack(t, all...), len(all)); err != nil {
			t.Errorf("as many %s as there may be: %v", name, err)
		}
	}
}

func TestEachStops(t *testing.T) {
	b, err := columns.DecodePacked(pack(t, some()...), len(some()))
	if err != nil {
		t.Fatal(err)
	}
	stop, calls := errors.New("stop"), 0
	if err := b.Each(func(int, columns.Record) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls: %v", calls, err)
	}
}

// TestBatchKeepsNothing: a batch stays as it is when its content is overwritten.
func TestBatchKeepsNothing(t *testing.T) {
	content := pack(t, some()...)
	b, err := columns.DecodePacked(content, len(some()))
	if err != nil {
		t.Fatal(err)
	}
	clear(content)
	got, err := records(b)
	want, wantErr := decode(encode(t, some()...), len(some()))
	if err != nil || wantErr != nil || !reflect.DeepEqual(got, want) {
		t.Error("the batch changed with its content")
	}
}

// TestPackedCorruption: content that is cut or changed in one bit is refused or
// is another batch's one encoding; the message never has anything of it.
func TestPackedCorruption(t *testing.T) {
	all := newGenerator(7).records(40)
	content := pack(t, all...)
	for n := range content {
		if got, err := unpack(content[:n], len(all)); err == nil && !bytes.Equal(pack(t, got...), content[:n]) {
			t.Fatalf("the first %d bytes have two encodings", n)
		}
	}
	refused := 0
	for i := range 8 * len(content) {
		bad := bytes.Clone(content)
		bad[i/8] ^= 1 << (i % 8)
		got, err := unpack(bad, len(all))
		switch {
		case err != nil && !errors.Is(err, columns.ErrMalformed):
			t.Fatalf("bit %d: %v", i, err)
		case err != nil:
			refused++
		case !bytes.Equal(pack(t, got...), bad):
			t.Fatalf("bit %d: content has two encodings", i)
		}
	}
	if refused == 0 {
		t.Error("every changed bit was taken")
	}
}

func FuzzDecodePacked(f *testing.F) {
	f.Add(pack(f, some()...), len(some()))
	f.Add([]byte(nil), 3)
	f.Fuzz(func(t *testing.T, content []byte, rows int) {
		got, err := unpack(content, rows)
		if err != nil {
			if !errors.Is(err, columns.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again := pack(t, got...); !bytes.Equal(again, content) {
			t.Fatalf("content has two encodings:\n%x\n%x", content, again)
		}
	})
}
