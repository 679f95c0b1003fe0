package kms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

const (
	region = "eu-central-1"
	owner  = "arn:aws:iam::111122223333:role/owner"
	host   = "arn:aws:iam::111122223333:role/host"
)

// world is a simulated KMS behind TLS and the callers that it knows: the owner
// of the keys and the host, whose credentials the enclave has.
type world struct {
	t      *testing.T
	root   *nsmsim.Root
	server *httptest.Server

	mu     sync.Mutex
	faults []kmssim.Fault // of the next calls
	events bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	var err error
	if w.root, err = nsmsim.NewRoot(now(), "kms-test"); err != nil {
		t.Fatal(err)
	}
	roots, err := verifier.NewRoots(w.root.PEM())
	if err != nil {
		t.Fatal(err)
	}
	s, err := kmssim.New(kmssim.Config{
		Region: region, Account: "111122223333", Roots: roots, Now: now, Events: w, Faults: w.fault,
		Principals: map[string]kmssim.Principal{"AKIAOWNER": {Secret: "owner's", ARN: owner}, "AKIAHOST": {Secret: "host's", ARN: host, Token: "token"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = serve(t, s.Handler())
	return w
}

// fault answers the next fault of the list.
func (w *world) fault(string) kmssim.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.faults) == 0 {
		return kmssim.Healthy
	}
	next := w.faults[0]
	w.faults = w.faults[1:]
	return next
}

// next sets the faults of the next calls, and forgets the events.
func (w *world) next(faults ...kmssim.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = faults
	w.events.Reset()
}

// Write takes events.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events.Write(b)
}

// calls answers how many calls KMS had since next.
func (w *world) calls() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Count(w.events.Bytes(), []byte("\n"))
}

// clockSigner signs with the enclave's time too.
type clockSigner struct{ *v4.Signer }

func (s clockSigner) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return s.Signer.SignHTTP(ctx, c, r, hash, service, region, now(), o...)
}

// api is the SDK's client with somebody's credentials.
func (w *world) api(id, secret, token string) *awskms.Client {
	return awskms.New(awskms.Options{
		Region: region, BaseEndpoint: aws.String(w.server.URL), HTTPClient: w.server.Client(), Retryer: aws.NopRetryer{}, DisableClockSkewCorrection: true,
		HTTPSignerV4: clockSigner{v4.NewSigner()},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
		}),
	})
}

// wrapped answers the wrapped form of a data key of any length.
func (w *world) wrapped(e *enclave, arn string, size int32) []byte {
	w.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		w.t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	document, err := e.attest(w.t.Context(), public)
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := w.api("AKIAHOST", "host's", "token").GenerateDataKey(w.t.Context(), &awskms.GenerateDataKeyInput{
		KeyId: aws.String(arn), NumberOfBytes: aws.Int32(size), EncryptionContext: study(),
		Recipient: &types.RecipientInfo{AttestationDocument: document, KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.CiphertextBlob
}

// create makes a KMS key for releases of the deployment "study".
func (w *world) create(releases ...keypolicy.Release) string {
	w.t.Helper()
	policy, err := keypolicy.State(releases, host, owner, "study")
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := policy.MarshalJSON()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := w.api("AKIAOWNER", "owner's", "").CreateKey(w.t.Context(), &awskms.CreateKeyInput{Policy: aws.String(string(text))})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

// enclave is a booted module and the documents that it gave.
type enclave struct {
	device  *nsm.Client
	release keypolicy.Release

	mu        sync.Mutex
	documents [][]byte
}

// boot starts a module with an image and a bundle.
func (w *world) boot(image, bundle string) *enclave {
	w.t.Helper()
	measured, err := nsmsim.Measure(strings.NewReader("executable"), image)
	if err != nil {
		w.t.Fatal(err)
	}
	device, err := nsmsim.New(nsmsim.Config{Root: w.root, Image: measured, Now: now})
	if err != nil {
		w.t.Fatal(err)
	}
	e := &enclave{device: nsm.NewClient(device)}
	pcr16, err := e.device.Extend(w.t.Context(), 16, []byte(bundle))
	if err := errors.Join(err, e.device.LockRange(w.t.Context(), 32)); err != nil {
		w.t.Fatal(err)
	}
	e.release = keypolicy.Release{PCR0: measured.PCR0.String(), PCR1: measured.PCR1.String(), PCR2: measured.PCR2.String(), PCR16: pcr16.String()}
	return e
}

// attest is what the enclave gives its KMS client.
func (e *enclave) attest(ctx context.Context, publicKey []byte) ([]byte, error) {
	document, err := e.device.Attest(ctx, nsm.Request{PublicKey: publicKey})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.documents = append(e.documents, document)
	return document, err
}

func credentials(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIAHOST", SecretAccessKey: "host's", SessionToken: "token"}, nil
}

// config is the configuration of an enclave's client in this world.
func (w *world) config(e *enclave) kms.Config {
	return kms.Config{Region: region, Endpoint: w.server.URL, HTTP: w.server.Client(), Credentials: credentials, Attest: e.attest, Now: now}
}

// client makes the client of an enclave.
func (w *world) client(e *enclave, change ...func(*kms.Config)) *kms.Client {
	w.t.Helper()
	c := w.config(e)
	for _, f := range change {
		f(&c)
	}
	client, err := kms.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return client
}

func study() map[string]string { return map[string]string{"deployment": "study", "purpose": "state"} }
