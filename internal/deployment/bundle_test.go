package deployment_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/deployment"
)

// facts are what `cloister-sim up` would fill in.
func facts(c *deployment.Config) deployment.Facts {
	f := deployment.Facts{
		KMS:       bundle.KMS{Region: "eu-central-1", StateKeyARN: keyS},
		Keys:      map[string]string{"gone": keyA + "-gone"},
		Producers: []bundle.Producer{{Name: "demo", Key: public(9), Datasets: c.DatasetNames()}},
	}
	for _, name := range c.DatasetNames() {
		f.Keys[name] = keyA + "-" + name
	}
	if root, err := os.ReadFile(filepath.Join("testdata", "root.pem")); err == nil {
		f.Issuers = []bundle.Issuer{{URL: "https://127.0.0.1:7443", Audience: "demo", RolesClaim: "groups", TLSRoots: root, RequireMFA: true}}
	}
	return f
}

func config(t testing.TB, more string) *deployment.Config {
	t.Helper()
	files := map[string]string{
		"colon": colon(t), "visits": visits(t), "id": file(t, "testdata", "root.pem"),
		"strict": strings.Replace(colon(t), "value: threshold", "value: dp", 1),
	}
	head := "version: 1\ndeployment: d\nprofile: simulation\ndatasets: [{contract: visits}, {contract: colon}]\n"
	if strings.HasPrefix(more, "profile: production\n") {
		head = "version: 1\ndeployment: d\ndatasets: [{contract: strict}]\n"
	}
	c, err := deployment.Parse([]byte(head+more), "cloister.yaml", opener(files))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func build(t testing.TB, c *deployment.Config, f deployment.Facts) *bundle.Bundle {
	t.Helper()
	b, err := c.Bundle(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFactsFill(t *testing.T) {
	c := config(t, "")
	f := facts(c)
	f.KMS.Endpoint, f.KMS.CA = "https://127.0.0.1:8443", []byte(file(t, "testdata", "root.pem"))
	f.Egress = []string{"127.0.0.1:8443", "127.0.0.1:7443"}
	b := build(t, c, f)
	if b.Deployment != "d" || b.Profile != bundle.Simulation || b.Freshness != bundle.FreshnessNone || b.Limits != bundle.DefaultLimits() {
		t.Errorf("%+v", b)
	}
	if len(b.Datasets) != 2 || b.Datasets[0].Contract.Dataset != "visits" || b.Datasets[0].KeyARN != keyA+"-visits" || b.Datasets[1].KeyARN != keyA+"-colon" || b.Datasets[1].KeyEpoch != 1 {
		t.Errorf("datasets %+v", b.Datasets)
	}
	if b.KMS.Endpoint != f.KMS.Endpoint || !bytes.Equal(b.KMS.CA, f.KMS.CA) || b.KMS.StateKeyARN != keyS {
		t.Errorf("KMS %+v", b.KMS)
	}
	if len(b.Producers) != 1 || b.Producers[0].Name != "demo" || len(b.Issuers) != 1 {
		t.Errorf("producers %+v, issuers %+v", b.Producers, b.Issuers)
	}
	// KMS and the issuer are listed already, and stand once.
	if !slices.Equal(b.Egress, f.Egress) {
		t.Errorf("egress %q, want %q", b.Egress, f.Egress)
	}
}

func TestConfigWins(t *testing.T) {
	c := config(t, `producers: [{name: clinic, key: "`+key(1)+`", datasets: [colon]}]
identity: {issuers: [{issuer: "https://id.example.org:8443/realm", audience: d, roles_claim: groups, tls_roots: id}]}
kms: {region: us-gov-west-1, state_key: "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/s", keys: {colon: "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/c"}}
`)
	f := facts(c)
	f.Keys["visits"] = "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/v"
	f.Egress = []string{"logs.example.org:443"}
	b := build(t, c, f)
	if len(b.Producers) != 1 || b.Producers[0].Name != "clinic" {
		t.Errorf("producers %+v", b.Producers)
	}
	if len(b.Issuers) != 1 || b.Issuers[0].URL != "https://id.example.org:8443/realm" || !b.Issuers[0].RequireMFA {
		t.Errorf("issuers %+v", b.Issuers)
	}
	if b.KMS.Region != "us-gov-west-1" || !strings.HasSuffix(b.KMS.StateKeyARN, "us-gov-west-1:111122223333:key/s") || !strings.HasSuffix(b.Datasets[1].KeyARN, "key/c") || !strings.HasSuffix(b.Datasets[0].KeyARN, "key/v") {
		t.Errorf("KMS %+v, datasets %s, %s", b.KMS, b.Datasets[0].KeyARN, b.Datasets[1].KeyARN)
	}
	if want := []string{"logs.example.org:443", "kms.us-gov-west-1.amazonaws.com:443", "id.example.org:8443"}; !slices.Equal(b.Egress, want) {
		t.Errorf("egress %q, want %q", b.Egress, want)
	}
	if !slices.Equal(f.Egress, []string{"logs.example.org:443"}) {
		t.Errorf("the facts were changed: %q", f.Egress)
	}
}

// TestNoneIsAWord holds that an empty list is a list: nobody may submit.
func TestNoneIsAWord(t *testing.T) {
	c := config(t, "producers: []\nidentity: {issuers: []}\n")
	b := build(t, c, facts(c))
	if len(b.Producers) != 0 || len(b.Issuers) != 0 {
		t.Errorf("producers %+v, issuers %+v", b.Producers, b.Issuers)
	}
}

func TestMissing(t *testing.T) {
	const named = "; name them in cloister.yaml or in the facts"
	for _, c := range []struct {
		name, more string
		facts      func(*deployment.Facts)
		want       string
	}{
		{"production", "profile: production\n", func(f *deployment.Facts) { *f = deployment.Facts{} },
			"deployment d, profile production: missing are kms.region, kms.state_key, kms.keys.colon, producers, identity.issuers" + named},
		{"simulation", "", func(f *deployment.Facts) { *f = deployment.Facts{} },
			"deployment d, profile simulation: missing are kms.region, kms.state_key, kms.keys.visits, kms.keys.colon, producers, identity.issuers" + named + "; `cloister-sim up` fills them in by itself"},
		{"one key", "profile: production\n", func(f *deployment.Facts) { delete(f.Keys, "colon") },
			"deployment d, profile production: missing are kms.keys.colon" + named},
		{"half of it named", "profile: production\nkms: {region: eu-central-1, keys: {colon: " + keyA + "}}\nproducers: []\n", func(f *deployment.Facts) { *f = deployment.Facts{} },
			"deployment d, profile production: missing are kms.state_key, identity.issuers" + named},
	} {
		config := config(t, c.more)
		f := facts(config)
		c.facts(&f)
		b, err := config.Bundle(f)
		if err == nil || b != nil || err.Error() != c.want {
			t.Errorf("%s: got  %v, %v\nwant %s", c.name, b, err, c.want)
		}
	}
}

func TestProduction(t *testing.T) {
	c := config(t, "profile: production\n")
	if b := build(t, c, facts(c)); b.Freshness != bundle.FreshnessWitnesses || !slices.Contains(b.Egress, "kms.eu-central-1.amazonaws.com:443") {
		t.Errorf("freshness %s, egress %q", b.Freshness, b.Egress)
	}
	for name, change := range map[string]func(*deployment.Facts){
		"bundle: kms: an endpoint or CA of its own is for simulation only":      func(f *deployment.Facts) { f.KMS.Endpoint = "https://kms" },
		"bundle: freshness: none is for simulation only":                        func(f *deployment.Facts) { f.Freshness = bundle.FreshnessNone },
		"bundle: dataset colon: key: the key is in another region":              func(f *deployment.Facts) { f.Keys["colon"] = "arn:aws:kms:eu-west-1:111122223333:key/a" },
		"bundle: egress: entry 1 isn't a lower-case host:port, or stands twice": func(f *deployment.Facts) { f.Egress = []string{"a"} },
		"bundle: producer 1: key: an Ed25519 public key has 32 bytes":           func(f *deployment.Facts) { f.Producers[0].Key = nil },
	} {
		f := facts(c)
		change(&f)
		b, err := c.Bundle(f)
		if !errors.Is(err, bundle.ErrBundle) || b != nil || err.Error() != "deployment d: "+name {
			t.Errorf("got  %v, %v\nwant %s", b, err, name)
		}
	}
	f := facts(c)
	f.KMS.Region, f.KMS.StateKeyARN = "cn-north-1", "arn:aws-cn:kms:cn-north-1:111122223333:key/s"
	f.Keys["colon"] = "arn:aws-cn:kms:cn-north-1:111122223333:key/c"
	if b := build(t, c, f); b.Egress[0] != "kms.cn-north-1.amazonaws.com.cn:443" {
		t.Errorf("egress %q", b.Egress)
	}
}

// TestSameInputSameBytes builds the vector of docs/spec/bundle.md from files
// and facts, again and again.
func TestSameInputSameBytes(t *testing.T) {
	spec := strings.Join(strings.Fields(file(t, "..", "..", "docs", "spec", "bundle.md")), "")
	for range 20 {
		c, err := deployment.Read(filepath.Join("..", "..", "test", "data", "colon"))
		if err != nil {
			t.Fatal(err)
		}
		f := facts(c)
		f.Keys["colon"] = keyA
		f.Producers[0].Name, f.Producers[0].Key = "clinic-a", public(1)
		c.Issuers = []bundle.Issuer{}
		raw, err := build(t, c, f).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(spec, hex.EncodeToString(raw)) {
			t.Fatalf("another bundle than docs/spec/bundle.md shows: %x", raw)
		}
	}
}
