package fleet

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/secret"
)

// Producer is the deployment's producer as somebody else's program could be it:
// it seals whatever it is told.
type Producer struct {
	t      testing.TB
	kms    *awskms.Client
	signer ed25519.PrivateKey
	bundle *bundle.Bundle
}

// Producer loads the demo producer's key and credentials, and the bundle.
func (f *Fleet) Producer() *Producer {
	f.t.Helper()
	file := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(f.layout.Dir(), name))
		if err != nil {
			f.t.Fatal(err)
		}
		return b
	}
	p := &Producer{t: f.t}
	var err error
	if p.bundle, err = bundle.Decode(file("bundle.cbor")); err != nil {
		f.t.Fatal(err)
	}
	if p.signer, err = client.LoadSigningKey(filepath.Join(f.layout.Dir(), "producer.key")); err != nil {
		f.t.Fatal(err)
	}
	var who struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
	}
	if err := json.Unmarshal(file("producer-credentials.json"), &who); err != nil {
		f.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(file("kms-ca.pem"))
	p.kms = awskms.New(awskms.Options{
		Region: p.bundle.KMS.Region, BaseEndpoint: aws.String(p.bundle.KMS.Endpoint),
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: who.ID, SecretAccessKey: who.Secret}, nil
		}),
	})
	return p
}

// DataKey asks KMS for a data key of a dataset, of any size in bytes.
func (p *Producer) DataKey(dataset string, size int32) (plain, blob []byte) {
	p.t.Helper()
	d, ok := p.bundle.Dataset(dataset)
	if !ok {
		p.t.Fatalf("no dataset %s", dataset)
	}
	out, err := p.kms.GenerateDataKey(p.t.Context(), &awskms.GenerateDataKeyInput{
		KeyId: aws.String(d.KeyARN), NumberOfBytes: aws.Int32(size),
		EncryptionContext: envelope.KMSContext(p.bundle.Deployment, dataset, p.bundle.Producers[0].Name, d.KeyEpoch),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return out.Plaintext, out.CiphertextBlob
}

// Letter is a batch before it is sealed.
type Letter struct {
	Header envelope.Header
	// DEK seals, whatever the header's blob wraps.
	DEK []byte
	// Rows is what the batch says of itself.
	Rows    int
	Content []byte
}

// Letter drafts a good batch of records under a new data key.
func (p *Producer) Letter(dataset, stream string, records []columns.Record) *Letter {
	p.t.Helper()
	d, ok := p.bundle.Dataset(dataset)
	if !ok {
		p.t.Fatalf("no dataset %s", dataset)
	}
	dek, blob := p.DataKey(dataset, 32)
	content, err := columns.Encode(records)
	if err != nil {
		p.t.Fatal(err)
	}
	l := &Letter{
		Header: envelope.Header{
			Version: envelope.Version, Deployment: p.bundle.Deployment, Dataset: dataset, Contract: d.Contract.Version,
			Producer: p.bundle.Producers[0].Name, Stream: stream, Codec: columns.Codec,
			Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: d.KeyARN, Epoch: d.KeyEpoch, Blob: blob},
		},
		DEK: dek, Rows: len(records), Content: content,
	}
	if _, err := rand.Read(l.Header.Salt[:]); err != nil {
		p.t.Fatal(err)
	}
	return l
}

// Seal seals a letter as it is.
func (p *Producer) Seal(l *Letter) []byte {
	p.t.Helper()
	raw, _, err := envelope.Seal(l.Header, secret.New(append([]byte{}, l.DEK...)), l.Rows, l.Content, p.signer)
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}
