// Package bounds_test walks the limits of docs/spec/limits.md just below and
// just above, through the doors that others use, on a whole deployment in one
// process.
package bounds_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/internal/secret"
	cloisterv1 "github.com/cloisterhq/cloister/proto/cloister/v1"
	"github.com/cloisterhq/cloister/sim/stack"
)

// maxEnvelope is what the deployment's bundle allows, below limits.Envelope.
const maxEnvelope = 8 << 20

const config = `version: 1
deployment: bounds
profile: simulation
datasets:
  - contract: visits.yaml
limits: {max_envelope: 8MiB, query_memory: 1MiB}
`

const contract = `apiVersion: v3.0.2
kind: DataContract
id: visits
name: visits
version: 1.0.0
status: active
schema:
  - name: visits
    logicalType: object
    customProperties:
      - {property: cloister.floor, value: 5}
      - {property: cloister.mode, value: threshold}
    properties:
      - {name: id, logicalType: integer, required: true, customProperties: [{property: cloister.role, value: unit}]}
      - {name: tx, logicalType: string, logicalTypeOptions: {maxLength: 65536}, customProperties: [{property: cloister.role, value: dimension}]}
`

// world is a deployment whose four parts run in this process.
type world struct {
	t       testing.TB
	layout  stack.Layout
	status  *stack.Status
	config  *client.Config
	gateway cloisterv1.GatewayClient
	// What a producer has.
	header envelope.Header
	dek    []byte
	signer ed25519.PrivateKey
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// up starts a deployment that ends with the test.
func up(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"cloister.yaml": config, "visits.yaml": contract} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	w := &world{t: t}
	var err error
	w.layout, err = stack.Prepare(t.Context(), stack.Options{State: filepath.Join(t.TempDir(), "state"), Config: dir, Out: io.Discard})
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var roles sync.WaitGroup
	t.Cleanup(func() { stop(); roles.Wait() })
	for _, role := range stack.Roles() {
		roles.Go(func() {
			if err := stack.Run(ctx, w.layout, role); err != nil && ctx.Err() == nil {
				t.Errorf("%s ended: %v", role, err)
			}
		})
	}
	for range 600 {
		if w.status, err = stack.Inspect(t.Context(), w.layout); err == nil && w.status.Phase == "ready" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if w.status == nil || w.status.Phase != "ready" {
		t.Fatalf("the enclave isn't ready: %+v, %v", w.status, err)
	}
	w.config, err = client.Load(w.layout.Context())
	must(t, err)
	conn, err := grpc.NewClient("passthrough:///"+w.status.Gateway, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20), grpc.MaxCallRecvMsgSize(limits.Message)))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	w.gateway = cloisterv1.NewGatewayClient(conn)
	w.produce()
	return w
}

// produce gets what a producer needs to seal: a data key from the simulated KMS.
func (w *world) produce() {
	w.t.Helper()
	c, err := client.New(w.config)
	must(w.t, err)
	peer, err := c.Verify(w.t.Context())
	must(w.t, err)
	w.signer, err = client.LoadSigningKey(w.file(w.config.Producer.KeyFile))
	must(w.t, err)
	d, ok := peer.Bundle.Dataset("visits")
	if !ok {
		w.t.Fatal("no dataset")
	}
	out, err := w.kms(peer.Bundle.KMS.Region).GenerateDataKey(w.t.Context(), &kms.GenerateDataKeyInput{
		KeyId: aws.String(d.KeyARN), KeySpec: types.DataKeySpecAes256,
		EncryptionContext: envelope.KMSContext("bounds", "visits", w.config.Producer.Name, d.KeyEpoch),
	})
	must(w.t, err)
	w.dek = out.Plaintext
	w.header = envelope.Header{
		Version: envelope.Version, Deployment: "bounds", Dataset: "visits", Contract: d.Contract.Version, Producer: w.config.Producer.Name,
		Stream: "bounds", Codec: columns.Codec,
		Wrap: envelope.Wrap{Kind: envelope.WrapKMS, Key: d.KeyARN, Epoch: d.KeyEpoch, Blob: out.CiphertextBlob},
	}
}

// file answers the path of a file that the context names.
func (w *world) file(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(w.layout.Context()), name)
}

func (w *world) kms(region string) *kms.Client {
	w.t.Helper()
	pem, err := os.ReadFile(w.file(w.config.KMS.CA))
	must(w.t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	raw, err := os.ReadFile(w.file(w.config.KMS.CredentialsFile))
	must(w.t, err)
	var creds struct {
		ID     string `json:"access_key_id"`
		Secret string `json:"secret_access_key"`
	}
	must(w.t, json.Unmarshal(raw, &creds))
	return kms.New(kms.Options{
		Region: region, BaseEndpoint: aws.String(w.config.KMS.Endpoint), Credentials: credentials.NewStaticCredentialsProvider(creds.ID, creds.Secret, ""),
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}},
	})
}

// seal seals any content as the next batch of the stream; change may change the
// header.
func (w *world) seal(rows int, content []byte, change func(*envelope.Header)) []byte {
	w.t.Helper()
	w.header.Sequence++
	h := w.header
	_, _ = rand.Read(h.Salt[:])
	if change != nil {
		change(&h)
	}
	raw, _, err := envelope.Seal(h, secret.New(append([]byte{}, w.dek...)), rows, content, w.signer)
	must(w.t, err)
	return raw
}
