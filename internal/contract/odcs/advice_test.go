package odcs_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract/odcs"
)

// advice answers what is said of a contract, each with its place.
func advice(t *testing.T, text string) []string {
	t.Helper()
	c, said, err := odcs.Advise([]byte(text), "c.yaml")
	if err != nil || c == nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out []string
	for _, p := range said {
		out = append(out, strings.TrimPrefix(p.Error(), "c.yaml:"))
	}
	return out
}

// good is a contract that nothing is to be said of, 12 lines; columns go
// behind it from line 13.
const good = `apiVersion: v3.0.2
kind: DataContract
id: study
version: 1.0.0
status: active
schema:
  - name: study
    customProperties:
      - {property: cloister.floor, value: 10}
    properties:
      - {name: id, logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: sex, logicalType: string, customProperties: [{property: cloister.role, value: dimension}, {property: cloister.enum, value: [F, M]}]}
`

func TestAdvice(t *testing.T) {
	column := func(rest string) string { return good + "      - {name: x, " + rest + "}\n" }
	role := func(r string) string { return "customProperties: [{property: cloister.role, value: " + r + "}]" }
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing":          {good, nil},
		"no floor":         {strings.Replace(good, "      - {property: cloister.floor, value: 10}\n", "", 1), []string{"7:5: no cloister.floor"}},
		"threshold":        {strings.Replace(good, "floor, value: 10}", "mode, value: threshold}", 1), []string{"7:5: no cloister.floor", "9:42: exact answers"}},
		"dp in words":      {strings.Replace(good, "10}\n", "10}\n      - {property: cloister.mode, value: dp}\n", 1), nil},
		"unit":             {strings.Replace(good, "required: true, ", "", 1), []string{`11:9: column "id": a record without the unit`}},
		"only the unit":    {good[:strings.Index(good, "      - {name: sex")], []string{"11:7: no column is a dimension or a measure"}},
		"any text":         {column("logicalType: string, " + role("dimension")), []string{`13:9: column "x": a dimension of any text`}},
		"any number":       {column("logicalType: integer, " + role("dimension")), []string{`13:9: column "x": a dimension without cloister.enum or bounds`}},
		"half bounded":     {column("logicalType: date, logicalTypeOptions: {minimum: \"2000-01-01\"}, " + role("dimension")), []string{`13:9: column "x": a dimension without`}},
		"some numbers":     {column("logicalType: integer, logicalTypeOptions: {minimum: 1, maximum: 1000}, " + role("dimension")), nil},
		"many numbers":     {column("logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 1000}, " + role("dimension")), []string{`13:9: column "x": a dimension of up to 1001 values`}},
		"a boolean":        {column("logicalType: boolean, " + role("dimension")), nil},
		"all numbers":      {column("logicalType: integer, logicalTypeOptions: {minimum: -9223372036854775808, maximum: 9223372036854775807}, " + role("dimension")), []string{"11:7: the dimensions together", `13:9: column "x": a dimension of up to 18446744073709551616 values`}},
		"no scale":         {column("logicalType: number"), []string{"13:9: no cloister.scale: this number keeps 6"}},
		"a scale":          {column("logicalType: number, customProperties: [{property: cloister.scale, value: 0}]"), nil},
		"one value":        {column("logicalType: integer, logicalTypeOptions: {minimum: 5, maximum: 5}, " + role("measure")), []string{`13:9: column "x": minimum and maximum are one value`}},
		"a wide measure":   {column("logicalType: integer, logicalTypeOptions: {minimum: -1000000001, maximum: 0}, " + role("measure")), []string{`13:9: column "x": its bounds decide the noise`}},
		"a narrow measure": {column("logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 1000000000}, " + role("measure")), nil},
		"wide in units alone": {
			column("logicalType: number, logicalTypeOptions: {minimum: 0, maximum: 1000}, customProperties: [{property: cloister.role, value: measure}, {property: cloister.scale, value: 9}]"), nil,
		},
		"hidden":     {column("logicalType: string"), nil},
		"restricted": {column("logicalType: string, " + role("restricted")), nil},
		"many groups": {
			column("logicalType: integer, logicalTypeOptions: {minimum: 1, maximum: 1000}, "+role("dimension")) + "      - {name: y, logicalType: integer, logicalTypeOptions: {minimum: 1, maximum: 51}, " + role("dimension") + "}\n",
			[]string{"11:7: the dimensions together make up to 102000 groups"},
		},
	} {
		got := advice(t, c.text)
		if len(got) != len(c.want) || !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: got  %q\nwant %q", name, got, c.want)
		}
	}
}

// TestAdviceOnErrors holds that what Read refuses, Advise refuses in the same
// words.
func TestAdviceOnErrors(t *testing.T) {
	for _, text := range []string{"", "a: [", strings.Replace(good, "unit", "dimension", 1), strings.Replace(good, "value: 10", "value: 4", 1)} {
		_, want := odcs.Read([]byte(text), "c.yaml")
		c, said, err := odcs.Advise([]byte(text), "c.yaml")
		if c != nil || said != nil || err == nil || err.Error() != want.Error() {
			t.Errorf("%v, %v; want %v", said, err, want)
		}
	}
}
