package record_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/receipt"
)

// kindOf is the kind of value that a type has.
func kindOf(t contract.Type) columns.Kind {
	switch t {
	case contract.String:
		return columns.KindText
	case contract.Boolean:
		return columns.KindBool
	}
	return columns.KindInt
}

// judge is the model: a record is a map, and each field is judged by itself.
func judge(c *contract.Contract, r columns.Record) (rules []string, row []contract.Value) {
	cells := map[string]columns.Cell{}
	for _, cell := range r {
		cells[cell.Name] = cell
		if c.Index(cell.Name) < 0 {
			rules = append(rules, cell.Name+" unknown")
		}
	}
	for i := range c.Fields {
		f := &c.Fields[i]
		cell, there := cells[f.Name]
		v := contract.Value{Int: cell.Int, Text: cell.Text, Null: !there || cell.Kind == columns.KindNull}
		rule := f.Validate(v)
		if !v.Null && cell.Kind != kindOf(f.Type) {
			rule = contract.RuleType
		}
		if rule != "" {
			rules = append(rules, f.Name+" "+rule)
		}
		row = append(row, v)
	}
	return rules, row
}

// compare demands of a decoded batch what the model says of its records, which
// are in the order of the encoding.
func compare(t *testing.T, c *contract.Contract, records []columns.Record, batch *record.Batch, report *receipt.Report) {
	t.Helper()
	var rejections []string
	var rows [][]contract.Value
	for number, r := range records {
		rules, row := judge(c, r)
		for _, rule := range rules {
			rejections = append(rejections, fmt.Sprintf("%d %s", number, rule))
		}
		if len(rules) == 0 {
			rows = append(rows, row)
		}
	}
	if got, want := broken(report), strings.Join(rejections, ", "); got != want && !report.Truncated {
		t.Fatalf("rejections\n%s\nwant\n%s", got, want)
	}
	if batch.Len() != len(rows) || report.Accepted != len(rows) || report.Accepted+report.Rejected != len(records) {
		t.Fatalf("%d rows, %d accepted and %d rejected of %d; want %d", batch.Len(), report.Accepted, report.Rejected, len(records), len(rows))
	}
	for i, f := range c.Fields {
		got, ok := values(batch.Column(i), f.Type == contract.String, len(rows))
		if !ok {
			t.Fatalf("column %s has another form", f.Name)
		}
		for j, row := range rows {
			if got[j] != row[i] {
				t.Fatalf("row %d column %s isn't what was sent", j, f.Name)
			}
		}
	}
}

// values answers the values of a column, false when it isn't one of so many
// texts or integers.
func values(c record.Column, text bool, rows int) (all []contract.Value, ok bool) {
	ints, texts, codes := rows, 0, 0
	switch {
	case text && c.Codes != nil:
		ints, texts, codes = 0, len(c.Texts), rows
	case text:
		ints, texts = 0, rows
	}
	if len(c.Ints) != ints || len(c.Texts) != texts || len(c.Codes) != codes || c.Null != nil && len(c.Null) != rows {
		return nil, false
	}
	for i := range rows {
		v := contract.Value{Null: c.Null != nil && c.Null[i]}
		switch {
		case !text:
			v.Int = c.Ints[i]
		case c.Codes == nil:
			v.Text = c.Texts[i]
		case !v.Null:
			v.Text = c.Texts[c.Codes[i]]
		}
		all = append(all, v)
	}
	return all, true
}

// anyRecord is a record that keeps some rules and breaks others.
func anyRecord(random *rand.Rand, c *contract.Contract) columns.Record {
	var r columns.Record
	for _, f := range c.Fields {
		cell := columns.Cell{Name: f.Name, Kind: kindOf(f.Type)}
		switch random.IntN(12) {
		case 0:
			continue
		case 1:
			cell.Kind = columns.KindNull
		case 2:
			cell.Kind = columns.Kind(random.IntN(4))
		}
		switch cell.Kind {
		case columns.KindInt:
			cell.Int = []int64{0, 1, -1, 61, 120, 121, 20000, 3_000_000}[random.IntN(8)]
		case columns.KindBool:
			cell.Int = int64(random.IntN(2))
		case columns.KindText:
			cell.Text = []string{"", "A", "B", "ann", "é", "with space", "a-very-long-text"}[random.IntN(7)]
		}
		r = append(r, cell)
	}
	if random.IntN(10) == 0 {
		r = append(r, columns.Int([]string{"x", "ID", "note2", "_"}[random.IntN(4)], 1))
	}
	return r
}

// inOrder puts cells in the order of their encoding.
func inOrder(r columns.Record) columns.Record {
	slices.SortFunc(r, func(a, b columns.Cell) int {
		if len(a.Name) != len(b.Name) {
			return len(a.Name) - len(b.Name)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return r
}

func TestModel(t *testing.T) {
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 2))
		c := visits()
		random.Shuffle(len(c.Fields), func(i, j int) { c.Fields[i], c.Fields[j] = c.Fields[j], c.Fields[i] })
		for i := range c.Fields {
			c.Fields[i].Required = c.Fields[i].Required != (random.IntN(3) == 0)
		}
		records := make([]columns.Record, 1+random.IntN(40))
		for i := range records {
			records[i] = inOrder(anyRecord(random, c))
		}
		batch, report := decodeBy(t, c, records)
		compare(t, c, records, batch, report)
		batch, report = decodePacked(t, c, records)
		compare(t, c, records, batch, report)
	}
}

// FuzzDecode compares with the model whatever content the codec takes, and
// demands that the rest is refused whole.
func FuzzDecode(f *testing.F) {
	seed := func(rows uint16, records ...columns.Record) {
		content, err := columns.Encode(records)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, rows)
	}
	seed(1, good(1))
	seed(2, good(1), with(2, columns.Text("age", "x"), columns.Int("extra", 1)))
	seed(3, columns.Record{}, without(2, "id"), without(3, "grade"))
	seed(2, good(1))
	f.Add([]byte("\xa1\x62id\xf9\x3c\x00"), uint16(1))
	c := visits()
	v := validator(f, c)
	f.Fuzz(func(t *testing.T, content []byte, rows uint16) {
		if rows == 0 || len(content) > 1<<16 {
			return
		}
		var records []columns.Record
		malformed := columns.Decode(content, int(rows), func(_ int, r columns.Record) error {
			records = append(records, slices.Clone(r))
			return nil
		})
		batch, report, err := record.Decode(opened(t, header(), int(rows), content), v)
		if malformed != nil {
			if !errors.Is(err, record.ErrContent) || batch != nil || report != nil {
				t.Fatalf("content that isn't in the codec: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		compare(t, c, records, batch, report)
		if _, err := report.Encode(); err != nil {
			t.Fatal(err)
		}
	})
}
