package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
)

// Sealer seals the batches of one stream under one data key.
type Sealer struct {
	header   envelope.Header
	contract *contract.Contract
	dek      secret.Bytes
	signer   ed25519.PrivateKey
}

// Sealed is one batch, ready to be carried by anybody.
type Sealed struct {
	// Envelope is what travels.
	Envelope []byte
	// Digest is its SHA-256 and its name.
	Digest [32]byte
	// Rows is the number of records inside.
	Rows int
	// reportKey opens the enclave's report on this batch.
	reportKey secret.Bytes
}

// NewSealer asks KMS for a data key of the dataset, under the bundle that the
// enclave's evidence vouched for.
func (c *Client) NewSealer(ctx context.Context, b *bundle.Bundle, dataset, stream string) (*Sealer, error) {
	return c.newSealer(b, dataset, stream, func(d *bundle.Dataset) (envelope.Wrap, secret.Bytes, error) { return c.kmsWrap(ctx, b, d) })
}

// NewIntakeSealer makes a data key and seals it to an intake key. It asks nobody.
func (c *Client) NewIntakeSealer(b *bundle.Bundle, dataset, stream string, set *intakekey.Set) (*Sealer, error) {
	if err := c.checkKeys(set, b, nil); err != nil {
		return nil, err
	}
	return c.newSealer(b, dataset, stream, func(*bundle.Dataset) (envelope.Wrap, secret.Bytes, error) {
		return c.intakeWrap(set, b, dataset, stream)
	})
}

// newSealer makes a sealer of the data key that wrap answers.
func (c *Client) newSealer(b *bundle.Bundle, dataset, stream string, wrap func(*bundle.Dataset) (envelope.Wrap, secret.Bytes, error)) (*Sealer, error) {
	d, ok := b.Dataset(dataset)
	if !ok {
		return nil, mistakef("deployment %s has no such dataset; see `cloister datasets`", b.Deployment)
	}
	signer, err := c.signer()
	if err != nil {
		return nil, err
	}
	wrapped, dek, err := wrap(d)
	if err != nil {
		return nil, err
	}
	return &Sealer{
		header: envelope.Header{
			Version:    envelope.Version,
			Deployment: b.Deployment,
			Dataset:    dataset,
			Contract:   d.Contract.Version,
			Producer:   c.config.Producer.Name,
			Stream:     stream,
			Wrap:       wrapped,
		},
		contract: &d.Contract,
		dek:      dek,
		signer:   signer,
	}, nil
}

// kmsWrap asks KMS for a data key under the dataset's key.
func (c *Client) kmsWrap(ctx context.Context, b *bundle.Bundle, d *bundle.Dataset) (envelope.Wrap, secret.Bytes, error) {
	dataset := d.Contract.Dataset
	api, err := c.kms(b)
	if err != nil {
		return envelope.Wrap{}, secret.Bytes{}, err
	}
	var out *kms.GenerateDataKeyOutput
	err = c.retry(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
		defer cancel()
		out, err = api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
			KeyId:             aws.String(d.KeyARN),
			KeySpec:           types.DataKeySpecAes256,
			EncryptionContext: envelope.KMSContext(b.Deployment, dataset, c.config.Producer.Name, d.KeyEpoch),
		})
		if err != nil {
			return kmsFailure(err, c.config.Producer.Name, dataset)
		}
		return nil
	})
	if err != nil {
		return envelope.Wrap{}, secret.Bytes{}, err
	}
	if aws.ToString(out.KeyId) != d.KeyARN || len(out.Plaintext) != dataKeySize {
		return envelope.Wrap{}, secret.Bytes{}, errors.New("KMS answered with another key than the bundle's")
	}
	return envelope.Wrap{Kind: envelope.WrapKMS, Key: d.KeyARN, Epoch: d.KeyEpoch, Blob: out.CiphertextBlob}, secret.New(out.Plaintext), nil
}

// Seal seals records as the batch of a sequence number.
func (s *Sealer) Seal(sequence uint64, records []columns.Record) (*Sealed, error) {
	codec, content, err := encode(records, s.contract)
	if err != nil {
		return nil, err
	}
	h := s.header
	h.Sequence, h.Codec = sequence, codec
	if _, err := rand.Read(h.Salt[:]); err != nil {
		return nil, err
	}
	raw, reportKey, err := envelope.Seal(h, s.dek, len(records), content, s.signer)
	if err != nil {
		return nil, err
	}
	return &Sealed{Envelope: raw, Digest: digest(raw), Rows: len(records), reportKey: reportKey}, nil
}

// Close forgets the data key.
func (s *Sealer) Close() { s.dek.Wipe() }

// kms makes a KMS client for the bundle's region with the context's
// credentials.
func (c *Client) kms(b *bundle.Bundle) (*kms.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c.config.KMS.CA != "" {
		pem, err := readFile(c.config.path(c.config.KMS.CA))
		if err != nil {
			return nil, mistakef("KMS certificate: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, mistakef("%s: no certificate in it", c.config.path(c.config.KMS.CA))
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	if c.config.KMS.CredentialsFile == "" {
		return nil, mistakef("the context names no kms.credentials_file")
	}
	raw, err := readFile(c.config.path(c.config.KMS.CredentialsFile))
	if err != nil {
		return nil, mistakef("KMS credentials: %w", err)
	}
	var creds struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
		Token  string `json:"session_token"`
	}
	if err := json.Unmarshal(raw, &creds); err != nil || creds.ID == "" {
		return nil, mistakef("%s: not a credentials file", c.config.path(c.config.KMS.CredentialsFile))
	}
	options := kms.Options{
		Region:      b.KMS.Region,
		Credentials: credentials.NewStaticCredentialsProvider(creds.ID, creds.Secret, creds.Token),
		HTTPClient:  &http.Client{Transport: transport},
	}
	if c.config.KMS.Endpoint != "" {
		options.BaseEndpoint = aws.String(c.config.KMS.Endpoint)
	}
	return kms.New(options), nil
}

// dataKeySize is the size of a data key, in bytes.
const dataKeySize = 32

// kmsTimeout bounds one attempt at a data key.
const kmsTimeout = 15 * time.Second

// kmsFailure tells a refusal from an outage.
func kmsFailure(err error, producer, dataset string) error {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorFault() != smithy.FaultServer {
		return fmt.Errorf("KMS refused producer %s a data key for dataset %s: %s; the context's credentials must be allowed kms:GenerateDataKey on the dataset's key", producer, dataset, api.ErrorCode())
	}
	return outagef("KMS gives no data key now, so nothing more can be sealed: %w", err)
}
