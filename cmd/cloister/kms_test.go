package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/test/rig"
)

const (
	ownerRole    = "arn:aws:iam::111122223333:role/owner"
	enclaveRole  = "arn:aws:iam::111122223333:role/enclave"
	producerRole = "arn:aws:iam::111122223333:role/clinic"
)

// keeper is a data owner with two keys in a simulated KMS and a measured bundle.
type keeper struct {
	*rig.Rig
	t              *testing.T
	dir            string
	owner          *kms.Client
	dataset, state string
	url            string
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{t: t, dir: t.TempDir()}
	root := rig.New(t, rig.Config{}).Root
	roots, err := verifier.NewRoots(root.PEM())
	if err != nil {
		t.Fatal(err)
	}
	server, err := kmssim.New(kmssim.Config{Region: "eu-central-1", Account: "111122223333", Roots: roots, Principals: map[string]kmssim.Principal{
		"OWNER": {Secret: "s", ARN: ownerRole}, "PARENT": {Secret: "s", ARN: enclaveRole}, "CLINIC": {Secret: "s", ARN: producerRole},
	}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewTLSServer(server.Handler())
	t.Cleanup(web.Close)
	k.url = web.URL
	k.owner = kms.New(kms.Options{Region: "eu-central-1", BaseEndpoint: aws.String(web.URL), HTTPClient: web.Client(), Credentials: credentials.NewStaticCredentialsProvider("OWNER", "s", "")})
	for _, arn := range []*string{&k.dataset, &k.state} {
		p, err := keypolicy.Owner(ownerRole).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		out, err := k.owner.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: aws.String(string(p))})
		if err != nil {
			t.Fatal(err)
		}
		*arn = aws.ToString(out.KeyMetadata.Arn)
	}
	k.Rig = rig.New(t, rig.Config{Root: root, Bundle: func(b *bundle.Bundle) {
		b.Datasets[0].KeyARN, b.KMS.StateKeyARN = k.dataset, k.state
		b.Producers = []bundle.Producer{{Name: "clinic", Key: make([]byte, 32), Datasets: []string{rig.Dataset}}}
	}})
	k.write("bundle.cbor", k.Raw)
	k.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	for _, id := range []string{"PARENT", "CLINIC", "NOBODY"} {
		k.write(strings.ToLower(id)+".json", fmt.Appendf(nil, `{"access_key_id":%q,"secret_access_key":"s"}`, id))
	}
	return k
}

func (k *keeper) file(name string) string { return filepath.Join(k.dir, name) }

func (k *keeper) write(name string, content []byte) string {
	k.t.Helper()
	if err := os.WriteFile(k.file(name), content, 0o600); err != nil {
		k.t.Fatal(err)
	}
	return k.file(name)
}

// policies asks for policies; more are further flags.
func (k *keeper) policies(more ...string) (int, string, string) {
	return cloister(k.t, append([]string{"kms", "policy", "--bundle", k.file("bundle.cbor"), "--owner", ownerRole, "--enclave-role", enclaveRole}, more...)...)
}

// pcrs are the flags that name the rig's image.
func (k *keeper) pcrs() []string {
	return []string{"--pcr", "0=" + k.Image.PCR0.String(), "--pcr", "1=" + k.Image.PCR1.String(), "--pcr", "2=" + k.Image.PCR2.String()}
}

// put puts every key policy of an output in place.
func (k *keeper) put(output string) {
	k.t.Helper()
	var o struct {
		Policies []struct {
			For, Kind string
			Policy    json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(output), &o); err != nil || len(o.Policies) != 4 {
		k.t.Fatalf("%v: %s", err, output)
	}
	for _, p := range o.Policies {
		if p.Kind != "key-policy" {
			continue
		}
		if _, err := k.owner.PutKeyPolicy(k.t.Context(), &kms.PutKeyPolicyInput{KeyId: &p.For, Policy: aws.String(string(p.Policy))}); err != nil {
			k.t.Fatal(err)
		}
	}
}

func (k *keeper) canary(more ...string) (int, string, string) {
	return cloister(k.t, append([]string{"kms", "canary", "--bundle", k.file("bundle.cbor"), "--endpoint", k.url, "--ca", k.file("ca.pem")}, more...)...)
}

// TestKMSCanary writes policies, puts them in place and tries them; then it
// opens each of several doors and demands an alarm.
func TestKMSCanary(t *testing.T) {
	k := newKeeper(t)
	code, out, errs := k.policies(append(k.pcrs(), "--producer", "clinic="+producerRole)...)
	if code != 0 || !strings.Contains(errs, ownerRole+" alone may change these policies") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	k.put(out)
	both := []string{"--credentials", "parent=" + k.file("parent.json"), "--credentials", "clinic=" + k.file("clinic.json")}
	if code, out, errs := k.canary(both...); code != 0 || !strings.Contains(out, " 0 open, 0 unknown") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	good, err := k.owner.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: &k.state})
	if err != nil {
		t.Fatal(err)
	}
	const statement = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":["kms:PutKeyPolicy","kms:GetKeyPolicy"],"Resource":"*"},` +
		`{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"%s","Resource":"*"}]}`
	for _, door := range []struct{ who, action, alarm string }{
		{enclaveRole, "kms:Decrypt", "Decrypt"}, {producerRole, "kms:GenerateDataKey", "GenerateDataKey"}, {enclaveRole, "kms:ReEncrypt*", "ReEncrypt"},
		{enclaveRole, "kms:CreateGrant", "CreateGrant"}, {producerRole, "kms:GenerateDataKeyPair", "GenerateDataKeyPair"}, {producerRole, "kms:Encrypt", "Encrypt"},
	} {
		weak := fmt.Sprintf(statement, ownerRole, door.who, door.action)
		if _, err := k.owner.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: &k.state, Policy: &weak}); err != nil {
			t.Fatal(err)
		}
		code, out, errs := k.canary(both...)
		if code != exitRefused || !strings.Contains(out, door.alarm+"  ") || !strings.Contains(out, k.state) || strings.Contains(out, k.dataset) {
			t.Errorf("%s for %s: exit %d: %s%s", door.action, door.who, code, out, errs)
		}
	}
	if _, err := k.owner.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: &k.state, Policy: good.Policy}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"credentials that KMS doesn't know": {[]string{"--credentials", "parent=" + k.file("nobody.json")}, exitUnreachable},
		"nobody answers":                    {[]string{"--credentials", "parent=" + k.file("parent.json"), "--endpoint", "https://127.0.0.1:1"}, exitUnreachable},
		"no credentials":                    {nil, exitUsage},
		"no name":                           {[]string{"--credentials", k.file("parent.json")}, exitUsage},
		"no file":                           {[]string{"--credentials", "parent=" + k.file("none")}, exitUsage},
		"not credentials":                   {[]string{"--credentials", "parent=" + k.file("ca.pem")}, exitUsage},
	} {
		if name == "nobody answers" && testing.Short() {
			continue
		}
		if code, out, errs := k.canary(c.args...); code != c.want {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errs)
		}
	}
}

func TestKMSLint(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := write("bad\x1b.json", `{"Version":"2012-10-17","Statement":[{"Sid":"Root\u001b[2J","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}]}`)
	note := write("note.json", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kms:PutKeyPolicy","Resource":"*"}]}`)
	code, out, _ := cloister(t, "kms", "lint", bad)
	if code != exitRefused || !strings.Contains(out, "full-access") || !strings.Contains(out, "fix: ") || !strings.HasSuffix(out, "1 problem\n") || strings.ContainsRune(out, '\x1b') {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, out, _ := cloister(t, "kms", "lint", note); code != 0 || !strings.HasSuffix(out, "no problem, notes: 1\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	code, out, _ = cloister(t, "kms", "lint", bad, note, "-o", "json")
	var report struct {
		Schema   string
		Clean    bool
		Problems int
		Findings []struct{ Rule, Statement, Fix string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitRefused || report.Clean || report.Problems != 1 || len(report.Findings) != 2 || report.Schema != "cloister.kms-lint/v1" {
		t.Errorf("exit %d: %v %s", code, err, out)
	}
	for name, args := range map[string][]string{
		"no file": nil, "missing": {filepath.Join(dir, "none")}, "not JSON": {write("x", "x")}, "role": {note, "--role", "other"}, "form": {note, "-o", "yaml"},
	} {
		if code, out, errs := cloister(t, append([]string{"kms", "lint"}, args...)...); code != exitUsage || out != "" {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errs)
		}
	}
}
