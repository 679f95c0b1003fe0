package odcs_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/contract/odcs"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

// base is a good contract, 10 lines; column lines go behind it from line 11.
const base = `apiVersion: v3.0.2
kind: DataContract
id: study
version: 1.0.0
status: active
schema:
  - name: study
    properties:
      - {name: id, logicalType: integer, customProperties: [{property: cloister.role, value: unit}]}
      - name: x
`

func problems(t *testing.T, text string) []string {
	t.Helper()
	c, err := odcs.Read([]byte(text), "c.yaml")
	if err == nil {
		return nil
	}
	if c != nil {
		t.Error("an error and a contract")
	}
	return strings.Split(err.Error(), "\n")
}

// replaced answers base with one piece replaced, and a column x that is good.
func replaced(t *testing.T, old, with string) string {
	t.Helper()
	text := base + "        logicalType: integer\n"
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q stands %d times", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, with, 1)
}

func TestDocumentErrors(t *testing.T) {
	for _, c := range []struct {
		name, old, with string
		want            []string
	}{
		{"good", "study\n    ", "study\n    ", nil},
		{"unknown key", "status: active", "status: active\nowner: me", []string{`6:1: unknown key "owner"; remove it`}},
		{"slip of a key", "status: active", "Status: active", []string{`1:1: status is missing; write status: active`, `5:1: unknown key "Status"; write status`}},
		{"key twice", "status: active", "status: active\nstatus: draft", []string{`6:1: key "status" stands twice; remove one`}},
		{"no version of the standard", "apiVersion: v3.0.2\n", "", []string{`1:1: apiVersion is missing; write apiVersion: v3.0.2`}},
		{"old standard", "v3.0.2", "v2.2.2", []string{`1:13: "v2.2.2" is unknown; write v3.0.0, v3.0.1, v3.0.2 or v3.1.0`}},
		{"other kind", "DataContract", "DataProduct", []string{`2:7: "DataProduct" is unknown; write DataContract`}},
		{"kind of nothing", "kind: DataContract", "kind:", []string{`2:1: kind has no value; write kind: DataContract`}},
		{"number for an id", "id: study", "id: 12", []string{`3:5: must be text; write it in quotes: "12"`}},
		{"list for an id", "id: study", "id: [a]", []string{`3:5: must be text`}},
		{"empty id", "id: study", `id: ""`, []string{`3:5: must not be empty`}},
		{"id with an escape", "id: study", `id: "\e[31m"`, []string{`3:5: id: 1 to 256 bytes of printable text`}},
		{"number for a version", "1.0.0", "1.0", []string{`4:10: must be text; write it in quotes: "1.0"`}},
		{"version with a slash", "1.0.0", "1/0", []string{`4:10: version: 1 to 64 letters, digits, dots, plus and minus signs`}},
		{"number for a name", "status: active", "status: active\nname: 7", []string{`6:7: must be text; write it in quotes: "7"`}},
		{"description is text", "status: active", "status: active\ndescription: it", []string{`6:14: must be a mapping of purpose, usage, limitations, authoritativeDefinitions, customProperties or id`}},
		{"slip in description", "status: active", "status: active\ndescription: {purpos: it}", []string{`6:15: unknown key "purpos"; write purpose`}},
		{"long purpose", "status: active", "status: active\ndescription: {purpose: " + strings.Repeat("a", 4097) + "}", []string{`6:24: description: at most 4096 bytes of printable text`}},
		{"schema is a mapping", "schema:\n  - name", "schema:\n    name", []string{`7:5: must be a list`}},
		{"no objects", base[strings.Index(base, "schema:"):] + "        logicalType: integer\n", "schema: []\n", []string{`6:9: holds 0 objects; write exactly one, since a contract is for one dataset`}},
		{"two objects", "schema:", "schema:\n  - {name: other, properties: []}", []string{`7:3: holds 2 objects; write exactly one, since a contract is for one dataset`}},
		{"dataset in capitals", "- name: study", "- name: Study", []string{`7:11: dataset name: 1 to 63 of a-z, 0-9 and -`}},
		{"dataset without a name", "- name: study\n    ", "- ", []string{`7:5: name is missing; write name: the dataset's name`}},
		{"slip of an object's key", "    properties:", "    propertys:", []string{`7:5: properties is missing; write properties: and one entry for each column`, `8:5: unknown key "propertys"; write properties`}},
		{"object that is an array", "    properties:", "    logicalType: array\n    properties:", []string{`8:18: "array" is unknown; write object`}},
		{"long description", "    properties:", "    description: \"\\0\"\n    properties:", []string{`8:18: description: at most 4096 bytes of printable text`}},
		{"columns in a mapping", "properties:\n      - {name: id, logicalType: integer, customProperties: [{property: cloister.role, value: unit}]}\n      - name", "properties:\n        name", []string{`9:9: must be a list`}},
		{"no columns", "properties:\n", "properties: []\n    tags:\n", []string{`8:17: columns: 1 to 1024`, `10:72: cloister.role has no effect here; write it in the customProperties of a column`}},
		{"no unit", "value: unit", "value: dimension", []string{`9:7: unit: no column has the role unit; exactly one must`}},
		{"low floor", "    properties:", "    customProperties: [{property: cloister.floor, value: 4}]\n    properties:", []string{`8:58: must be a whole number from 5 to 1000000, without quotes`}},
		{"floor in quotes", "    properties:", "    customProperties: [{property: cloister.floor, value: \"10\"}]\n    properties:", []string{`8:58: must be a whole number from 5 to 1000000, without quotes`}},
		{"octal floor", "    properties:", "    customProperties: [{property: cloister.floor, value: 017}]\n    properties:", []string{`8:58: must be a whole number from 5 to 1000000, without quotes`}},
		{"floor of nothing", "    properties:", "    customProperties: [{property: cloister.floor, value: }]\n    properties:", []string{`8:51: value has no value; write value: the value of cloister.floor`}},
		{"floor without value", "    properties:", "    customProperties: [{property: cloister.floor}]\n    properties:", []string{`8:24: value is missing; write value: the value of cloister.floor`}},
		{"unknown mode", "    properties:", "    customProperties: [{property: cloister.mode, value: off}]\n    properties:", []string{`8:57: "off" is unknown; write dp or threshold`}},
		{"floor twice", "    properties:", "    customProperties: [{property: cloister.floor, value: 10}, {property: cloister.floor, value: 5}]\n    properties:", []string{`8:74: cloister.floor stands twice; remove one`}},
		{"unknown property", "    properties:", "    customProperties: [{property: cloister.budget, value: 10}]\n    properties:", []string{`8:35: unknown property "cloister.budget"; known are cloister.floor, cloister.mode`}},
		{"slip of a property", "    properties:", "    customProperties: [{property: cloister.flor, value: 10}]\n    properties:", []string{`8:35: unknown property "cloister.flor"; write cloister.floor`}},
		{"property in capitals", "    properties:", "    customProperties: [{property: CloisterFloor, value: 10}]\n    properties:", []string{`8:35: unknown property "CloisterFloor"; known are cloister.floor, cloister.mode`}},
		{"a column's property", "    properties:", "    customProperties: [{property: cloister.role, value: unit}]\n    properties:", []string{`8:35: cloister.role has no effect here; write it in the customProperties of a column`}},
		{"floor of the contract", "status: active", "status: active\ncustomProperties: [{property: cloister.floor, value: 10}]", []string{`6:31: cloister.floor has no effect here; write it in the customProperties of the schema's object`}},
		{"floor in a description", "status: active", "status: active\ndescription: {customProperties: [{property: cloister.floor, value: 10}]}", []string{`6:45: cloister.floor has no effect here; write it in the customProperties of the schema's object`}},
		{"role in a quality rule", "    properties:", "    quality: [{type: custom, customProperties: [{property: cloister.Role, value: x}]}]\n    properties:", []string{`8:60: unknown property "cloister.Role"; write cloister.role`}},
		{"properties are a mapping", "    properties:", "    customProperties: {cloister.floor: 10}\n    properties:", []string{`8:23: must be a list`}},
		{"property without a name", "    properties:", "    customProperties: [{value: 10}]\n    properties:", []string{`8:24: property is missing; write property: the property's name`}},
		{"slip in a property", "    properties:", "    customProperties: [{property: other, values: 10}]\n    properties:", []string{`8:42: unknown key "values"; write value`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []string
			for _, w := range c.want {
				want = append(want, "c.yaml:"+w)
			}
			if got := problems(t, replaced(t, c.old, c.with)); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestColumnErrors(t *testing.T) {
	const (
		integer = "        logicalType: integer\n"
		number  = "        logicalType: number\n"
		str     = "        logicalType: string\n"
		date    = "        logicalType: date\n"
		measure = "        customProperties: [{property: cloister.role, value: measure}]\n"
		types   = "string, integer, number, boolean, date or timestamp"
	)
	for _, c := range []struct {
		name, column string
		want         []string
	}{
		{"good", integer, nil},
		{"no type", "        required: true\n", []string{`10:9: logicalType is missing; write logicalType: and one of string, integer, number, boolean, date, timestamp`}},
		{"unknown type", "        logicalType: int\n", []string{`11:22: "int" is unknown; write ` + types}},
		{"nested column", "        logicalType: object\n        properties: []\n", []string{`11:22: "object" is unknown; write ` + types, `12:9: unknown key "properties"; remove it`}},
		{"required in quotes", integer + "        required: \"true\"\n", []string{`12:19: must be true or false, without quotes`}},
		{"required of old YAML", integer + "        required: yes\n", []string{`12:19: must be true or false, without quotes`}},
		{"slip of a key", integer + "        logicalTypeOption: {minimum: 0}\n", []string{`12:9: unknown key "logicalTypeOption"; write logicalTypeOptions`}},
		{"description with an escape", integer + "        description: \"a\\u001b\"\n", []string{`10:9: column "x": description: at most 4096 bytes of printable text`}},
		{"unknown role", integer + "        customProperties: [{property: cloister.role, value: aggregate}]\n", []string{`12:61: "aggregate" is unknown; write hidden, unit, dimension, measure, status or restricted`}},
		{"two units", integer + "        customProperties: [{property: cloister.role, value: unit}]\n", []string{`10:9: column "x": is a second unit; exactly one column has the role unit`}},
		{"a name twice", integer + "      - {name: X, logicalType: date}\n", []string{`12:9: column "X": stands twice (case doesn't count)`}},
		{"a name of two words", integer + "      - {name: two words, logicalType: date}\n", []string{`12:9: column "two words": name: a letter or _, then letters, digits and _, at most 63 bytes`}},
		{"a column that is text", integer + "      - y\n", []string{`12:9: must be a mapping of name, logicalType, logicalTypeOptions, required, description, customProperties, authoritativeDefinitions, businessName, classification, criticalDataElement, encryptedName, examples, id, partitionKeyPosition, partitioned, physicalName, physicalType, primaryKey, primaryKeyPosition, quality, relationships, tags, transformDescription, transformLogic, transformSourceObjects or unique`}},

		{"measure without bounds", integer + measure, []string{`10:9: column "x": a measure needs minimum and maximum`}},
		{"measure with a width", integer + "        logicalTypeOptions: {format: u8}\n" + measure, []string{`10:9: column "x": a measure needs minimum and maximum`}},
		{"measure that is text", str + measure, []string{`10:9: column "x": a measure must be an integer or a number`}},
		{"number measure without scale", number + "        logicalTypeOptions: {minimum: 0, maximum: 1}\n" + measure, []string{`10:9: column "x": a number measure needs cloister.scale, the decimal places to keep; write {property: cloister.scale, value: 2}`}},
		{"large scale", number + "        customProperties: [{property: cloister.scale, value: 10}]\n", []string{`12:62: must be a whole number from 0 to 9, without quotes`}},
		{"scale of an integer", integer + "        customProperties: [{property: cloister.scale, value: 2}]\n", []string{`10:9: column "x": scale is for numbers only`}},
		{"a dataset's property", integer + "        customProperties: [{property: cloister.floor, value: 10}]\n", []string{`12:39: cloister.floor has no effect here; write it in the customProperties of the schema's object`}},

		{"bound in quotes", integer + "        logicalTypeOptions: {minimum: \"0\"}\n", []string{`12:39: must be a number, without quotes`}},
		{"hexadecimal bound", integer + "        logicalTypeOptions: {minimum: 0x10}\n", []string{`12:39: must be a plain decimal number, such as 12 or 0.5`}},
		{"grouped bound", integer + "        logicalTypeOptions: {maximum: 1_000}\n", []string{`12:39: must be a plain decimal number, such as 12 or 0.5`}},
		{"infinite bound", number + "        logicalTypeOptions: {maximum: .inf}\n", []string{`12:39: must be a plain decimal number, such as 12 or 0.5`}},
		{"broken bound", integer + "        logicalTypeOptions: {minimum: 0.5}\n", []string{`12:39: isn't a value of type integer; write one such as 12`}},
		{"bound beyond int64", integer + "        logicalTypeOptions: {maximum: 1e19}\n", []string{`12:39: is beyond what a column of type integer holds`}},
		{"bound finer than the scale", number + "        logicalTypeOptions: {maximum: 0.001}\n        customProperties: [{property: cloister.scale, value: 2}]\n", []string{`12:39: has more than 2 decimal places or is too large; the column keeps 2 (cloister.scale)`}},
		{"minimum over maximum", integer + "        logicalTypeOptions: {minimum: 2, maximum: 1}\n", []string{`10:9: column "x": minimum is over maximum`}},
		{"bound that isn't a day", date + "        logicalTypeOptions: {minimum: 2026-02-30}\n", []string{`12:39: isn't a value of type date; write one such as 2026-01-31`}},
		{"number for a day", date + "        logicalTypeOptions: {minimum: 0}\n", []string{`12:39: must be text; write it in quotes: "0"`}},
		{"day for a timestamp", "        logicalType: timestamp\n        logicalTypeOptions: {minimum: 2026-01-31}\n", []string{`12:39: isn't a value of type timestamp; write one such as 2026-01-31T12:00:00Z`}},
		{"bound of a text", str + "        logicalTypeOptions: {minimum: 0}\n", []string{`12:30: unknown key "minimum"; known are minLength, maxLength, pattern, format`}},
		{"options of a boolean", "        logicalType: boolean\n        logicalTypeOptions: {format: x}\n", []string{`12:29: a column of type boolean has no options; remove them`}},
		{"options are a list", integer + "        logicalTypeOptions: [0, 1]\n", []string{`12:29: must be a mapping of minimum, maximum, exclusiveMinimum, exclusiveMaximum, format or multipleOf`}},
		{"a rule that isn't enforced", integer + "        logicalTypeOptions: {multipleOf: 5}\n", []string{`12:42: multipleOf is a rule that Cloister can't enforce; remove it`}},
		{"exclusive without a bound", integer + "        logicalTypeOptions: {exclusiveMinimum: true}\n", []string{`12:48: exclusiveMinimum: true needs minimum beside it`}},
		{"exclusive of v3.1.0", integer + "        logicalTypeOptions: {exclusiveMinimum: 0}\n", []string{`12:48: must be true or false, without quotes`}},
		{"nothing beyond", integer + "        logicalTypeOptions: {minimum: 9223372036854775807, exclusiveMinimum: true}\n", []string{`12:78: no value lies beyond it`}},
		{"negative length", str + "        logicalTypeOptions: {minLength: -1}\n", []string{`12:41: must be a whole number from 0 to 65536, without quotes`}},
		{"long length", str + "        logicalTypeOptions: {maxLength: 65537}\n", []string{`12:41: must be a whole number from 0 to 65536, without quotes`}},
		{"lengths crossed", str + "        logicalTypeOptions: {minLength: 3, maxLength: 2}\n", []string{`10:9: column "x": minLength is over maxLength`}},
		{"no expression", str + "        logicalTypeOptions: {pattern: \"(?=a)\"}\n", []string{`10:9: column "x": pattern isn't a regular expression in RE2's syntax`}},
		{"a date's other form", date + "        logicalTypeOptions: {format: dd.MM.yyyy}\n", []string{`12:38: "dd.MM.yyyy" is unknown; write yyyy-MM-dd`}},
		{"an unknown width", integer + "        logicalTypeOptions: {format: int32}\n", []string{`12:38: "int32" is unknown; write i8, i16, i32, i64, i128, u8, u16, u32, u64 or u128`}},
		{"another zone", "        logicalType: timestamp\n        logicalTypeOptions: {defaultTimezone: Europe/Berlin}\n", []string{`12:47: "Europe/Berlin" is unknown; write Etc/UTC or UTC`}},

		{"enum is one word", str + "        customProperties: [{property: cloister.enum, value: a}]\n", []string{`12:61: must be a list`}},
		{"empty enum", str + "        customProperties: [{property: cloister.enum, value: []}]\n", []string{`12:61: an empty list would allow nothing; write the values or remove cloister.enum`}},
		{"number in a text's enum", str + "        customProperties: [{property: cloister.enum, value: [a, 1, true]}]\n", []string{`12:65: must be text; write it in quotes: "1"`, `12:68: must be text; write it in quotes: "true"`}},
		{"text in an integer's enum", integer + "        customProperties: [{property: cloister.enum, value: [1, b]}]\n", []string{`12:65: must be a number, without quotes`}},
		{"enum value twice", number + "        customProperties: [{property: cloister.enum, value: [1, 1.0]}]\n", []string{`10:9: column "x": enum: value 2 stands twice`}},
		{"enum value over the maximum", integer + "        logicalTypeOptions: {maximum: 3}\n        customProperties: [{property: cloister.enum, value: [3, 4]}]\n", []string{`10:9: column "x": enum: value 2 breaks the column's own maximum`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []string
			for _, w := range c.want {
				want = append(want, "c.yaml:"+w)
			}
			if got := problems(t, base+c.column); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// TestExclusiveOfLaterVersions holds that v3.1.0 bounds are values.
func TestExclusiveOfLaterVersions(t *testing.T) {
	later := strings.Replace(base, "v3.0.2", "v3.1.0", 1) + "        logicalType: integer\n"
	for options, want := range map[string][]string{
		"{exclusiveMinimum: 0, minimum: 5}":                nil,
		"{exclusiveMinimum: true, minimum: 5}":             {"c.yaml:12:48: must be a number, without quotes"},
		"{exclusiveMaximum: -9223372036854775808}":         {"c.yaml:12:48: no value lies beyond it"},
		"{exclusiveMinimum: 4, exclusiveMaximum: 5}":       {`c.yaml:10:9: column "x": minimum is over maximum`},
		"{exclusiveMinimum: 0, exclusiveMaximum: 2, a: 1}": {`c.yaml:12:72: unknown key "a"; known are minimum, maximum, exclusiveMinimum, exclusiveMaximum, format, multipleOf`},
	} {
		if got := problems(t, later+"        logicalTypeOptions: "+options+"\n"); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", options, got, want)
		}
	}
}

// TestEverythingAtOnce holds that one run shows all problems in the order of
// the file, and none twice.
func TestEverythingAtOnce(t *testing.T) {
	got := problems(t, `apiVersion: v3.0.2
kind: DataContracts
id: study
version: 1
status: active
schema:
  - name: Study
    customProperties:
      - {property: cloister.floor, value: 2}
    properties:
      - {name: id, logicalType: integer, customProperties: [{property: cloister.role, value: units}]}
      - {name: age, logicalType: integer, customProperties: [{property: cloister.role, value: measure}]}
      - {name: a b, logicalType: date, requird: true}
`)
	want := []string{
		`c.yaml:2:7: "DataContracts" is unknown; write DataContract`,
		`c.yaml:4:10: must be text; write it in quotes: "1"`,
		`c.yaml:7:11: dataset name: 1 to 63 of a-z, 0-9 and -`,
		`c.yaml:9:43: must be a whole number from 5 to 1000000, without quotes`,
		`c.yaml:11:94: "units" is unknown; write hidden, unit, dimension, measure, status or restricted`,
		`c.yaml:12:9: column "age": a measure needs minimum and maximum`,
		`c.yaml:13:40: unknown key "requird"; write required`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestHostileFiles(t *testing.T) {
	good := base + "        logicalType: integer\n"
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "c.yaml:1:1: the file is empty"},
		{"a comment", "# nothing\n", "c.yaml:1:1: the file is empty"},
		{"null", "~\n", "c.yaml:1:1: must be a mapping of"},
		{"a word", "contract\n", "c.yaml:1:1: must be a mapping of"},
		{"two documents", good + "---\nid: other\n", "c.yaml:12:1: a second document; write one document only"},
		{"not YAML", "apiVersion: v3.0.2\n\tkind: DataContract\n", "c.yaml:2:2: not YAML: found a tab character that violates indentation"},
		{"an unclosed list", "apiVersion: v3.0.2\nid: [a\n", "c.yaml:2:1: not YAML: did not find expected ',' or ']'"},
		{"not UTF-8", "apiVersion: v3.0.2\nid: \"ab\xff\"\n", "c.yaml:2:8: not UTF-8; save the file as UTF-8"},
		{"an alias", "apiVersion: &v v3.0.2\nversion: *v\n", "c.yaml:1:13: an anchor (&); remove it\nc.yaml:2:10: an alias (*); write the value out"},
		{"a merge key", "apiVersion: v3.0.2\n<<: {id: a}\n", "c.yaml:2:1: a merge key (<<); write the keys out"},
		{"a tag", "apiVersion: v3.0.2\nid: !!str 12\n", "c.yaml:2:5: a tag (!); remove it, and put text in quotes"},
		{"a key that is a list", "apiVersion: v3.0.2\n? [a]\n: b\n", "c.yaml:2:3: a key must be a word"},
		{"deep", "tags: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "\n", "c.yaml:1:38: nested deeper than 32 levels"},
		{"deeper than the library goes", "tags: " + strings.Repeat("[", 20_000), "c.yaml:1:1: not YAML: exceeded max depth of 10000"},
		{"large", good + "# " + strings.Repeat("a", odcs.MaxFile), "c.yaml:1:1: larger than 1048576 bytes"},
		{"many columns", base + "        logicalType: integer\n" + strings.Repeat("      - {name: y, logicalType: date}\n", 1023), "c.yaml:9:7: more than 1024 entries"},
		{"a long key", good + strings.Repeat("k", 1000) + ": 1\n", `c.yaml:12:1: unknown key "` + strings.Repeat("k", 64) + `…"; remove it`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := odcs.Read([]byte(c.text), "c.yaml")
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// TestBomb holds that aliases are refused before anything expands them.
func TestBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 20 {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i)
	}
	_, err := odcs.Read([]byte(b.String()), "c.yaml")
	if err == nil || !strings.HasPrefix(err.Error(), "c.yaml:1:5: an anchor (&); remove it") {
		t.Errorf("%v", err)
	}
	if n := strings.Count(err.Error(), "\n"); n > 100 {
		t.Errorf("%d problems at once", n)
	}
}

// TestProblemType holds that a caller can get at line and column.
func TestProblemType(t *testing.T) {
	_, err := odcs.Read([]byte(replaced(t, "DataContract", "Contract")), "c.yaml")
	p, ok := errors.AsType[*yamltree.Problem](err)
	if !ok || p.File != "c.yaml" || p.Line != 2 || p.Column != 7 || p.Text == "" {
		t.Errorf("%+v, %v", p, err)
	}
}

// FuzzRead checks that every answer is a contract that holds, or problems that
// each have a place in the file.
func FuzzRead(f *testing.F) {
	for _, path := range []string{"testdata/standard.yaml", "../../../test/data/contracts/flchain.yaml", "../../../test/data/colon/contracts/colon.yaml"} {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(base + "        logicalType: number\n        logicalTypeOptions: {exclusiveMinimum: true, minimum: -1e3}\n"))
	place := regexp.MustCompile(`(?s)^c\.yaml:[1-9][0-9]*:[1-9][0-9]*: .`)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := odcs.Read(b, "c.yaml")
		if err == nil {
			if err := c.Check(); err != nil {
				t.Fatalf("a contract that doesn't hold: %v", err)
			}
			return
		}
		if c != nil {
			t.Fatal("an error and a contract")
		}
		list := []error{err}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			list = joined.Unwrap()
		}
		for _, problem := range list {
			if !place.MatchString(problem.Error()) && !strings.HasPrefix(problem.Error(), "c.yaml: and ") {
				t.Fatalf("a problem without a place: %v", problem)
			}
		}
	})
}
