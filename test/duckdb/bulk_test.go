package duckdb_test

import (
	"fmt"
	"testing"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/duckdb"
)

// TestBulk demands that what is appended in chunks is what was to be.
func TestBulk(t *testing.T) {
	low, high := int64(0), int64(10)
	c := &contract.Contract{Dataset: "visits", Fields: []contract.Field{
		{Name: "person", Type: contract.Integer, Role: contract.Unit},
		{Name: "small", Type: contract.Integer, Minimum: &low, Maximum: &high},
		{Name: "name", Type: contract.String},
		{Name: "instant", Type: contract.Timestamp},
		{Name: "day", Type: contract.Date},
		{Name: "flag", Type: contract.Boolean},
	}}
	b, err := duckdb.OpenBulk(c, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	const rows, batches = 3000, 3
	var all []*duckdb.Native
	for k := range batches {
		columns := make([]table.Values, len(c.Fields))
		columns[2].Texts = []string{"north", "twelve bytes", ""}
		for i := range rows {
			n := int64(k*rows + i)
			for field, v := range map[int]int64{0: n << 33, 1: n % 11, 3: n * 1_000_000, 4: n % 100, 5: n % 2} {
				columns[field].Ints = append(columns[field].Ints, v)
			}
			columns[2].Codes = append(columns[2].Codes, uint16(n%3))
		}
		native, err := b.Native(rows, columns)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, native)
	}
	if err := b.Append(all); err != nil {
		t.Fatal(err)
	}
	const n = rows * batches
	sum := func(of func(i int64) int64) (total int64) {
		for i := range int64(n) {
			total += of(i)
		}
		return total
	}
	for query, want := range map[string]int64{
		"count(*)":                     n,
		"sum(person >> 33)::BIGINT":    sum(func(i int64) int64 { return i }),
		"sum(small)::BIGINT":           sum(func(i int64) int64 { return i % 11 }),
		"sum(epoch(instant))::BIGINT":  sum(func(i int64) int64 { return i }),
		"max(day - DATE '1970-01-01')": 99,
		"count(*) FILTER (flag)":       n / 2,
		"count(DISTINCT name)":         3,
		"max(length(name))":            12,
		"count(*) FILTER (name = 'north' AND (person >> 33) % 3 = 0)": n / 3,
	} {
		if got, err := b.Int(fmt.Sprintf("SELECT %s FROM data.visits", query)); err != nil || got != want {
			t.Errorf("%s is %d, want %d: %v", query, got, want, err)
		}
	}
	if _, err := b.Native(1, []table.Values{{Ints: []int64{1}}, {Ints: []int64{1}}, {Texts: []string{"more than twelve"}, Codes: []uint16{0}}, {Ints: []int64{1}}, {Ints: []int64{1}}, {Ints: []int64{1}}}); err == nil {
		t.Error("a long text has no place")
	}
}
