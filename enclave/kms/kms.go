// Package kms asks AWS KMS for data keys that only this enclave can read: every
// call carries a fresh attestation document, and the answer is encrypted to a
// key that lives for this boot.
//
// It trusts the TLS connection that its HTTP client makes, and nothing else on
// the way: CiphertextForRecipient carries no signature, so whoever ends the
// connection could choose the keys. It doesn't trust the credentials, which the
// parent hands over, for anything but being let in. What KMS answers is held
// against what was asked, and an answer that holds a key in clear is an error.
package kms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/enclave/kms/cms"
	"github.com/cloisterhq/cloister/internal/secret"
)

const (
	// recipientBits is the modulus of the recipient key. AWS documents 2048 for
	// Nitro Enclaves and no other size.
	recipientBits = 2048
	// keySize is a data key in bytes: AES_256.
	keySize = 32
	// maxWrapped is the longest CiphertextBlob, in bytes (KMS API reference,
	// Decrypt).
	maxWrapped = 6144
)

// Config is what New needs.
type Config struct {
	// Region is the region that KMS is called in and that requests are signed
	// for. Required; it comes from the measured bundle.
	Region string
	// Endpoint is the URL of another KMS than the region's own, with https.
	// Optional; only simulation has one.
	Endpoint string
	// HTTP makes the connections. Its transport decides who is believed to be
	// KMS and must use no proxy. Required.
	HTTP *http.Client
	// Credentials answers AWS credentials, from the parent. They are kept until
	// shortly before they expire or until KMS refuses them. Required.
	Credentials func(context.Context) (aws.Credentials, error)
	// Attest answers a new attestation document that names a public key, which
	// is DER SubjectPublicKeyInfo. Required.
	Attest func(ctx context.Context, publicKey []byte) (document []byte, err error)
	// Now is the enclave's clock; requests are signed with its time. Required.
	Now func() time.Time
}

// Client asks KMS for data keys. It is safe for use by several goroutines.
type Client struct {
	attest      func(ctx context.Context, publicKey []byte) ([]byte, error)
	recipient   *cms.Recipient
	credentials *credentials
	breaker     *breaker
	api         *awskms.Client
}

// New makes the recipient key of this boot and the client that uses it. It
// fails when the configuration isn't complete, when Endpoint isn't https, and
// when the transport is Go's default one or has a proxy: both listen to the
// environment.
func New(c Config) (*Client, error) {
	switch {
	case c.Region == "" || c.HTTP == nil || c.Credentials == nil || c.Attest == nil || c.Now == nil:
		return nil, errors.New("kms: the configuration isn't complete")
	case c.Endpoint != "" && !strings.HasPrefix(c.Endpoint, "https://"):
		return nil, errors.New("kms: the endpoint isn't an https URL")
	case !direct(c.HTTP.Transport):
		return nil, errors.New("kms: the HTTP client needs a transport of its own, without a proxy")
	}
	key, err := rsa.GenerateKey(rand.Reader, recipientBits)
	if err != nil {
		return nil, fmt.Errorf("kms: recipient key: %w", err)
	}
	recipient, err := cms.NewRecipient(key)
	if err != nil {
		return nil, fmt.Errorf("kms: recipient key: %w", err)
	}
	creds := newCredentials(c.Credentials, c.Now)
	return &Client{attest: c.Attest, recipient: recipient, credentials: creds, breaker: &breaker{now: c.Now}, api: newAPI(c, creds)}, nil
}

// GenerateDataKey makes a new data key of 32 bytes under the KMS key arn, bound
// to an encryption context. It answers the key and its wrapped form, which is
// at most 6144 bytes long. Errors wrap ErrDenied, ErrRefused, ErrUnavailable or
// ErrAnswer, or say that ctx ended.
func (c *Client) GenerateDataKey(ctx context.Context, arn string, encryption map[string]string) (key secret.Bytes, wrapped []byte, err error) {
	key, err = c.call(ctx, "GenerateDataKey", arn, func(ctx context.Context, r *types.RecipientInfo) (reply, error) {
		out, err := c.api.GenerateDataKey(ctx, &awskms.GenerateDataKeyInput{
			KeyId: aws.String(arn), KeySpec: types.DataKeySpecAes256, EncryptionContext: encryption, Recipient: r,
		})
		if err != nil {
			return reply{}, err
		}
		wrapped = out.CiphertextBlob
		return reply{keyID: aws.ToString(out.KeyId), plaintext: out.Plaintext, message: out.CiphertextForRecipient}, nil
	})
	if err != nil {
		return secret.Bytes{}, nil, err
	}
	if len(wrapped) == 0 || len(wrapped) > maxWrapped {
		key.Wipe()
		return secret.Bytes{}, nil, fmt.Errorf("kms: GenerateDataKey: %w: no wrapped key, or one that is too long", ErrAnswer)
	}
	return key, wrapped, nil
}

// Decrypt unwraps a data key of 32 bytes that was wrapped under the KMS key arn
// with this encryption context. A broken blob, another context and a key of
// another length are all ErrCiphertext: none of them ever opens. Other errors
// are those of GenerateDataKey.
func (c *Client) Decrypt(ctx context.Context, arn string, encryption map[string]string, blob []byte) (secret.Bytes, error) {
	if len(blob) == 0 || len(blob) > maxWrapped {
		return secret.Bytes{}, fmt.Errorf("kms: Decrypt: %w: a wrapped key has 1 to %d bytes", ErrCiphertext, maxWrapped)
	}
	key, err := c.call(ctx, "Decrypt", arn, func(ctx context.Context, r *types.RecipientInfo) (reply, error) {
		out, err := c.api.Decrypt(ctx, &awskms.DecryptInput{
			KeyId: aws.String(arn), CiphertextBlob: blob, EncryptionContext: encryption, Recipient: r,
		})
		if err != nil {
			return reply{}, err
		}
		return reply{keyID: aws.ToString(out.KeyId), plaintext: out.Plaintext, message: out.CiphertextForRecipient}, nil
	})
	if errors.Is(err, cms.ErrOpen) {
		// Whoever may ask KMS for data keys may ask for short and for long ones.
		err = fmt.Errorf("kms: Decrypt: %w: it holds no key of %d bytes", ErrCiphertext, keySize)
	}
	return key, err
}
