package kmssim_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/sim/kmssim"
)

// TestAliasConditions pins what policies see of aliases.
func TestAliasConditions(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		condition      string
		byKey, byAlias string
	}{
		"named in the request": {`{"StringEquals":{"kms:RequestAlias":"alias/colon"}}`, denied, ""},
		"belongs to the key":   {`{"ForAnyValue:StringEquals":{"kms:ResourceAliases":"alias/colon"}}`, "", ""},
		"another alias":        {`{"ForAnyValue:StringLike":{"kms:ResourceAliases":"alias/v*"}}`, denied, denied},
	} {
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + owner + `"},"Action":["kms:PutKeyPolicy","kms:*Alias"],"Resource":"*"},` +
			`{"Effect":"Allow","Principal":{"AWS":"` + host + `"},"Action":"kms:GenerateDataKey","Resource":"*","Condition":` + c.condition + `}]}`
		out, err := w.as(owner).CreateKey(t.Context(), &kms.CreateKeyInput{Policy: &policy})
		if err != nil {
			t.Fatal(err)
		}
		arn := aws.ToString(out.KeyMetadata.Arn)
		alias := aws.String("alias/colon")
		want(t, name, failed(w.as(owner).CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: alias, TargetKeyId: &arn})), "")
		if _, code := w.generate(host, arn, nil, nil); code != c.byKey {
			t.Errorf("%s, by key: %q", name, code)
		}
		if _, code := w.generate(host, *alias, nil, nil); code != c.byAlias {
			t.Errorf("%s, by alias: %q", name, code)
		}
		want(t, name, failed(w.as(owner).DeleteAlias(t.Context(), &kms.DeleteAliasInput{AliasName: alias})), "")
	}
}

// TestEveryKindIsKept restarts on a state file with every kind of key.
func TestEveryKindIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kms.json")
	w := newWorld(t, func(c *kmssim.Config) { c.StateFile = file })
	ctx := t.Context()
	agreement, off, going := w.bare(types.KeySpecEccNistP384, types.KeyUsageTypeKeyAgreement), w.bare("", ""), w.bare("", "")
	before, err := w.as(owner).GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &agreement})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "disable", failed(w.as(owner).DisableKey(ctx, &kms.DisableKeyInput{KeyId: &off})), "")
	want(t, "schedule", failed(w.as(owner).ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &going})), "")
	w.start()
	after, err := w.as(owner).GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &agreement})
	if err != nil || !bytes.Equal(before.PublicKey, after.PublicKey) {
		t.Errorf("the key for agreement: %v", err)
	}
	for arn, state := range map[string]types.KeyState{off: types.KeyStateDisabled, going: types.KeyStatePendingDeletion} {
		out, err := w.as(owner).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
		if err != nil || out.KeyMetadata.KeyState != state {
			t.Errorf("%s: %v", state, err)
		}
	}
	// An alias to nowhere, and ECC material that isn't: the file is refused.
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"alias to nowhere": strings.TrimSuffix(string(good), "}") + `,"aliases":{"alias/a":"none"}}`,
		"not ECC":          strings.Replace(string(good), `"material":"MI`, `"material":"AA`, 1),
	} {
		if bad == string(good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		other := filepath.Join(filepath.Dir(file), "other.json")
		if err := os.WriteFile(other, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		config := w.config
		config.StateFile = other
		if _, err := kmssim.New(config); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestEventsOfAdministration pins which calls CloudTrail calls read-only, and
// that an event names both who and what.
func TestEventsOfAdministration(t *testing.T) {
	w := newWorld(t)
	arn := w.bare("", "")
	api, ctx := w.as(owner), t.Context()
	for _, c := range []struct {
		name     string
		call     func() error
		readOnly bool
	}{
		{"RotateKeyOnDemand", func() error { return failed(api.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &arn})) }, false},
		{"GetKeyRotationStatus", func() error {
			return failed(api.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &arn}))
		}, true},
		{"DisableKey", func() error { return failed(api.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn})) }, false},
		{"EnableKey", func() error { return failed(api.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &arn})) }, false},
	} {
		want(t, c.name, c.call(), "")
		e := w.lastEvent()
		if e.EventName != c.name || e.ReadOnly != c.readOnly || e.UserIdentity == nil || e.UserIdentity.ARN != owner || len(e.Resources) != 1 || e.Resources[0].ARN != arn {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}
