package verifier_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// schema is a JSON Schema, as far as docs/spec/verify.schema.json uses them.
type schema struct {
	whole map[string]any
	part  map[string]any
}

func readSchema(t *testing.T) schema {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "verify.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(b, &whole); err != nil {
		t.Fatal(err)
	}
	return schema{whole, whole}
}

// at answers another part of the same schema.
func (s schema) at(part any) schema { return schema{s.whole, part.(map[string]any)} }

// check answers what is wrong with a value, at a path. A keyword that it
// doesn't know is wrong too.
func (s schema) check(path string, v any) error {
	for keyword, want := range s.part {
		if err := s.keyword(path, keyword, want, v); err != nil {
			return err
		}
	}
	return nil
}

func (s schema) keyword(path, keyword string, want, v any) error {
	fail := func(what string) error { return fmt.Errorf("%s: %v is no %s %v", path, v, what, want) }
	number, isNumber := v.(float64)
	text, isText := v.(string)
	list, isList := v.([]any)
	switch keyword {
	case "$schema", "$id", "$defs", "title", "description":
	case "$ref":
		return s.at(s.whole["$defs"].(map[string]any)[strings.TrimPrefix(want.(string), "#/$defs/")]).check(path, v)
	case "oneOf":
		var errs []string
		for _, one := range want.([]any) {
			if err := s.at(one).check(path, v); err != nil {
				errs = append(errs, err.Error())
			}
		}
		if len(errs) != len(want.([]any))-1 {
			return fmt.Errorf("%s: not one of: %s", path, strings.Join(errs, "; "))
		}
	case "const":
		if !reflect.DeepEqual(v, want) {
			return fail("constant")
		}
	case "enum":
		if !slices.Contains(want.([]any), v) {
			return fail("one of")
		}
	case "type":
		if !isType(want, v) {
			return fail("type")
		}
	case "pattern":
		if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
			return fail("text like")
		}
	case "minimum", "maximum":
		if isNumber && (keyword == "minimum" && number < want.(float64) || keyword == "maximum" && number > want.(float64)) {
			return fail(keyword)
		}
	case "minItems", "maxItems":
		if n := float64(len(list)); isList && (keyword == "minItems" && n < want.(float64) || keyword == "maxItems" && n > want.(float64)) {
			return fail(keyword)
		}
	case "items":
		for i, item := range list {
			if err := s.at(want).check(fmt.Sprintf("%s[%d]", path, i), item); err != nil {
				return err
			}
		}
	case "required", "properties", "additionalProperties":
		return s.object(path, keyword, want, v)
	default:
		return fmt.Errorf("%s: unknown keyword %s", path, keyword)
	}
	return nil
}

func (s schema) object(path, keyword string, want, v any) error {
	object, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	properties, _ := s.part["properties"].(map[string]any)
	switch keyword {
	case "required":
		for _, name := range want.([]any) {
			if _, ok := object[name.(string)]; !ok {
				return fmt.Errorf("%s: %v is missing", path, name)
			}
		}
	case "properties":
		for name, value := range object {
			if part, ok := properties[name]; ok {
				if err := s.at(part).check(path+"."+name, value); err != nil {
					return err
				}
			}
		}
	case "additionalProperties":
		for name, value := range object {
			if _, ok := properties[name]; ok {
				continue
			}
			if want == false {
				return fmt.Errorf("%s: %s isn't in the schema", path, name)
			}
			if err := s.at(want).check(path+"."+name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func isType(want, v any) bool {
	if several, ok := want.([]any); ok {
		return slices.ContainsFunc(several, func(w any) bool { return isType(w, v) })
	}
	switch v := v.(type) {
	case nil:
		return want == "null"
	case bool:
		return want == "boolean"
	case string:
		return want == "string"
	case float64:
		return want == "number" || want == "integer" && v == float64(int(v))
	case []any:
		return want == "array"
	default:
		return want == "object"
	}
}

// valid holds a JSON text against docs/spec/verify.schema.json.
func valid(t *testing.T, b []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if err := readSchema(t).check("", v); err != nil {
		t.Errorf("%v\n%s", err, b)
	}
	return v
}

// TestSchema: the schema refuses what results never say.
func TestSchema(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, `null`, `{"schema":"cloister.verify/v1"}`, `{"schema":"cloister.verify/v1","verified":true}`,
		`{"schema":"cloister.verify/v2","verified":false,"class":"chain","detail":"","checks":[]}`,
		`{"schema":"cloister.verify/v1","verified":false,"class":"chain","detail":"","checks":[],"module_id":"i-0-enc0"}`,
		`{"schema":"cloister.verify/v1","verified":false,"class":"chain","detail":"","checks":[{"name":"root","ok":0,"detail":""}]}`,
		`{"schema":"cloister.verify/v1","verified":false,"class":"chain","detail":"","checks":[],"pcr":32}`,
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if readSchema(t).check("", v) == nil {
			t.Errorf("%s is valid", text)
		}
	}
}
