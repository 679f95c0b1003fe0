package store_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

func testContract(dataset, version string, more ...contract.Field) *contract.Contract {
	return &contract.Contract{
		Dataset: dataset, ID: dataset, Version: version, Floor: 5,
		Fields: append([]contract.Field{
			{Name: "unit", Type: contract.String, Role: contract.Unit},
			{Name: "site", Type: contract.String, Role: contract.Dimension, Enum: []string{"a", "b"}},
		}, more...),
	}
}

func batch(t *testing.T, c *contract.Contract, records ...columns.Record) *record.Batch {
	t.Helper()
	b, err := genuine.Batch(c, records)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func person(unit, site string) columns.Record {
	return columns.Record{columns.Text("unit", unit), columns.Text("site", site)}
}

func snapshot(t *testing.T, s *store.Store, dataset string) *store.Snapshot {
	t.Helper()
	snap, ok := s.Snapshot(dataset)
	if !ok {
		t.Fatalf("no snapshot of %s", dataset)
	}
	return snap
}

// sites answers the sites of all rows, by unit.
func sites(s *store.Snapshot) string {
	var all string
	for _, row := range genuine.Rows(s) {
		if row.Values[1].Null {
			all += "-"
		} else {
			all += row.Values[1].Text
		}
	}
	return all
}

func TestAppend(t *testing.T) {
	one, two := testContract("one", "1"), testContract("two", "1")
	s := store.New([]*contract.Contract{one, two})
	before := snapshot(t, s, "one")
	if err := s.Append(batch(t, one, person("x", "a"), person("y", "b"), person("x", "neither"), columns.Record{columns.Text("unit", "z")})); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, s, "one")
	if before.Rows() != 0 || before.Number() != 0 || sites(before) != "" {
		t.Error("a snapshot changed")
	}
	if after.Number() != 1 || sites(after) != "ab-" || after.Units() != 3 {
		t.Errorf("snapshot %d shows %s of %d units", after.Number(), sites(after), after.Units())
	}
	if other := snapshot(t, s, "two"); other.Number() != 0 || other.Rows() != 0 {
		t.Error("another dataset changed")
	}
	// A batch of which nothing was accepted is a batch.
	if err := s.Append(batch(t, one, person("x", "neither"))); err != nil {
		t.Fatal(err)
	}
	if again := snapshot(t, s, "one"); again.Number() != 2 || sites(again) != "ab-" {
		t.Errorf("snapshot %d shows %s", again.Number(), sites(again))
	}
	if _, ok := s.Snapshot("three"); ok {
		t.Error("a dataset that isn't there has a snapshot")
	}
}

func TestOtherContract(t *testing.T) {
	mine := testContract("one", "1")
	tests := []struct {
		name string
		c    *contract.Contract
		want error
	}{
		{"the same", mine, nil},
		{"an equal one", testContract("one", "1"), nil},
		{"another dataset", testContract("two", "1"), store.ErrContract},
		{"another version", testContract("one", "2"), store.ErrContract},
		{"other fields", testContract("one", "1", contract.Field{Name: "x", Type: contract.Integer}), store.ErrContract},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := store.New([]*contract.Contract{mine})
			if err := s.Append(batch(t, tt.c, person("x", "a"))); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			want := fmt.Sprint(map[bool]int{true: 1, false: 0}[tt.want == nil])
			if got := snapshot(t, s, "one"); fmt.Sprint(got.Number()) != want || fmt.Sprint(got.Rows()) != want {
				t.Errorf("number %d, %d rows, want %s", got.Number(), got.Rows(), want)
			}
		})
	}
}

// TestReaders waits for the readers of all tables, and no others.
func TestReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.New([]*contract.Contract{testContract("one", "1"), testContract("two", "1")})
		begin := time.Now()
		s.Quiet(t.Context(), time.Hour)
		if s.Reading() {
			t.Error("nobody reads")
		}
		one, two := snapshot(t, s, "one").Read(), snapshot(t, s, "two").Read()
		go func() { time.Sleep(time.Second); two() }()
		go func() { time.Sleep(2 * time.Second); one() }()
		s.Quiet(t.Context(), time.Hour)
		if s.Reading() || time.Since(begin) != 2*time.Second {
			t.Errorf("it waited for %v, reading %v", time.Since(begin), s.Reading())
		}
		end := snapshot(t, s, "two").Read()
		s.Quiet(t.Context(), time.Minute)
		if !s.Reading() || time.Since(begin) != time.Minute+2*time.Second {
			t.Errorf("it waited for %v, reading %v", time.Since(begin), s.Reading())
		}
		end()
		s.Settle()
	})
}
