package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/cloisterhq/cloister/enclave/store/table"
	"github.com/cloisterhq/cloister/internal/contract"
)

// The columns of the visits, by index. Memory is measured of the first six.
const (
	person = iota
	category
	region
	amount
	instant
	flagged
	hour
	code

	sixColumns = flagged + 1
	allColumns = code + 1
)

const (
	// batchRows is how many rows come at a time.
	batchRows = 64 << 10
	// smallEnvelope is the rows of an envelope that isn't as large as it may be.
	smallEnvelope = 10_000
	// rowsPerPerson is how many rows a person has on average.
	rowsPerPerson = 10
	// heavyPeople have one row in fifty among them.
	heavyPeople = 100
	second      = 1_000_000
)

// visits is a contract of the first so many columns.
func visits(columns int) *contract.Contract {
	integer := func(name string, low, high int64, role contract.Role) contract.Field {
		return contract.Field{Name: name, Type: contract.Integer, Role: role, Required: true, Minimum: &low, Maximum: &high}
	}
	dimension := func(name string, t contract.Type) contract.Field {
		return contract.Field{Name: name, Type: t, Role: contract.Dimension, Required: true}
	}
	money := integer("amount", 0, 10_000_000, contract.Measure)
	money.Type, money.Scale = contract.Number, 2
	fields := []contract.Field{
		person:   {Name: "person", Type: contract.Integer, Role: contract.Unit, Required: true},
		category: integer("category", 0, 999, contract.Dimension),
		region:   dimension("region", contract.String),
		amount:   money,
		instant:  dimension("instant", contract.Timestamp),
		flagged:  dimension("flag", contract.Boolean),
		hour:     dimension("hour", contract.Timestamp),
		code:     integer("code", 0, 9_999, contract.Dimension),
	}
	return &contract.Contract{Dataset: "visits", ID: "visits", Version: "1", Mode: contract.Threshold, Floor: 5, Fields: fields[:columns]}
}

// generator makes rows, always the same ones. People come in no order, most of
// them with about ten rows and a few with thousands; regions are of different
// size; instants are seconds of one year, hours those of one week.
type generator struct {
	random *rand.Rand
	rows   int
	size   int // of a batch
	made   int
	names  [50]string
}

func newGenerator(rows int) *generator {
	g := &generator{random: rand.New(rand.NewPCG(6, uint64(rows))), rows: rows, size: batchRows}
	for i := range g.names {
		g.names[i] = fmt.Sprintf("region %02d", i)
	}
	return g
}

// next answers the next batch of the first so many columns, no rows at the end.
func (g *generator) next(columns int) (int, []table.Values) {
	n := min(g.size, g.rows-g.made)
	g.made += n
	all, nulls := make([]table.Values, allColumns), make([]bool, n)
	for i := range all {
		all[i] = table.Values{Ints: make([]int64, n), Null: nulls}
	}
	all[region] = table.Values{Texts: make([]string, n), Null: nulls}
	for i := range n {
		g.fill(all, i)
	}
	return n, all[:columns]
}

func (g *generator) fill(all []table.Values, i int) {
	const start, week, year = 1_699_999_200, 7 * 24, 365 * 86_400
	r, people := g.random, int64(max(1, g.rows/rowsPerPerson))
	if r.IntN(50) == 0 {
		people = min(heavyPeople, people)
	}
	all[person].Ints[i] = 7 * r.Int64N(people)
	all[category].Ints[i] = r.Int64N(1000)
	skew := r.Float64()
	all[region].Texts[i] = g.names[int(float64(len(g.names))*skew*skew)]
	all[amount].Ints[i] = int64(min(r.ExpFloat64()*50_000, 10_000_000))
	all[instant].Ints[i] = (start + r.Int64N(year)) * second
	all[flagged].Ints[i] = r.Int64N(2)
	all[hour].Ints[i] = (start + r.Int64N(week)*3600) * second
	all[code].Ints[i] = r.Int64N(10_000)
}
