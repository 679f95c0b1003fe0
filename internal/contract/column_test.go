package contract_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
)

// judged are fields with every rule that a column can be judged by.
func judged() []contract.Field {
	low, high := int64(-5), int64(5)
	short, long := 1, 3
	return []contract.Field{
		{Name: "unit", Type: contract.Integer, Role: contract.Unit},
		{Name: "free", Type: contract.Integer},
		{Name: "low", Type: contract.Integer, Minimum: &low, Required: true},
		{Name: "high", Type: contract.Number, Maximum: &high},
		{Name: "both", Type: contract.Number, Minimum: &low, Maximum: &high, Enum: []string{"-5", "0", "3"}},
		{Name: "near", Type: contract.Integer, Enum: []string{"-1", "64", "7"}},
		{Name: "far", Type: contract.Integer, Enum: []string{"-9223372036854775808", "0", "9223372036854775807"}},
		{Name: "day", Type: contract.Date, Required: true},
		{Name: "at", Type: contract.Timestamp, Maximum: &high},
		{Name: "yes", Type: contract.Boolean, Enum: []string{"true"}},
		{Name: "no", Type: contract.Boolean, Enum: []string{"false"}, Required: true},
		{Name: "any", Type: contract.Boolean},
		{Name: "text", Type: contract.String, MinLength: &short, MaxLength: &long, Pattern: "[a-zé]*"},
		{Name: "list", Type: contract.String, Enum: []string{"a", "é"}, Required: true},
	}
}

func judge(t *testing.T) (*contract.Contract, *contract.Validator) {
	t.Helper()
	c := &contract.Contract{Dataset: "d", ID: "d", Version: "1", Floor: 5, Fields: judged()}
	v, err := contract.NewValidator(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, v
}

// TestColumns judges random columns at once and value by value, and demands the
// same of every row.
func TestColumns(t *testing.T) {
	c, v := judge(t)
	ints := []int64{0, 1, -1, -5, -6, 5, 6, 3, 7, 64, 65, -719162, -719163, 2932896, 2932897, math.MinInt64, math.MaxInt64, -62135596800000001}
	texts := []string{"", "a", "é", "abc", "ééé", "abcd", "A", "x", "a\n"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 4))
		rows := 1 + r.IntN(150)
		for i := range c.Fields {
			f := &c.Fields[i]
			var present []uint64
			if r.IntN(3) > 0 {
				present = contract.NewMarks(rows)
			}
			few := 1 + r.IntN(len(ints)) // sometimes all values are good
			values, codes, truths := make([]int64, rows), make([]uint16, rows), contract.NewMarks(rows)
			low, high := int64(math.MaxInt64), int64(math.MinInt64)
			want := map[int]bool{}
			for row := range rows {
				value := contract.Value{Null: present != nil && r.IntN(4) == 0}
				if present != nil && !value.Null {
					present[row/64] |= 1 << (row % 64)
				}
				switch {
				case value.Null:
				case f.Type == contract.String:
					codes[row] = uint16(r.IntN(len(texts)))
					value.Text = texts[codes[row]]
				case f.Type == contract.Boolean:
					value.Int = int64(r.IntN(2))
					truths[row/64] |= uint64(value.Int) << (row % 64)
				default:
					value.Int = ints[r.IntN(few)]
					values[row], low, high = value.Int, min(low, value.Int), max(high, value.Int)
				}
				want[row] = v.Validate(i, value) != ""
			}
			broken := contract.NewMarks(rows)
			v.Nulls(i, present, broken)
			switch f.Type {
			case contract.String:
				v.Texts(i, texts, codes, present, broken)
			case contract.Boolean:
				v.Bools(i, truths, present, broken)
			default:
				v.Ints(i, values, low, high, present, broken)
			}
			count := 0
			for row := range rows {
				if broken.Has(row) != want[row] {
					t.Fatalf("seed %d, column %s, row %d: broken is %v", seed, f.Name, row, broken.Has(row))
				}
				if want[row] {
					count++
				}
			}
			if got := broken.Count(rows); got != count {
				t.Fatalf("%d rows are marked, %d counted", count, got)
			}
		}
	}
}

// TestMarksEnd demands that bits after the last row count for nothing.
func TestMarksEnd(t *testing.T) {
	for _, rows := range []int{1, 63, 64, 65, 128, 130} {
		m := contract.NewMarks(rows)
		for i := range m {
			m[i] = ^uint64(0)
		}
		if got := m.Count(rows); got != rows {
			t.Errorf("%d of %d rows", got, rows)
		}
	}
	if got := fmt.Sprint(len(contract.NewMarks(0)), contract.NewMarks(0).Count(0)); got != "0 0" {
		t.Errorf("no rows: %s", got)
	}
}
