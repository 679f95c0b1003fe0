// Package canary tries from outside an enclave whether KMS keys stay closed:
// each operation that leads to plaintext, without an attestation document, as
// the roles that hold credentials. Every call is a dry run, so that nothing is
// made or decrypted. It trusts KMS's answers and nothing else.
//
// KMS has no dry run of PutKeyPolicy and GenerateRandom: package lint judges
// the first, and the second needs no key.
package canary

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/envelope"
)

// Verdict is what came of one try.
type Verdict string

const (
	// Closed says that the call was denied, or can't work on this key.
	Closed Verdict = "closed"
	// Open says that the call would have succeeded. It is an alarm.
	Open Verdict = "OPEN"
	// Unknown says that nobody can say, since KMS couldn't be asked or answered something
	// else.
	Unknown Verdict = "unknown"
)

// callTimeout bounds one call.
const callTimeout = 20 * time.Second

// Caller is a role whose credentials are at hand.
type Caller struct {
	// Name says who it is, for people.
	Name string
	// Producer is its name in the bundle; empty for everybody else, such as the
	// parent. A producer may make its own record keys.
	Producer string
	// API calls KMS as this role.
	API *kms.Client
}

// Result is one try.
type Result struct {
	Caller    string `json:"caller"`
	Key       string `json:"key"`
	Operation string `json:"operation"`
	// Purpose says which encryption context was used.
	Purpose string  `json:"purpose"`
	Verdict Verdict `json:"verdict"`
	// Code is KMS's error code; empty when the call really succeeded.
	Code string `json:"code"`
}

// try is one call to make.
type try struct {
	operation, key, purpose string
	call                    func(context.Context, *kms.Client) error
}

// Run makes every try as every caller on the keys of a bundle. It answers all
// results; an error is about the canary itself.
func Run(ctx context.Context, b *bundle.Bundle, callers []Caller) ([]Result, error) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.PublicKey())
	if err != nil {
		return nil, fmt.Errorf("canary: %w", err)
	}
	var all []Result
	for _, c := range callers {
		for _, t := range tries(b, c, public) {
			verdict, code := ask(ctx, c.API, t)
			all = append(all, Result{c.Name, t.key, t.operation, t.purpose, verdict, code})
		}
	}
	return all, ctx.Err()
}

func ask(ctx context.Context, api *kms.Client, t try) (Verdict, string) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return judge(t.call(ctx, api))
}

// judge reads an answer. Unlisted errors prove nothing.
func judge(err error) (Verdict, string) {
	if err == nil {
		return Open, ""
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return Unknown, "no answer"
	}
	switch code := api.ErrorCode(); code {
	case "DryRunOperationException", "InvalidCiphertextException", "IncorrectKeyException":
		// A ciphertext is looked at after the policy.
		return Open, code
	case "AccessDeniedException", "InvalidKeyUsageException", "UnsupportedOperationException":
		return Closed, code
	default:
		return Unknown, code
	}
}

// tries lists the calls for one caller: on every dataset's key and the state
// key, with the contexts that the enclave and the producers use.
func tries(b *bundle.Bundle, c Caller, public []byte) []try {
	state := map[string]string{"deployment": b.Deployment, "purpose": "state"}
	all := onKey(b.KMS.StateKeyARN, "state", state, public, true)
	for _, d := range b.Datasets {
		name := d.Contract.Dataset
		other := envelope.KMSContext(b.Deployment, name, "nobody", d.KeyEpoch)
		other["purpose"] = "state"
		all = append(all, onKey(d.KeyARN, "another purpose", other, public, true)...)
		all = append(all, onKey(d.KeyARN, "none", nil, public, true)...)
		for _, p := range b.Producers {
			if p.May(name) {
				records := envelope.KMSContext(b.Deployment, name, p.Name, d.KeyEpoch)
				all = append(all, onKey(d.KeyARN, "records of "+p.Name, records, public, p.Name != c.Producer)...)
			}
		}
	}
	return all
}

// onKey lists the calls on one key with one context; without generate,
// GenerateDataKey is what the caller is meant to do.
func onKey(arn, purpose string, encryption map[string]string, public []byte, generate bool) []try {
	dry, key, encryption := aws.Bool(true), aws.String(arn), maps.Clone(encryption)
	blind := []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}
	all := []try{
		{"Decrypt", arn, purpose, func(ctx context.Context, api *kms.Client) error {
			_, err := api.Decrypt(ctx, &kms.DecryptInput{KeyId: key, EncryptionContext: encryption, DryRun: dry, DryRunModifiers: blind})
			return err
		}},
		{"ReEncrypt", arn, purpose, func(ctx context.Context, api *kms.Client) error {
			_, err := api.ReEncrypt(ctx, &kms.ReEncryptInput{SourceKeyId: key, DestinationKeyId: key, SourceEncryptionContext: encryption, DestinationEncryptionContext: encryption, DryRun: dry, DryRunModifiers: blind})
			return err
		}},
		{"GenerateDataKeyPair", arn, purpose, func(ctx context.Context, api *kms.Client) error {
			_, err := api.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: key, KeyPairSpec: types.DataKeyPairSpecEccNistP256, EncryptionContext: encryption, DryRun: dry})
			return err
		}},
		{"DeriveSharedSecret", arn, purpose, func(ctx context.Context, api *kms.Client) error {
			_, err := api.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: key, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: public, DryRun: dry})
			return err
		}},
		{"CreateGrant", arn, purpose, func(ctx context.Context, api *kms.Client) error {
			_, err := api.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: key, GranteePrincipal: aws.String("arn:aws:iam::" + account(arn) + ":root"), Operations: []types.GrantOperation{types.GrantOperationDecrypt}, DryRun: dry})
			return err
		}},
		{"Encrypt", arn, purpose, func(ctx context.Context, api *kms.Client) error {
			_, err := api.Encrypt(ctx, &kms.EncryptInput{KeyId: key, Plaintext: []byte("canary"), EncryptionContext: encryption, DryRun: dry})
			return err
		}},
	}
	if generate {
		all = append(all, try{"GenerateDataKey", arn, purpose, func(ctx context.Context, api *kms.Client) error {
			_, err := api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key, KeySpec: types.DataKeySpecAes256, EncryptionContext: encryption, DryRun: dry})
			return err
		}})
	}
	return all
}

// account answers the account in a key's ARN.
func account(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}
