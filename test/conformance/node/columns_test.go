package node_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/limits"
)

// columnsFile holds the vectors of packed columns, which are a part of their
// specification.
var columnsFile = filepath.Join("..", "..", "..", "docs", "spec", "vectors", "columns.json")

// batch is packed columns and what they hold, or why they are refused. Content
// is hex. A cell is its name, its kind and its value as text.
type batch struct {
	About   string        `json:"about"`
	Rows    int           `json:"rows"`
	Content string        `json:"content"`
	Records [][][3]string `json:"records,omitempty"`
	Refused string        `json:"refused,omitempty"`
}

// field writes one protobuf field as other programs would. Bytes are written
// with their length.
func field(tag byte, value any) []byte {
	out := []byte{tag}
	switch v := value.(type) {
	case int:
		return binary.AppendUvarint(out, uint64(v))
	case int64:
		return binary.LittleEndian.AppendUint64(out, uint64(v))
	case string:
		return append(binary.AppendUvarint(out, uint64(len(v))), v...)
	}
	panic("no such field")
}

// The fields of a column.
func name(s string) []byte    { return field(0x0a, s) }
func kind(k int) []byte       { return field(0x10, k) }
func present(s string) []byte { return field(0x1a, s) }
func base(v int64) []byte     { return field(0x21, v) }
func text(s string) []byte    { return field(0x2a, s) }
func values(s string) []byte  { return field(0x32, s) }

// message is a column of fields.
func message(fields ...[]byte) []byte { return field(0x0a, string(bytes.Join(fields, nil))) }

func nulls(n int) []byte {
	var out []byte
	for i := range n {
		out = append(out, message(name(fmt.Sprintf("n%03x", i)))...)
	}
	return out
}

// refusals are contents in another form than the specification's, each with
// one fault.
func refusals() []batch {
	a, one, two := name("a"), kind(1), kind(2)
	good := message(a, one, values("\x00\x01"))
	var all []batch
	add := func(about, refused string, rows int, parts ...[]byte) {
		all = append(all, batch{About: about, Rows: rows, Refused: refused, Content: hex.EncodeToString(bytes.Join(parts, nil))})
	}
	add("more records than 65536", "limit", limits.BatchRows+1)
	add("a cell too many", "column 64: limit", limits.BatchRows, nulls(65))
	add("a column too many", "column 1024: limit", 1, nulls(1025))

	add("an unknown field of the batch", "column 1: wire", 2, good, []byte{0x10, 1})
	add("an unknown field of a column", "column 0: wire", 2, message(a, one, values("\x00\x01"), []byte{0x38, 1}))
	add("a field twice", "column 0: wire", 2, message(a, a, one, values("\x00\x01")))
	add("fields out of order", "column 0: wire", 2, message(one, a, values("\x00\x01")))
	add("values before texts", "column 0: wire", 1, message(a, two, values("\x00"), text("x")))
	add("a name of another wire type", "column 0: wire", 1, message([]byte{0x08, 1}))
	add("a length in two bytes", "column 0: wire", 1, []byte{0x0a, 0x83, 0x00, 0x0a, 0x01, 'a'})
	add("a length of 2^64-1", "column 0: wire", 1, []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	add("a length without end", "column 0: wire", 1, []byte{0x0a, 0x80})
	add("a column that is cut", "column 0: wire", 2, good[:len(good)-1])
	add("a tag alone", "column 1: wire", 2, good, []byte{0x0a})
	add("a field that is cut", "column 0: wire", 1, message(a, one, []byte{0x32, 2, 0}))
	add("a base that is cut", "column 0: wire", 1, message(a, one, []byte{0x21, 1, 2, 3, 4, 5, 6, 7}))
	add("a kind in two bytes", "column 0: wire", 2, message(a, []byte{0x10, 0x81, 0x00}, values("\x00\x01")))
	add("kind 0 written", "column 0: wire", 1, message(a, kind(0)))
	add("base 0 written", "column 0: wire", 2, message(a, one, base(0), values("\x00\x01")))
	add("no bytes of present written", "column 0: wire", 2, message(a, one, present(""), values("\x00\x01")))
	add("no bytes of values written", "column 0: wire", 2, message(a, one, values("")))
	add("a group", "column 0: wire", 1, message(a, []byte{0x0b, 0x0c}))

	add("no name", "column 0: name", 1, message())
	add("a name of 129 bytes", "column 0: name", 1, message(name(strings.Repeat("n", 129))))
	add("a name that isn't UTF-8", "column 0: name", 1, message(name("\xff")))

	add("kind 4", "column 0: kind", 1, message(a, kind(4), values("\x00")))
	add("null with values", "column 0: kind", 1, message(a, values("\x00")))
	add("texts of integers", "column 0: kind", 1, message(a, one, text("x"), values("\x00")))
	add("a base of texts", "column 0: kind", 1, message(a, two, base(1), text("x"), values("\x00")))
	add("a base of truths", "column 0: kind", 1, message(a, kind(3), base(1), values("\x01")))

	add("a column twice", "column 1: order", 2, good, good)
	add("names out of order", "column 1: order", 1, message(name("b")), message(a))
	add("a longer name first", "column 1: order", 1, message(name("aa")), message(name("b")))
	add("kinds out of order", "column 1: order", 2, message(a, two, present("\x01"), text("x"), values("\x00")), message(a, one, present("\x02"), values("\x00")))

	add("present too short", "column 0: present", 9, message(a, present("\x01")))
	add("present too long", "column 0: present", 8, message(a, present("\x01\x00")))
	add("present beyond the records", "column 0: present", 9, message(a, present("\x01\x02")))
	add("present everywhere, written", "column 0: present", 9, message(a, present("\xff\x01")))
	add("present nowhere", "column 0: present", 9, message(a, present("\x00\x00")))
	add("two kinds in one record", "column 1: present", 2, message(a, present("\x01")), message(a, one, present("\x01"), values("\x00")))
	add("two kinds in all records", "column 1: present", 1, message(a), message(a, one, values("\x00")))
	add("three kinds, the third as the first", "column 2: present", 3,
		message(a, present("\x01")), message(a, one, present("\x02"), values("\x00")), message(a, kind(3), present("\x01"), values("\x01")))
	add("a column of no records", "column 0: present", 0, message(a))

	add("no texts", "column 0: texts", 1, message(a, two, values("\x00")))
	add("a text twice", "column 0: texts", 2, message(a, two, text("x"), text("x"), values("\x00\x01")))
	add("texts out of order", "column 0: texts", 2, message(a, two, text("y"), text("x"), values("\x00\x01")))
	add("a text after a longer one that it begins", "column 0: texts", 2, message(a, two, text("xx"), text("x"), values("\x00\x01")))
	add("a text that isn't UTF-8", "column 0: texts", 1, message(a, two, text("\xc3"), values("\x00")))
	add("a letter cut in two texts", "column 0: texts", 2, message(a, two, text("\xa9"), text("\xc3"), values("\x00\x01")))
	add("more texts than values", "column 0: texts", 1, message(a, two, text("x"), text("y"), values("\x00")))

	add("no codes", "column 0: values", 1, message(a, two, text("x")))
	add("a code too few", "column 0: values", 2, message(a, two, text("x"), values("\x00")))
	add("a code of an absent value", "column 0: values", 2, message(a, two, present("\x01"), text("x"), values("\x00\x00")))
	add("codes in two bytes", "column 0: values", 1, message(a, two, text("x"), values("\x00\x00")))
	add("a code beyond the texts", "column 0: values", 2, message(a, two, text("x"), values("\x00\x01")))
	add("a text that no record has", "column 0: values", 2, message(a, two, text("x"), text("y"), values("\x00\x00")))
	add("no integers", "column 0: values", 1, message(a, one))
	add("an integer too few", "column 0: values", 2, message(a, one, values("\x00")))
	add("integers of three bytes", "column 0: values", 2, message(a, one, values("\x00\x00\x00\x01\x00\x00")))
	add("integers of sixteen bytes", "column 0: values", 1, message(a, one, values(strings.Repeat("\x00", 16))))
	add("integers in two bytes instead of one", "column 0: values", 2, message(a, one, values("\x00\x00\xff\x00")))
	add("integers in four bytes instead of two", "column 0: values", 2, message(a, one, values("\x00\x00\x00\x00\xff\xff\x00\x00")))
	add("integers in eight bytes instead of four", "column 0: values", 2, message(a, one, values(strings.Repeat("\x00", 8)+"\xff\xff\xff\xff\x00\x00\x00\x00")))
	add("a base below all integers", "column 0: values", 2, message(a, one, base(5), values("\x01\x02")))
	add("an integer of 2^63", "column 0: values", 2, message(a, one, base(math.MaxInt64), values("\x00\x01")))
	add("an integer far beyond 2^63", "column 0: values", 2, message(a, one, base(1), values(strings.Repeat("\x00", 8)+strings.Repeat("\xff", 8))))
	add("no truths", "column 0: values", 1, message(a, kind(3)))
	add("truths too long", "column 0: values", 1, message(a, kind(3), values("\x01\x00")))
	add("a truth beyond the records", "column 0: values", 1, message(a, kind(3), values("\x02")))
	add("a truth where there is no value", "column 0: values", 2, message(a, kind(3), present("\x01"), values("\x03")))
	return all
}

// examples are records of every form.
func examples() map[string][]columns.Record {
	numbers := func(n int, cell func(i int) columns.Cell) (all []columns.Record) {
		for i := range n {
			all = append(all, columns.Record{cell(i)})
		}
		return all
	}
	mixed := []columns.Record{
		{columns.Int("age", 61), columns.Text("rx", "Lev"), columns.Bool("old", true)},
		{columns.Text("age", "sixty"), columns.Text("rx", ""), columns.Null("old")},
		{columns.Null("age"), columns.Text("rx", "Obs")},
		{columns.Bool("age", false), columns.Text("rx", "Lev"), columns.Bool("old", false)},
	}
	return map[string][]columns.Record{
		"01 one record":               {{columns.Int("id", 1), columns.Text("rx", "Lev"), columns.Bool("old", true), columns.Null("note")}},
		"02 one column of every kind": mixed,
		"03 records without columns":  {{}, {}, {}},
		"04 only null":                {{columns.Null("a")}, {columns.Null("a")}},
		"05 integers of one byte":     numbers(3, func(i int) columns.Cell { return columns.Int("a", []int64{-128, 127, 0}[i]) }),
		"06 integers of two bytes":    numbers(3, func(i int) columns.Cell { return columns.Int("a", []int64{256, 0, 65535}[i]) }),
		"07 integers of four bytes":   numbers(3, func(i int) columns.Cell { return columns.Int("a", []int64{-1, 65535, math.MaxUint32 - 1}[i]) }),
		"08 integers of eight bytes":  numbers(3, func(i int) columns.Cell { return columns.Int("a", []int64{math.MaxInt64, math.MinInt64, -1}[i]) }),
		"09 equal integers":           numbers(5, func(int) columns.Cell { return columns.Int("a", -7) }),
		"10 the largest integer":      numbers(1, func(int) columns.Cell { return columns.Int("a", math.MaxInt64) }),
		"11 the bytes of texts decide": numbers(6, func(i int) columns.Cell {
			return columns.Text("a", []string{"b", "ab", "é", "", "\U0001f600", "\uffff"}[i])
		}),
		"12 256 texts":                       numbers(256, func(i int) columns.Cell { return columns.Text("a", strconv.Itoa(i)) }),
		"13 257 texts":                       numbers(257, func(i int) columns.Cell { return columns.Text("a", strconv.Itoa(i)) }),
		"14 nine truths":                     numbers(9, func(i int) columns.Cell { return columns.Bool("a", i%2 == 0) }),
		"15 the length of names comes first": {{columns.Int("b", 1), columns.Int("aa", 2), columns.Int("é", 3), columns.Int("ab", 4)}},
		"16 a different column a record":     numbers(10, func(i int) columns.Cell { return columns.Int(string(rune('a'+i)), int64(i)) }),
		"17 a byte order mark is a letter":   {{columns.Text("\ufeffa", "\ufeffb"), columns.Text("a", "b\x00")}},
		"18 a text before a longer one":      numbers(2, func(i int) columns.Cell { return columns.Text("a", []string{"xx", "x"}[i]) }),
	}
}

// cells writes records down as the vectors have them.
func cells(all []columns.Record) [][][3]string {
	out := [][][3]string{}
	for _, r := range all {
		record := [][3]string{}
		for _, c := range r {
			switch c.Kind {
			case columns.KindInt:
				record = append(record, [3]string{c.Name, "int", strconv.FormatInt(c.Int, 10)})
			case columns.KindText:
				record = append(record, [3]string{c.Name, "text", c.Text})
			case columns.KindBool:
				record = append(record, [3]string{c.Name, "bool", strconv.FormatBool(c.Int == 1)})
			default:
				record = append(record, [3]string{c.Name, "null", ""})
			}
		}
		out = append(out, record)
	}
	return out
}

// pack writes records in codec 2. The records written down went through codec 1.
func pack(t testing.TB, about string, all []columns.Record) batch {
	t.Helper()
	packed, err := columns.EncodePacked(all)
	if err != nil {
		t.Fatal(err)
	}
	content, err := columns.Encode(all)
	if err != nil {
		t.Fatal(err)
	}
	var sorted []columns.Record
	if err := columns.Decode(content, len(all), func(_ int, r columns.Record) error {
		sorted = append(sorted, slices.Clone(r))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return batch{About: about, Rows: len(all), Content: hex.EncodeToString(packed), Records: cells(sorted)}
}

func columnVectors(t testing.TB) []batch {
	var all []batch
	for about, records := range examples() {
		all = append(all, pack(t, about, records))
	}
	slices.SortFunc(all, func(a, b batch) int { return strings.Compare(a.About, b.About) })
	for i := range all {
		all[i].About = all[i].About[3:]
	}
	return append(all, refusals()...)
}

func loadColumns(t testing.TB) []batch {
	t.Helper()
	b, err := os.ReadFile(columnsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Batches []batch }
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v.Batches
}

// unpack is what becomes of a batch in Go.
func unpack(t testing.TB, b batch) batch {
	t.Helper()
	got, err := columns.DecodePacked(unhex(t, b.Content), b.Rows)
	if err != nil {
		if !errors.Is(err, columns.ErrMalformed) {
			t.Errorf("%s: %v", b.About, err)
		}
		b.Records, b.Refused = nil, strings.TrimPrefix(err.Error(), columns.ErrMalformed.Error()+": ")
		return b
	}
	var all []columns.Record
	if err := got.Each(func(_ int, r columns.Record) error { all = append(all, slices.Clone(r)); return nil }); err != nil {
		t.Fatal(err)
	}
	b.Records, b.Refused = cells(all), ""
	return b
}

// TestColumnVectors holds the vectors of the specification against the code
// that makes them and the code that reads them.
func TestColumnVectors(t *testing.T) {
	all := columnVectors(t)
	if *update {
		b, err := json.MarshalIndent(map[string]any{"batches": all}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(columnsFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept := loadColumns(t)
	if !reflect.DeepEqual(kept, all) {
		t.Error("the vectors aren't what EncodePacked makes, and what this test refuses")
	}
	classes := map[string]int{}
	for _, b := range kept {
		if got := unpack(t, b); !reflect.DeepEqual(got, b) {
			t.Errorf("%s: refused %q, want %q", b.About, got.Refused, b.Refused)
		}
		classes[b.Refused[strings.LastIndexByte(b.Refused, ' ')+1:]]++
	}
	for _, class := range []string{"", "limit", "wire", "name", "kind", "order", "present", "texts", "values"} {
		if classes[class] == 0 {
			t.Errorf("no vector is refused for %q", class)
		}
	}
}

// TestNodeColumns has the implementation in JavaScript read the vectors, and
// batches that are packed now, whole and broken: each is refused for the same
// reason as in Go, or holds the same records.
func TestNodeColumns(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("the second implementation of packed columns isn't run: there is no node here")
	}
	all := loadColumns(t)
	for rows := range 70 {
		var records []columns.Record
		for i := range rows {
			r := columns.Record{columns.Int("id", int64(i)*int64(rows)<<(rows%50))}
			if i%3 > 0 {
				r = append(r, columns.Text("rx", strconv.Itoa(i*i%7)), columns.Bool("old", i%5 == 0))
			}
			records = append(records, r)
		}
		all = append(all, pack(t, fmt.Sprintf("%d records", rows), records))
	}
	whole := pack(t, "", examples()["02 one column of every kind"])
	for bit := range 4 * len(whole.Content) {
		content := unhex(t, whole.Content)
		content[bit/8] ^= 1 << (bit % 8)
		all = append(all, unpack(t, batch{About: fmt.Sprintf("bit %d is another", bit), Rows: whole.Rows, Content: hex.EncodeToString(content)}))
	}
	in, err := json.Marshal(map[string]any{"batches": all})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "columns.mjs")
	var errs bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var got struct{ Outcomes []batch }
	if err := json.Unmarshal(out, &got); err != nil || len(got.Outcomes) != len(all) {
		t.Fatalf("%d outcomes of %d batches: %v", len(got.Outcomes), len(all), err)
	}
	for i, g := range got.Outcomes {
		w := all[i]
		if g.Refused != w.Refused || len(g.Records)+len(w.Records) > 0 && !reflect.DeepEqual(g.Records, w.Records) {
			t.Errorf("%s: Node says %q, Go %q", w.About, g.Refused, w.Refused)
		}
	}
}

// TestColumnExample: the specification's example is what EncodePacked makes.
func TestColumnExample(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "spec", "columns.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "## Example")
	_, example, _ = strings.Cut(example, "```\n")
	example, _, _ = strings.Cut(example, "```")
	var content []byte
	for line := range strings.Lines(example) {
		bytes, _, _ := strings.Cut(line, "   ")
		content = append(content, unhex(t, strings.ReplaceAll(bytes, " ", ""))...)
	}
	want, err := columns.EncodePacked([]columns.Record{{columns.Int("id", 5), columns.Text("rx", "Lev")}, {columns.Int("id", 7)}})
	if err != nil || !bytes.Equal(content, want) {
		t.Errorf("the example says %x, want %x (%v)", content, want, err)
	}
}
