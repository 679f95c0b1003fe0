package e2e_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// patient is one row of a deployment that the repository has never seen: its
// data are made anew for each run.
type patient struct {
	id    int
	rx    string
	age   int // -1 is NULL
	nodes int // -1 is NULL
	dose  int // hundredths; -1 is NULL
}

// column is the CSV text of a value, empty for NULL.
func column(v int) string {
	if v < 0 {
		return ""
	}
	return strconv.Itoa(v)
}

func (p patient) csv() string {
	dose := ""
	if p.dose >= 0 {
		dose = fmt.Sprintf("%d.%02d", p.dose/100, p.dose%100)
	}
	return fmt.Sprintf("%d,%s,%s,%s,%s\n", p.id, p.rx, column(p.age), column(p.nodes), dose)
}

const unseenConfig = `version: 1
deployment: unseen-study
profile: simulation
datasets:
  - contract: contracts/visits.yaml
`

const unseenContract = `apiVersion: v3.0.2
kind: DataContract
id: visits
name: visits
version: 1.0.0
status: active
schema:
  - name: visits
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: 7}
      - {property: cloister.mode, value: threshold}
    properties:
      - {name: id,    logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: rx,    logicalType: string,  required: true, logicalTypeOptions: {maxLength: 16}, customProperties: [{property: cloister.role, value: dimension}, {property: cloister.enum, value: [Obs, Lev, Lev+5FU]}]}
      - {name: age,   logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 120}, customProperties: [{property: cloister.role, value: measure}]}
      - {name: nodes, logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 100}, customProperties: [{property: cloister.role, value: dimension}]}
      - {name: dose,  logicalType: number,  logicalTypeOptions: {minimum: 0, maximum: 1000}, customProperties: [{property: cloister.role, value: measure}, {property: cloister.scale, value: 2}]}
`

// write puts files under a directory.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// answer is `cloister query -o json`.
type answer struct {
	Schema     string  `json:"schema"`
	Mode       string  `json:"mode"`
	Protected  bool    `json:"protected_against_differencing"`
	Floor      int     `json:"floor"`
	Rows       [][]any `json:"rows"`
	Suppressed bool    `json:"suppressed"`
}

func (d *deployment) query(sql string) answer {
	d.t.Helper()
	out, _ := d.run(0, "cloister", "query", sql, "-o", "json")
	var a answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
	if a.Schema != "cloister.query/v1" || a.Mode != "threshold" || a.Protected {
		d.t.Errorf("schema %q, mode %q, protected %t", a.Schema, a.Mode, a.Protected)
	}
	return a
}

// TestUnseenDeployment submits random records with random faults and compares
// answers with a computation of its own.
func TestUnseenDeployment(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	config := t.TempDir()
	good, text, bad := patients(random)
	write(t, config, map[string]string{"cloister.yaml": unseenConfig, "contracts/visits.yaml": unseenContract, "visits.csv": text})
	d := up(t, config)
	visits, rejects := filepath.Join(config, "visits.csv"), filepath.Join(config, "rejects.ndjson")

	out, _ := d.run(1, "cloister", "submit", "--dataset", "visits", visits, "--rejects", rejects, "-o", "json")
	var sum struct{ Sent, Accepted, Rejected, Pending int }
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Sent != len(good)+len(bad) || sum.Accepted != len(good) || sum.Rejected != len(bad) || sum.Pending != 0 {
		t.Errorf("%+v; want %d good and %d bad", sum, len(good), len(bad))
	}
	checkRejects(t, rejects, bad)
	checkAnswers(t, d, good)
	for _, role := range []string{"enclave", "parent"} {
		if err := killRole(d.state, role); err != nil {
			t.Fatal(err)
		}
		checkAnswers(t, d, good)
	}
	_, errs := d.run(1, "cloister", "submit", "--dataset", "visits", visits)
	if !strings.Contains(errs, fmt.Sprintf("sent %d accepted 0", sum.Sent)) {
		t.Errorf("the same file again: %s", errs)
	}
	checkAnswers(t, d, good)
	refusals(d)
}

// patients makes about 400 rows, some of which break a rule; bad maps a row's
// number to field and rule.
func patients(random *rand.Rand) (good []patient, text string, bad map[int][2]string) {
	bad = map[int][2]string{}
	var b strings.Builder
	b.WriteString("id,rx,age,nodes,dose\n")
	maybe := func(n int) int {
		if random.IntN(6) == 0 {
			return -1
		}
		return random.IntN(n)
	}
	for i := range 400 + random.IntN(50) {
		p := patient{
			id: 1 + random.IntN(300), rx: []string{"Obs", "Lev", "Lev+5FU"}[random.IntN(3)],
			age: maybe(121), nodes: maybe(1 + i%30), dose: maybe(100000),
		}
		line := p.csv()
		switch random.IntN(20) {
		case 0:
			p.age = 121 + random.IntN(1000)
			line, bad[i] = p.csv(), [2]string{"age", "maximum"}
		case 1:
			p.rx = "Placebo"
			line, bad[i] = p.csv(), [2]string{"rx", "enum"}
		case 2:
			line, bad[i] = ","+strings.SplitN(line, ",", 2)[1], [2]string{"id", "required"}
		case 3:
			line, bad[i] = fmt.Sprintf("%d,%s,old,%s,\n", p.id, p.rx, column(p.nodes)), [2]string{"age", "type"}
		default:
			good = append(good, p)
		}
		b.WriteString(line)
	}
	return good, b.String(), bad
}

func checkRejects(t *testing.T, path string, bad map[int][2]string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(b)) {
		var r struct {
			Record      int
			Field, Rule string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if want, ok := bad[r.Record]; !ok || want != [2]string{r.Field, r.Rule} {
			t.Errorf("record %d: %s breaks %s; want %v", r.Record, r.Field, r.Rule, want)
		}
		seen++
	}
	if seen != len(bad) {
		t.Errorf("%d rejects, want %d", seen, len(bad))
	}
}

// checkAnswers computes three aggregates by hand.
func checkAnswers(t *testing.T, d *deployment, rows []patient) {
	t.Helper()
	got := d.query("SELECT rx, COUNT(*) AS n, COUNT(DISTINCT id) AS people, AVG(age) AS age, SUM(dose) AS dose FROM visits WHERE nodes IS NOT NULL AND nodes < 20 GROUP BY rx")
	compare(t, got.Rows, groups(rows, func(p patient) (string, bool) { return p.rx, p.nodes >= 0 && p.nodes < 20 }, true))

	got = d.query("SELECT nodes, COUNT(*) AS n, COUNT(DISTINCT id) AS people FROM visits WHERE rx IN ('Obs', 'Lev') GROUP BY nodes")
	compare(t, got.Rows, groups(rows, func(p patient) (string, bool) { return column(p.nodes), p.rx != "Lev+5FU" }, false))

	got = d.query("SELECT COUNT(*) AS n, AVG(age) AS age FROM visits WHERE nodes = 101")
	if !got.Suppressed || len(got.Rows) != 1 || got.Rows[0][0] != nil || got.Rows[0][1] != nil {
		t.Errorf("nobody: %+v", got)
	}
}

// groups computes rows of strings: key, rows, people and, when asked, average
// age and summed dose, for groups of at least 7 people.
func groups(rows []patient, key func(patient) (string, bool), amounts bool) map[string][]string {
	type group struct {
		n              int
		people         map[int]bool
		ages, ageSum   int64
		agers, dosers  map[int]bool
		doseSum, doses int64
	}
	all := map[string]*group{}
	for _, p := range rows {
		k, in := key(p)
		if !in {
			continue
		}
		g := all[k]
		if g == nil {
			g = &group{people: map[int]bool{}, agers: map[int]bool{}, dosers: map[int]bool{}}
			all[k] = g
		}
		g.n++
		g.people[p.id] = true
		if p.age >= 0 {
			g.ages, g.ageSum, g.agers[p.id] = g.ages+1, g.ageSum+int64(p.age), true
		}
		if p.dose >= 0 {
			g.doses, g.doseSum, g.dosers[p.id] = g.doses+1, g.doseSum+int64(p.dose), true
		}
	}
	out := map[string][]string{}
	for k, g := range all {
		if len(g.people) < 7 {
			continue
		}
		row := []string{k, fmt.Sprint(g.n), fmt.Sprint(len(g.people))}
		if amounts {
			age, dose := "", ""
			if len(g.agers) >= 7 {
				age = big.NewRat(g.ageSum, g.ages).FloatString(6) // rounds half away from zero
			}
			if len(g.dosers) >= 7 {
				dose = big.NewRat(g.doseSum, 100).FloatString(2)
			}
			row = append(row, age, dose)
		}
		out[k] = row
	}
	return out
}

func compare(t *testing.T, got [][]any, want map[string][]string) {
	t.Helper()
	var keys []string
	for _, row := range got {
		texts := make([]string, len(row))
		for i, v := range row {
			switch v := v.(type) {
			case nil:
			case float64:
				texts[i] = strconv.FormatFloat(v, 'f', -1, 64)
			default:
				texts[i] = fmt.Sprint(v)
			}
		}
		keys = append(keys, texts[0])
		if !slices.Equal(texts, want[texts[0]]) {
			t.Errorf("got %v, want %v", texts, want[texts[0]])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d groups (%v), want %d", len(got), keys, len(want))
	}
}

// refusals refuse, before data is read, each with its code.
func refusals(d *deployment) {
	for sql, code := range map[string]string{
		"SELECT id, age FROM visits":                                    "PQ201",
		"SELECT * FROM visits":                                          "PQ201",
		"SELECT MAX(age) FROM visits":                                   "PQ202",
		"SELECT SUM(age * 2) FROM visits":                               "PQ204",
		"SELECT COUNT(*) FROM visits WHERE age > 50":                    "PQ301",
		"SELECT COUNT(*) FROM visits WHERE rx LIKE 'L%'":                "PQ205",
		"SELECT COUNT(*) FROM visits UNION SELECT COUNT(*) FROM visits": "PQ209",
		"DROP TABLE visits":                                             "PQ210",
		"SELECT COUNT(*) FROM nothing":                                  "PQ302",
		"SELECT COUNT(*) FROM":                                          "PQ100",
	} {
		out, errs := d.run(1, "cloister", "query", sql, "-o", "json")
		if out != "" || !strings.Contains(errs, code) {
			d.t.Errorf("%s: want %s, got %s%s", sql, code, out, errs)
		}
	}
}
