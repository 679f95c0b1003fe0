package table_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// coded writes texts as places in a list of different ones, which also has some
// that no row needs.
func coded(r *rand.Rand, v table.Values) table.Values {
	if v.Texts == nil {
		return v
	}
	texts := []string{"nobody's"}
	for _, text := range v.Texts {
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	r.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	out := table.Values{Texts: texts, Null: v.Null}
	for _, text := range v.Texts {
		out.Codes = append(out.Codes, uint16(slices.Index(texts, text)))
	}
	return out
}

// whole writes down all of a snapshot, to the codes of units and texts.
func whole(s *table.Snapshot) string {
	all := fmt.Sprint(read(s), s.Units(), s.Range(text), s.Range(number), s.Range(must))
	for code := range s.Units() {
		all += fmt.Sprintf(" %x", s.Unit(uint32(code)))
	}
	for code := range s.Texts(text).Len() {
		all += fmt.Sprintf(" %s", s.Texts(text).At(code))
	}
	return all
}

// TestCodes demands that it doesn't matter in which form texts come, nor
// whether somebody says that nothing is NULL.
func TestCodes(t *testing.T) {
	for _, unitType := range []contract.Type{contract.String, contract.Integer} {
		for seed := range uint64(30) {
			r := rand.New(rand.NewPCG(seed, uint64(unitType)))
			c := testContract(unitType)
			byRow, byCode := table.New(c, table.Unlimited()), table.New(c, table.Unlimited())
			for range 1 + r.IntN(5) {
				n := r.IntN(300)
				columns, _, _ := fill(r, c, n)
				other := make([]table.Values, len(columns))
				for i := range columns {
					if other[i] = coded(r, columns[i]); !slices.Contains(other[i].Null, true) {
						other[i].Null = nil
					}
				}
				if err := errors.Join(byRow.Append(n, columns), byCode.Append(n, other)); err != nil {
					t.Fatal(err)
				}
			}
			byRow.Settle()
			byCode.Settle()
			if one, other := whole(byRow.Snapshot()), whole(byCode.Snapshot()); one != other {
				t.Fatalf("seed %d:\n%s\n%s", seed, one, other)
			}
			byRow.Compact()
			byCode.Compact()
			if byRow.Held() != byCode.Held() {
				t.Errorf("%d bytes by row, %d by code", byRow.Held(), byCode.Held())
			}
		}
	}
}

func TestCodesShape(t *testing.T) {
	c := testContract(contract.String)
	for name, change := range map[string]func(v []table.Values){
		"a code too large":      func(v []table.Values) { v[text].Codes[3] = uint16(len(v[text].Texts)) },
		"a unit's too large":    func(v []table.Values) { v[unit].Codes[3] = 60_000 },
		"fewer codes":           func(v []table.Values) { v[text].Codes = v[text].Codes[1:] },
		"codes of integers":     func(v []table.Values) { v[number].Codes = make([]uint16, 10) },
		"integers beside codes": func(v []table.Values) { v[text].Ints = make([]int64, 10) },
		"fewer marks of NULL":   func(v []table.Values) { v[text].Null = make([]bool, 9) },
	} {
		r := rand.New(rand.NewPCG(9, 9))
		tab := table.New(c, table.Unlimited())
		columns, _, _ := fill(r, c, 10)
		for i := range columns {
			columns[i] = coded(r, columns[i])
		}
		change(columns)
		if err := tab.Append(10, columns); !errors.Is(err, table.ErrShape) || tab.Snapshot().Number() != 0 || tab.Held() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMoves appends batches whose values are packed in different ways, so that
// merges meet frames that are alike and others, in the middle of a frame too.
// Every value must come back, and the range must hold for all.
func TestMoves(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 14))
		tab := table.New(single(), table.Unlimited())
		kinds := shapes(r, 9000)
		names := []string{"1 bits", "3 bits", "8 bits", "20 bits", "40 bits", "60 bits", "step 1048576", "multiple 86400000000", "outlier", "ends"}
		names = names[:1+r.IntN(len(names))]
		var values []int64
		var null []bool
		for range 40 {
			name := names[r.IntN(len(names))]
			n := []int{1, 50, 3000, 9000}[r.IntN(4)]
			batch, marks := slices.Clone(kinds[name][:n]), make([]bool, n)
			if r.IntN(3) == 0 {
				for i := range marks {
					if marks[i] = r.IntN(5) == 0; marks[i] {
						batch[i] = 0
					}
				}
			}
			units := make([]int64, n)
			for i := range units {
				units[i] = int64(len(values) + i)
			}
			values, null = append(values, batch...), append(null, marks...)
			columns := []table.Values{{Ints: units}, {Ints: batch, Null: marks}}
			if err := tab.Append(n, columns); err != nil {
				t.Fatal(err)
			}
		}
		for _, rest := range []func(){tab.Settle, tab.Compact} {
			rest()
			got, gotNull := column(tab.Snapshot())
			if !slices.Equal(gotNull, null) {
				t.Fatalf("seed %d: other NULLs", seed)
			}
			for i := range got {
				if !null[i] && got[i] != values[i] {
					t.Fatalf("seed %d, %v: row %d is %d, want %d", seed, names, i, got[i], values[i])
				}
			}
			bounds(t, fmt.Sprint(seed, names), tab.Snapshot().Range(1), values, null)
		}
	}
}

// TestAlike demands that a column takes no more memory for coming in batches
// that begin at different values, once it is compacted.
func TestAlike(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 15))
	const n, batches = 20_000, 10
	apart, at := table.New(single(), table.Unlimited()), table.New(single(), table.Unlimited())
	var units, values []int64
	for k := range batches {
		var some, own []int64
		for i := range n {
			own = append(own, int64(k*n+i))
			some = append(some, 1_700_000_000_000_000+(int64(k)*1000+r.Int64N(50_000))*1_000_000)
		}
		if err := apart.Append(n, []table.Values{{Ints: own}, {Ints: some}}); err != nil {
			t.Fatal(err)
		}
		units, values = append(units, own...), append(values, some...)
	}
	if err := at.Append(len(units), []table.Values{{Ints: units}, {Ints: values}}); err != nil {
		t.Fatal(err)
	}
	apart.Compact()
	if a, b := float64(apart.Held()), float64(at.Held()); a > 1.1*b {
		t.Errorf("%.0f bytes in batches, %.0f at once", a, b)
	}
}

// TestManyUnits looks many integers up at the same time, new ones and old.
func TestManyUnits(t *testing.T) {
	r := rand.New(rand.NewPCG(16, 16))
	tab := table.New(single(), table.Unlimited())
	model := map[int64]uint32{}
	for range 20 {
		n := r.IntN(3000)
		units := make([]int64, n)
		for i := range units {
			units[i] = r.Int64N(20_000) - 10_000
			if _, ok := model[units[i]]; !ok {
				model[units[i]] = uint32(len(model))
			}
		}
		if err := tab.Append(n, []table.Values{{Ints: units}, {Ints: make([]int64, n)}}); err != nil {
			t.Fatal(err)
		}
	}
	s := tab.Snapshot()
	if s.Units() != len(model) {
		t.Fatalf("%d units, want %d", s.Units(), len(model))
	}
	for unit, code := range model {
		if got := name(contract.Integer, s.Unit(code)); got != strconv.FormatInt(unit, 10) {
			t.Fatalf("code %d is %s, want %d", code, got, unit)
		}
	}
}
