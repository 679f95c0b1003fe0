// Package attack_test sets a hostile parent, and a KMS that is hostile where a
// parent could make it so, against a real enclave's keys, state and record
// path. Every attack must fail closed with its own error, count nothing and
// lose nothing: when it ends, the same envelope is accepted.
package attack_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/test/genuine"
)

const (
	region     = "eu-central-1"
	deployment = "study"
	owner      = "arn:aws:iam::111122223333:role/owner"
	host       = "arn:aws:iam::111122223333:role/host"
	clinic     = "arn:aws:iam::111122223333:role/clinic"
)

// The datasets; each has a key of its own.
const (
	colon  = "colon"
	visits = "visits"
)

// world is a deployment whose parent and whose way to KMS are hostile.
type world struct {
	t    *testing.T
	root *nsmsim.Root
	kms  *httptest.Server // honest
	evil *evil
	keys map[string]string // ARN by dataset; "" is the state's
	// attest answers the enclave's documents.
	attest  func(context.Context, []byte) ([]byte, error)
	objects *genuine.Objects
	signer  ed25519.PrivateKey
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, keys: map[string]string{}, objects: genuine.NewObjects()}
	var err error
	w.root, err = nsmsim.NewRoot(time.Now(), deployment)
	must(t, err)
	roots, err := verifier.NewRoots(w.root.PEM())
	must(t, err)
	server, err := kmssim.New(kmssim.Config{Region: region, Account: "111122223333", Roots: roots, Principals: map[string]kmssim.Principal{
		"OWNER": {Secret: "s", ARN: owner}, "HOST": {Secret: "s", ARN: host}, "CLINIC": {Secret: "s", ARN: clinic},
	}, Faults: func(operation string) kmssim.Fault { return w.evil.fault(operation) }})
	must(t, err)
	w.kms = httptest.NewTLSServer(server.Handler())
	t.Cleanup(w.kms.Close)
	w.evil = newEvil(t, server.Handler())
	seed := sha256.Sum256([]byte("clinic"))
	w.signer = ed25519.NewKeyFromSeed(seed[:])
	module, release := w.boot("", time.Now)
	w.attest = documents(module)
	for _, dataset := range []string{"", colon, visits} {
		w.keys[dataset] = w.newKey(dataset, release)
	}
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boot starts a module of an image, with a bundle of its own measured.
func (w *world) boot(label string, now func() time.Time) (*nsm.Client, keypolicy.Release) {
	w.t.Helper()
	image, err := nsmsim.Measure(strings.NewReader("executable"), label)
	must(w.t, err)
	device, err := nsmsim.New(nsmsim.Config{Root: w.root, Image: image, Now: now})
	must(w.t, err)
	w.t.Cleanup(func() { device.Close() })
	module := nsm.NewClient(device)
	pcr16, err := module.Extend(w.t.Context(), 16, []byte("bundle "+label))
	must(w.t, err)
	must(w.t, module.LockRange(w.t.Context(), 32))
	return module, keypolicy.Release{PCR0: image.PCR0.String(), PCR1: image.PCR1.String(), PCR2: image.PCR2.String(), PCR16: pcr16.String()}
}

func documents(module *nsm.Client) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, publicKey []byte) ([]byte, error) {
		return module.Attest(ctx, nsm.Request{PublicKey: publicKey})
	}
}

// newKey makes the key of a dataset, or of the state, with its real policy.
func (w *world) newKey(dataset string, release keypolicy.Release) string {
	w.t.Helper()
	out, err := w.api("OWNER").CreateKey(w.t.Context(), &awskms.CreateKeyInput{Policy: aws.String(policyOf(w.t, dataset, release))})
	must(w.t, err)
	return aws.ToString(out.KeyMetadata.Arn)
}

// policyOf is the key policy of a dataset, or of the state, as the data owner
// makes it.
func policyOf(t *testing.T, dataset string, releases ...keypolicy.Release) string {
	t.Helper()
	p, err := keypolicy.State(releases, host, owner, deployment)
	if dataset != "" {
		p, err = keypolicy.Dataset(releases, host, []keypolicy.Producer{{Name: "clinic", Role: clinic}}, owner, deployment, dataset)
	}
	must(t, err)
	text, err := p.MarshalJSON()
	must(t, err)
	return string(text)
}

// api calls the honest KMS with somebody's credentials.
func (w *world) api(id string) *awskms.Client {
	return awskms.New(awskms.Options{
		Region: region, BaseEndpoint: aws.String(w.kms.URL), HTTPClient: w.kms.Client(), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(id, "s", ""),
	})
}

// bundle is what the enclave has measured.
func (w *world) bundle() *bundle.Bundle {
	set := func(name string) bundle.Dataset {
		low, high := int64(0), int64(1_000_000)
		return bundle.Dataset{KeyARN: w.keys[name], KeyEpoch: 1, Contract: contract.Contract{
			Dataset: name, ID: name, Version: "1.0.0", Floor: 10, Mode: contract.Threshold,
			Fields: []contract.Field{
				{Name: "id", Type: contract.Integer, Role: contract.Unit},
				{Name: "x", Type: contract.Integer, Role: contract.Measure, Minimum: &low, Maximum: &high},
			},
		}}
	}
	return &bundle.Bundle{
		Version: bundle.Version, Deployment: deployment, Profile: bundle.Simulation, Datasets: []bundle.Dataset{set(colon), set(visits)},
		KMS:       bundle.KMS{Region: region, StateKeyARN: w.keys[""]},
		Producers: []bundle.Producer{{Name: "clinic", Key: w.signer.Public().(ed25519.PublicKey), Datasets: []string{colon, visits}}},
		Freshness: bundle.FreshnessNone, Limits: bundle.DefaultLimits(),
	}
}

// client is the enclave's KMS client; it believes the certificate of evil, so
// that an attack has more than a parent has.
func (w *world) client() *kms.Client {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(w.evil.server.Certificate())
	return w.clientWith(pool)
}

func (w *world) clientWith(pool *x509.CertPool) *kms.Client {
	w.t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	w.t.Cleanup(transport.CloseIdleConnections)
	c, err := kms.New(kms.Config{
		Region: region, Endpoint: w.evil.server.URL, HTTP: &http.Client{Transport: transport}, Now: time.Now,
		Credentials: func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "HOST", SecretAccessKey: "s"}, nil
		},
		Attest: func(ctx context.Context, public []byte) ([]byte, error) { return w.attest(ctx, public) },
	})
	must(w.t, err)
	return c
}

// stateKeys asks KMS for the state's data key, as the enclave does.
type stateKeys struct {
	kms *kms.Client
	arn string
}

func stateContext() map[string]string {
	return map[string]string{"deployment": deployment, "purpose": "state"}
}

func (k stateKeys) Generate(ctx context.Context) (secret.Bytes, []byte, error) {
	return k.kms.GenerateDataKey(ctx, k.arn, stateContext())
}

func (k stateKeys) Decrypt(ctx context.Context, blob []byte) (secret.Bytes, error) {
	return k.kms.Decrypt(ctx, k.arn, stateContext(), blob)
}

// enclave is one boot.
type enclave struct {
	t      *testing.T
	state  *state.State
	ingest *ingest.Ingest
	tables *store.Store
}

// open opens the state with a KMS client.
func (w *world) open(c *kms.Client) (*state.State, error) {
	return state.Open(w.t.Context(), state.Config{Objects: w.objects, Keys: stateKeys{c, w.keys[""]}, Deployment: deployment, Now: time.Now})
}

// start boots an enclave over what the parent stores, and replays envelopes.
func (w *world) start(envelopes ...[]byte) *enclave {
	w.t.Helper()
	b, c := w.bundle(), w.client()
	must(w.t, b.Check())
	s, err := w.open(c)
	must(w.t, err)
	e := &enclave{t: w.t, state: s}
	var contracts []*contract.Contract
	for i := range b.Datasets {
		contracts = append(contracts, &b.Datasets[i].Contract)
	}
	e.tables = store.New(contracts)
	// No key is held: every envelope asks KMS, through the attacker.
	ring := keyring.New(keyring.Config{KMS: c, Deployment: deployment, Now: time.Now, Dataset: func(name string) (string, uint64, bool) {
		d, ok := b.Dataset(name)
		if !ok {
			return "", 0, false
		}
		return d.KeyARN, d.KeyEpoch, true
	}})
	e.ingest, err = ingest.New(ingest.Config{Bundle: b, Keys: ring, State: s, Store: e.tables, Now: time.Now})
	must(w.t, err)
	for _, a := range s.Accepted() {
		for _, raw := range envelopes {
			if sha256.Sum256(raw) == a.Envelope {
				must(w.t, e.ingest.Replay(w.t.Context(), a, raw))
			}
		}
	}
	return e
}

// rows counts what queries see of a dataset.
func (e *enclave) rows(dataset string) int {
	e.t.Helper()
	s, ok := e.tables.Snapshot(dataset)
	if !ok {
		e.t.Fatalf("no dataset %s", dataset)
	}
	return s.Rows()
}

// holds demands that so many envelopes and rows count, and no more.
func (e *enclave) holds(what string, envelopes, rowsColon, rowsVisits int) {
	e.t.Helper()
	if n, c, v := len(e.state.Accepted()), e.rows(colon), e.rows(visits); n != envelopes || c != rowsColon || v != rowsVisits {
		e.t.Errorf("%s: %d envelopes, %d and %d rows; want %d, %d and %d", what, n, c, v, envelopes, rowsColon, rowsVisits)
	}
}
