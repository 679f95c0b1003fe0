package record_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
)

// newer is the version after visits: two columns more, one less, another order,
// and a wider range.
func newer() *contract.Contract {
	c := visits()
	c.Version = "1.3.0"
	c.Fields = slices.Delete(c.Fields, ok, ok+1)
	slices.Reverse(c.Fields)
	c.Fields[c.Index("age")].Maximum = at(int64(130))
	c.Fields = append(c.Fields,
		contract.Field{Name: "site", Type: contract.String, Role: contract.Dimension},
		contract.Field{Name: "visit", Type: contract.Integer, Role: contract.Dimension})
	return c
}

func passage(t *testing.T, from, to *contract.Contract) *record.Passage {
	t.Helper()
	p, err := record.NewPassage(from, to)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCarry(t *testing.T) {
	b, report := decode(t, good(1), with(2, columns.Int("age", 121)), with(3, columns.Null("age")), good(4))
	if report.Accepted != 3 {
		t.Fatalf("report %+v", report)
	}
	to := newer()
	carried, err := passage(t, b.Contract(), to).Carry(b)
	if err != nil {
		t.Fatal(err)
	}
	if carried.Contract() != to || carried.Dataset() != "visits" || carried.Len() != 3 {
		t.Errorf("%s, %d records", carried.Dataset(), carried.Len())
	}
	for i, f := range to.Fields {
		got, at := carried.Column(i), b.Contract().Index(f.Name)
		var want record.Column
		switch {
		case at >= 0:
			want = b.Column(at)
		case f.Type == contract.String:
			want = record.Column{Texts: []string{""}, Codes: []uint16{0, 0, 0}, Null: []bool{true, true, true}}
		default:
			want = record.Column{Ints: []int64{0, 0, 0}, Null: []bool{true, true, true}}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", f.Name, got, want)
		}
	}
	// And the tables take it, after and before one of the newer version.
	tables := store.New([]*contract.Contract{to})
	direct, _ := decodeBy(t, to, []columns.Record{append(without(5, "ok"), columns.Text("site", "x"))})
	for _, each := range []*record.Batch{carried, direct, carried} {
		if err := tables.Append(each); err != nil {
			t.Fatal(err)
		}
	}
	if s, _ := tables.Snapshot("visits"); s.Rows() != 7 || s.Units() != 4 {
		t.Errorf("%d rows of %d units", s.Rows(), s.Units())
	}
	if err := tables.Append(b); !errors.Is(err, store.ErrContract) {
		t.Errorf("the older version itself: %v", err)
	}
}

func TestPassageRefuses(t *testing.T) {
	narrow := newer()
	narrow.Fields[narrow.Index("age")].Maximum = at(int64(100))
	if p, err := record.NewPassage(visits(), narrow); p != nil || !errors.Is(err, contract.ErrContract) {
		t.Errorf("a narrower contract: %v", err)
	}
	b, _ := decode(t, good(1))
	if carried, err := passage(t, newer(), newer()).Carry(b); carried != nil || !errors.Is(err, record.ErrContract) {
		t.Errorf("a batch of another contract: %v", err)
	}
	// An empty batch is one too.
	none, _ := decodeBy(t, visits(), []columns.Record{with(1, columns.Int("age", -1))})
	if carried, err := passage(t, none.Contract(), newer()).Carry(none); err != nil || carried.Len() != 0 {
		t.Errorf("an empty batch: %v", err)
	}
}
