package client_test

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/record"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/keypolicy"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/parent/gateway"
	"github.com/cloisterhq/cloister/parent/objects"
	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/test/genuine"
	"github.com/cloisterhq/cloister/test/rig"
)

const (
	accessKey   = "AKIAPRODUCER"
	producerARN = "arn:aws:iam::111122223333:role/producer"
)

// study is a deployment within the test's process: attested evidence, the real
// gateway and the real record path, KMS simulated. It can be away in parts.
type study struct {
	t   *testing.T
	rig *rig.Rig
	kms *httptest.Server
	api *kms.Client
	key ed25519.PrivateKey
	dir string // of the context

	state *state.State
	paths *server.Paths
	// away takes the enclave off: no evidence, no intake.
	away atomic.Bool
	// accept is called before each envelope is accepted; its error is the answer.
	accept  atomic.Pointer[func([]byte) error]
	ingest  *ingest.Ingest
	counted atomic.Int64 // records that a query would see

	attested, intake, front string // addresses
	store                   *objects.Dir
	mu                      sync.Mutex
	stopGateway             func()
}

// newStudy starts a study. change may change the bundle before it is measured.
func newStudy(t *testing.T, change func(*bundle.Bundle)) *study {
	t.Helper()
	s := &study{t: t, dir: t.TempDir(), paths: server.NewPaths()}
	var err error
	_, s.key, err = ed25519.GenerateKey(nil)
	check(t, err)
	arn := s.startKMS()
	s.rig = rig.New(t, rig.Config{Bundle: func(b *bundle.Bundle) {
		b.Datasets[0].KeyARN = arn
		b.Producers = []bundle.Producer{{Name: "clinic-a", Key: s.key.Public().(ed25519.PublicKey), Datasets: []string{rig.Dataset}}}
		if change != nil {
			change(b)
		}
	}})
	s.state, err = genuine.State(t.Context(), genuine.NewObjects())
	check(t, err)
	s.ingest, err = ingest.New(ingest.Config{Bundle: s.rig.Bundle, Keys: s, State: s.state, Store: s, Now: time.Now})
	check(t, err)
	s.paths.Open(s, nil)
	s.attested = s.serve(func(ctx context.Context, l net.Listener) error {
		return server.ServeQueries(ctx, l, attls.NewServer(s.rig.Certificate, time.Now, s.evidence, 20*time.Second), s.paths, nil)
	})
	s.intake = s.serve(func(ctx context.Context, l net.Listener) error { return server.ServeIntake(ctx, l, s.paths) })
	s.store, err = objects.Open(filepath.Join(t.TempDir(), "objects"))
	check(t, err)
	t.Cleanup(func() { s.store.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s.front = l.Addr().String()
	s.startGateway(l)
	t.Cleanup(s.closeGateway)
	s.writeContext()
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve runs a server until the test ends and answers its address.
func (s *study) serve(f func(context.Context, net.Listener) error) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(s.t, err)
	ctx, stop := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx, l) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.t.Errorf("a server ended: %v", err)
		}
	})
	return l.Addr().String()
}

// startKMS starts KMS with one key that the producer may use, and so may the
// record path of this test.
func (s *study) startKMS() (arn string) {
	s.t.Helper()
	root, err := nsmsim.NewRoot(time.Now(), "kms")
	check(s.t, err)
	roots, err := verifier.NewRoots(root.PEM())
	check(s.t, err)
	simulated, err := kmssim.New(kmssim.Config{
		Region: "eu-central-1", Account: "111122223333", Roots: roots,
		Principals: map[string]kmssim.Principal{accessKey: {Secret: "secret", ARN: producerARN}},
	})
	check(s.t, err)
	s.kms = httptest.NewTLSServer(simulated.Handler())
	s.t.Cleanup(s.kms.Close)
	s.api = kms.New(kms.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(s.kms.URL), HTTPClient: s.kms.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, "secret", ""),
	})
	policy, err := json.Marshal(&keypolicy.Document{Statements: []keypolicy.Statement{
		{Sid: "Test", Effect: keypolicy.Allow, Principals: []string{producerARN}, Actions: []string{"kms:*"}, Resources: []string{"*"}},
	}})
	check(s.t, err)
	out, err := s.api.CreateKey(s.t.Context(), &kms.CreateKeyInput{Policy: aws.String(string(policy))})
	check(s.t, err)
	return aws.ToString(out.KeyMetadata.Arn)
}

// Open answers a data key from KMS.
func (s *study) Open(ctx context.Context, h envelope.Header) (secret.Bytes, error) {
	out, err := s.api.Decrypt(ctx, &kms.DecryptInput{
		CiphertextBlob: h.Wrap.Blob, KeyId: aws.String(h.Wrap.Key), EncryptionContext: envelope.KMSContext(h.Deployment, h.Dataset, h.Producer, h.Wrap.Epoch),
	})
	if err != nil {
		return secret.Bytes{}, err
	}
	return secret.New(out.Plaintext), nil
}

// Reopen answers that of an envelope that was accepted before.
func (s *study) Reopen(ctx context.Context, h envelope.Header, _ string, _ uint64) (secret.Bytes, error) {
	return s.Open(ctx, h)
}

// Reading says that nobody queries.
func (s *study) Reading() bool { return false }

// Quiet needn't wait.
func (s *study) Quiet(context.Context, time.Duration) {}

// Append counts records.
func (s *study) Append(b *record.Batch) error {
	s.counted.Add(int64(b.Len()))
	return nil
}

// Accept is the record path.
func (s *study) Accept(ctx context.Context, raw []byte) (*ingest.Accepted, error) {
	if f := s.accept.Load(); f != nil {
		if err := (*f)(raw); err != nil {
			return nil, err
		}
	}
	return s.ingest.Accept(ctx, raw)
}

func (s *study) evidence(ctx context.Context, nonce []byte, spki [32]byte) (attls.Evidence, error) {
	if s.away.Load() {
		return attls.Evidence{}, errors.New("away")
	}
	genesis := s.state.Genesis()
	return s.rig.Attest(ctx, nonce, spki, attls.Evidence{Bundle: s.rig.Raw, ServiceKey: s.state.ServicePublicKey(), Genesis: genesis[:]})
}

// startGateway starts the parent's gateway.
func (s *study) startGateway(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, stop := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- gateway.Serve(ctx, l, gateway.Config{
			Store: s.store, Wait: 2 * time.Second, Pause: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
			Dial: func(ctx context.Context) (net.Conn, error) {
				if s.away.Load() {
					return nil, errors.New("away")
				}
				return new(net.Dialer).DialContext(ctx, "tcp", s.intake)
			},
		})
	}()
	s.stopGateway = func() {
		stop()
		if err := <-ended; err != nil {
			s.t.Errorf("the gateway ended: %v", err)
		}
	}
}

// closeGateway ends the gateway, unless it has ended.
func (s *study) closeGateway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopGateway != nil {
		s.stopGateway()
		s.stopGateway = nil
	}
}

// openGateway starts it where it was.
func (s *study) openGateway() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.front)
	check(s.t, err)
	s.startGateway(l)
}

// leave takes the enclave off, together with the gateway's connection to it.
func (s *study) leave() {
	s.away.Store(true)
	s.closeGateway()
	s.openGateway()
}

func (s *study) file(name string) string { return filepath.Join(s.dir, name) }

func (s *study) write(name string, content []byte) string {
	s.t.Helper()
	check(s.t, os.WriteFile(s.file(name), content, 0o600))
	return s.file(name)
}

// writeContext writes all that a producer has.
func (s *study) writeContext() {
	s.t.Helper()
	p, err := s.rig.PolicyFile().Marshal()
	check(s.t, err)
	s.write("policy.json", p)
	s.write("root.pem", s.rig.Root.PEM())
	s.write("bundle.cbor", s.rig.Raw)
	private, _, err := client.EncodeSigningKey(s.key)
	check(s.t, err)
	s.write("producer.key", private)
	s.write("kms.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.kms.Certificate().Raw}))
	s.write("credentials.json", []byte(`{"access_key_id":"`+accessKey+`","secret_access_key":"secret"}`))
}

// config is a context; change may change it.
func (s *study) config(change func(*client.Config)) *client.Config {
	s.t.Helper()
	genesis := s.state.Genesis()
	c := &client.Config{
		Version: 1, Deployment: rig.Deployment, Gateway: s.front, Attested: s.attested, Policy: "policy.json", TrustRoot: "root.pem",
		Genesis: hex.EncodeToString(genesis[:]), Producer: client.Producer{Name: "clinic-a", KeyFile: "producer.key"},
		KMS: client.KMS{Endpoint: s.kms.URL, CA: "kms.pem", CredentialsFile: "credentials.json"}, Bundle: "bundle.cbor", Spool: "spool",
	}
	if change != nil {
		change(c)
	}
	path := s.file("context.json")
	check(s.t, c.Save(path))
	loaded, err := client.Load(path)
	check(s.t, err)
	return loaded
}

// producer is a client of the study that is patient for so long.
func (s *study) producer(wait time.Duration, change func(*client.Config)) *client.Client {
	s.t.Helper()
	c, err := client.New(s.config(change))
	check(s.t, err)
	c.Wait = wait
	return c
}

// csvOf makes n records, of which every tenth, from the fourth on, is too old.
func csvOf(n int) string {
	var b strings.Builder
	b.WriteString("id,rx,age\n")
	for i := range n {
		age := 20 + i%80
		if i%10 == 3 {
			age = 121 + i
		}
		fmt.Fprintf(&b, "%d,Obs,%d\n", i, age)
	}
	return b.String()
}

func submission(text string) client.Submission {
	return client.Submission{Dataset: rig.Dataset, Format: client.CSV, Input: strings.NewReader(text)}
}

// totals are the numbers of a summary.
type totals struct{ sent, accepted, rejected, pending, repeated int }

func of(s client.Summary) totals {
	return totals{s.Sent, s.Accepted, s.Rejected, s.Pending, s.Repeated}
}

// rejected collects the numbers of the rejected records.
func rejected(t testing.TB, s *client.Summary) []int {
	t.Helper()
	var all []int
	for r, err := range s.Rejections() {
		check(t, err)
		if r.Field != "age" || r.Rule != "maximum" {
			t.Errorf("record %d: %s breaks %s", r.Record, r.Field, r.Rule)
		}
		all = append(all, r.Record)
	}
	return all
}

// everyTenth is what rejected answers for csvOf(n).
func everyTenth(n int) []int {
	var all []int
	for i := 3; i < n; i += 10 {
		all = append(all, i)
	}
	return all
}
