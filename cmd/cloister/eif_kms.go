package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"
)

// kmsTimeout bounds one call to KMS, attempts included.
const kmsTimeout = 20 * time.Second

// keyARN is an ARN of a key or an alias; the first group is the region.
var keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+$`)

// kmsKey is an ECDSA key that never leaves KMS, as a crypto.Signer.
type kmsKey struct {
	ctx    context.Context // crypto.Signer knows none; the key is used at once
	api    *kms.Client
	arn    string
	public *ecdsa.PublicKey
}

// openKMSKey asks for the public half of a key.
func openKMSKey(cmd *cobra.Command, arn, endpoint, ca, credentials string) (*kmsKey, error) {
	parts := keyARN.FindStringSubmatch(arn)
	if parts == nil {
		return nil, &exitError{exitUsage, errors.New("--kms-key isn't the ARN of a key or an alias")}
	}
	if credentials == "" {
		return nil, &exitError{exitUsage, errors.New("--kms-key needs --kms-credentials")}
	}
	api, err := kmsPlace{region: parts[1], endpoint: endpoint, ca: ca}.client(cmd, credentials)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), kmsTimeout)
	defer cancel()
	out, err := api.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &arn})
	if err != nil {
		return nil, kmsRefused("GetPublicKey", err)
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	public, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || out.KeyUsage != types.KeyUsageTypeSignVerify {
		return nil, &exitError{exitUsage, fmt.Errorf("%s isn't an ECC key for signing", arn)}
	}
	return &kmsKey{ctx: cmd.Context(), api: api, arn: arn, public: public}, nil
}

// kmsRefused says what KMS said. No answer is an outage, any other a refusal.
func kmsRefused(operation string, err error) error {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorFault() == smithy.FaultServer {
		return &exitError{exitUnreachable, fmt.Errorf("KMS can't be asked for %s: %w", operation, err)}
	}
	return &exitError{exitRefused, fmt.Errorf("KMS refuses %s: %s: %s", operation, api.ErrorCode(), printable(api.ErrorMessage()))}
}

// Public answers the key's public half.
func (k *kmsKey) Public() crypto.PublicKey { return k.public }

// Sign has KMS sign a digest, and believes no signature before it has checked
// it. It uses KMS's randomness: the same digest is signed otherwise each time.
func (k *kmsKey) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	algorithm, ok := map[elliptic.Curve]types.SigningAlgorithmSpec{
		elliptic.P256(): types.SigningAlgorithmSpecEcdsaSha256,
		elliptic.P384(): types.SigningAlgorithmSpecEcdsaSha384,
		elliptic.P521(): types.SigningAlgorithmSpecEcdsaSha512,
	}[k.public.Curve]
	if !ok || len(digest) != o.HashFunc().Size() {
		return nil, errors.New("the KMS key signs no digest of this length")
	}
	ctx, cancel := context.WithTimeout(k.ctx, kmsTimeout)
	defer cancel()
	out, err := k.api.Sign(ctx, &kms.SignInput{KeyId: &k.arn, Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: algorithm})
	if err != nil {
		return nil, kmsRefused("Sign", err)
	}
	if !ecdsa.VerifyASN1(k.public, digest, out.Signature) {
		return nil, &exitError{exitUnreachable, errors.New("what KMS answers isn't a signature by the key")}
	}
	return out.Signature, nil
}
