package main

import (
	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/internal/secret"
)

// shape is a question to both sides.
type shape struct {
	Name string
	// Ours is in the dialect, Theirs is the peer's SQL.
	Ours, Theirs string
	// Bounded says that ours bounds what each person adds.
	Bounded bool
	// Limit names a loop of limit.go, empty for none.
	Limit string
	// Goal is how many times faster ours is to be, 0 when nothing is asked.
	Goal float64
	// Same says that both answer the same, so it is compared.
	Same bool
}

const (
	byRegion  = "SELECT region, COUNT(*) AS n, SUM(amount) AS s, AVG(amount) AS a FROM visits GROUP BY region"
	wholeLoop = "region"
	bounding  = "bounded"
)

// shapes are those of the measurements that the engine was chosen by.
var shapes = []shape{
	{
		Name: "filter (1 row in 10), sum", Goal: 1, Same: true,
		Ours: "SELECT SUM(amount) AS s FROM visits WHERE category < 100", Theirs: "SELECT SUM(amount) FROM visits WHERE category < 100",
	},
	{
		Name: "filter (1 row in 2), sum", Goal: 1, Same: true,
		Ours: "SELECT SUM(amount) AS s FROM visits WHERE category < 500", Theirs: "SELECT SUM(amount) FROM visits WHERE category < 500",
	},
	{Name: "50 groups: count, sum, average", Goal: 1, Same: true, Limit: wholeLoop, Ours: byRegion, Theirs: byRegion},
	{
		Name: "10,000 groups: count, sum", Goal: 1, Same: true,
		Ours:   "SELECT code, COUNT(*) AS n, SUM(amount) AS s FROM visits GROUP BY code",
		Theirs: "SELECT code, COUNT(*), SUM(amount) FROM visits GROUP BY code",
	},
	{
		Name: "hour by region (8,400 groups): count, sum", Goal: 1, Same: true,
		Ours:   "SELECT hour, region, COUNT(*) AS n, SUM(amount) AS s FROM visits GROUP BY hour, region",
		Theirs: "SELECT epoch_us(hour), region, COUNT(*), SUM(amount) FROM visits GROUP BY hour, region",
	},
	{
		Name: "50 groups: distinct people", Goal: 5, Same: true,
		Ours:   "SELECT region, COUNT(DISTINCT person) AS p FROM visits GROUP BY region",
		Theirs: "SELECT region, COUNT(DISTINCT person) FROM visits GROUP BY region",
	},
	{
		Name: "distinct people", Goal: 5, Same: true,
		Ours: "SELECT COUNT(DISTINCT person) AS p FROM visits", Theirs: "SELECT COUNT(DISTINCT person) FROM visits",
	},
	{
		Name: "1,000,000 seconds as groups: count (few rows a group)", Goal: 0,
		Ours:   "SELECT instant, COUNT(*) AS n FROM visits WHERE category < 100 GROUP BY instant",
		Theirs: "SELECT COUNT(*) FROM (SELECT instant, COUNT(*) FROM visits WHERE category < 100 GROUP BY instant)",
	},
	{
		Name: "**bounded by person**, 50 groups; peer: *plain* count, sum, average, least, greatest", Goal: 1, Bounded: true, Limit: bounding,
		Ours:   byRegion,
		Theirs: "SELECT region, COUNT(*), SUM(amount), AVG(amount), MIN(amount), MAX(amount) FROM visits GROUP BY region",
	},
	{
		Name: "**bounded by person**, 50 groups; peer: *plain* count, sum, average", Goal: 1, Bounded: true,
		Ours: byRegion, Theirs: byRegion,
	},
	{
		Name: "**bounded by person**, 50 groups; peer: sums clamped by person, all groups kept", Bounded: true,
		Ours: byRegion,
		Theirs: "SELECT region, COUNT(*), SUM(LEAST(n, 20)), SUM(GREATEST(LEAST(s, 10000), 0)) FROM " +
			"(SELECT person, region, COUNT(*) AS n, SUM(amount) AS s FROM visits GROUP BY person, region) GROUP BY region",
	},
}

// bounds are three groups a person, 20 rows and 10,000.00 in each.
func bounds() exec.Bounds {
	return exec.Bounds{
		MaxGroups: 3, MaxCount: 20, Sums: map[int]exec.Interval{amount: {Low: 0, High: 1_000_000}},
		Key: secret.New([]byte("a key that is made up for this!!")),
	}
}
