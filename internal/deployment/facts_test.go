package deployment_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/deployment"
)

func TestReadFacts(t *testing.T) {
	root := file(t, "testdata", "root.pem")
	pem, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := deployment.ReadFacts([]byte(`{"version": 1,
 "kms": {"region": "eu-central-1", "state_key": "` + keyS + `", "endpoint": "https://kms", "ca": ` + string(pem) + `},
 "keys": {"colon": "` + keyA + `"},
 "producers": [{"name": "clinic-a", "key": "` + key(1) + `", "datasets": ["colon"]}, {"name": "b", "key": "` + key(2) + `", "datasets": ["colon"], "retired": true}],
 "issuers": [{"issuer": "https://a", "audience": "d", "roles_claim": "groups", "tls_roots": ` + string(pem) + `},
             {"issuer": "https://b", "audience": "d", "roles_claim": "groups", "tls_roots": ` + string(pem) + `, "require_mfa": false}],
 "egress": ["logs.example.org:443"],
 "freshness": "witnesses"}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := deployment.Facts{
		KMS:  bundle.KMS{Region: "eu-central-1", StateKeyARN: keyS, Endpoint: "https://kms", CA: []byte(root)},
		Keys: map[string]string{"colon": keyA},
		Producers: []bundle.Producer{
			{Name: "clinic-a", Key: public(1), Datasets: []string{"colon"}}, {Name: "b", Key: public(2), Datasets: []string{"colon"}, Retired: true},
		},
		Issuers: []bundle.Issuer{
			{URL: "https://a", Audience: "d", RolesClaim: "groups", TLSRoots: []byte(root), RequireMFA: true},
			{URL: "https://b", Audience: "d", RolesClaim: "groups", TLSRoots: []byte(root)},
		},
		Egress: []string{"logs.example.org:443"}, Freshness: bundle.FreshnessWitnesses,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestReadFactsLeastAndExample(t *testing.T) {
	got, err := deployment.ReadFacts([]byte(`{"version":1}`))
	if err != nil || !reflect.DeepEqual(got, deployment.Facts{}) {
		t.Errorf("%+v, %v", got, err)
	}
	// The example of docs/spec/bundle.md, with a key that is one.
	example := strings.Replace(block(t, "json"), `"ed25519:…"`, `"`+key(1)+`"`, 1)
	if got, err = deployment.ReadFacts([]byte(example)); err != nil || len(got.Producers) != 1 || len(got.Issuers) != 1 || got.KMS.Region == "" || got.Freshness == "" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReadFactsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "1:1: not JSON: it ends too early",
		`{"version":1`:                           "1:13: not JSON: it ends too early",
		`{"version":1}{}`:                        "1:15: something follows the object",
		`{"version":1} x`:                        "1:15: something follows the object",
		"{\n \"version\":1,\n}":                  "3:1: not JSON: invalid character '}' looking for beginning of object key string",
		`null`:                                   "version: 1 is the only one known",
		`[]`:                                     "not a JSON object",
		`{}`:                                     "version: 1 is the only one known",
		`{"version":2}`:                          "version: 1 is the only one known",
		`{"version":"1"}`:                        "1:15: version can't be of type string",
		`{"version":1.5}`:                        "1:15: version can't be of type number",
		`{"version":1,"version":1}`:              `1:23: name "version" stands twice`,
		`{"version":1,"Keys":{}}`:                `1:20: name "Keys": names are of a-z, 0-9, - and _`,
		`{"version":1,"keyſ":{}}`:                "1:21: name \"keyſ\": names are of a-z, 0-9, - and _",
		`{"version":1,"keys":{"a":"x","a":"y"}}`: `1:33: name "a" stands twice`,
		`{"version":1,"keys":["a"]}`:             "1:22: keys can't be of type array",
		`{"version":1,"secrets":{}}`:             `unknown field "secrets"`,
		`{"version":1,"kms":{"key":""}}`:         `unknown field "key"`,
		`{"version":1,"producers":[{"name":"a","key":"ed25519:AA==","datasets":[]}]}`:   "producer 1: key: isn't a public key; write ed25519: and the base64 of 32 bytes, as `cloister keygen` prints it",
		`{"version":1,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`: "1:23: nested too deep",
		"{\"version\":1,\"freshness\":\"\xff\"}":                                        "not UTF-8",
		`{"version":1}` + strings.Repeat(" ", deployment.MaxFacts):                      "larger than 1048576 bytes",
	} {
		got, err := deployment.ReadFacts([]byte(text))
		if err == nil || err.Error() != "facts: "+want || !reflect.DeepEqual(got, deployment.Facts{}) {
			t.Errorf("%.60q:\ngot  %v\nwant facts: %s", text, err, want)
		}
	}
}

// FuzzReadFacts checks that what is read is JSON without surprises: package
// json, told to be lenient, reads the same names.
func FuzzReadFacts(f *testing.F) {
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"keys":{"a":"b"},"egress":["a:1"],"freshness":"none","issuers":[{"require_mfa":null}]}`))
	f.Add([]byte(`{"version":1,"producers":[{"name":"a","key":"` + key(1) + `","datasets":["c"],"retired":true}],"kms":{"ca":"x"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		facts, err := deployment.ReadFacts(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "facts: ") || !reflect.DeepEqual(facts, deployment.Facts{}) {
				t.Fatalf("%+v, %v", facts, err)
			}
			return
		}
		var whole map[string]any
		if err := json.Unmarshal(b, &whole); err != nil || whole["version"] != 1.0 {
			t.Fatalf("%v, %v", whole, err)
		}
		known := []string{"version", "kms", "keys", "producers", "issuers", "egress", "freshness"}
		for name := range whole {
			if !slices.Contains(known, name) {
				t.Fatalf("name %q", name)
			}
		}
		for _, p := range facts.Producers {
			if len(p.Key) != 32 {
				t.Fatalf("a key of %d bytes", len(p.Key))
			}
		}
	})
}
