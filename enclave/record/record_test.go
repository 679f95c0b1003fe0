package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/receipt"
)

// broken writes a report's rejections down, one after the other.
func broken(r *receipt.Report) string {
	var all []string
	for _, x := range r.Rejections {
		all = append(all, fmt.Sprintf("%d %s %s", x.Record, x.Field, x.Rule))
	}
	return strings.Join(all, ", ")
}

func TestAccepts(t *testing.T) {
	batch, report := decode(t, good(1), with(-2, columns.Null("name"), columns.Null("age"), columns.Null("ok"), columns.Null("at")), without(3, "note"))
	if batch.Len() != 3 || batch.Dataset() != "visits" || batch.Contract().Version != "1.2.0" || report.Accepted != 3 || report.Rejected != 0 || broken(report) != "" {
		t.Fatalf("%d rows, %+v", batch.Len(), report)
	}
	for i, want := range map[int]record.Column{
		id:    {Ints: []int64{1, -2, 3}, Null: []bool{false, false, false}},
		name:  {Texts: []string{"ann", "", "ann"}, Null: []bool{false, true, false}},
		grade: {Texts: []string{"A", "A", "A"}, Null: []bool{false, false, false}},
		age:   {Ints: []int64{61, 0, 61}, Null: []bool{false, true, false}},
		dose:  {Ints: []int64{-150, -150, -150}, Null: []bool{false, false, false}},
		ok:    {Ints: []int64{1, 0, 1}, Null: []bool{false, true, false}},
		day:   {Ints: []int64{20000, 20000, 20000}, Null: []bool{false, false, false}},
		when:  {Ints: []int64{1_700_000_000_000_000, 0, 1_700_000_000_000_000}, Null: []bool{false, true, false}},
		note:  {Texts: []string{canary, canary, ""}, Null: []bool{false, false, true}},
	} {
		if got := batch.Column(i); !reflect.DeepEqual(got, want) {
			t.Errorf("column %d: %+v", i, got)
		}
	}
}

// TestTypes tries every kind of value on every type.
func TestTypes(t *testing.T) {
	kinds := map[string]func(column string) columns.Cell{
		"int":  func(c string) columns.Cell { return columns.Int(c, 1) },
		"text": func(c string) columns.Cell { return columns.Text(c, "1") },
		"bool": func(c string) columns.Cell { return columns.Bool(c, true) },
		"null": columns.Null,
	}
	takes := map[contract.Type]string{
		contract.String: "text", contract.Integer: "int", contract.Number: "int",
		contract.Boolean: "bool", contract.Date: "int", contract.Timestamp: "int",
	}
	for typ, takes := range takes {
		c := &contract.Contract{Dataset: "d", ID: "d", Version: "1", Floor: 10, Fields: []contract.Field{
			{Name: "unit", Type: contract.Integer, Role: contract.Unit}, {Name: "x", Type: typ},
		}}
		for kind, cell := range kinds {
			want := "0 x type"
			if kind == takes || kind == "null" {
				want = ""
			}
			batch, report := decodeBy(t, c, []columns.Record{{columns.Int("unit", 1), cell("x")}})
			if broken(report) != want || (batch.Len() == 1) != (want == "") {
				t.Errorf("%s in %v: %q, %d rows", kind, typ, broken(report), batch.Len())
			}
		}
	}
}

// TestRules breaks each rule from both sides of its bound.
func TestRules(t *testing.T) {
	for _, tt := range []struct {
		cell columns.Cell
		want string
	}{
		{columns.Null("id"), "0 id required"}, // the unit, though nobody says so
		{columns.Text("id", "1"), "0 id type"},
		{columns.Int("id", math.MinInt64), ""},
		{columns.Int("id", math.MaxInt64), ""},
		{columns.Text("name", "a"), "0 name minLength"},
		{columns.Text("name", "é"), "0 name minLength"},
		{columns.Text("name", "éé"), ""},
		{columns.Text("name", ""), "0 name minLength"},
		{columns.Text("name", strings.Repeat("é", 12)), ""},
		{columns.Text("name", strings.Repeat("a", 13)), "0 name maxLength"},
		{columns.Text("name", "Ann"), "0 name pattern"},
		{columns.Text("name", "ann "), "0 name pattern"},
		{columns.Text("name", "ann\n"), "0 name pattern"},
		{columns.Null("grade"), "0 grade required"},
		{columns.Text("grade", "C"), "0 grade enum"},
		{columns.Text("grade", "a"), "0 grade enum"},
		{columns.Text("grade", ""), "0 grade enum"},
		{columns.Text("grade", "B"), ""},
		{columns.Int("age", -1), "0 age minimum"},
		{columns.Int("age", 0), ""},
		{columns.Int("age", 120), ""},
		{columns.Int("age", 121), "0 age maximum"},
		{columns.Int("dose", -151), "0 dose minimum"},
		{columns.Int("dose", 99901), "0 dose maximum"},
		{columns.Bool("ok", false), "0 ok enum"},
		{columns.Int("ok", 1), "0 ok type"},
		{columns.Int("day", 18999), "0 day minimum"},
		{columns.Int("day", 2932896), ""},
		{columns.Int("day", 2932897), "0 day type"}, // the year 10000
		{columns.Int("at", math.MaxInt64), "0 at type"},
		{columns.Int("at", -62135596800000000), ""},
		{columns.Int("at", -62135596800000001), "0 at type"}, // the year 0
		{columns.Text("note", ""), ""},
		{columns.Text("note", strings.Repeat("x", limits.Text)), ""},
		{columns.Int("notes", 1), "0 notes unknown"},
		{columns.Null("extra"), "0 extra unknown"},
		{columns.Int("ID", 1), "0 ID unknown"}, // names are the contract's, to the letter
	} {
		batch, report := decode(t, with(1, tt.cell))
		if broken(report) != tt.want || (batch.Len() == 1) != (tt.want == "") || report.Accepted+report.Rejected != 1 || report.Accepted != batch.Len() {
			t.Errorf("%s: %q, want %q; %d rows", tt.cell.Name, broken(report), tt.want, batch.Len())
		}
	}
	for column, want := range map[string]string{"id": "0 id required", "grade": "0 grade required", "name": "", "age": "", "ok": "", "at": ""} {
		if _, report := decode(t, without(1, column)); broken(report) != want {
			t.Errorf("without %s: %q", column, broken(report))
		}
	}
}

// TestReport lists every broken rule in the order of records and fields,
// unknown columns first, and counts records once.
func TestReport(t *testing.T) {
	batch, report := decode(t,
		good(1),
		with(2, columns.Int("zz", 1), columns.Int("note", 5), columns.Text("id", "x"), columns.Null("grade"), columns.Int("yyy", 1)),
		good(3),
		columns.Record{},
		with(5, columns.Int("age", 500), columns.Int("dose", -500)),
	)
	want := "1 zz unknown, 1 yyy unknown, 1 id type, 1 grade required, 1 note type, 3 id required, 3 grade required, 4 age maximum, 4 dose minimum"
	if got := broken(report); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if report.Accepted != 2 || report.Rejected != 3 || report.Truncated || batch.Len() != 2 {
		t.Errorf("%d rows, %+v", batch.Len(), report)
	}
	if got := batch.Column(id).Ints; !slices.Equal(got, []int64{1, 3}) {
		t.Errorf("accepted %v", got)
	}
	plain, err := report.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(plain, []byte(canary)) {
		t.Error("the report holds a value")
	}
}

// TestAllRejected makes an empty batch, which is one all the same.
func TestAllRejected(t *testing.T) {
	batch, report := decode(t, columns.Record{}, columns.Record{})
	if batch.Len() != 0 || batch.Dataset() != "visits" || report.Accepted != 0 || report.Rejected != 2 {
		t.Errorf("%d rows, %+v", batch.Len(), report)
	}
	for i := range visits().Fields {
		if c := batch.Column(i); len(c.Ints)+len(c.Texts)+len(c.Null) != 0 {
			t.Errorf("column %d isn't empty", i)
		}
	}
}

// TestLargest takes as many records as an envelope holds. The list of what is
// wrong with them has its end, the counts count all.
func TestLargest(t *testing.T) {
	all := make([]columns.Record, limits.BatchRows)
	for i := range all {
		all[i] = columns.Record{columns.Int("id", int64(i)), columns.Text("grade", "A")}
		if i%2 == 1 {
			all[i] = columns.Record{columns.Int("a", 1), columns.Int("b", 1), columns.Int("id", 1)}
		}
	}
	batch, report := decode(t, all...)
	if half := limits.BatchRows / 2; batch.Len() != half || report.Accepted != half || report.Rejected != half || !report.Truncated {
		t.Errorf("%d rows, accepted %d, rejected %d, truncated %v", batch.Len(), report.Accepted, report.Rejected, report.Truncated)
	}
	if n := len(report.Rejections); n != limits.BatchRows {
		t.Errorf("%d rejections are listed", n)
	}
	if got := batch.Column(id).Ints; got[1] != 2 || got[len(got)-1] != limits.BatchRows-2 {
		t.Error("the accepted ones are others")
	}
	if _, err := report.Encode(); err != nil {
		t.Error(err)
	}
}

func TestOtherContract(t *testing.T) {
	content, err := columns.Encode([]columns.Record{good(1)})
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(h *envelope.Header){
		"dataset": func(h *envelope.Header) { h.Dataset = "colon" },
		"version": func(h *envelope.Header) { h.Contract = "1.2.1" },
		"codec":   func(h *envelope.Header) { h.Codec = 3 },
	} {
		h := header()
		spoil(&h)
		batch, report, err := record.Decode(opened(t, h, 1, content), validator(t, visits()))
		if !errors.Is(err, record.ErrContract) || batch != nil || report != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestContent(t *testing.T) {
	content, err := columns.Encode([]columns.Record{good(1), good(2)})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		rows    int
		content []byte
	}{
		"empty":           {1, nil},
		"one row fewer":   {1, content},
		"one row more":    {3, content},
		"cut":             {2, content[:len(content)-1]},
		"a byte more":     {2, append(bytes.Clone(content), 0)},
		"not a map":       {1, []byte("\x81\x01")},
		"a float":         {1, []byte("\xa1\x62id\xf9\x3c\x00")},
		"bad in the last": {2, append(bytes.Clone(content[:len(content)/2]), "\xa1\x62id\xff"+canary...)},
		"a bad text":      {1, []byte("\xa1\x6a" + canary + "\xff")},
	} {
		batch, report, err := record.Decode(opened(t, header(), tt.rows, tt.content), validator(t, visits()))
		if !errors.Is(err, record.ErrContent) || batch != nil || report != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error holds content: %v", name, err)
		}
	}
}
