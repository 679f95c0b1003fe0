package keypolicy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/keypolicy"
)

// whole is a policy with one statement around some of its members.
func whole(members string) string {
	return `{"Version":"2012-10-17","Statement":[{` + members + `}]}`
}

const plain = `"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:*","Resource":"*"`

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       keypolicy.Document
	}{
		{"strings for lists, one statement", `{"Version":"2012-10-17","Id":"a b","Statement":{"Sid":"x",` + plain + `}}`, keypolicy.Document{ID: "a b", Statements: []keypolicy.Statement{
			{Sid: "x", Effect: keypolicy.Allow, Principals: []string{"111122223333"}, Actions: []string{"kms:*"}, Resources: []string{"*"}}}}},
		{"everybody, booleans, order of conditions", whole(`"Effect":"Deny","Principal":"*","Action":["kms:Decrypt"],"Resource":["*"],"Condition":{"StringLikeIfExists":{"kms:ViaService":["a*","b"]},"Null":{"kms:RecipientAttestation:PCR1":true,"kms:RecipientAttestation:PCR0":"false"}}`),
			keypolicy.Document{Statements: []keypolicy.Statement{{Effect: keypolicy.Deny, Principals: []string{"*"}, Actions: []string{"kms:Decrypt"}, Resources: []string{"*"}, Conditions: []keypolicy.Condition{
				{Operator: "Null", Key: "kms:RecipientAttestation:PCR0", Values: []string{"false"}},
				{Operator: "Null", Key: "kms:RecipientAttestation:PCR1", Values: []string{"true"}},
				{Operator: "StringLikeIfExists", Key: "kms:ViaService", Values: []string{"a*", "b"}}}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := keypolicy.Parse([]byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	condition := func(c string) string { return whole(plain + `,"Condition":` + c) }
	for name, text := range map[string]string{
		"empty":                     ``,
		"null":                      `null`,
		"a list":                    `[]`,
		"no version":                `{"Statement":[{` + plain + `}]}`,
		"old version":               `{"Version":"2008-10-17","Statement":[{` + plain + `}]}`,
		"no statement":              `{"Version":"2012-10-17"}`,
		"empty list":                `{"Version":"2012-10-17","Statement":[]}`,
		"statement is a string":     `{"Version":"2012-10-17","Statement":["x"]}`,
		"unknown element":           `{"Version":"2012-10-17","Statement":[{` + plain + `}],"Extra":1}`,
		"wrong case of an element":  `{"Version":"2012-10-17","statement":[{` + plain + `}]}`,
		"twice":                     `{"Version":"2012-10-17","Version":"2012-10-17","Statement":[{` + plain + `}]}`,
		"trailing":                  whole(plain) + `x`,
		"second document":           whole(plain) + whole(plain),
		"truncated":                 whole(plain)[:60],
		"not UTF-8":                 whole(plain + ",\"Sid\":\"\xff\""),
		"Id is a number":            `{"Version":"2012-10-17","Id":1,"Statement":[{` + plain + `}]}`,
		"Id with a quote":           `{"Version":"2012-10-17","Id":"\"","Statement":[{` + plain + `}]}`,
		"Sid twice":                 `{"Version":"2012-10-17","Statement":[{"Sid":"a",` + plain + `},{"Sid":"a",` + plain + `}]}`,
		"Sid is a list":             whole(plain + `,"Sid":[]`),
		"Effect twice":              whole(plain + `,"Effect":"Deny"`),
		"Effect in lower case":      whole(strings.Replace(plain, "Allow", "allow", 1)),
		"no Effect":                 whole(`"Principal":"*","Action":"kms:*","Resource":"*"`),
		"no Principal":              whole(`"Effect":"Deny","Action":"kms:*","Resource":"*"`),
		"no Action":                 whole(`"Effect":"Deny","Principal":"*","Resource":"*"`),
		"no Resource":               whole(`"Effect":"Deny","Principal":"*","Action":"kms:*"`),
		"NotAction":                 whole(plain + `,"NotAction":"kms:Decrypt"`),
		"NotPrincipal":              whole(`"Effect":"Deny","NotPrincipal":{"AWS":"*"},"Action":"kms:*","Resource":"*"`),
		"NotResource":               whole(plain + `,"NotResource":"*"`),
		"service":                   whole(`"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"kms:*","Resource":"*"`),
		"AWS and a service":         whole(`"Effect":"Allow","Principal":{"AWS":"*","Service":"ec2.amazonaws.com"},"Action":"kms:*","Resource":"*"`),
		"principal with a wildcard": whole(`"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/*"},"Action":"kms:*","Resource":"*"`),
		"no principal in the list":  whole(`"Effect":"Allow","Principal":{"AWS":[]},"Action":"kms:*","Resource":"*"`),
		"action of a service":       whole(strings.Replace(plain, "kms:*", "s3:GetObject", 1)),
		"action without a service":  whole(strings.Replace(plain, "kms:*", "Decrypt", 1)),
		"resource of a service":     whole(strings.Replace(plain, `"Resource":"*"`, `"Resource":"arn:aws:s3:::b"`, 1)),
		"number among values":       whole(strings.Replace(plain, `"kms:*"`, `["kms:*",1]`, 1)),
		"condition is a list":       condition(`[]`),
		"operator without keys":     condition(`{"StringEquals":{}}`),
		"operator is a string":      condition(`{"StringEquals":"x"}`),
		"unknown operator":          condition(`{"ArnLike":{"aws:PrincipalArn":"x"}}`),
		"set operator":              condition(`{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":"x"}}`),
		"operator in lower case":    condition(`{"stringequals":{"kms:ViaService":"x"}}`),
		"NullIfExists":              condition(`{"NullIfExists":{"kms:ViaService":"true"}}`),
		"Null with a word":          condition(`{"Null":{"kms:ViaService":"yes"}}`),
		"Null with two values":      condition(`{"Null":{"kms:ViaService":["true","false"]}}`),
		"no value":                  condition(`{"StringEquals":{"kms:ViaService":[]}}`),
		"null value":                condition(`{"StringEquals":{"kms:ViaService":null}}`),
		"key twice":                 condition(`{"StringEquals":{"kms:ViaService":"a","kms:ViaService":"b"}}`),
		"key twice in two cases":    condition(`{"StringEquals":{"kms:ViaService":"a","kms:viaservice":"b"}}`),
		"key of another service":    condition(`{"StringEquals":{"s3:prefix":"a"}}`),
		"variable":                  condition(`{"StringEquals":{"kms:ViaService":"${aws:username}"}}`),
		"deep":                      condition(strings.Repeat("[", 100) + strings.Repeat("]", 100)),
		"large":                     whole(plain + strings.Repeat(" ", keypolicy.MaxSize)),
	} {
		t.Run(name, func(t *testing.T) {
			d, err := keypolicy.Parse([]byte(text))
			if d != nil || !errors.Is(err, keypolicy.ErrPolicy) {
				t.Errorf("got %+v, %v", d, err)
			}
		})
	}
}

// TestMarshalRefuses checks that what Parse refuses isn't written either.
func TestMarshalRefuses(t *testing.T) {
	for _, d := range []*keypolicy.Document{
		{},
		keypolicy.Owner(""),
		keypolicy.Owner("data-owner"),
		{Statements: []keypolicy.Statement{{Effect: "Maybe", Principals: []string{"*"}, Actions: []string{"*"}, Resources: []string{"*"}}}},
		{Statements: []keypolicy.Statement{{Effect: keypolicy.Allow, Principals: []string{"*"}, Actions: []string{"*"}, Resources: []string{"*"}, Conditions: []keypolicy.Condition{{Operator: "StringEquals", Key: "kms:ViaService"}}}}},
		{Statements: []keypolicy.Statement{{Effect: keypolicy.Allow, Principals: []string{"*"}, Actions: []string{"*"}, Resources: []string{"*"}, Conditions: []keypolicy.Condition{{Operator: "StringEquals", Key: "kms:ViaService", Values: []string{"\xff"}}}}}},
	} {
		if b, err := json.Marshal(d); b != nil || !errors.Is(err, keypolicy.ErrPolicy) {
			t.Errorf("%+v gives %s, %v", d, b, err)
		}
	}
}

// TestUnmarshal checks the encoding/json side of Parse.
func TestUnmarshal(t *testing.T) {
	var d keypolicy.Document
	if err := json.Unmarshal([]byte(whole(plain)), &d); err != nil || len(d.Statements) != 1 {
		t.Errorf("got %+v, %v", d, err)
	}
	if err := json.Unmarshal([]byte(`{"Version":"x"}`), &d); !errors.Is(err, keypolicy.ErrPolicy) {
		t.Errorf("got %v", err)
	}
}

// TestErrorsSayNothing checks that no value of a policy gets into an error.
func TestErrorsSayNothing(t *testing.T) {
	const marker = "hippocampus"
	for _, text := range []string{
		whole(plain + fmt.Sprintf(`,"Sid":"%s!"`, marker)),
		whole(strings.Replace(plain, "kms:*", marker, 1)),
		whole(plain + fmt.Sprintf(`,"%s":1`, marker)),
		whole(plain + fmt.Sprintf(`,"Condition":{"StringEquals":{"%s":"x"}}`, marker)),
		whole(plain + fmt.Sprintf(`,"Condition":{"Null":{"kms:ViaService":"%s"}}`, marker)),
	} {
		if _, err := keypolicy.Parse([]byte(text)); err == nil || strings.Contains(err.Error(), marker) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzParse checks that whatever is read is written again and means the same.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"dataset", "state", "owner"} {
		b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(whole(plain)))
	f.Add([]byte(whole(plain + `,"Condition":{"Null":{"kms:ViaService":true},"StringLikeIfExists":{"aws:PrincipalArn":["*","?"]}}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := keypolicy.Parse(b)
		if err != nil {
			if !errors.Is(err, keypolicy.ErrPolicy) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		first, err := d.MarshalJSON()
		if err != nil {
			if len(b) > keypolicy.MaxSize/8 { // escapes and lists may grow it over the limit
				return
			}
			t.Fatalf("read and not written: %v", err)
		}
		again, err := keypolicy.Parse(first)
		if err != nil {
			t.Fatalf("written and not read: %v", err)
		}
		if !reflect.DeepEqual(d, again) {
			t.Fatalf("changed on the way:\n%+v\n%+v", d, again)
		}
		if second, err := again.MarshalJSON(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("not the same bytes: %v", err)
		}
	})
}
