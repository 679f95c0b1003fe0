package table_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// TestPolicy plays appends of many sizes through, each followed by every merge
// that is due: there are few runs at any time, half of the rows are in the
// largest, and each row is written again for the logarithm of all, and a constant.
func TestPolicy(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 11))
	for name, size := range map[string]func(i int) int{
		"single rows": func(int) int { return 1 },
		"alike":       func(int) int { return 4000 },
		"any":         func(int) int { return 1 + r.IntN(5000) },
		"mixed":       func(i int) int { return []int{1, 1, 1, 60_000}[i%4] },
		"shrinking":   func(i int) int { return 1 + 1_000_000/(1+i) },
	} {
		var sizes []int
		rows, written := 0, 0
		for i := range 3000 {
			n := size(i)
			sizes, rows = append(sizes, n), rows+n
			for due := table.Due(sizes); due != nil; due = table.Due(sizes) {
				if len(due) < 2 || len(due) > 64 {
					t.Fatalf("%s: %d runs at a time", name, len(due))
				}
				total := 0
				for _, n := range due {
					at := slices.Index(sizes, n)
					sizes = slices.Delete(sizes, at, at+1)
					total += n
				}
				sizes, written = append(sizes, total), written+total
			}
			if most := slices.Max(sizes); len(sizes) > 40 || 2*most < rows {
				t.Fatalf("%s: %d runs, the largest has %d rows of %d", name, len(sizes), most, rows)
			}
		}
		if again := float64(written) / float64(rows); again > 2.5+math.Log2(float64(rows))/3 {
			t.Errorf("%s: every row was written %.1f times again, of %d", name, again, rows)
		}
	}
}

// TestCompact demands that it makes one run of each partition, that nothing
// else changes, and that what is held is what the rows need.
func TestCompact(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 12))
	c := testContract(contract.String)
	tab, memory := table.New(c, table.Unlimited()), table.Unlimited()
	whole := table.New(c, memory)
	var all []table.Values
	total := 0
	for range 30 {
		n := r.IntN(900)
		columns, _, _ := fill(r, c, n)
		if err := tab.Append(n, columns); err != nil {
			t.Fatal(err)
		}
		all, total = concatenate(all, columns), total+n
	}
	if err := whole.Append(total, all); err != nil {
		t.Fatal(err)
	}
	before := read(tab.Snapshot())
	number := tab.Snapshot().Number()
	tab.Compact()
	if s := tab.Snapshot(); s.Number() != number || !slices.Equal(read(s), before) {
		t.Error("compacting changed something")
	}
	for i, sizes := range tab.Snapshot().Runs() {
		if len(sizes) > 1 {
			t.Errorf("partition %d has %d runs", i, len(sizes))
		}
	}
	if tab.Held() != whole.Held() || memory.Held() != whole.Held() {
		t.Errorf("%d bytes are held, %d of the same rows at once, %d in all", tab.Held(), whole.Held(), memory.Held())
	}
}

func concatenate(all, more []table.Values) []table.Values {
	if all == nil {
		all = make([]table.Values, len(more))
	}
	for i, v := range more {
		all[i].Ints = append(all[i].Ints, v.Ints...)
		all[i].Texts = append(all[i].Texts, v.Texts...)
		all[i].Null = append(all[i].Null, v.Null...)
	}
	return all
}

// TestMemory fills two tables that share a limit, until nothing more fits: what
// is refused changes nothing, and the limit is never passed.
func TestMemory(t *testing.T) {
	const limit, rows = 3 << 20, 2000
	r := rand.New(rand.NewPCG(13, 13))
	c := testContract(contract.String)
	memory := table.NewMemory(limit)
	tables := []*table.Table{table.New(c, memory), table.New(c, memory)}
	refused, accepted := 0, 0
	for i := 0; refused < 20; i++ {
		tab := tables[i%2]
		columns, _, _ := fill(r, c, rows)
		before := tab.Snapshot()
		tab.Settle()
		room := tab.Room(rows, columns)
		switch err := tab.Append(rows, columns); {
		case err == nil && room == nil:
			accepted++
		case errors.Is(err, table.ErrMemory) && errors.Is(room, table.ErrMemory):
			refused++
			if s := tab.Snapshot(); s.Number() != before.Number() || s.Rows() != before.Rows() {
				t.Fatal("a batch that was refused is there")
			}
		default:
			t.Fatalf("Append %v, Room %v", err, room)
		}
		if held := memory.Held(); held > limit {
			t.Fatalf("%d bytes are held", held)
		}
	}
	for _, tab := range tables {
		tab.Settle()
	}
	if got, want := memory.Held(), tables[0].Held()+tables[1].Held(); got != want {
		t.Errorf("%d bytes are held, %d by the tables", got, want)
	}
	if accepted < 30 {
		t.Errorf("only %d batches fit", accepted)
	}
	if err := tables[0].Append(0, empty(c)); err != nil {
		t.Errorf("no rows: %v", err)
	}
}

func empty(c *contract.Contract) []table.Values {
	all := make([]table.Values, len(c.Fields))
	return all
}

// TestFewBytes demands that rows of people with some rows each take what their
// values take, and little more.
func TestFewBytes(t *testing.T) {
	const rows, people = 400_000, 40_000
	r := rand.New(rand.NewPCG(14, 14))
	c := single()
	c.Fields = append(c.Fields,
		contract.Field{Name: "region", Type: contract.String, Role: contract.Dimension, Required: true},
		contract.Field{Name: "flag", Type: contract.Boolean, Role: contract.Dimension, Required: true})
	tab := table.New(c, table.Unlimited())
	for range 8 {
		const n = rows / 8
		columns := []table.Values{{}, {}, {}, {}}
		for i := range columns {
			columns[i].Null = make([]bool, n)
		}
		for range n {
			columns[0].Ints = append(columns[0].Ints, r.Int64N(people))
			columns[1].Ints = append(columns[1].Ints, 1000+r.Int64N(200))
			columns[2].Texts = append(columns[2].Texts, fmt.Sprint("region ", r.IntN(50)))
			columns[3].Ints = append(columns[3].Ints, r.Int64N(2))
		}
		if err := tab.Append(n, columns); err != nil {
			t.Fatal(err)
		}
	}
	tab.Compact()
	// Two bytes and a bit, a bit where a person starts, and of each person the
	// number and its place in the dictionary.
	if got := float64(tab.Held()) / rows; got > 2+2.0/8+2.5 {
		t.Errorf("%.2f bytes a row", got)
	}
}
