package kmssim_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

const (
	region  = "eu-central-1"
	account = "111122223333"
	token   = "session-token"
)

// The callers, by access key id: the last part of their ARN in capitals.
const (
	owner    = "arn:aws:iam::111122223333:role/owner"
	host     = "arn:aws:iam::111122223333:role/host"
	producer = "arn:aws:iam::111122223333:role/producer"
	session  = "arn:aws:sts::111122223333:assumed-role/host/i-0123456789abcdef0"
	stranger = "arn:aws:iam::444455556666:role/stranger"
)

func accessKey(arn string) string { return "AKIA" + strings.ToUpper(filepath.Base(arn)) }

// world is a simulated KMS behind TLS, with a simulation root, callers and a
// clock.
type world struct {
	t      *testing.T
	root   *nsmsim.Root
	config kmssim.Config
	server *httptest.Server

	mu     sync.Mutex
	now    time.Time
	fault  kmssim.Fault
	events bytes.Buffer
}

func newWorld(t *testing.T, change ...func(*kmssim.Config)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)}
	var err error
	if w.root, err = nsmsim.NewRoot(w.now, "kmssim-test"); err != nil {
		t.Fatal(err)
	}
	roots, err := verifier.NewRoots(w.root.PEM())
	if err != nil {
		t.Fatal(err)
	}
	w.config = kmssim.Config{Region: region, Account: account, Roots: roots, Principals: map[string]kmssim.Principal{}, Now: w.time, Events: w, Faults: w.faults}
	for _, arn := range []string{owner, host, producer, stranger} {
		w.config.Principals[accessKey(arn)] = kmssim.Principal{Secret: "secret of " + arn, ARN: arn}
	}
	w.config.Principals[accessKey(session)] = kmssim.Principal{Secret: "secret of " + session, ARN: session, Token: token}
	for _, c := range change {
		c(&w.config)
	}
	w.start()
	return w
}

// start serves, anew when it did before.
func (w *world) start() {
	w.t.Helper()
	s, err := kmssim.New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.server != nil {
		w.server.Close()
	}
	w.server = httptest.NewTLSServer(s.Handler())
	w.t.Cleanup(w.server.Close)
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) faults(string) kmssim.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fault
}

func (w *world) breakWith(f kmssim.Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// Write takes events.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events.Write(b)
}

// worldSigner signs with the world's time.
type worldSigner struct {
	*v4.Signer
	now func() time.Time
}

func (s worldSigner) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, _ time.Time, o ...func(*v4.SignerOptions)) error {
	return s.Signer.SignHTTP(ctx, c, r, hash, service, region, s.now(), o...)
}

// as answers the SDK's client for a caller.
func (w *world) as(arn string, change ...func(*kms.Options)) *kms.Client {
	p := w.config.Principals[accessKey(arn)]
	o := kms.Options{
		Region: region, BaseEndpoint: aws.String(w.server.URL), HTTPClient: w.server.Client(), Retryer: aws.NopRetryer{}, DisableClockSkewCorrection: true,
		HTTPSignerV4: worldSigner{v4.NewSigner(), w.time},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: accessKey(arn), SecretAccessKey: p.Secret, SessionToken: p.Token}, nil
		}),
	}
	for _, c := range change {
		c(&o)
	}
	return kms.New(o)
}

// create makes a key with a policy.
func (w *world) create(policy *keypolicy.Document) string {
	w.t.Helper()
	out, err := w.as(owner).CreateKey(w.t.Context(), &kms.CreateKeyInput{Policy: aws.String(written(w.t, policy))})
	if err != nil {
		w.t.Fatal(err)
	}
	return aws.ToString(out.KeyMetadata.Arn)
}

func written(t *testing.T, policy *keypolicy.Document) string {
	t.Helper()
	b, err := policy.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// enclave is a module with a measured bundle.
type enclave struct {
	t       *testing.T
	device  *nsm.Client
	release keypolicy.Release
}

// boot starts an enclave of an image with a bundle.
func (w *world) boot(image, bundle string, change ...func(*nsmsim.Config)) *enclave {
	w.t.Helper()
	measured, err := nsmsim.Measure(strings.NewReader("executable"), image)
	if err != nil {
		w.t.Fatal(err)
	}
	config := nsmsim.Config{Root: w.root, Image: measured, Now: w.time}
	for _, c := range change {
		c(&config)
	}
	device, err := nsmsim.New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	e := &enclave{t: w.t, device: nsm.NewClient(device)}
	pcr16, err := e.device.Extend(w.t.Context(), 16, []byte(bundle))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := e.device.LockRange(w.t.Context(), 32); err != nil {
		w.t.Fatal(err)
	}
	e.release = keypolicy.Release{PCR0: measured.PCR0.String(), PCR1: measured.PCR1.String(), PCR2: measured.PCR2.String(), PCR16: pcr16.String()}
	return e
}

// attest answers a Recipient for a public key.
func (e *enclave) attest(publicKey []byte) *types.RecipientInfo {
	e.t.Helper()
	document, err := e.device.Attest(e.t.Context(), nsm.Request{PublicKey: publicKey})
	if err != nil {
		e.t.Fatal(err)
	}
	return &types.RecipientInfo{AttestationDocument: document, KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256}
}

// recipientKey is one RSA key for all tests: they are slow to make.
var recipientKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func spki(t *testing.T, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// recipient attests the tests' key.
func (e *enclave) recipient() *types.RecipientInfo {
	e.t.Helper()
	return e.attest(spki(e.t, &recipientKey().PublicKey))
}

// codeOf answers the error code of an answer, "" for success.
func codeOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		t.Fatalf("not an error of KMS's protocol: %v", err)
	}
	return api.ErrorCode()
}

// recorded is what tests look at in an event.
type recorded struct {
	EventName, ErrorCode, AWSRegion string
	ReadOnly                        bool
	UserIdentity                    *struct{ ARN, AccountID string }
	RequestParameters               *struct {
		KeyID             string
		EncryptionContext map[string]string
	}
	AdditionalEventData *struct{ Recipient map[string]string }
	Resources           []struct{ ARN string }
}

func (w *world) allEvents() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events.String()
}

// lastEvent answers the event of the last call.
func (w *world) lastEvent() recorded {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(w.events.Bytes()), []byte("\n"))
	var e recorded
	if err := json.Unmarshal(lines[len(lines)-1], &e); err != nil {
		w.t.Fatal(err)
	}
	return e
}
