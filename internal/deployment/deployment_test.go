package deployment_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/contract/odcs"
	"github.com/cloisterhq/cloister/internal/deployment"
)

const (
	keyA = "arn:aws:kms:eu-central-1:111122223333:key/a"
	keyS = "arn:aws:kms:eu-central-1:111122223333:key/s"
)

func public(seed byte) ed25519.PublicKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)).Public().(ed25519.PublicKey)
}

// key is a producer's public key as `cloister keygen` prints it.
func key(seed byte) string { return "ed25519:" + base64.StdEncoding.EncodeToString(public(seed)) }

func file(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// block answers the first block of docs/spec/bundle.md in a language.
func block(t testing.TB, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(file(t, "..", "..", "docs", "spec", "bundle.md"), "```"+language+"\n")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("docs/spec/bundle.md shows no %s", language)
	}
	return text
}

// tree writes files below a new directory.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// visits is the colon contract under another name.
func visits(t testing.TB) string {
	return strings.Replace(colon(t), "- name: colon", "- name: visits", 1)
}

func colon(t testing.TB) string {
	return file(t, "..", "..", "test", "data", "colon", "contracts", "colon.yaml")
}

// TestExample reads the file that docs/spec/bundle.md shows, from a directory.
func TestExample(t *testing.T) {
	root := file(t, "testdata", "root.pem")
	dir := tree(t, map[string]string{
		"cloister.yaml": block(t, "yaml"), "contracts/colon.yaml": colon(t), "certs/id.pem": root,
	})
	got, err := deployment.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := odcs.Read([]byte(colon(t)), "")
	if err != nil {
		t.Fatal(err)
	}
	want := &deployment.Config{
		Deployment: "colon-study", Profile: bundle.Simulation,
		Datasets:  []deployment.Dataset{{Contract: c, KeyEpoch: 1}},
		Producers: []bundle.Producer{{Name: "clinic-a", Key: public(1), Datasets: []string{"colon"}}},
		Issuers:   []bundle.Issuer{{URL: "https://id.example.org", Audience: "colon-study", RolesClaim: "groups", TLSRoots: []byte(root), RequireMFA: true}},
		KMS:       deployment.KMS{Region: "eu-central-1", StateKey: keyS, Keys: map[string]string{"colon": keyA}},
		Limits:    bundle.DefaultLimits(),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// It names everything, so it needs no facts.
	b, err := got.Bundle(deployment.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"kms.eu-central-1.amazonaws.com:443", "id.example.org:443"}; !slices.Equal(b.Egress, want) {
		t.Errorf("egress %q, want %q", b.Egress, want)
	}
}

func TestRead(t *testing.T) {
	root := file(t, "testdata", "root.pem")
	outside := tree(t, map[string]string{"visits.yaml": visits(t)})
	dir := tree(t, map[string]string{
		"deploy/cloister.yaml": `version: 1
deployment: d
profile: simulation
datasets:
  - contract: ` + filepath.Join(outside, "visits.yaml") + `
    key_epoch: 7
  - {contract: ../shared/colon.yaml}
producers:
  - {name: a, key: "` + key(1) + `", datasets: [colon, visits]}
  - {name: b, key: "` + key(2) + `", datasets: [visits], retired: true}
identity:
  issuers:
    - {issuer: "https://id.example.org", audience: d, roles_claim: groups, tls_roots: ../id.pem, require_mfa: false}
limits: {max_envelope: 512KiB, query_timeout: 1500ms, query_memory: 2MiB, max_result_rows: 7}
`,
		"shared/colon.yaml": colon(t), "id.pem": root,
	})
	c, err := deployment.Read(filepath.Join(dir, "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.DatasetNames(); !slices.Equal(got, []string{"visits", "colon"}) {
		t.Errorf("datasets %q", got)
	}
	if c.Datasets[0].KeyEpoch != 7 || c.Datasets[1].KeyEpoch != 1 {
		t.Errorf("epochs %d and %d", c.Datasets[0].KeyEpoch, c.Datasets[1].KeyEpoch)
	}
	if len(c.Producers) != 2 || c.Producers[0].Retired || !c.Producers[1].Retired {
		t.Errorf("producers %+v", c.Producers)
	}
	if len(c.Issuers) != 1 || c.Issuers[0].RequireMFA {
		t.Errorf("issuers %+v", c.Issuers)
	}
	if want := (bundle.Limits{MaxEnvelope: 512 << 10, MaxResultRows: 7, QueryTimeout: 1500, QueryMemory: 2 << 20}); c.Limits != want {
		t.Errorf("limits %+v, want %+v", c.Limits, want)
	}
}

// TestReadFiles holds what is said of files that aren't there or aren't files.
func TestReadFiles(t *testing.T) {
	head := "version: 1\ndeployment: d\nprofile: simulation\ndatasets:\n  - contract: "
	issuer := "\nidentity:\n  issuers:\n    - {issuer: \"https://id\", audience: d, roles_claim: groups, tls_roots: "
	for _, c := range []struct {
		name  string
		files map[string]string
		make  func(t *testing.T, dir string)
		want  string
	}{
		{"no file", nil, nil, "DIR/cloister.yaml: there is no such file; a deployment is a directory with a cloister.yaml"},
		{"a directory", map[string]string{"cloister.yaml/x": ""}, nil, "DIR/cloister.yaml: not a regular file"},
		{"a large file", map[string]string{"cloister.yaml": strings.Repeat("#", deployment.MaxFile+1)}, nil, "DIR/cloister.yaml: larger than 1048576 bytes"},
		{"no contract", map[string]string{"cloister.yaml": head + "c.yaml\n"}, nil, `DIR/cloister.yaml:5:15: contract "c.yaml": no such file or directory`},
		{"a contract that is a directory", map[string]string{"cloister.yaml": head + "c/\n", "c/x": ""}, nil, `DIR/cloister.yaml:5:15: contract "c/": not a regular file`},
		{"a contract that is a pipe", map[string]string{"cloister.yaml": head + "pipe\n"}, func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
				t.Skip(err)
			}
		}, `DIR/cloister.yaml:5:15: contract "pipe": not a regular file`},
		{"a device", map[string]string{"cloister.yaml": head + "/dev/zero\n"}, nil, `DIR/cloister.yaml:5:15: contract "/dev/zero": not a regular file`},
		{"a large contract", map[string]string{"cloister.yaml": head + "c\n", "c": strings.Repeat("#", odcs.MaxFile+1)}, nil, `DIR/cloister.yaml:5:15: contract "c": larger than 1048576 bytes`},
		{"a bad contract", map[string]string{"cloister.yaml": head + "c.yaml\nproducers: [{name: a, key: \"" + key(1) + "\", datasets: [colon]}]\n", "c.yaml": strings.Replace(colon(t), "value: 10}", "value: 2}", 1)}, nil,
			`DIR/c.yaml:11:43: must be a whole number from 5 to 1000000, without quotes`},
		{"no roots", map[string]string{"cloister.yaml": head + "c" + issuer + "id.pem}\n", "c": colon(t)}, nil, `DIR/cloister.yaml:8:7: tls_roots "id.pem": no such file or directory`},
		{"roots that are none", map[string]string{"cloister.yaml": head + "c" + issuer + "id.pem}\n", "c": colon(t), "id.pem": "none"}, nil, `DIR/cloister.yaml:8:7: issuer: TLS roots: something other than certificates in PEM`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := tree(t, c.files)
			if c.make != nil {
				c.make(t, dir)
			}
			got, err := deployment.Read(dir)
			if err == nil || got != nil || strings.ReplaceAll(err.Error(), dir, "DIR") != c.want {
				t.Errorf("got  %v, %v\nwant %s", got, err, c.want)
			}
		})
	}
}

// opener serves files from memory.
func opener(files map[string]string) func(string, int64) ([]byte, string, error) {
	return func(name string, _ int64) ([]byte, string, error) {
		content, ok := files[name]
		if !ok {
			return nil, name, errors.New("no such file")
		}
		return []byte(content), name, nil
	}
}

func TestErrors(t *testing.T) {
	files := map[string]string{"colon": colon(t), "visits": visits(t), "id": file(t, "testdata", "root.pem"), "bad": "id: a\n"}
	const head = "version: 1\ndeployment: d\nprofile: simulation\n"
	const datasets = head + "datasets: [{contract: colon}, {contract: visits}]\n"
	producer := func(rest string) string { return datasets + "producers:\n  - " + rest + "\n" }
	issuer := func(rest string) string { return datasets + "identity:\n  issuers:\n    - " + rest + "\n" }
	const goodIssuer = "audience: d, roles_claim: groups, tls_roots: id"
	k1, k2 := key(1), key(2)
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"good", datasets, nil},
		{"everything left out", datasets + "producers:\nidentity:\nkms:\nlimits:\n", nil},
		{"everything empty", datasets + "producers: []\nidentity: {issuers: []}\nkms: {}\nlimits: {}\n", nil},
		{"nothing", "", []string{"1:1: the file is empty"}},
		{"a list", "[]", []string{"1:1: must be a mapping of version, deployment, profile, datasets, producers, identity, kms or limits"}},
		{"empty", "{}", []string{"1:1: version is missing; write version: 1", "1:1: deployment is missing; write deployment: the deployment's id", "1:1: profile is missing; write profile: production, or profile: simulation", "1:1: datasets is missing; write datasets: and one entry with the path of each contract"}},
		{"another version", strings.Replace(datasets, "version: 1", "version: 2", 1), []string{"1:10: must be 1, without quotes"}},
		{"version in quotes", strings.Replace(datasets, "version: 1", `version: "1"`, 1), []string{"1:10: must be 1, without quotes"}},
		{"deployment in capitals", strings.Replace(datasets, "deployment: d", "deployment: D", 1), []string{`2:13: "D" isn't an id; write 1 to 63 of a-z, 0-9 and -`}},
		{"deployment is a number", strings.Replace(datasets, "deployment: d", "deployment: 7", 1), []string{`2:13: must be text; write it in quotes: "7"`}},
		{"another profile", strings.Replace(datasets, "simulation", "test", 1), []string{`3:10: "test" is unknown; write production or simulation`}},
		{"unknown key", datasets + "freshnes: none\n", []string{`5:1: unknown key "freshnes"; known are version, deployment, profile, datasets, producers, identity, kms, limits`}},
		{"a key twice", datasets + "kms: {}\nkms: {}\n", []string{`6:1: key "kms" stands twice; remove one`}},
		{"an anchor", datasets + "kms: &k {}\n", []string{`5:6: an anchor (&); remove it`}},

		{"no datasets", head + "datasets: []\n", []string{`4:11: a deployment has at least one dataset; write the path of its contract`}},
		{"datasets are paths", head + "datasets: [colon]\n", []string{`4:12: must be a mapping of contract or key_epoch`}},
		{"a dataset without contract", head + "datasets: [{key_epoch: 1}]\n", []string{`4:12: contract is missing; write contract: the path of a contract file`}},
		{"epoch 0", head + "datasets: [{contract: colon, key_epoch: 0}]\n", []string{`4:41: must be a whole number from 1 to 2147483648, without quotes`}},
		{"no such contract", head + "datasets: [{contract: lung}]\nproducers: [{name: a, key: \"" + k1 + "\", datasets: [lung]}]\n", []string{`4:23: contract "lung": no such file`}},
		{"a dataset twice", head + "datasets: [{contract: colon}, {contract: colon}]\n", []string{`4:42: a second contract of dataset colon; name each dataset once`}},
		{"threshold in production", "version: 1\ndeployment: d\nprofile: production\ndatasets: [{contract: colon}]\n", []string{`4:23: dataset colon has mode threshold, which is for simulation only; use mode dp`}},

		{"a producer that is a name", producer("a"), []string{`6:5: must be a mapping of name, key, datasets or retired`}},
		{"an empty producer", producer("{}"), []string{`6:5: name is missing; write name: the producer's id`, "6:5: key is missing; write key: ed25519:BASE64, as `cloister keygen` prints it", `6:5: datasets is missing; write datasets: and the names of those it may submit to`}},
		{"a producer's name", producer(`{name: A, key: "` + k1 + `", datasets: [colon]}`), []string{`6:12: "A" isn't an id; write 1 to 63 of a-z, 0-9 and -`}},
		{"a producer twice", producer(`{name: a, key: "` + k1 + `", datasets: [colon]}` + "\n  - {name: a, key: \"" + k2 + `", datasets: [colon]}`), []string{`7:12: producer stands twice; each has a name and a key of its own`}},
		{"a key of two", producer(`{name: a, key: "` + k1 + `", datasets: [colon]}` + "\n  - {name: b, key: \"" + k1 + `", datasets: [colon]}`), []string{`7:20: key of another producer; each has a name and a key of its own`}},
		{"a key without its kind", producer(`{name: a, key: "` + strings.TrimPrefix(k1, "ed25519:") + `", datasets: [colon]}`), []string{"6:20: isn't a public key; write ed25519: and the base64 of 32 bytes, as `cloister keygen` prints it"}},
		{"a short key", producer(`{name: a, key: "ed25519:AAAA", datasets: [colon]}`), []string{"6:20: isn't a public key; write ed25519: and the base64 of 32 bytes, as `cloister keygen` prints it"}},
		{"a dataset that isn't there", producer(`{name: a, key: "` + k1 + `", datasets: [colno]}`), []string{`6:87: unknown dataset "colno"; write colon`}},
		{"a dataset named twice", producer(`{name: a, key: "` + k1 + `", datasets: [colon, colon]}`), []string{`6:94: dataset "colon" stands twice; remove one`}},
		{"a producer of nothing", producer(`{name: a, key: "` + k1 + `", datasets: []}`), []string{`6:86: names no dataset; name at least one, or leave the producer out`}},
		{"retired in words", producer(`{name: a, key: "` + k1 + `", datasets: [colon], retired: since May}`), []string{`6:104: must be true or false, without quotes`}},

		{"identity is a list", datasets + "identity: []\n", []string{`5:11: must be a mapping of issuers`}},
		{"an empty issuer", issuer("{}"), []string{`7:7: issuer is missing; write issuer: the https URL that tokens name`, `7:7: audience is missing; write audience: what tokens must be made for`, `7:7: roles_claim is missing; write roles_claim: the claim that lists roles, such as groups`, `7:7: tls_roots is missing; write tls_roots: the path of a PEM file with the issuer's root certificates`}},
		{"an issuer without TLS", issuer(`{issuer: "http://id", ` + goodIssuer + `}`), []string{`7:7: issuer: not an https URL without user, query and fragment`}},
		{"an audience of two words", issuer(`{issuer: "https://id", audience: a b, roles_claim: groups, tls_roots: id}`), []string{`7:7: issuer: audience: 1 to 256 printable ASCII characters without spaces`}},
		{"an issuer twice", issuer(`{issuer: "https://id", ` + goodIssuer + "}\n    - {issuer: \"https://id\", " + goodIssuer + `}`), []string{`8:7: issuer "https://id" stands twice; remove one`}},
		{"MFA in words", issuer(`{issuer: "https://id", ` + goodIssuer + `, require_mfa: never}`), []string{`7:92: must be true or false, without quotes`}},
		{"a slip in an issuer", issuer(`{issuer: "https://id", ` + goodIssuer + `, requires_mfa: false}`), []string{`7:79: unknown key "requires_mfa"; write require_mfa`}},

		{"a region with a dot", datasets + "kms: {region: eu.central}\n", []string{`5:15: "eu.central" isn't an AWS region; write one such as eu-central-1`}},
		{"an alias", datasets + "kms: {state_key: alias/a}\n", []string{`5:18: not the ARN of a KMS key; write arn:aws:kms:REGION:ACCOUNT:key/ID`}},
		{"a key elsewhere", datasets + "kms: {region: eu-west-1, keys: {colon: " + keyA + "}}\n", []string{`5:40: the key is in another region than kms.region`}},
		{"the state's key again", datasets + "kms: {state_key: " + keyS + ", keys: {colon: " + keyS + "}}\n", []string{`5:77: is the state key; the state needs a key of its own`}},
		{"a key of another dataset", datasets + "kms: {keys: {lung: " + keyA + "}}\n", []string{`5:14: unknown dataset "lung"; known are colon, visits`}},
		{"an endpoint", datasets + "kms: {endpoint: \"https://kms\"}\n", []string{`5:7: unknown key "endpoint"; known are region, state_key, keys`}},

		{"a size without unit", datasets + "limits: {max_envelope: 1000}\n", []string{`5:24: isn't a size; write a whole number and a unit, such as 16MiB (B, KiB, MiB, GiB, TiB)`}},
		{"a decimal unit", datasets + "limits: {max_envelope: 16MB}\n", []string{`5:24: isn't a size; write a whole number and a unit, such as 16MiB (B, KiB, MiB, GiB, TiB)`}},
		{"a size with a space", datasets + "limits: {query_memory: 1 GiB}\n", []string{`5:24: isn't a size; write a whole number and a unit, such as 16MiB (B, KiB, MiB, GiB, TiB)`}},
		{"a size of half a unit", datasets + "limits: {query_memory: 1.5GiB}\n", []string{`5:24: isn't a size; write a whole number and a unit, such as 16MiB (B, KiB, MiB, GiB, TiB)`}},
		{"a size beyond int64", datasets + "limits: {query_memory: 9999999999TiB}\n", []string{`5:24: isn't a size; write a whole number and a unit, such as 16MiB (B, KiB, MiB, GiB, TiB)`}},
		{"a large envelope", datasets + "limits: {max_envelope: 17MiB}\n", []string{`5:24: limits: largest envelope: 1 to 16777216 bytes`}},
		{"little memory", datasets + "limits: {query_memory: 1KiB}\n", []string{`5:24: limits: query memory: 1048576 to 1099511627776 bytes`}},
		{"a time without unit", datasets + "limits: {query_timeout: 30}\n", []string{`5:25: isn't a time; write a number and a unit, such as 30s (ms, s, m)`}},
		{"no time", datasets + "limits: {query_timeout: 0}\n", []string{`5:25: isn't a time; write a number and a unit, such as 30s (ms, s, m)`}},
		{"a negative time", datasets + "limits: {query_timeout: -1s}\n", []string{`5:25: isn't a time; write a number and a unit, such as 30s (ms, s, m)`}},
		{"a fine time", datasets + "limits: {query_timeout: 1us}\n", []string{`5:25: isn't a time; write a number and a unit, such as 30s (ms, s, m)`}},
		{"a long time", datasets + "limits: {query_timeout: 11m}\n", []string{`5:25: limits: query timeout: 1 to 600000 milliseconds`}},
		{"many rows", datasets + "limits: {max_result_rows: 10000001}\n", []string{`5:27: must be a whole number from 1 to 10000000, without quotes`}},
		{"two limits at once", datasets + "limits: {max_envelope: 0B, query_timeout: 1h}\n", []string{`5:24: limits: largest envelope: 1 to 16777216 bytes`, `5:43: limits: query timeout: 1 to 600000 milliseconds`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []string
			for _, w := range c.want {
				want = append(want, "cloister.yaml:"+w)
			}
			config, err := deployment.Parse([]byte(c.text), "cloister.yaml", opener(files))
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if !slices.Equal(got, want) || (config == nil) != (err != nil) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

// TestErrorsOfAllFiles holds that problems of cloister.yaml and of contracts
// come together, each with its file.
func TestErrorsOfAllFiles(t *testing.T) {
	text := "version: 1\ndeployment: d\nprofile: x\ndatasets: [{contract: bad}, {contract: colon}]\n"
	_, err := deployment.Parse([]byte(text), "cloister.yaml", opener(map[string]string{"bad": "[]\n", "colon": colon(t)}))
	if err == nil || !strings.HasPrefix(err.Error(), `cloister.yaml:3:10: "x" is unknown; write production or simulation`+"\nbad:1:1: must be a mapping of") {
		t.Errorf("%v", err)
	}
}

// FuzzParse checks that every configuration either gives a bundle that holds,
// once facts fill it, or problems.
func FuzzParse(f *testing.F) {
	files := map[string]string{"contracts/colon.yaml": colon(f), "contracts/flchain.yaml": file(f, "..", "..", "test", "data", "contracts", "flchain.yaml"), "certs/id.pem": file(f, "testdata", "root.pem")}
	f.Add([]byte(block(f, "yaml")))
	f.Add([]byte(file(f, "..", "..", "test", "data", "cloister.yaml")))
	f.Add([]byte(file(f, "..", "..", "test", "data", "colon", "cloister.yaml")))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := deployment.Parse(b, "cloister.yaml", opener(files))
		if err != nil {
			if c != nil || !strings.Contains(err.Error(), ":") {
				t.Fatalf("%v, %v", c, err)
			}
			return
		}
		for _, d := range c.Datasets {
			d.Contract.Mode = contract.DP
		}
		built, err := c.Bundle(facts(c))
		if err != nil {
			// What is named in two places may not go together: keys in two
			// regions, one key for the state and a dataset.
			if !errors.Is(err, bundle.ErrBundle) {
				t.Fatalf("facts don't fill it: %v", err)
			}
			return
		}
		if _, err := built.Encode(); err != nil {
			t.Fatal(err)
		}
	})
}
