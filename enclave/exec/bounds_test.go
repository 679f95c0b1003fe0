package exec_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/secret"
)

// visit is a row of a table of visits.
type visit struct {
	unit   int64
	name   string // "-" for NULL
	number int64
	amount int64
	known  bool // whether the amount isn't NULL
}

// visitsTable puts rows into a table, some at a time.
func visitsTable(t testing.TB, c *contract.Contract, rows []visit, atOnce int) *table.Snapshot {
	t.Helper()
	tab := table.New(c, table.Unlimited())
	for batch := range slices.Chunk(rows, atOnce) {
		columns := make([]table.Values, len(c.Fields))
		for _, v := range batch {
			for i, value := range []int64{v.unit, 0, v.number, v.amount} {
				null := i == 1 && v.name == "-" || i == 3 && !v.known
				switch {
				case i == 1 && null:
					columns[i].Texts = append(columns[i].Texts, "")
				case i == 1:
					columns[i].Texts = append(columns[i].Texts, v.name)
				case null:
					columns[i].Ints = append(columns[i].Ints, 0)
				default:
					columns[i].Ints = append(columns[i].Ints, value)
				}
				columns[i].Null = append(columns[i].Null, null)
			}
		}
		if err := tab.Append(len(batch), columns); err != nil {
			t.Fatal(err)
		}
	}
	return tab.Snapshot()
}

// randomVisits answers visits of people, a few of whom have very many.
func randomVisits(r *rand.Rand, n, people int, most int64) []visit {
	rows, numbers := make([]visit, n), make([]int64, 9)
	for i := range numbers {
		numbers[i] = int64(i) * 100
		if most > 1000 { // too far apart for a place each
			numbers[i] = int64(r.Uint64())
		}
	}
	for i := range rows {
		rows[i] = visit{
			unit: r.Int64N(int64(people)), name: fmt.Sprint("n", r.IntN(12)), number: numbers[r.IntN(9)],
			amount: r.Int64N(2*most+1) - most, known: r.IntN(5) > 0,
		}
		if r.IntN(4) == 0 {
			rows[i].unit = r.Int64N(3)
		}
		if r.IntN(10) == 0 {
			rows[i].name = "-"
		}
	}
	return rows
}

func key(n byte) secret.Bytes {
	k := make([]byte, 32)
	k[0], k[31] = n, n
	return secret.New(k)
}

// cell is what a group has in a bounded answer.
type cell struct{ rows, units, values, valueUnits, sum int64 }

// bounded runs the query of this test and answers the cells by keys.
func bounded(t *testing.T, f *fixture, snap *table.Snapshot, b exec.Bounds, keys string) map[string]cell {
	t.Helper()
	text := "SELECT COUNT(*), COUNT(amount) AS c, SUM(amount) AS s FROM data"
	if keys != "" {
		text += " GROUP BY " + keys
	}
	g, err := exec.AggregateBounded(t.Context(), f.grant(t, text), b, snap, plenty)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]cell{}
	for i := range g.Len() {
		values, totals := g.Group(i)
		sum := totals[2].Sum.Big()
		if !sum.IsInt64() || totals[0].Units != g.Units(i) || totals[1] != totals[2] {
			t.Fatalf("totals %+v", totals)
		}
		all[fmt.Sprint(values)] = cell{totals[0].Values, g.Units(i), totals[1].Values, totals[1].Units, sum.Int64()}
	}
	return all
}

// of answers the group of a visit as bounded writes it.
func of(v visit, keys string) string {
	name, number := contract.Value{Text: v.name}, contract.Value{Int: v.number}
	if v.name == "-" {
		name = contract.Value{Null: true}
	}
	switch keys {
	case "name":
		return fmt.Sprint([]contract.Value{name})
	case "name, number":
		return fmt.Sprint([]contract.Value{name, number})
	}
	return "[]"
}

// model clamps and adds up by the book: which groups a unit stays in is asked
// of a table that has this unit alone.
func model(t *testing.T, f *fixture, rows []visit, b exec.Bounds, keys string) map[string]cell {
	t.Helper()
	byUnit := map[int64][]visit{}
	for _, v := range rows {
		byUnit[v.unit] = append(byUnit[v.unit], v)
	}
	all := map[string]cell{}
	for _, own := range byUnit {
		groups := map[string][]visit{}
		for _, v := range own {
			groups[of(v, keys)] = append(groups[of(v, keys)], v)
		}
		kept := bounded(t, f, visitsTable(t, f.contract, own, len(own)), b, keys)
		if len(kept) != min(len(groups), b.MaxGroups) {
			t.Fatalf("a unit of %d groups stays in %d", len(groups), len(kept))
		}
		for group := range kept {
			all[group] = all[group].plus(clamp(groups[group], b))
		}
	}
	return all
}

func clamp(rows []visit, b exec.Bounds) cell {
	one := cell{rows: min(int64(len(rows)), b.MaxCount), units: 1}
	sum := new(big.Int)
	for _, v := range rows {
		if v.known {
			one.values++
			one.valueUnits = 1
			sum.Add(sum, big.NewInt(v.amount))
		}
	}
	one.values = min(one.values, b.MaxCount)
	low, high := big.NewInt(b.Sums[3].Low), big.NewInt(b.Sums[3].High)
	switch {
	case sum.Cmp(low) < 0:
		sum = low
	case sum.Cmp(high) > 0:
		sum = high
	}
	one.sum = sum.Int64()
	return one
}

func (c cell) plus(other cell) cell {
	return cell{c.rows + other.rows, c.units + other.units, c.values + other.values, c.valueUnits + other.valueUnits, c.sum + other.sum}
}

// TestBounds compares with the model, of tables that came in one batch and in
// many, and demands that the order of rows doesn't matter.
func TestBounds(t *testing.T) {
	f := newFixture(t, testContract())
	for seed, b := range []exec.Bounds{
		{MaxGroups: 1, MaxCount: 1, Sums: map[int]exec.Interval{3: {Low: 0, High: 0}}, Key: key(1)},
		{MaxGroups: 3, MaxCount: 5, Sums: map[int]exec.Interval{3: {Low: -100, High: 1000}}, Key: key(2)},
		{MaxGroups: 4, MaxCount: 2, Sums: map[int]exec.Interval{3: {Low: 10, High: 20}}, Key: key(3)},
		{MaxGroups: 7, MaxCount: 1 << 40, Sums: map[int]exec.Interval{3: {Low: -1 << 55, High: 1 << 55}}, Key: key(4)},
		{MaxGroups: 64, MaxCount: 10, Sums: map[int]exec.Interval{3: {Low: -5, High: -5}}, Key: key(5)},
	} {
		r := rand.New(rand.NewPCG(20, uint64(seed)))
		for _, most := range []int64{1000, contract.MaxMeasure} {
			for _, keys := range []string{"", "name", "name, number"} {
				rows := randomVisits(r, 3000, 60, most)
				want := model(t, f, rows, b, keys)
				if got := bounded(t, f, visitsTable(t, f.contract, rows, 5000), b, keys); !maps.Equal(got, want) {
					t.Errorf("bounds %d by %s: got %v, want %v", seed, keys, got, want)
				}
				r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
				if got := bounded(t, f, visitsTable(t, f.contract, rows, 170), b, keys); !maps.Equal(got, want) {
					t.Errorf("bounds %d by %s: another answer in another order", seed, keys)
				}
			}
		}
	}
}

// TestBoundsLoose demands that bounds nobody reaches change nothing.
func TestBoundsLoose(t *testing.T) {
	f := newFixture(t, testContract())
	rows := randomVisits(rand.New(rand.NewPCG(21, 1)), 400_000, 20_000, 1000)
	snap := visitsTable(t, f.contract, rows, 70_000)
	b := exec.Bounds{MaxGroups: 64, MaxCount: 1 << 40, Sums: map[int]exec.Interval{3: {Low: -1 << 50, High: 1 << 50}}, Key: key(1)}
	grant := f.grant(t, "SELECT name, COUNT(*), COUNT(amount) AS c, SUM(amount) AS s, COUNT(name) AS n FROM data WHERE number <> 300 GROUP BY name")
	want, err := exec.Aggregate(t.Context(), grant, snap, plenty)
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.AggregateBounded(t.Context(), grant, b, snap, plenty)
	if err != nil {
		t.Fatal(err)
	}
	if lines(got) != lines(want) {
		t.Errorf("got\n%s\nwant\n%s", lines(got), lines(want))
	}
}

// TestBoundsAtRandom demands that every group of a unit has the same chance,
// and that another key chooses anew.
func TestBoundsAtRandom(t *testing.T) {
	const units, groups, kept = 4000, 8, 3
	f := newFixture(t, testContract())
	var rows []visit
	for unit := range int64(units) {
		for g := range groups {
			// One group has many rows: that mustn't matter.
			for range 1 + 5*(g/7) {
				rows = append(rows, visit{unit: unit, name: fmt.Sprint("n", g), amount: int64(g), known: true})
			}
		}
	}
	snap := visitsTable(t, f.contract, rows, len(rows))
	var first map[string]cell
	for n := range byte(4) {
		b := exec.Bounds{MaxGroups: kept, MaxCount: 1, Sums: map[int]exec.Interval{3: {Low: 0, High: 1}}, Key: key(n)}
		got := bounded(t, f, snap, b, "name")
		total := int64(0)
		for group, c := range got {
			total += c.units
			// Six standard deviations of a binomial.
			if c.units < units*kept/groups-190 || c.units > units*kept/groups+190 {
				t.Errorf("key %d: %d units of %d stay in %s", n, c.units, units, group)
			}
		}
		if total != units*kept {
			t.Errorf("key %d: units stay in %d groups", n, total)
		}
		if first == nil {
			first = got
		} else if maps.Equal(first, got) {
			t.Error("another key chooses the same")
		}
	}
}

func TestBoundsRefused(t *testing.T) {
	f := newFixture(t, testContract())
	grant := f.grant(t, "SELECT AVG(amount) FROM data")
	good := func() exec.Bounds {
		return exec.Bounds{MaxGroups: 1, MaxCount: 1, Sums: map[int]exec.Interval{3: {Low: 0, High: 1}}, Key: key(1)}
	}
	for name, change := range map[string]func(*exec.Bounds){
		"no groups":       func(b *exec.Bounds) { b.MaxGroups = 0 },
		"negative groups": func(b *exec.Bounds) { b.MaxGroups = -1 },
		"many groups":     func(b *exec.Bounds) { b.MaxGroups = 65 },
		"no count":        func(b *exec.Bounds) { b.MaxCount = 0 },
		"no sums":         func(b *exec.Bounds) { b.Sums = nil },
		"another sum":     func(b *exec.Bounds) { b.Sums = map[int]exec.Interval{2: {}} },
		"upside down":     func(b *exec.Bounds) { b.Sums[3] = exec.Interval{Low: 1} },
		"no key":          func(b *exec.Bounds) { b.Key = secret.Bytes{} },
		"short key":       func(b *exec.Bounds) { b.Key = secret.New(make([]byte, 16)) },
	} {
		b := good()
		change(&b)
		if _, err := exec.AggregateBounded(t.Context(), grant, b, f.snapshot(), plenty); !errors.Is(err, exec.ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := exec.AggregateBounded(t.Context(), nil, good(), f.snapshot(), plenty); !errors.Is(err, exec.ErrPlan) {
		t.Errorf("no grant: %v", err)
	}
	if _, err := exec.AggregateBounded(t.Context(), grant, good(), f.snapshot(), plenty); err != nil {
		t.Errorf("good: %v", err)
	}
}

// TestSipHash has the first values of the authors' vectors_sip64, whose inputs
// are the bytes 0, 1, 2 and so on.
func TestSipHash(t *testing.T) {
	var key, input []byte
	for i := range byte(16) {
		key = append(key, i)
	}
	for _, want := range []string{
		"310e0edd47db6f72", "fd67dc93c539f874", "5a4fa9d909806c0d", "2d7efbd796666785", "b7877127e09427cf", "8da699cd64557618",
		"cee3fe586e46c9cb", "37d1018bf50002ab", "6224939a79f5f593", "b0e4a90bdf82009e", "f3b9dd94c5bb5d7a", "a7ad6b22462fb3f4",
		"fbe50e86bc8f1e75", "903d84c02756ea14", "eef27a8e90ca23f7", "e545be4961ca29a1",
	} {
		got := binary.LittleEndian.AppendUint64(nil, exec.SipHash(key, input))
		if hex.EncodeToString(got) != want {
			t.Errorf("%d bytes: %x, want %s", len(input), got, want)
		}
		input = append(input, byte(len(input)))
	}
}

func BenchmarkBounded(b *testing.B) {
	f := newFixture(b, testContract())
	rows := randomVisits(rand.New(rand.NewPCG(22, 1)), 1_000_000, 100_000, 1000)
	snap := visitsTable(b, f.contract, rows, len(rows))
	grant := f.grant(b, "SELECT name, COUNT(*), SUM(amount) FROM data GROUP BY name")
	bounds := exec.Bounds{MaxGroups: 3, MaxCount: 20, Sums: map[int]exec.Interval{3: {Low: 0, High: 1000}}, Key: key(1)}
	for b.Loop() {
		if _, err := exec.AggregateBounded(b.Context(), grant, bounds, snap, plenty); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(rows))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
