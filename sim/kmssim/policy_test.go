package kmssim_test

import (
	"context"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

const denied = "AccessDeniedException"

func credentials(id, secret string) func(context.Context) (aws.Credentials, error) {
	return func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	}
}

// only is a policy that lets the owner administer and others do some actions,
// under conditions.
func only(administrator, actions string, principal string, conditions ...keypolicy.Condition) *keypolicy.Document {
	d := keypolicy.Owner(administrator)
	d.Statements = append(d.Statements, keypolicy.Statement{
		Sid: "Test", Effect: keypolicy.Allow, Principals: []string{principal}, Actions: []string{actions}, Resources: []string{"*"}, Conditions: conditions,
	})
	return d
}

func datasetPolicy(t *testing.T, releases ...keypolicy.Release) *keypolicy.Document {
	t.Helper()
	d, err := keypolicy.Dataset(releases, host, []keypolicy.Producer{{Name: "clinic-a", Role: producer}}, owner, "study", "colon")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func statePolicy(t *testing.T, releases ...keypolicy.Release) *keypolicy.Document {
	t.Helper()
	d, err := keypolicy.State(releases, host, owner, "study")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func recordContext() map[string]string { return envelope.KMSContext("study", "colon", "clinic-a", 1) }

// generate and decrypt make one call as a caller and answer its error code.
func (w *world) generate(as, arn string, context map[string]string, r *types.RecipientInfo) (*kms.GenerateDataKeyOutput, string) {
	w.t.Helper()
	out, err := w.as(as).GenerateDataKey(w.t.Context(), &kms.GenerateDataKeyInput{
		KeyId: &arn, KeySpec: types.DataKeySpecAes256, EncryptionContext: context, Recipient: r,
	})
	return out, codeOf(w.t, err)
}

func (w *world) decrypt(as, arn string, context map[string]string, blob []byte, r *types.RecipientInfo) (*kms.DecryptOutput, string) {
	w.t.Helper()
	out, err := w.as(as).Decrypt(w.t.Context(), &kms.DecryptInput{KeyId: &arn, CiphertextBlob: blob, EncryptionContext: context, Recipient: r})
	return out, codeOf(w.t, err)
}

// TestDatasetKey walks through what the generated policy of a dataset's key
// allows and denies.
func TestDatasetKey(t *testing.T) {
	w := newWorld(t)
	good, debug := w.boot("", "bundle"), w.boot("", "bundle", func(c *nsmsim.Config) { c.Debug = true })
	otherImage, otherBundle := w.boot("other", "bundle"), w.boot("", "other bundle")
	arn := w.create(datasetPolicy(t, good.release))

	document, inDebug := good.recipient(), debug.recipient()

	made, code := w.generate(producer, arn, recordContext(), nil)
	if code != "" || len(made.Plaintext) != 32 || made.CiphertextForRecipient != nil {
		t.Fatalf("a producer's data key: %s", code)
	}
	other := func(name, value string) map[string]string {
		c := recordContext()
		c[name] = value
		return c
	}
	for name, c := range map[string]struct{ got, want string }{
		"the release":                 {second(w.decrypt(host, arn, recordContext(), made.CiphertextBlob, document)), ""},
		"its data key":                {second(w.generate(host, arn, recordContext(), document)), ""},
		"other PCR0":                  {second(w.decrypt(host, arn, recordContext(), made.CiphertextBlob, otherImage.recipient())), denied},
		"other PCR16":                 {second(w.decrypt(host, arn, recordContext(), made.CiphertextBlob, otherBundle.recipient())), denied},
		"debug":                       {second(w.decrypt(host, arn, recordContext(), made.CiphertextBlob, inDebug)), denied},
		"debug, data key":             {second(w.generate(host, arn, recordContext(), inDebug)), denied},
		"no document":                 {second(w.decrypt(host, arn, recordContext(), made.CiphertextBlob, nil)), denied},
		"no document, data key":       {second(w.generate(host, arn, recordContext(), nil)), denied},
		"producer decrypts":           {second(w.decrypt(producer, arn, recordContext(), made.CiphertextBlob, nil)), denied},
		"producer with a document":    {second(w.decrypt(producer, arn, recordContext(), made.CiphertextBlob, document)), denied},
		"owner decrypts":              {second(w.decrypt(owner, arn, recordContext(), made.CiphertextBlob, document)), denied},
		"stranger decrypts":           {second(w.decrypt(stranger, arn, recordContext(), made.CiphertextBlob, document)), denied},
		"other dataset":               {second(w.decrypt(host, arn, other("dataset", "lung"), made.CiphertextBlob, document)), denied},
		"producer, other dataset":     {second(w.generate(producer, arn, other("dataset", "lung"), nil)), denied},
		"producer, other producer":    {second(w.generate(producer, arn, other("producer", "clinic-b"), nil)), denied},
		"producer, enclave's purpose": {second(w.generate(producer, arn, other("purpose", "segment"), nil)), denied},
		"producer, no context":        {second(w.generate(producer, arn, nil, nil)), denied},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
}

func second[T any](_ T, code string) string { return code }

// TestRollout admits two releases and no mixture of them.
func TestRollout(t *testing.T) {
	w := newWorld(t)
	first, next := w.boot("", "bundle"), w.boot("next", "next bundle")
	arn := w.create(datasetPolicy(t, first.release, next.release))
	for name, c := range map[string]struct{ image, bundle, want string }{
		"old":                   {"", "bundle", ""},
		"new":                   {"next", "next bundle", ""},
		"new image, old bundle": {"next", "bundle", denied},
		"old image, new bundle": {"", "next bundle", denied},
	} {
		if _, code := w.generate(host, arn, recordContext(), w.boot(c.image, c.bundle).recipient()); code != c.want {
			t.Errorf("%s: %q, want %q", name, code, c.want)
		}
	}
}

// TestStateKey holds that nobody but a release can wrap anything under it.
func TestStateKey(t *testing.T) {
	w := newWorld(t)
	good, debug := w.boot("", "bundle"), w.boot("", "bundle", func(c *nsmsim.Config) { c.Debug = true })
	arn := w.create(statePolicy(t, good.release))
	context := map[string]string{"deployment": "study", "purpose": "state"}
	made, code := w.generate(host, arn, context, good.recipient())
	if code != "" || made.Plaintext != nil {
		t.Fatalf("the release's data key: %q", code)
	}
	if _, code := w.decrypt(host, arn, context, made.CiphertextBlob, good.recipient()); code != "" {
		t.Errorf("the release: %q", code)
	}
	for _, as := range []string{owner, host, producer, stranger} {
		if _, code := w.generate(as, arn, context, nil); code != denied {
			t.Errorf("%s made a data key outside an enclave: %q", as, code)
		}
		if _, code := w.generate(as, arn, context, debug.recipient()); code != denied {
			t.Errorf("%s made a data key in a debug enclave: %q", as, code)
		}
		_, err := w.as(as).Encrypt(t.Context(), &kms.EncryptInput{KeyId: &arn, Plaintext: make([]byte, 32), EncryptionContext: context})
		if codeOf(t, err) != denied {
			t.Errorf("%s encrypts under the state key: %v", as, err)
		}
		if _, code := w.decrypt(as, arn, context, made.CiphertextBlob, nil); code != denied {
			t.Errorf("%s decrypts outside an enclave: %q", as, code)
		}
	}
}

// TestConditions evaluates each operator with the key present and absent.
func TestConditions(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	pcr0, image := "kms:RecipientAttestation:PCR0", "kms:RecipientAttestation:ImageSha384"
	upper, document := "ABCDEF", e.recipient()
	context := map[string]string{"name": "abcdef", "Mixed": "x", "empty": ""}
	named := "kms:EncryptionContext:name"
	cond := func(operator, key string, values ...string) keypolicy.Condition {
		return keypolicy.Condition{Operator: operator, Key: key, Values: values}
	}
	for name, c := range map[string]struct {
		condition            keypolicy.Condition
		attested, unattested bool
	}{
		"equal":                    {cond("StringEquals", pcr0, e.release.PCR0), true, false},
		"equal, by another name":   {cond("StringEquals", image, e.release.PCR0), true, false},
		"equal, key in lower case": {cond("StringEquals", "kms:recipientattestation:pcr0", e.release.PCR0), true, false},
		"one of two":               {cond("StringEquals", pcr0, e.release.PCR1, e.release.PCR0), true, false},
		"none of two":              {cond("StringEquals", pcr0, e.release.PCR1, e.release.PCR2), false, false},
		"zero PCR":                 {cond("StringEquals", "kms:RecipientAttestation:PCR20", zeros), false, false},
		"empty value":              {cond("StringEquals", "kms:EncryptionContext:empty", ""), false, false},
		"empty pattern":            {cond("StringLike", "kms:EncryptionContext:empty", ""), false, false},
		"IfExists":                 {cond("StringEqualsIfExists", pcr0, e.release.PCR1), false, true},
		"not equal":                {cond("StringNotEquals", pcr0, e.release.PCR1), true, true},
		"not equal to itself":      {cond("StringNotEquals", pcr0, e.release.PCR1, e.release.PCR0), false, true},
		"Null true":                {cond("Null", image, "true"), false, true},
		"Null false":               {cond("Null", image, "false"), true, false},
		"like":                     {cond("StringLike", pcr0, e.release.PCR0[:5]+"*"), true, false},
		"like, ?":                  {cond("StringLike", pcr0, "?"+e.release.PCR0[1:]), true, false},
		"like, short":              {cond("StringLike", pcr0, e.release.PCR0[:95]), false, false},
		"not like":                 {cond("StringNotLike", pcr0, "*"), false, true},
		"context, case":            {cond("StringEquals", named, upper), false, false},
		"context, ignoring case":   {cond("StringEqualsIgnoreCase", named, upper), true, true},
		"context, not ignoring":    {cond("StringNotEqualsIgnoreCase", named, upper), false, false},
		"context, name's case":     {cond("StringEquals", "kms:EncryptionContext:mixed", "x"), true, true},
		"caller's account":         {cond("StringEquals", "kms:CallerAccount", account), true, true},
		"another account":          {cond("StringEquals", "kms:CallerAccount", "444455556666"), false, false},
		"caller":                   {cond("StringEquals", "aws:PrincipalArn", host), true, true},
		"unknown key":              {cond("StringEquals", "aws:SourceVpc", "vpc-1"), false, false},
	} {
		arn := w.create(only(owner, "kms:GenerateDataKey", host, c.condition))
		for attested, want := range map[bool]bool{true: c.attested, false: c.unattested} {
			var r *types.RecipientInfo
			if attested {
				r = document
			}
			if _, code := w.generate(host, arn, context, r); (code == "") != want {
				t.Errorf("%s, attested %v: %q", name, attested, code)
			}
		}
	}
}

const zeros = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"

// TestStatements evaluates principals, actions, resources and precedence.
func TestStatements(t *testing.T) {
	w := newWorld(t)
	plain := func(d *keypolicy.Document) *keypolicy.Document { return d }
	for name, c := range map[string]struct {
		principal, action string
		change            func(*keypolicy.Document) *keypolicy.Document
		as                string
		want              bool
	}{
		"the role":                  {host, "kms:GenerateDataKey", plain, host, true},
		"its session":               {host, "kms:GenerateDataKey", plain, session, true},
		"the session by name":       {session, "kms:GenerateDataKey", plain, session, true},
		"the role, not its session": {session, "kms:GenerateDataKey", plain, host, false},
		"another role":              {producer, "kms:GenerateDataKey", plain, host, false},
		"the account":               {account, "kms:GenerateDataKey", plain, host, true},
		"the account's root":        {"arn:aws:iam::" + account + ":root", "kms:GenerateDataKey", plain, session, true},
		"another account's caller":  {account, "kms:GenerateDataKey", plain, stranger, false},
		"everybody":                 {"*", "kms:GenerateDataKey", plain, stranger, true},
		"another action":            {host, "kms:Decrypt", plain, host, false},
		"a prefix":                  {host, "kms:GenerateDataKe", plain, host, false},
		"a wildcard":                {host, "kms:Generate*", plain, host, true},
		"a wildcard for one":        {host, "kms:GenerateDataKe?", plain, host, true},
		"all actions":               {host, "kms:*", plain, host, true},
		"everything":                {host, "*", plain, host, true},
		"other case":                {host, "kms:GENERATEDATAKEY", plain, host, true},
		"deny beats allow":          {host, "kms:*", with(keypolicy.Statement{Effect: keypolicy.Deny, Principals: []string{"*"}, Actions: []string{"kms:Generate*"}, Resources: []string{"*"}}), host, false},
		"deny for another":          {host, "kms:*", with(keypolicy.Statement{Effect: keypolicy.Deny, Principals: []string{producer}, Actions: []string{"kms:*"}, Resources: []string{"*"}}), host, true},
		"another resource":          {host, "kms:*", on("arn:aws:kms:eu-central-1:111122223333:key/other"), host, false},
		"any key of the account":    {host, "kms:*", on("arn:aws:kms:eu-central-1:111122223333:key/*"), host, true},
	} {
		arn := w.create(c.change(only(owner, c.action, c.principal)))
		if _, code := w.generate(c.as, arn, nil, nil); (code == "") != c.want || code != "" && code != denied {
			t.Errorf("%s: %q", name, code)
		}
	}
}

func with(s keypolicy.Statement) func(*keypolicy.Document) *keypolicy.Document {
	return func(d *keypolicy.Document) *keypolicy.Document {
		d.Statements = slices.Insert(d.Statements, 0, s)
		return d
	}
}

func on(resource string) func(*keypolicy.Document) *keypolicy.Document {
	return func(d *keypolicy.Document) *keypolicy.Document {
		d.Statements[len(d.Statements)-1].Resources = []string{resource}
		return d
	}
}

func TestPrincipalArnIsTheRole(t *testing.T) {
	w := newWorld(t)
	arn := w.create(only(owner, "kms:GenerateDataKey", "*", keypolicy.Condition{Operator: "StringEquals", Key: "aws:PrincipalArn", Values: []string{host}}))
	for as, want := range map[string]string{session: "", host: "", producer: denied} {
		if _, code := w.generate(as, arn, nil, nil); code != want {
			t.Errorf("%s: %q, want %q", as, code, want)
		}
	}
}
