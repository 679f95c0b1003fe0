package kmssim_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

// open is a policy under which everybody may do everything.
func open() *keypolicy.Document { return only(owner, "kms:*", "*") }

func TestEncryptionContextIsExact(t *testing.T) {
	w := newWorld(t)
	arn := w.create(open())
	context := map[string]string{"dataset": "colon", "epoch": "1"}
	made, code := w.generate(host, arn, context, nil)
	if code != "" {
		t.Fatal(code)
	}
	got, code := w.decrypt(host, arn, context, made.CiphertextBlob, nil)
	if code != "" || !bytes.Equal(got.Plaintext, made.Plaintext) {
		t.Fatalf("the same context: %q", code)
	}
	for name, other := range map[string]map[string]string{
		"none":            nil,
		"one missing":     {"dataset": "colon"},
		"one more":        {"dataset": "colon", "epoch": "1", "x": "y"},
		"another value":   {"dataset": "colon", "epoch": "2"},
		"value's case":    {"dataset": "Colon", "epoch": "1"},
		"name's case":     {"Dataset": "colon", "epoch": "1"},
		"swapped":         {"epoch": "colon", "dataset": "1"},
		"moved boundary":  {"datasetc": "olon", "epoch": "1"},
		"joined in value": {"dataset": "colonepoch1"},
	} {
		if _, code := w.decrypt(host, arn, other, made.CiphertextBlob, nil); code != "InvalidCiphertextException" {
			t.Errorf("%s: %q", name, code)
		}
	}
	for name, refused := range map[string]map[string]string{
		"two names of one": {"a": "1", "A": "2"}, "empty name": {"": "1"}, "too large": {"a": strings.Repeat("x", 8192)},
	} {
		if _, code := w.generate(host, arn, refused, nil); code != "ValidationException" {
			t.Errorf("%s: %q", name, code)
		}
	}
	if _, code := w.generate(host, arn, map[string]string{"a": strings.Repeat("x", 8191)}, nil); code != "" {
		t.Errorf("the largest context: %q", code)
	}
}

func TestBlobsNameTheirKey(t *testing.T) {
	w := newWorld(t)
	arn, other := w.create(open()), w.create(open())
	made, _ := w.generate(host, arn, nil, nil)
	id := arn[strings.LastIndex(arn, "/")+1:]
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	flipped := bytes.Clone(made.CiphertextBlob)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		key  string
		blob []byte
		want string
	}{
		"by ARN":          {arn, made.CiphertextBlob, ""},
		"by id":           {id, made.CiphertextBlob, ""},
		"another key":     {other, made.CiphertextBlob, "IncorrectKeyException"},
		"unknown key":     {arn[:len(arn)-1] + "z", made.CiphertextBlob, "NotFoundException"},
		"alias":           {"alias/colon", made.CiphertextBlob, "NotFoundException"},
		"other region":    {strings.Replace(arn, region, "eu-west-1", 1), made.CiphertextBlob, "NotFoundException"},
		"other account":   {strings.Replace(arn, account, "444455556666", 1), made.CiphertextBlob, "NotFoundException"},
		"flipped bit":     {arn, flipped, "InvalidCiphertextException"},
		"cut":             {arn, cut(made.CiphertextBlob, 1), "InvalidCiphertextException"},
		"cut to the head": {arn, made.CiphertextBlob[:56], "InvalidCiphertextException"},
		"not a blob":      {arn, []byte("blob"), "InvalidCiphertextException"},
		"too long":        {arn, append(bytes.Clone(made.CiphertextBlob), make([]byte, 6144)...), "InvalidCiphertextException"},
		"key of the blob": {other, bytes.Replace(made.CiphertextBlob, []byte(id), []byte(other[len(other)-36:]), 1), "InvalidCiphertextException"},
	} {
		got, code := w.decrypt(host, c.key, nil, c.blob, nil)
		if code != c.want || code == "" && (aws.ToString(got.KeyId) != arn || !bytes.Equal(got.Plaintext, made.Plaintext)) {
			t.Errorf("%s: %q, want %q", name, code, c.want)
		}
	}
	out, err := w.as(host).Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: made.CiphertextBlob})
	if err != nil || aws.ToString(out.KeyId) != arn {
		t.Errorf("without KeyId: %v", err)
	}
}

func TestOperations(t *testing.T) {
	w := newWorld(t)
	arn := w.create(open())
	api, ctx := w.as(host), t.Context()
	for _, n := range []int{1, 4096} {
		plain := bytes.Repeat([]byte{3}, n)
		sealed, err := api.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: plain})
		if err != nil {
			t.Fatal(err)
		}
		opened, err := api.Decrypt(ctx, &kms.DecryptInput{KeyId: &arn, CiphertextBlob: sealed.CiphertextBlob})
		if err != nil || !bytes.Equal(opened.Plaintext, plain) || opened.EncryptionAlgorithm != types.EncryptionAlgorithmSpecSymmetricDefault {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for name, c := range map[string]struct {
		spec types.DataKeySpec
		n    *int32
		want int // 0 is refused
	}{
		"AES_256": {types.DataKeySpecAes256, nil, 32}, "AES_128": {types.DataKeySpecAes128, nil, 16}, "1024": {"", aws.Int32(1024), 1024},
		"both": {types.DataKeySpecAes256, aws.Int32(32), 0}, "neither": {"", nil, 0}, "0": {"", aws.Int32(0), 0}, "1025": {"", aws.Int32(1025), 0},
	} {
		out, err := api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &arn, KeySpec: c.spec, NumberOfBytes: c.n})
		if c.want == 0 && codeOf(t, err) != "ValidationException" || c.want > 0 && (err != nil || len(out.Plaintext) != c.want) {
			t.Errorf("data key %s: %v", name, err)
		}
	}
	for want, err := range map[string]error{
		"ValidationException":        failed(api.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: make([]byte, 4097)})),
		"InvalidKeyUsageException":   failed(api.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: []byte{1}, EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256})),
		"InvalidGrantTokenException": failed(api.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: []byte{1}, GrantTokens: []string{"x"}})),
		"DryRunOperationException":   failed(api.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: []byte{1}, DryRun: aws.Bool(true)})),
		"NotFoundException":          failed(api.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &arn, PolicyName: aws.String("other")})),
		"UnknownOperationException":  failed(api.TagResource(ctx, &kms.TagResourceInput{KeyId: &arn, Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})),
	} {
		if code := codeOf(t, err); code != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func failed[T any](_ T, err error) error { return err }

func TestCreateKey(t *testing.T) {
	w := newWorld(t)
	policy := aws.String(written(t, keypolicy.Owner(owner)))
	for name, c := range map[string]struct {
		in   kms.CreateKeyInput
		want string
	}{
		"plain":             {kms.CreateKeyInput{Policy: policy, KeySpec: types.KeySpecSymmetricDefault, Description: aws.String("colon")}, ""},
		"no policy":         {kms.CreateKeyInput{}, ""},
		"RSA":               {kms.CreateKeyInput{Policy: policy, KeySpec: types.KeySpecRsa2048}, "UnsupportedOperationException"},
		"for signatures":    {kms.CreateKeyInput{Policy: policy, KeyUsage: types.KeyUsageTypeSignVerify}, "UnsupportedOperationException"},
		"imported material": {kms.CreateKeyInput{Policy: policy, Origin: types.OriginTypeExternal}, "UnsupportedOperationException"},
		"multi-Region":      {kms.CreateKeyInput{Policy: policy, MultiRegion: aws.Bool(true)}, "UnsupportedOperationException"},
		"long description":  {kms.CreateKeyInput{Policy: policy, Description: aws.String(strings.Repeat("x", 8193))}, "ValidationException"},
		"not a policy":      {kms.CreateKeyInput{Policy: aws.String("{}")}, "MalformedPolicyDocumentException"},
		"locked out":        {kms.CreateKeyInput{Policy: aws.String(written(t, keypolicy.Owner(stranger)))}, "MalformedPolicyDocumentException"},
		"on purpose":        {kms.CreateKeyInput{Policy: aws.String(written(t, keypolicy.Owner(stranger))), BypassPolicyLockoutSafetyCheck: true}, ""},
	} {
		out, err := w.as(owner).CreateKey(t.Context(), &c.in)
		if code := codeOf(t, err); code != c.want {
			t.Errorf("%s: %q, want %q", name, code, c.want)
		}
		if err == nil && (!out.KeyMetadata.Enabled || aws.ToString(out.KeyMetadata.Arn) != "arn:aws:kms:"+region+":"+account+":key/"+aws.ToString(out.KeyMetadata.KeyId)) {
			t.Errorf("%s: %+v", name, out.KeyMetadata)
		}
	}
}

func TestPutKeyPolicy(t *testing.T) {
	w := newWorld(t)
	arn := w.create(open())
	put := func(as string, policy *keypolicy.Document, bypass bool) string {
		_, err := w.as(as).PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: &arn, Policy: aws.String(written(t, policy)), BypassPolicyLockoutSafetyCheck: bypass})
		return codeOf(t, err)
	}
	if code := put(owner, keypolicy.Owner(stranger), false); code != "MalformedPolicyDocumentException" {
		t.Errorf("a policy that locks its maker out: %q", code)
	}
	if code := put(owner, keypolicy.Owner(owner), false); code != "" {
		t.Errorf("a narrower policy: %q", code)
	}
	if _, code := w.generate(host, arn, nil, nil); code != denied {
		t.Errorf("the old policy still holds: %q", code)
	}
	if code := put(host, open(), false); code != denied {
		t.Errorf("the host widens the policy: %q", code)
	}
	out, err := w.as(owner).GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: &arn})
	if err != nil || aws.ToString(out.Policy) != written(t, keypolicy.Owner(owner)) {
		t.Errorf("not the policy that was put: %v", err)
	}
}

func TestStateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kms.json")
	w := newWorld(t, func(c *kmssim.Config) { c.StateFile = file })
	e := w.boot("", "bundle")
	arn := w.create(datasetPolicy(t, e.release))
	made, code := w.generate(producer, arn, recordContext(), nil)
	if code != "" {
		t.Fatal(code)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v: %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	w.start() // a new process on the same file
	got, code := w.decrypt(host, arn, recordContext(), made.CiphertextBlob, e.recipient())
	if code != "" || !bytes.Equal(openMessage(t, got.CiphertextForRecipient), made.Plaintext) {
		t.Errorf("after the restart: %q", code)
	}
	if _, code := w.decrypt(host, arn, recordContext(), made.CiphertextBlob, nil); code != denied {
		t.Errorf("the policy didn't survive: %q", code)
	}
	second := w.create(keypolicy.Owner(owner))
	w.start()
	for _, arn := range []string{arn, second} {
		if _, err := w.as(owner).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &arn}); err != nil {
			t.Errorf("%s is gone: %v", arn, err)
		}
	}
}

func TestStateFileRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kms.json")
	w := newWorld(t, func(c *kmssim.Config) { c.StateFile = file })
	w.create(open())
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		change  func(*kmssim.Config)
	}{
		"others may read":  {string(good), 0o644, nil},
		"group may read":   {string(good), 0o640, nil},
		"cut":              {string(good[:len(good)/2]), 0o600, nil},
		"another version":  {strings.Replace(string(good), `"version":1`, `"version":2`, 1), 0o600, nil},
		"another region":   {string(good), 0o600, func(c *kmssim.Config) { c.Region = "eu-west-1" }},
		"another account":  {string(good), 0o600, func(c *kmssim.Config) { c.Account = "444455556666" }},
		"another material": {strings.Replace(string(good), `"material":"`, `"material":"AAAA`, 1), 0o600, nil},
		"another policy":   {strings.Replace(string(good), "2012-10-17", "2007-10-17", 1), 0o600, nil},
	} {
		other := filepath.Join(dir, "other.json")
		if err := errors.Join(os.WriteFile(other, []byte(c.content), c.mode), os.Chmod(other, c.mode)); err != nil {
			t.Fatal(err)
		}
		config := w.config
		config.StateFile = other
		if c.change != nil {
			c.change(&config)
		}
		if _, err := kmssim.New(config); err == nil {
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
	}
}

func TestConfigRefused(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*kmssim.Config){
		"no region":           func(c *kmssim.Config) { c.Region = "" },
		"no account":          func(c *kmssim.Config) { c.Account = "1234" },
		"no root":             func(c *kmssim.Config) { c.Roots = verifier.Roots{} },
		"no secret":           func(c *kmssim.Config) { c.Principals = map[string]kmssim.Principal{"AKIA": {ARN: host}} },
		"no access key":       func(c *kmssim.Config) { c.Principals = map[string]kmssim.Principal{"": {ARN: host, Secret: "x"}} },
		"principal, no ARN":   func(c *kmssim.Config) { c.Principals = map[string]kmssim.Principal{"AKIA": {ARN: "host", Secret: "x"}} },
		"unreachable state":   func(c *kmssim.Config) { c.StateFile = filepath.Join(os.DevNull, "kms.json") },
		"state is no regular": func(c *kmssim.Config) { c.StateFile = t.TempDir() },
	} {
		config := w.config
		change(&config)
		if _, err := kmssim.New(config); err == nil {
			t.Errorf("%s: served", name)
		}
	}
}
