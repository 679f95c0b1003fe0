package exec_test

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/protect"
	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

const sideTotals = "COUNT(*), COUNT(DISTINCT unit) AS u, COUNT(amount) AS c, SUM(amount) AS s"

// sides are two datasets of the same people.
type sides struct {
	left, right *fixture
	rows, other []visit
	l, r        *table.Snapshot
}

func newSides(t testing.TB, random *rand.Rand, n, people int, most int64) *sides {
	t.Helper()
	c := testContract()
	c.Dataset, c.ID = "other", "other"
	s := &sides{left: newFixture(t, testContract()), right: newFixture(t, c)}
	s.rows, s.other = randomVisits(random, n, people, most), randomVisits(random, n/2, people, most)
	for i := range s.other {
		s.other[i].unit += int64(people / 3) // some people are on one side alone
	}
	s.l, s.r = visitsTable(t, s.left.contract, s.rows, n/3+1), visitsTable(t, s.right.contract, s.other, n/5+1)
	return s
}

// join makes the join of two queries over both sides.
func (s *sides) join(t testing.TB, left, right string, outer bool) exec.Join {
	t.Helper()
	return exec.Join{Left: s.left.grant(t, "SELECT "+sideTotals+" FROM data"+left), Right: s.right.grant(t, "SELECT "+sideTotals+" FROM other"+right), Outer: outer}
}

// joinedLines writes all groups as lines does.
func joinedLines(g *exec.Joined) string {
	var all []string
	for i := range g.Len() {
		keys, totals := g.Group(i)
		line := fmt.Sprint(keys, " ", g.Units(i))
		for _, t := range totals {
			line += fmt.Sprint(" ", t.Values, "/", t.Units, "/", t.Sum.Big())
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// limiter is what a unit's bounds make of its pairs in a group; nil for none.
type limiter func(rows int64, sum *big.Int, right bool) (int64, *big.Int)

// pairwise makes every pair of rows of the same unit, and counts them with maps.
func (s *sides) pairwise(outer bool, where, whereOther func(visit) bool, by, byOther func(visit) []contract.Value, bound limiter) string {
	type half struct {
		rows int64
		sum  *big.Int
	}
	type own struct{ rows, left, right half }
	type group struct {
		keys []contract.Value
		own  map[int64]*own
	}
	groups := map[string]*group{}
	at := func(keys []contract.Value, unit int64) *own {
		g := groups[fmt.Sprint(keys)]
		if g == nil {
			g = &group{keys, map[int64]*own{}}
			groups[fmt.Sprint(keys)] = g
		}
		if g.own[unit] == nil {
			g.own[unit] = &own{half{0, new(big.Int)}, half{0, new(big.Int)}, half{0, new(big.Int)}}
		}
		return g.own[unit]
	}
	add := func(h *half, v visit) {
		if v.known {
			h.rows++
			h.sum.Add(h.sum, big.NewInt(v.amount))
		}
	}
	others := map[int64][]visit{}
	for _, v := range s.other {
		if whereOther(v) {
			others[v.unit] = append(others[v.unit], v)
		}
	}
	for _, v := range s.rows {
		if !where(v) {
			continue
		}
		for _, w := range others[v.unit] {
			o := at(slices.Concat(by(v), byOther(w)), v.unit)
			o.rows.rows++
			add(&o.left, v)
			add(&o.right, w)
		}
		if len(others[v.unit]) == 0 && outer {
			keys := slices.Clone(by(v))
			for range byOther(visit{}) {
				keys = append(keys, contract.Value{Null: true})
			}
			o := at(keys, v.unit)
			o.rows.rows++
			add(&o.left, v)
		}
	}
	var all []string
	for _, g := range groups {
		var rows, left, right, units, leftUnits, rightUnits int64
		leftSum, rightSum := new(big.Int), new(big.Int)
		for _, o := range g.own {
			units++
			if o.left.rows > 0 {
				leftUnits++
			}
			if o.right.rows > 0 {
				rightUnits++
			}
			if bound != nil {
				o.rows.rows, _ = bound(o.rows.rows, new(big.Int), false)
				o.left.rows, o.left.sum = bound(o.left.rows, o.left.sum, false)
				o.right.rows, o.right.sum = bound(o.right.rows, o.right.sum, true)
			}
			rows, left, right = rows+o.rows.rows, left+o.left.rows, right+o.right.rows
			leftSum.Add(leftSum, o.left.sum)
			rightSum.Add(rightSum, o.right.sum)
		}
		line := fmt.Sprint(g.keys, " ", units)
		for _, side := range []struct {
			rows, units int64
			sum         *big.Int
		}{{left, leftUnits, leftSum}, {right, rightUnits, rightSum}} {
			line += fmt.Sprintf(" %d/%d/0 %d/%d/0 %d/%d/0 %d/%d/%s", rows, units, units, units, side.rows, side.units, side.rows, side.units, side.sum)
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// joins are what tests ask both the executor and the pairs.
func joins() map[string]struct {
	left, right       string
	where, whereOther func(visit) bool
	by, byOther       func(visit) []contract.Value
} {
	always := func(visit) bool { return true }
	nothing := func(visit) []contract.Value { return nil }
	name := func(v visit) []contract.Value { return []contract.Value{named(v)} }
	number := func(v visit) []contract.Value { return []contract.Value{{Int: v.number}} }
	type j = struct {
		left, right       string
		where, whereOther func(visit) bool
		by, byOther       func(visit) []contract.Value
	}
	return map[string]j{
		"no keys":       {"", "", always, always, nothing, nothing},
		"left keys":     {" GROUP BY name", "", always, always, name, nothing},
		"right keys":    {"", " GROUP BY name", always, always, nothing, name},
		"both":          {" GROUP BY number", " GROUP BY name", always, always, number, name},
		"filters":       {" WHERE name = 'n1' GROUP BY number", " WHERE name <> 'n2' GROUP BY name", func(v visit) bool { return v.name == "n1" }, func(v visit) bool { return v.name != "n2" && v.name != "-" }, number, name},
		"none on right": {" GROUP BY name", " WHERE name = 'nobody'", always, func(visit) bool { return false }, name, nothing},
		"none on left":  {" WHERE name = 'nobody' GROUP BY name", "", func(visit) bool { return false }, always, name, nothing},
	}
}

// TestJoin compares with every pair of rows: inner and outer, narrow and wide
// sums, keys with and without places.
func TestJoin(t *testing.T) {
	for _, most := range []int64{1000, contract.MaxMeasure} {
		s := newSides(t, rand.New(rand.NewPCG(12, uint64(most))), 900, 150, most)
		for name, j := range joins() {
			for _, outer := range []bool{false, true} {
				g, err := exec.AggregateJoin(t.Context(), s.join(t, j.left, j.right, outer), s.l, s.r, plenty)
				if err != nil {
					t.Fatal(err)
				}
				want := s.pairwise(outer, j.where, j.whereOther, j.by, j.byOther, nil)
				if want == "" && !strings.Contains(j.left+j.right, "GROUP BY") {
					want = "[] 0" + strings.Repeat(" 0/0/0", 8)
				}
				if got := joinedLines(g); got != want {
					t.Errorf("%s, most %d, outer %t: got\n%s\nwant\n%s", name, most, outer, got, want)
				}
			}
		}
	}
}

// TestJoinLarge joins more rows than are worked on at a time, in which a few
// units have very many, and compares the numbers that pairs have.
func TestJoinLarge(t *testing.T) {
	s := newSides(t, rand.New(rand.NewPCG(13, 13)), 60_000, 20_000, 1000)
	g, err := exec.AggregateJoin(t.Context(), s.join(t, "", "", false), s.l, s.r, plenty)
	if err != nil {
		t.Fatal(err)
	}
	type own struct{ n, sum int64 }
	left, right := map[int64]own{}, map[int64]own{}
	for _, side := range []struct {
		rows []visit
		to   map[int64]own
	}{{s.rows, left}, {s.other, right}} {
		for _, v := range side.rows {
			o := side.to[v.unit]
			o.n++
			if v.known {
				o.sum += v.amount
			}
			side.to[v.unit] = o
		}
	}
	var pairs, units, leftSum, rightSum int64
	for unit, l := range left {
		if r, ok := right[unit]; ok {
			pairs, units, leftSum, rightSum = pairs+l.n*r.n, units+1, leftSum+l.sum*r.n, rightSum+r.sum*l.n
		}
	}
	_, totals := g.Group(0)
	if totals[0].Values != pairs || g.Units(0) != units || totals[3].Sum.Big().Int64() != leftSum || totals[7].Sum.Big().Int64() != rightSum {
		t.Errorf("got %v, want %d pairs of %d units, sums %d and %d", totals, pairs, units, leftSum, rightSum)
	}
}

// TestJoinBounded compares with pairs when every group of a unit counts.
func TestJoinBounded(t *testing.T) {
	s := newSides(t, rand.New(rand.NewPCG(14, 14)), 400, 60, 1000)
	const most, low, high, lowRight, highRight = 6, -700, 900, -50, 60
	bound := func(rows int64, sum *big.Int, right bool) (int64, *big.Int) {
		l, h := int64(low), int64(high)
		if right {
			l, h = lowRight, highRight
		}
		return min(rows, most), big.NewInt(min(max(sum.Int64(), l), h))
	}
	for name, j := range joins() {
		if strings.Contains(j.left, "GROUP") && strings.Contains(j.right, "GROUP") {
			continue // more than 64 groups a unit
		}
		for _, outer := range []bool{false, true} {
			join := s.join(t, j.left, j.right, outer)
			join.Bounds = &exec.Bounds{MaxGroups: 64, MaxCount: most, Key: key(5), Sums: map[int]exec.Interval{amount: {Low: low, High: high}}}
			join.RightSums = map[int]exec.Interval{amount: {Low: lowRight, High: highRight}}
			g, err := exec.AggregateJoin(t.Context(), join, s.l, s.r, plenty)
			if err != nil {
				t.Fatal(err)
			}
			want := s.pairwise(outer, j.where, j.whereOther, j.by, j.byOther, bound)
			if want != "" || strings.Contains(j.left+j.right, "GROUP BY") {
				if got := joinedLines(g); got != want {
					t.Errorf("%s, outer %t: got\n%s\nwant\n%s", name, outer, got, want)
				}
			}
		}
	}
}

// TestJoinChooses takes one unit away: no more groups change than a unit may
// count in, each by no more than it may add, and the order of rows doesn't
// matter.
func TestJoinChooses(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 15))
	s := newSides(t, r, 3000, 90, 1000)
	const groups, most = 3, 7
	ask := func(rows, other []visit) map[string]int64 {
		join := s.join(t, " GROUP BY number", " GROUP BY name", false)
		join.Bounds = &exec.Bounds{MaxGroups: groups, MaxCount: most, Key: key(6), Sums: map[int]exec.Interval{amount: {Low: 0, High: 1}}}
		join.RightSums = map[int]exec.Interval{amount: {Low: 0, High: 1}}
		g, err := exec.AggregateJoin(t.Context(), join, visitsTable(t, s.left.contract, rows, 1000), visitsTable(t, s.right.contract, other, 900), plenty)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]int64{}
		for i := range g.Len() {
			keys, totals := g.Group(i)
			all[fmt.Sprint(keys)] = totals[0].Values
		}
		return all
	}
	with := ask(s.rows, s.other)
	r.Shuffle(len(s.rows), func(i, j int) { s.rows[i], s.rows[j] = s.rows[j], s.rows[i] })
	r.Shuffle(len(s.other), func(i, j int) { s.other[i], s.other[j] = s.other[j], s.other[i] })
	if again := ask(s.rows, s.other); fmt.Sprint(again) != fmt.Sprint(with) {
		t.Error("another order of rows gives another answer")
	}
	some := 0
	for unit := range int64(60) {
		without := ask(slices.DeleteFunc(slices.Clone(s.rows), func(v visit) bool { return v.unit == unit }), s.other)
		changed := 0
		for name, n := range with {
			if d := n - without[name]; d < 0 || d > most {
				t.Fatalf("unit %d changes a group by %d", unit, d)
			} else if d > 0 {
				changed++
			}
		}
		if changed > groups {
			t.Errorf("unit %d changes %d groups", unit, changed)
		}
		some += changed
	}
	if some == 0 {
		t.Error("no unit changes anything")
	}
}

func TestJoinRefused(t *testing.T) {
	s := newSides(t, rand.New(rand.NewPCG(16, 16)), 100, 20, 10)
	good := s.join(t, "", "", false)
	text := testContract()
	text.Dataset, text.Fields[0].Type = "texts", contract.String
	texts := newFixture(t, text)
	for name, c := range map[string]struct {
		join exec.Join
		l, r *table.Snapshot
	}{
		"no left plan":    {exec.Join{Right: good.Right}, s.l, s.r},
		"no right plan":   {exec.Join{Left: good.Left, Right: &protect.Grant{}}, s.l, s.r},
		"no table":        {good, nil, s.r},
		"swapped tables":  {good, s.r, s.l},
		"with itself":     {exec.Join{Left: good.Left, Right: good.Left}, s.l, s.l},
		"units of a type": {exec.Join{Left: good.Left, Right: texts.grant(t, "SELECT COUNT(*) FROM texts")}, s.l, texts.storeless(t)},
		"bad bounds":      {exec.Join{Left: good.Left, Right: good.Right, Bounds: &exec.Bounds{}}, s.l, s.r},
		"no right sums": {exec.Join{Left: good.Left, Right: good.Right,
			Bounds: &exec.Bounds{MaxGroups: 1, MaxCount: 1, Key: key(1), Sums: map[int]exec.Interval{amount: {}}}}, s.l, s.r},
	} {
		if _, err := exec.AggregateJoin(t.Context(), c.join, c.l, c.r, plenty); !errors.Is(err, exec.ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// storeless is an empty table of a fixture's contract.
func (f *fixture) storeless(testing.TB) *table.Snapshot {
	return table.New(f.contract, table.Unlimited()).Snapshot()
}

// TestJoinLimits: memory and groups are bounded, and an end of the context is
// the end, wherever the join is.
func TestJoinLimits(t *testing.T) {
	s := newSides(t, rand.New(rand.NewPCG(17, 17)), 20_000, 4000, 1000)
	join := s.join(t, " GROUP BY number", " GROUP BY name", true)
	g, err := exec.AggregateJoin(t.Context(), join, s.l, s.r, plenty)
	if err != nil {
		t.Fatal(err)
	}
	want, shown := joinedLines(g), int64(0)
	for i := range g.Len() {
		if g.Units(i) >= 5 {
			shown++
		}
	}
	for memory := int64(1); ; memory *= 2 {
		g, err := exec.AggregateJoin(t.Context(), join, s.l, s.r, exec.Limits{Rows: plenty.Rows, Memory: memory})
		if err == nil {
			if joinedLines(g) != want || memory < 100_000 {
				t.Errorf("another answer with %d bytes", memory)
			}
			break
		}
		if !errors.Is(err, exec.ErrLimit) {
			t.Fatal(err)
		}
	}
	if _, err := exec.AggregateJoin(t.Context(), join, s.l, s.r, exec.Limits{Rows: shown - 1, Memory: plenty.Memory}); !errors.Is(err, exec.ErrLimit) {
		t.Errorf("one group too many: %v", err)
	}
	if _, err := exec.AggregateJoin(t.Context(), join, s.l, s.r, exec.Limits{Rows: shown, Memory: plenty.Memory}); err != nil {
		t.Errorf("as many groups as may be: %v", err)
	}
	all := &ending{Context: t.Context(), most: 1 << 30}
	if _, err := exec.AggregateJoin(all, join, s.l, s.r, plenty); err != nil {
		t.Fatal(err)
	}
	if all.asked < 20 {
		t.Errorf("asked %d times", all.asked)
	}
	for most := range all.asked {
		e := &ending{Context: t.Context(), most: most}
		if _, err := exec.AggregateJoin(e, join, s.l, s.r, plenty); err == nil || e.asked != most+1 {
			t.Fatalf("asked %d times after the end: %v", e.asked-most, err)
		}
	}
}
