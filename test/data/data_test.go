// Package data_test holds the test data to what it says of itself.
package data_test

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/contract/odcs"
	"github.com/cloisterhq/cloister/internal/deployment"
)

func validator(t *testing.T, path string) *contract.Validator {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := odcs.Read(b, filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	v, err := contract.NewValidator(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// records reads a CSV file and demands that its columns are the contract's.
func records(t *testing.T, path string, c *contract.Contract) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, field := range c.Fields {
		names = append(names, field.Name)
	}
	if !slices.Equal(rows[0], names) {
		t.Fatalf("%s: the header is %v, the contract has %v", path, rows[0], names)
	}
	return rows[1:]
}

// broken answers the rules that a record breaks, as field and rule.
func broken(v *contract.Validator, row []string) (rules []string) {
	for i, text := range row {
		f := &v.Contract().Fields[i]
		value, err := contract.Value{Null: text == ""}, error(nil)
		if text != "" {
			value, err = f.Parse(text)
		}
		rule := contract.RuleType
		if err == nil {
			rule = v.Validate(i, value)
		}
		if rule != "" {
			rules = append(rules, f.Name+" "+rule)
		}
	}
	return rules
}

func TestEveryRecordPasses(t *testing.T) {
	v := validator(t, "contracts/flchain.yaml")
	rows := records(t, "flchain.csv", v.Contract())
	if len(rows) != 7874 {
		t.Errorf("%d records, want 7874", len(rows))
	}
	for i, row := range rows {
		if got := broken(v, row); got != nil {
			t.Errorf("record %d breaks %v", i, got)
		}
		if row[0] != fmt.Sprint(i+1) {
			t.Errorf("record %d has id %s", i, row[0])
		}
	}
}

// TestNothingIsRounded demands that the stored form of each value is exactly
// the value that the file holds.
func TestNothingIsRounded(t *testing.T) {
	v := validator(t, "contracts/flchain.yaml")
	places := map[string]int{}
	for i, row := range records(t, "flchain.csv", v.Contract()) {
		for j, text := range row {
			f := &v.Contract().Fields[j]
			if text == "" {
				continue
			}
			if _, err := f.ParseExact(text); err != nil {
				t.Errorf("record %d: %s: %v", i, f.Name, err)
			}
			if _, fraction, ok := strings.Cut(text, "."); ok {
				places[f.Name] = max(places[f.Name], len(fraction))
			}
		}
	}
	// No scale is larger than the data needs.
	for i := range v.Contract().Fields {
		if f := &v.Contract().Fields[i]; f.Scale != places[f.Name] {
			t.Errorf("%s: scale %d, the data has %d places", f.Name, f.Scale, places[f.Name])
		}
	}
}

// TestSmallGroups holds what README.md says of chapters under the floor.
func TestSmallGroups(t *testing.T) {
	v := validator(t, "contracts/flchain.yaml")
	column := v.Contract().Index("chapter")
	sizes := map[string]int{}
	for _, row := range records(t, "flchain.csv", v.Contract()) {
		sizes[row[column]]++
	}
	for name, n := range sizes {
		want := map[string]int{"Congenital": 3, "Blood": 4, "Skin": 4}[name]
		if want != 0 && n != want || want == 0 && n < v.Contract().Floor {
			t.Errorf("chapter %q has %d people", name, n)
		}
	}
	if len(sizes) != 17 {
		t.Errorf("%d chapters, none included; want 17", len(sizes))
	}
}

func TestRoles(t *testing.T) {
	c := validator(t, "contracts/flchain.yaml").Contract()
	roles := map[contract.Role]int{}
	for _, f := range c.Fields {
		roles[f.Role]++
	}
	want := map[contract.Role]int{contract.Unit: 1, contract.Dimension: 5, contract.Measure: 5, contract.Restricted: 1}
	if fmt.Sprint(roles) != fmt.Sprint(want) {
		t.Errorf("roles %v, want %v", roles, want)
	}
	if c.Floor != 10 || c.Mode != contract.Threshold {
		t.Errorf("floor %d, mode %s", c.Floor, c.Mode)
	}
}

// TestBroken demands that broken.csv breaks what README.md's table lists, and
// nothing else, and that its good records are people of their own.
func TestBroken(t *testing.T) {
	v := validator(t, "contracts/flchain.yaml")
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \| (\w+) \| (\w+) \|$`).FindAllStringSubmatch(string(readme), -1) {
		want[m[1]] = append(want[m[1]], m[2]+" "+m[3])
	}
	if len(want) != 12 {
		t.Errorf("README.md lists %d broken records, want 12", len(want))
	}
	rules := map[string]bool{}
	rows := records(t, "broken.csv", v.Contract())
	if len(rows) != 16 {
		t.Errorf("%d records, want 16", len(rows))
	}
	seen := map[string]bool{}
	for i, row := range rows {
		got := broken(v, row)
		if !slices.Equal(got, want[fmt.Sprint(i)]) {
			t.Errorf("record %d breaks %v, README.md says %v", i, got, want[fmt.Sprint(i)])
		}
		for _, r := range got {
			rules[strings.Fields(r)[1]] = true
		}
		if seen[row[0]] || len(got) == 0 && row[0] <= "7874" {
			t.Errorf("record %d: the id isn't a new one", i)
		}
		seen[row[0]] = true
	}
	for _, r := range []string{
		contract.RuleRequired, contract.RuleType, contract.RuleMinimum, contract.RuleMaximum,
		contract.RuleMinLength, contract.RuleMaxLength, contract.RulePattern, contract.RuleEnum,
	} {
		if !rules[r] {
			t.Errorf("no record breaks %s", r)
		}
	}
}

func TestDeployments(t *testing.T) {
	for dir, want := range map[string]string{".": "flchain-study simulation [flchain]", "colon": "colon-study simulation [colon]"} {
		c, err := deployment.Read(dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		if got := fmt.Sprint(c.Deployment, " ", c.Profile, " ", c.DatasetNames()); got != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
}
