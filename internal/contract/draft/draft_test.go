package draft_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/contract/draft"
	"github.com/cloisterhq/cloister/internal/contract/odcs"
)

func propose(t testing.TB, csv string, values bool) string {
	t.Helper()
	table, err := draft.Read(t.Context(), strings.NewReader(csv))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := table.Write(&b, draft.Options{Dataset: "study", Values: values}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// chosen is a proposal whose owner made a column the unit, and took every
// other role that is proposed when all is set.
func chosen(t testing.TB, text, unit string, all bool) *contract.Contract {
	t.Helper()
	var lines []string
	column, taken := "", map[string]bool{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), `- name: `); ok {
			column, _ = strconv.Unquote(name)
		}
		proposal := strings.Contains(line, "# - {property: cloister.role") && column != "study"
		isUnit := strings.Contains(line, "value: unit")
		if proposal && !taken[column] && (column == unit && isUnit || column != unit && all && !isUnit) {
			taken[column] = true
			line = strings.Replace(line, "# ", "", 1)
		}
		lines = append(lines, line)
	}
	c, err := odcs.Read([]byte(strings.Join(lines, "")), "study.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(lines, ""))
	}
	return c
}

// table is a file with every type.
func table() string {
	var b strings.Builder
	b.WriteString("\ufeffpatient_id,sex,age,kappa,seen,at,ok,note,code,yes,empty\r\n")
	for i := range 200 {
		note := fmt.Sprintf("free text, number %d", i)
		fmt.Fprintf(&b, "%d,%s,%d,%d.%02d,20%02d-03-%02d,2019-05-%02dT10:00:00Z,%t,%q,%03d,y,\n",
			1000+i, []string{"F", "M"}[i%2], 18+i%80, i%7, i%100, 10+i%9, 1+i%28, 1+i%28, i%3 == 0, note, i%40)
	}
	return b.String()
}

func TestProposal(t *testing.T) {
	text := propose(t, table(), true)
	c := chosen(t, text, "patient_id", true)
	if c.Dataset != "study" || c.Floor != 10 || c.Mode != contract.DP {
		t.Errorf("%+v", c)
	}
	want := map[string]string{
		"patient_id": "integer unit true 900..1200",
		"sex":        "string dimension true [F M]",
		"age":        "integer measure true 10..100",
		"kappa":      "number measure true 0.00..7.00 2",
		"seen":       "date restricted true 2010-01-01..2018-12-31",
		"at":         "timestamp restricted true 2019-01-01T00:00:00Z..2019-12-31T23:59:59.999999Z",
		"ok":         "boolean dimension true",
		"note":       "string restricted true",
		"code":       "string restricted true",
		"yes":        "string dimension true [y]",
		"empty":      "string restricted false",
	}
	for i := range c.Fields {
		f := &c.Fields[i]
		got := fmt.Sprintf("%s %s %t", f.Type, f.Role, f.Required)
		if f.Minimum != nil {
			got += " " + f.Format(contract.Value{Int: *f.Minimum}) + ".." + f.Format(contract.Value{Int: *f.Maximum})
		}
		if f.Scale != 0 {
			got += fmt.Sprintf(" %d", f.Scale)
		}
		if len(f.Enum) > 0 {
			got += fmt.Sprint(" ", f.Enum)
		}
		if got != want[f.Name] {
			t.Errorf("%s: %s; want %s", f.Name, got, want[f.Name])
		}
	}
	if len(c.Fields) != len(want) {
		t.Errorf("%d columns", len(c.Fields))
	}
}

// TestHiddenByDefault holds that a proposal allows nothing before its owner
// does.
func TestHiddenByDefault(t *testing.T) {
	text := propose(t, table(), true)
	if _, err := odcs.Read([]byte(text), "study.yaml"); err == nil || !strings.Contains(err.Error(), "no column has the role unit") || strings.Contains(err.Error(), "\n") {
		t.Errorf("as it comes: %v", err)
	}
	for _, f := range chosen(t, text, "patient_id", false).Fields {
		if f.Role != contract.Hidden && f.Name != "patient_id" {
			t.Errorf("%s is %s, and nobody said so", f.Name, f.Role)
		}
	}
}

// TestNoValues holds that nothing of the data is written unless it was asked
// for, and then nothing that stands there seldom.
func TestNoValues(t *testing.T) {
	var b strings.Builder
	b.WriteString("id,group,place\n")
	for i := range 100 {
		place := "Capital"
		if i == 7 {
			place = "Smallville"
		}
		fmt.Fprintf(&b, "%d,%s,%s\n", 7_000_000+i, []string{"Placebo", "Verum"}[i%2], place)
	}
	text := propose(t, b.String(), false)
	for _, value := range []string{"Placebo", "Verum", "Capital", "Smallville", "7000000", "7000099"} {
		if strings.Contains(text, value) {
			t.Errorf("%s is written:\n%s", value, text)
		}
	}
	text = propose(t, b.String(), true)
	if !strings.Contains(text, `["Placebo", "Verum"]`) || strings.Contains(text, "Smallville") || strings.Contains(text, "Capital") {
		t.Errorf("with values:\n%s", text)
	}
}

// TestRandom holds for random tables that a contract with all proposed roles
// is one, and that all records of the table fulfil it.
func TestRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 150 {
		makers, rows := []func() string{func() string { return strconv.FormatUint(random.Uint64()>>12, 10) }}, 1+random.IntN(60)
		for range random.IntN(6) {
			makers = append(makers, maker(random))
		}
		var records [][]string
		for range rows {
			var record []string
			for _, m := range makers {
				record = append(record, m())
			}
			records = append(records, record)
		}
		var b strings.Builder
		b.WriteString("id")
		for i := range makers[1:] {
			fmt.Fprintf(&b, ",c%d", i)
		}
		for _, record := range records {
			b.WriteString("\n")
			for i, text := range record {
				if i > 0 {
					b.WriteString(",")
				}
				b.WriteString(`"` + strings.ReplaceAll(text, `"`, `""`) + `"`)
			}
		}
		text := propose(t, b.String(), random.IntN(2) == 0)
		c := chosen(t, text, "id", true)
		for _, record := range records {
			for i := range c.Fields {
				fulfils(t, &c.Fields[i], record[i], text)
			}
		}
	}
}

func fulfils(t *testing.T, f *contract.Field, text, proposal string) {
	t.Helper()
	if text == "" {
		if f.Required {
			t.Fatalf("%s is required, and a record has none\n%s", f.Name, proposal)
		}
		return
	}
	v, err := f.ParseExact(text)
	switch {
	case err != nil && f.Type == contract.Number:
		v, err = f.Parse(text)
		fallthrough
	default:
		if err != nil {
			t.Fatalf("%s: %q isn't a %s\n%s", f.Name, text, f.Type, proposal)
		}
	}
	low, high := f.Minimum == nil || v.Int >= *f.Minimum, f.Maximum == nil || v.Int <= *f.Maximum
	if !low || !high || f.MaxLength != nil && len([]rune(text)) > *f.MaxLength {
		t.Fatalf("%s: %q lies outside\n%s", f.Name, text, proposal)
	}
}

// maker makes the values of one column.
func maker(random *rand.Rand) func() string {
	empty := random.IntN(3) == 0
	places := random.IntN(12)
	base := math.Pow10(random.IntN(14))
	width := base * math.Pow10(-random.IntN(8))
	make := []func() string{
		func() string { return strconv.FormatInt(random.Int64N(1<<random.IntN(62)+1), 10) },
		func() string { return strconv.FormatInt(int64(base+random.Float64()*width), 10) },
		func() string { return strconv.FormatInt(-int64(base+random.Float64()*width), 10) },
		func() string {
			return strconv.FormatFloat((random.Float64()-0.3)*math.Pow10(random.IntN(9)), 'f', places, 64)
		},
		func() string { return strconv.FormatFloat(base/1e6+random.Float64()*width/1e6, 'g', 12, 64) },
		func() string { return strconv.FormatBool(random.IntN(2) == 0) },
		func() string {
			return fmt.Sprintf("%04d-%02d-%02d", 1+random.IntN(9999), 1+random.IntN(12), 1+random.IntN(28))
		},
		func() string {
			return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d.%06d", 1+random.IntN(9999), 1+random.IntN(12), 1+random.IntN(28), random.IntN(24), random.IntN(60), random.IntN(60), random.IntN(1e6))
		},
		func() string { return strings.Repeat(string(rune('a'+random.IntN(4))), random.IntN(3)) },
		func() string { return strings.Repeat("é\"\n\\:#", random.IntN(30)) },
		func() string {
			return []string{"null", "~", "yes", "1_000", "0x10", "007", "+5", "1e400"}[random.IntN(8)]
		},
	}[random.IntN(11)]
	return func() string {
		if empty && random.IntN(4) == 0 {
			return ""
		}
		return make()
	}
}

func TestRefuses(t *testing.T) {
	const canary = "canary"
	for name, c := range map[string]struct{ csv, says string }{
		"empty":                 {"", "a header with the columns' names is needed"},
		"no header":             {"17 " + canary + ",x\n", "the name of column 1 can't be"},
		"a name in capitals":    {"id," + canary + ",Canary\n", "columns 2 and 3 have one name"},
		"semicolons":            {"id;" + canary + "\n", "separated by commas"},
		"a short record":        {"id,x\n1,2\n" + canary + "\n", "line 3 has another number of columns"},
		"a quote in a cell":     {"id,x\n1,a\"" + canary + "\n", `line 2: bare "`},
		"a quote without end":   {"id,x\n1,\"" + canary + strings.Repeat(canary, 8<<20), "longer than"},
		"too many columns":      {strings.Repeat("a,", 1024) + canary, "1025 columns"},
		"bytes for a name":      {"id,\xff" + canary, "the name of column 2 can't be"},
		"a name with a control": {"id,a\x1b" + canary, "the name of column 2 can't be"},
	} {
		_, err := draft.Read(t.Context(), strings.NewReader(c.csv))
		if !errors.Is(err, draft.ErrInput) || !strings.Contains(err.Error(), c.says) || strings.Contains(strings.ToLower(err.Error()), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := draft.Read(ctx, strings.NewReader("id\n1\n")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	broken := errors.New("the disk is gone")
	if _, err := draft.Read(t.Context(), failing{broken}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

type failing struct{ err error }

// Read fails.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestUniqueness holds the estimate of different values against the truth.
func TestUniqueness(t *testing.T) {
	for _, share := range []float64{0.5, 1} {
		var b strings.Builder
		b.WriteString("who,x\n")
		for i := range 20_000 {
			fmt.Fprintf(&b, "person-%d,1\n", int(float64(i)*share))
		}
		if got := strings.Contains(propose(t, b.String(), false), "value: unit}"); got != (share == 1) {
			t.Errorf("with %.0f %% different values it looks like a unit: %t", 100*share, got)
		}
	}
}

// TestRealData proposes a contract for the repository's own records.
func TestRealData(t *testing.T) {
	f, err := os.Open(filepath.Join("..", "..", "..", "test", "data", "flchain.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := draft.Read(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := table.Write(&b, draft.Options{Dataset: "study"}); err != nil {
		t.Fatal(err)
	}
	c := chosen(t, b.String(), "id", true)
	for name, role := range map[string]contract.Role{"id": contract.Unit, "sex": contract.Dimension, "age": contract.Measure, "kappa": contract.Measure} {
		if i := c.Index(name); i < 0 || c.Fields[i].Role != role {
			t.Errorf("%s isn't %s", name, role)
		}
	}
}

// FuzzRead holds that a proposal for any table is a contract once it has a
// unit.
func FuzzRead(f *testing.F) {
	f.Add([]byte(table()))
	f.Add([]byte("id,a\n1,-0\n2,1e-9\n"))
	f.Add([]byte("id,a\n1,0001-01-01\n2,9999-12-31\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := draft.Read(t.Context(), strings.NewReader(string(b)))
		if err != nil {
			return
		}
		for _, values := range []bool{false, true} {
			var out strings.Builder
			if err := table.Write(&out, draft.Options{Dataset: "study", Values: values}); err != nil {
				t.Fatal(err)
			}
			_, err = odcs.Read([]byte(out.String()), "study.yaml")
			if err == nil || !strings.Contains(err.Error(), "no column has the role unit") || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v\n%s", err, out.String())
			}
		}
	})
}
