package kmssim_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

// bare makes a key with the default policy, as most programs do.
func (w *world) bare(spec types.KeySpec, usage types.KeyUsageType) string {
	w.t.Helper()
	out, err := w.as(owner).CreateKey(w.t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

func want(t *testing.T, what string, err error, code string) {
	t.Helper()
	if got := codeOf(t, err); got != code {
		t.Errorf("%s: %q, want %q", what, got, code)
	}
}

func TestDefaultPolicyIsTheAccounts(t *testing.T) {
	w := newWorld(t)
	arn := w.bare("", "")
	for who, code := range map[string]string{owner: "", host: "", session: "", stranger: denied} {
		_, got := w.generate(who, arn, nil, nil)
		if got != code {
			t.Errorf("%s: %q", who, got)
		}
	}
}

// TestRotation pins that old material still decrypts, also after a restart.
func TestRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kms.json")
	w := newWorld(t, func(c *kmssim.Config) { c.StateFile = file })
	arn := w.bare("", "")
	api, ctx := w.as(owner), t.Context()
	var blobs, plains [][]byte
	ids := map[string]bool{}
	for range 3 {
		made, err := api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &arn, KeySpec: types.DataKeySpecAes256})
		if err != nil {
			t.Fatal(err)
		}
		blobs, plains = append(blobs, made.CiphertextBlob), append(plains, made.Plaintext)
		ids[aws.ToString(made.KeyMaterialId)] = true
		if _, err := api.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &arn}); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids) != 3 {
		t.Errorf("%d materials made three keys", len(ids))
	}
	w.start()
	for i, blob := range blobs {
		out, err := w.as(owner).Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: blob})
		if err != nil || !bytes.Equal(out.Plaintext, plains[i]) || !ids[aws.ToString(out.KeyMaterialId)] {
			t.Errorf("blob %d after rotation: %v", i, err)
		}
	}
	api = w.as(owner)
	want(t, "enable", failed(api.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &arn})), "")
	status, err := api.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &arn})
	if err != nil || !status.KeyRotationEnabled {
		t.Errorf("the status of rotation: %v", err)
	}
}

func TestLifecycle(t *testing.T) {
	w := newWorld(t)
	arn := w.bare("", "")
	api, ctx := w.as(owner), t.Context()
	use := func() error {
		_, err := api.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: []byte("x")})
		return err
	}
	state := func() types.KeyState {
		out, err := api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
		if err != nil {
			t.Fatal(err)
		}
		return out.KeyMetadata.KeyState
	}
	want(t, "disable", failed(api.DisableKey(ctx, &kms.DisableKeyInput{KeyId: &arn})), "")
	want(t, "use of a disabled key", use(), "DisabledException")
	if got := state(); got != types.KeyStateDisabled {
		t.Errorf("disabled: %s", got)
	}
	want(t, "enable", failed(api.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &arn})), "")
	want(t, "use", use(), "")
	want(t, "a short window", failed(api.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn, PendingWindowInDays: aws.Int32(6)})), "ValidationException")
	want(t, "schedule", failed(api.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn, PendingWindowInDays: aws.Int32(7)})), "")
	want(t, "use before deletion", use(), "KMSInvalidStateException")
	want(t, "enable before deletion", failed(api.EnableKey(ctx, &kms.EnableKeyInput{KeyId: &arn})), "KMSInvalidStateException")
	want(t, "cancel", failed(api.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &arn})), "")
	if got := state(); got != types.KeyStateDisabled {
		t.Errorf("after the cancel: %s", got)
	}
	want(t, "cancel again", failed(api.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: &arn})), "KMSInvalidStateException")
	want(t, "schedule", failed(api.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: &arn})), "")
	w.advance(31 * 24 * time.Hour)
	want(t, "after deletion", failed(api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})), "NotFoundException")
}

func TestAliases(t *testing.T) {
	w := newWorld(t)
	first, second := w.bare("", ""), w.bare("", "")
	narrow := w.create(only(owner, "kms:CreateAlias", "*"))
	api, ctx := w.as(owner), t.Context()
	name := aws.String("alias/colon")
	create := func(alias, target string) error {
		return failed(api.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &target}))
	}
	want(t, "create", create("alias/colon", first), "")
	want(t, "create again", create("alias/colon", second), "AlreadyExistsException")
	want(t, "AWS's own", create("alias/aws/s3", first), "InvalidAliasNameException")
	want(t, "no prefix", create("colon", first), "InvalidAliasNameException")
	want(t, "alias of an alias", create("alias/x", "alias/colon"), "ValidationException")
	made, err := api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: name, KeySpec: types.DataKeySpecAes256})
	if err != nil || aws.ToString(made.KeyId) != first {
		t.Fatalf("by alias: %v", err)
	}
	byARN := strings.Replace(first, first[strings.LastIndex(first, "key/"):], "alias/colon", 1)
	out, err := api.Decrypt(ctx, &kms.DecryptInput{KeyId: &byARN, CiphertextBlob: made.CiphertextBlob})
	if err != nil || !bytes.Equal(out.Plaintext, made.Plaintext) {
		t.Errorf("by the alias's ARN: %v", err)
	}
	want(t, "a policy is put by key", failed(api.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: name, Policy: aws.String(written(t, open()))})), "NotFoundException")
	want(t, "move", failed(api.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: name, TargetKeyId: &second})), "")
	want(t, "the blob stays with its key", failed(api.Decrypt(ctx, &kms.DecryptInput{KeyId: name, CiphertextBlob: made.CiphertextBlob})), "IncorrectKeyException")
	want(t, "move to a key whose policy says no", failed(api.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: name, TargetKeyId: &narrow})), denied)
	listed, err := api.ListAliases(ctx, &kms.ListAliasesInput{KeyId: &second})
	if err != nil || len(listed.Aliases) != 1 || aws.ToString(listed.Aliases[0].AliasName) != "alias/colon" {
		t.Errorf("list: %v", err)
	}
	want(t, "delete", failed(api.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: name})), "")
	want(t, "delete again", failed(api.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: name})), "NotFoundException")
	want(t, "by a deleted alias", failed(api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: name})), "NotFoundException")
}

func TestListKeys(t *testing.T) {
	w := newWorld(t)
	made := []string{w.bare("", ""), w.bare("", ""), w.bare("", "")}
	var seen []string
	for pages := kms.NewListKeysPaginator(w.as(host), &kms.ListKeysInput{Limit: aws.Int32(2)}); pages.HasMorePages(); {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			seen = append(seen, aws.ToString(k.KeyArn))
		}
	}
	slices.Sort(made)
	if !slices.Equal(seen, made) {
		t.Errorf("%v, want %v", seen, made)
	}
	want(t, "another account", failed(w.as(stranger).ListKeys(t.Context(), &kms.ListKeysInput{})), denied)
}

func TestReEncrypt(t *testing.T) {
	w := newWorld(t)
	from, to, closed := w.bare("", ""), w.bare("", ""), w.create(keypolicy.Owner(owner))
	api, ctx := w.as(host), t.Context()
	before, after := map[string]string{"a": "1"}, map[string]string{"a": "2"}
	sealed, err := api.Encrypt(ctx, &kms.EncryptInput{KeyId: &from, Plaintext: []byte("x"), EncryptionContext: before})
	if err != nil {
		t.Fatal(err)
	}
	moved, err := api.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: before, DestinationKeyId: &to, DestinationEncryptionContext: after})
	if err != nil || aws.ToString(moved.SourceKeyId) != from || aws.ToString(moved.KeyId) != to {
		t.Fatalf("%v", err)
	}
	opened, err := api.Decrypt(ctx, &kms.DecryptInput{KeyId: &to, CiphertextBlob: moved.CiphertextBlob, EncryptionContext: after})
	if err != nil || string(opened.Plaintext) != "x" {
		t.Errorf("what was moved: %v", err)
	}
	for name, c := range map[string]struct {
		in   kms.ReEncryptInput
		want string
	}{
		"wrong context":    {kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: after, DestinationKeyId: &to}, "InvalidCiphertextException"},
		"to a closed key":  {kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: before, DestinationKeyId: &closed}, denied},
		"from another key": {kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceKeyId: &to, SourceEncryptionContext: before, DestinationKeyId: &to}, "IncorrectKeyException"},
		"no such key":      {kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, DestinationKeyId: aws.String("alias/none")}, "NotFoundException"},
		"dry run":          {kms.ReEncryptInput{CiphertextBlob: sealed.CiphertextBlob, SourceEncryptionContext: before, DestinationKeyId: &to, DryRun: aws.Bool(true)}, "DryRunOperationException"},
	} {
		want(t, name, failed(api.ReEncrypt(ctx, &c.in)), c.want)
	}
}
