package record_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/test/genuine"
)

// anyContract has a unit and some columns of any types, roles and rules.
func anyContract(t *testing.T, random *rand.Rand) *contract.Contract {
	t.Helper()
	for {
		c := &contract.Contract{Dataset: "any", ID: "any", Version: "1", Floor: 5}
		for i := range 1 + random.IntN(9) {
			c.Fields = append(c.Fields, anyField(random, fmt.Sprint("c", i)))
		}
		unit := &c.Fields[random.IntN(len(c.Fields))]
		unit.Role = contract.Unit
		if c.Check() == nil {
			return c
		}
	}
}

func anyField(random *rand.Rand, name string) contract.Field {
	f := contract.Field{
		Name: name, Type: contract.Type(1 + random.IntN(6)), Required: random.IntN(3) == 0,
		Role: []contract.Role{contract.Hidden, contract.Dimension, contract.Dimension, contract.Measure, contract.Status, contract.Restricted}[random.IntN(6)],
	}
	some := func() bool { return random.IntN(2) == 0 }
	switch f.Type {
	case contract.String:
		if some() {
			f.MinLength = at(random.IntN(3))
		}
		if some() {
			f.MaxLength = at(3 + random.IntN(8))
		}
		if some() {
			f.Pattern = []string{"[a-z]*", "A|B|ann", ".*n.*"}[random.IntN(3)]
		} else if some() {
			f.Enum = []string{"ann", "é"}
		}
	case contract.Boolean:
		if some() {
			f.Enum = []string{[]string{"true", "false"}[random.IntN(2)]}
		}
	default:
		if some() || f.Role == contract.Measure {
			f.Minimum = at(int64(random.IntN(3)) - 1)
		}
		if some() || f.Role == contract.Measure {
			f.Maximum = at(int64(60 + random.IntN(3)))
		}
		if some() && f.Type == contract.Integer {
			f.Enum = []string{"1", "61", "2"}
			if f.Minimum == nil && f.Maximum == nil {
				f.Enum = append(f.Enum, "3000000")
			}
		}
	}
	return f
}

// mostly is anyRecord where only some values in a thousand break something.
func mostly(random *rand.Rand, c *contract.Contract, faults int) columns.Record {
	spoiled := anyRecord(random, c)
	var r columns.Record
	for i := range c.Fields {
		f := &c.Fields[i]
		cell := columns.Cell{Name: f.Name, Kind: kindOf(f.Type)}
		switch cell.Kind {
		case columns.KindInt, columns.KindBool:
			cell.Int = 1
		case columns.KindText:
			cell.Text = "ann"
		}
		if random.IntN(1000) < faults {
			if at := slices.IndexFunc(spoiled, func(c columns.Cell) bool { return c.Name == f.Name }); at >= 0 {
				r = append(r, spoiled[at])
			}
			continue
		}
		r = append(r, cell)
	}
	if n := len(spoiled); n > 0 && c.Index(spoiled[n-1].Name) < 0 && random.IntN(100) < faults {
		r = append(r, spoiled[n-1])
	}
	return inOrder(r)
}

// TestCodecsAgree sends the same records in both codecs, by any contract, and
// demands the same report, the same batch and the same table, to the codes of
// units and texts.
func TestCodecsAgree(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 3))
		c := anyContract(t, random)
		records := make([]columns.Record, 1+random.IntN([]int{3, 70, 300}[random.IntN(3)]))
		faults := []int{0, 5, 100, 1000}[random.IntN(4)]
		for i := range records {
			records[i] = mostly(random, c, faults)
		}
		agree(t, c, records)
	}
}

func agree(t *testing.T, c *contract.Contract, records []columns.Record) {
	t.Helper()
	byRow, reportByRow := decodeBy(t, c, records)
	packed, report := decodePacked(t, c, records)
	compare(t, c, records, packed, report)
	if !reflect.DeepEqual(report, reportByRow) || packed.Len() != byRow.Len() {
		t.Fatalf("the reports differ: %s; by row: %s", broken(report), broken(reportByRow))
	}
	for i, f := range c.Fields {
		text := f.Type == contract.String
		one, ok1 := values(byRow.Column(i), text, byRow.Len())
		other, ok2 := values(packed.Column(i), text, packed.Len())
		if !ok1 || !ok2 || !slices.Equal(one, other) {
			t.Fatalf("column %s differs", f.Name)
		}
	}
	if one, other := shown(t, c, byRow), shown(t, c, packed); one != other {
		t.Fatalf("the tables differ:\n%s\n%s", one, other)
	}
}

// shown is what a table holds after a batch came twice.
func shown(t *testing.T, c *contract.Contract, b *record.Batch) string {
	t.Helper()
	s := store.New([]*contract.Contract{c})
	for range 2 {
		if err := s.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	snap, _ := s.Snapshot(c.Dataset)
	var all strings.Builder
	for code := range snap.Units() {
		fmt.Fprintf(&all, "%x ", snap.Unit(uint32(code)))
	}
	for i := range c.Fields {
		texts := snap.Texts(i)
		for code := range texts.Len() {
			fmt.Fprintf(&all, "%q ", texts.At(code))
		}
	}
	fmt.Fprint(&all, genuine.Rows(snap))
	return all.String()
}

// TestPackedForms tries what only packed columns can say: one name with values
// of several kinds, nulls that are written and columns that aren't there.
func TestPackedForms(t *testing.T) {
	all := []columns.Record{
		with(1, columns.Text("age", "61")), with(2, columns.Null("age")), with(3, columns.Bool("age", true)), with(4, columns.Int("age", 200)),
		without(5, "age"), without(6, "id"), with(7, columns.Null("id")), with(8, columns.Null("extra")), with(9, columns.Text("extra", "x")), good(10),
	}
	for i := range all {
		all[i] = inOrder(all[i])
	}
	agree(t, visits(), all)
	_, report := decodePacked(t, visits(), all)
	want := "0 age type, 2 age type, 3 age maximum, 5 id required, 6 id required, 7 extra unknown, 8 extra unknown"
	if got := broken(report); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// Nobody has any column, or only one that isn't the contract's.
	agree(t, visits(), []columns.Record{{}, {}})
	agree(t, visits(), []columns.Record{{columns.Int("x", 1)}, {}})
}

// TestPackedLargest is as many records as there may be, half of them broken
// twice: the list of rejections ends, and the counts go on.
func TestPackedLargest(t *testing.T) {
	all := make([]columns.Record, limits.BatchRows)
	for i := range all {
		all[i] = columns.Record{columns.Int("id", int64(i)), columns.Text("grade", "A")}
		if i%2 == 1 {
			all[i] = columns.Record{columns.Int("a", 1), columns.Int("b", 1), columns.Int("id", 1)}
		}
	}
	_, want := decode(t, all...)
	batch, report := decodePacked(t, visits(), all)
	if half := limits.BatchRows / 2; batch.Len() != half || !report.Truncated || !reflect.DeepEqual(report, want) {
		t.Errorf("%d rows, accepted %d, rejected %d, truncated %v", batch.Len(), report.Accepted, report.Rejected, report.Truncated)
	}
}

// TestRejectedTexts demands that no text of a rejected record reaches a table.
func TestRejectedTexts(t *testing.T) {
	c := visits()
	c.Fields[note].Role = contract.Dimension
	b, _ := decodePacked(t, c, []columns.Record{inOrder(good(1)), inOrder(with(2, columns.Text("note", "secret"), columns.Int("age", -1)))})
	s := store.New([]*contract.Contract{c})
	if err := s.Append(b); err != nil {
		t.Fatal(err)
	}
	snap, _ := s.Snapshot("visits")
	if texts := snap.Texts(note); texts.Len() != 1 || string(texts.At(0)) != canary {
		t.Errorf("%d texts", texts.Len())
	}
}

// TestAbsent demands that columns which nobody has cost next to nothing, however
// many a contract has.
func TestAbsent(t *testing.T) {
	c := &contract.Contract{Dataset: "wide", ID: "wide", Version: "1", Floor: 5, Fields: []contract.Field{{Name: "id", Type: contract.Integer, Role: contract.Unit}}}
	for i := len(c.Fields); i < limits.Columns; i++ {
		c.Fields = append(c.Fields, contract.Field{Name: fmt.Sprint("c", i), Type: contract.Type(1 + i%6), Role: contract.Dimension})
	}
	all := make([]columns.Record, limits.BatchRows)
	for i := range all {
		all[i] = columns.Record{columns.Int("id", int64(i))}
	}
	content, err := columns.EncodePacked(all)
	if err != nil {
		t.Fatal(err)
	}
	h := header()
	h.Dataset, h.Contract, h.Codec = c.Dataset, c.Version, columns.CodecPacked
	o, v := opened(t, h, len(all), content), validator(t, c)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	batch, _, err := record.Decode(o, v)
	runtime.ReadMemStats(&after)
	if err != nil || batch.Len() != len(all) {
		t.Fatalf("%d rows: %v", batch.Len(), err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("%d bytes were allocated for one column of %d", took, limits.Columns)
	}
}

func TestPackedContent(t *testing.T) {
	content, err := columns.EncodePacked([]columns.Record{inOrder(good(1)), inOrder(good(2))})
	if err != nil {
		t.Fatal(err)
	}
	h := header()
	h.Codec = columns.CodecPacked
	for name, tt := range map[string]struct {
		rows    int
		content []byte
	}{
		"one row fewer": {1, content},
		"one row more":  {3, content},
		"cut":           {2, content[:len(content)-1]},
		"a byte more":   {2, append(slices.Clone(content), 0)},
		"of records":    {1, []byte("\xa1\x62id\x01")},
	} {
		batch, report, err := record.Decode(opened(t, h, tt.rows, tt.content), validator(t, visits()))
		if !errors.Is(err, record.ErrContent) || batch != nil || report != nil {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error holds content: %v", name, err)
		}
	}
}

// FuzzDecodePacked compares with the model, by way of the records, whatever
// content the codec takes.
func FuzzDecodePacked(f *testing.F) {
	seed := func(records ...columns.Record) {
		content, err := columns.EncodePacked(records)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content, uint16(len(records)))
	}
	seed(good(1))
	seed(good(1), with(2, columns.Text("age", "x"), columns.Int("extra", 1)))
	seed(columns.Record{}, without(2, "id"), without(3, "grade"))
	f.Add([]byte("\xa1\x62id\x01"), uint16(1))
	c := visits()
	v := validator(f, c)
	h := header()
	h.Codec = columns.CodecPacked
	f.Fuzz(func(t *testing.T, content []byte, rows uint16) {
		if rows == 0 || len(content) > 1<<16 {
			return
		}
		batch, report, err := record.Decode(opened(t, h, int(rows), content), v)
		packed, malformed := columns.DecodePacked(content, int(rows))
		if malformed != nil {
			if !errors.Is(err, record.ErrContent) || batch != nil || report != nil {
				t.Fatalf("content that isn't in the codec: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		var records []columns.Record
		if err := packed.Each(func(_ int, r columns.Record) error { records = append(records, slices.Clone(r)); return nil }); err != nil {
			t.Fatal(err)
		}
		compare(t, c, records, batch, report)
	})
}
