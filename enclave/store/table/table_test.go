package table_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

// The columns of every contract here, by index.
const (
	unit = iota
	text
	number
	must
	hidden
	restricted
	status
)

func testContract(unitType contract.Type) *contract.Contract {
	low, high := int64(-1000), int64(1000)
	return &contract.Contract{
		Dataset: "d", ID: "d", Version: "1", Floor: 5,
		Fields: []contract.Field{
			unit:       {Name: "unit", Type: unitType, Role: contract.Unit},
			text:       {Name: "text", Type: contract.String, Role: contract.Dimension},
			number:     {Name: "number", Type: contract.Integer, Role: contract.Measure, Minimum: &low, Maximum: &high},
			must:       {Name: "must", Type: contract.Date, Role: contract.Dimension, Required: true},
			hidden:     {Name: "hidden", Type: contract.String},
			restricted: {Name: "restricted", Type: contract.Integer, Role: contract.Restricted},
			status:     {Name: "status", Type: contract.String, Role: contract.Status},
		},
	}
}

// fill answers random columns, and of each row the visible cells and the unit.
func fill(r *rand.Rand, c *contract.Contract, rows int) (columns []table.Values, cells, units []string) {
	columns, cells = make([]table.Values, len(c.Fields)), make([]string, rows)
	for i, f := range c.Fields {
		for row := range rows {
			null, n := !f.Required && f.Role != contract.Unit && r.IntN(4) == 0, r.IntN(40)
			if null {
				n = 0
			}
			switch {
			case f.Type != contract.String:
				columns[i].Ints = append(columns[i].Ints, int64(n))
			case null:
				columns[i].Texts = append(columns[i].Texts, "")
			default:
				columns[i].Texts = append(columns[i].Texts, strconv.Itoa(n))
			}
			columns[i].Null = append(columns[i].Null, null)
			switch f.Role {
			case contract.Unit:
				units = append(units, strconv.Itoa(n))
			case contract.Dimension, contract.Measure:
				cells[row] += cell(null, strconv.Itoa(n))
			}
		}
	}
	return columns, cells, units
}

func cell(null bool, text string) string {
	if null {
		return "- "
	}
	return text + " "
}

// codes numbers units in the order of their coming.
func codes(units []string) []uint32 {
	seen := map[string]uint32{}
	all := make([]uint32, len(units))
	for i, u := range units {
		if _, ok := seen[u]; !ok {
			seen[u] = uint32(len(seen))
		}
		all[i] = seen[u]
	}
	return all
}

// show writes rows of units down, sorted.
func show(cells []string, units []uint32) []string {
	all := make([]string, len(cells))
	for i, c := range cells {
		all[i] = fmt.Sprint(units[i], ": ", c)
	}
	slices.Sort(all)
	return all
}

// read is show of a snapshot's rows.
func read(s *table.Snapshot) []string {
	var cells []string
	var units []uint32
	for _, r := range genuine.Rows(s) {
		var line string
		for _, i := range []int{text, number, must} {
			if v := r.Values[i]; i == text {
				line += cell(v.Null, v.Text)
			} else {
				line += cell(v.Null, strconv.FormatInt(v.Int, 10))
			}
		}
		cells, units = append(cells, line), append(units, r.Unit)
	}
	return show(cells, units)
}

// TestSnapshots appends random batches, small and large, and demands that every
// snapshot ever taken still shows what it showed, whatever was merged since.
func TestSnapshots(t *testing.T) {
	for _, unitType := range []contract.Type{contract.String, contract.Integer} {
		t.Run(unitType.String(), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(unitType)))
			c := testContract(unitType)
			tab := table.New(c, table.Unlimited())
			var cells, units []string
			taken, ends := []*table.Snapshot{tab.Snapshot()}, []int{0}
			for _, n := range []int{1, 0, 3, 16_000, 500, 16_384, 1, 20_000, 7, 1, 1, 1, 2} {
				columns, newCells, newUnits := fill(r, c, n)
				if err := tab.Append(n, columns); err != nil {
					t.Fatal(err)
				}
				for i := range columns { // the table has its own memory
					clear(columns[i].Ints)
					clear(columns[i].Null)
				}
				cells, units = append(cells, newCells...), append(units, newUnits...)
				taken, ends = append(taken, tab.Snapshot()), append(ends, len(cells))
			}
			tab.Settle()
			taken, ends = append(taken, tab.Snapshot()), append(ends, len(cells))
			want := codes(units)
			for i, s := range taken {
				if s.Number() != uint64(min(i, len(taken)-2)) || s.Rows() != ends[i] || s.Contract() != c {
					t.Errorf("snapshot %d: number %d, %d rows", i, s.Number(), s.Rows())
				}
				if !slices.Equal(read(s), show(cells[:ends[i]], want[:ends[i]])) {
					t.Errorf("snapshot %d shows other rows", i)
				}
			}
			last := tab.Snapshot()
			if got := last.Units(); got != int(slices.Max(want))+1 {
				t.Errorf("%d units", got)
			}
			for i, code := range want {
				if got := name(unitType, last.Unit(code)); got != units[i] {
					t.Fatalf("the unit of row %d is %s, want %s", i, got, units[i])
				}
			}
		})
	}
}

// name answers what a unit is called.
func name(t contract.Type, unit []byte) string {
	if t == contract.String {
		return string(unit)
	}
	return strconv.FormatInt(int64(binary.LittleEndian.Uint64(unit)), 10)
}

// TestNames demands that many units and texts keep their names, short and long
// ones.
func TestNames(t *testing.T) {
	for _, unitType := range []contract.Type{contract.String, contract.Integer} {
		r := rand.New(rand.NewPCG(10, uint64(unitType)))
		c := testContract(unitType)
		tab := table.New(c, table.Unlimited())
		var units, texts []string
		for range 4 {
			const n = 10_000
			columns, _, _ := fill(r, c, n)
			for i := range n {
				if unitType == contract.String {
					columns[unit].Texts[i] = strings.Repeat("u", r.IntN(40)) + fmt.Sprint(r.IntN(9000))
					units = append(units, columns[unit].Texts[i])
				} else {
					columns[unit].Ints[i] = int64(r.Uint64N(9000) << r.IntN(50))
					units = append(units, fmt.Sprint(columns[unit].Ints[i]))
				}
				columns[text].Texts[i], columns[text].Null[i] = fmt.Sprint("t", r.IntN(9000)), false
				texts = append(texts, columns[text].Texts[i])
			}
			if err := tab.Append(n, columns); err != nil {
				t.Fatal(err)
			}
		}
		s := tab.Snapshot()
		left := map[string]int{}
		for i := range units {
			left[units[i]+" "+texts[i]]++
		}
		seen := map[string]bool{}
		for code := range s.Units() {
			seen[name(unitType, s.Unit(uint32(code)))] = true
		}
		for _, row := range genuine.Rows(s) {
			left[name(unitType, s.Unit(row.Unit))+" "+row.Values[text].Text]--
		}
		for pair, n := range left {
			if n != 0 {
				t.Fatalf("%s: %q comes %d times too often or rarely", unitType, pair, n)
			}
		}
		if len(seen) != s.Units() {
			t.Errorf("%s: %d names of %d units", unitType, len(seen), s.Units())
		}
	}
}

// TestNotKept demands that what no query may read isn't there at all.
func TestNotKept(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	c := testContract(contract.String)
	tab, other := table.New(c, table.Unlimited()), table.New(c, table.Unlimited())
	columns, _, _ := fill(r, c, 100)
	if err := tab.Append(100, columns); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		columns[hidden].Texts[i], columns[hidden].Null[i] = strings.Repeat("x", 1000), false
		columns[restricted].Ints[i], columns[restricted].Null[i] = rand.Int64(), false
	}
	if err := other.Append(100, columns); err != nil {
		t.Fatal(err)
	}
	if tab.Held() != other.Held() {
		t.Errorf("%d bytes, %d with other hidden values", tab.Held(), other.Held())
	}
	s := tab.Snapshot()
	for _, i := range []int{unit, hidden, restricted, status} {
		if s.Texts(i).Len() > 0 || s.Range(i) != (table.Range{}) {
			t.Errorf("column %s is kept", c.Fields[i].Name)
		}
	}
	if s.Range(must).Null || !s.Range(number).Null {
		t.Error("NULL where it can't be, or none where it is")
	}
}

// TestShape demands that columns of another shape change nothing.
func TestShape(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	c := testContract(contract.Integer)
	tests := []struct {
		name   string
		rows   int
		change func([]table.Values) []table.Values
	}{
		{"fewer columns", 10, func(v []table.Values) []table.Values { return v[1:] }},
		{"more columns", 10, func(v []table.Values) []table.Values { return append(v, v[0]) }},
		{"none", 10, func([]table.Values) []table.Values { return nil }},
		{"negative", -1, func(v []table.Values) []table.Values { return v }},
		{"other count", 9, func(v []table.Values) []table.Values { return v }},
		{"short texts", 10, func(v []table.Values) []table.Values { v[text].Texts = v[text].Texts[1:]; return v }},
		{"short ints in the last column kept", 10, func(v []table.Values) []table.Values { v[must].Ints = v[must].Ints[1:]; return v }},
		{"short nulls", 10, func(v []table.Values) []table.Values { v[number].Null = v[number].Null[1:]; return v }},
		{"texts for ints", 10, func(v []table.Values) []table.Values { v[number] = v[text]; return v }},
		{"both", 10, func(v []table.Values) []table.Values { v[number].Texts = v[text].Texts; return v }},
		{"NULL where it may not be", 10, func(v []table.Values) []table.Values { v[must].Null[9] = true; return v }},
		{"NULL unit", 10, func(v []table.Values) []table.Values { v[unit].Null[0] = true; return v }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := table.New(c, table.Unlimited())
			good, _, _ := fill(r, c, 10)
			if err := tab.Append(10, good); err != nil {
				t.Fatal(err)
			}
			before, rows := tab.Snapshot(), read(tab.Snapshot())
			bad, _, _ := fill(r, c, 10)
			if err := tab.Append(tt.rows, tt.change(bad)); !errors.Is(err, table.ErrShape) {
				t.Fatalf("got %v", err)
			}
			if tab.Snapshot() != before {
				t.Error("the snapshot changed")
			}
			if !slices.Equal(read(tab.Snapshot()), rows) {
				t.Error("the rows changed")
			}
		})
	}
}

// TestConcurrent reads snapshots while batches come: each snapshot is whole.
// Every batch repeats one number, its own, so a torn one shows.
func TestConcurrent(t *testing.T) {
	const batches, rows = 200, 137
	c := testContract(contract.Integer)
	tab := table.New(c, table.Unlimited())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for last := uint64(0); last < batches; {
				s := tab.Snapshot()
				if s.Number() < last || s.Rows() != int(s.Number())*rows {
					t.Errorf("snapshot %d after %d has %d rows", s.Number(), last, s.Rows())
					return
				}
				last = s.Number()
				for at, row := range genuine.Rows(s) {
					want := int64(at / rows)
					if row.Unit != uint32(want) || row.Values[number].Int != want || row.Values[text].Text != fmt.Sprint(want) {
						t.Errorf("row %d of snapshot %d isn't batch %d's", at, s.Number(), want)
						return
					}
				}
			}
		})
	}
	for batch := range batches {
		columns := make([]table.Values, len(c.Fields))
		for i, f := range c.Fields {
			columns[i].Null = make([]bool, rows)
			for range rows {
				if f.Type == contract.String {
					columns[i].Texts = append(columns[i].Texts, fmt.Sprint(batch))
				} else {
					columns[i].Ints = append(columns[i].Ints, int64(batch))
				}
			}
		}
		if err := tab.Append(rows, columns); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
}

func BenchmarkAppend(b *testing.B) {
	c := testContract(contract.Integer)
	columns, _, _ := fill(rand.New(rand.NewPCG(4, 4)), c, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if err := table.New(c, table.Unlimited()).Append(10_000, columns); err != nil {
			b.Fatal(err)
		}
	}
}
