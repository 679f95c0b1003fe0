package rig

import (
	"context"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/attls"
)

// Served is a rig that serves queries over attested TLS and answers them as the
// test says.
type Served struct {
	*Rig
	Unchecked
	Issuer *Issuer
	Paths  *server.Paths
	// Address is the host:port that it listens on.
	Address string
	// Locked leaves the keys out of evidence, as before KMS released them.
	Locked atomic.Bool
	// Calls counts queries.
	Calls atomic.Int32
	// Answer answers a query; Count and Sign make a good one.
	Answer func(text string) (*answer.Answer, []byte, error)
}

// Serve boots a good rig whose paths are open. It ends with the test.
func Serve(t testing.TB) *Served {
	t.Helper()
	return ServeAs(t, Config{})
}

// ServeAs is Serve for another rig than the good one.
func ServeAs(t testing.TB, c Config) *Served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &Served{Rig: New(t, c), Issuer: NewIssuer(t), Paths: server.NewPaths(), Address: l.Addr().String()}
	s.Answer = func(text string) (*answer.Answer, []byte, error) { return s.Sign(s.Count(text)) }
	attested := attls.NewServer(s.Certificate, time.Now, func(ctx context.Context, nonce []byte, spki [32]byte) (attls.Evidence, error) {
		if s.Locked.Load() {
			return s.Attest(ctx, nonce, spki, attls.Evidence{Bundle: s.Raw})
		}
		return s.Evidence(ctx, nonce, spki)
	}, 20*time.Second)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.ServeQueries(ctx, l, attested, s.Paths, s.Issuer.Verifier) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	s.Paths.Open(nil, s)
	return s
}

// Query answers one query.
func (s *Served) Query(_ context.Context, _ *identity.Principal, text string, _ ...sql.Parameter) (*answer.Answer, []byte, error) {
	s.Calls.Add(1)
	return s.Answer(text)
}

// Sign signs an answer with the service key.
func (s *Served) Sign(a *answer.Answer) (*answer.Answer, []byte, error) {
	signature, err := answer.Sign(a, s.Service)
	return a, signature, err
}

// Count is an answer of one number, 929, from the rig's state.
func (s *Served) Count(text string) *answer.Answer {
	return &answer.Answer{
		Mode: answer.ModeThreshold, Dataset: Dataset, Floor: 10, Query: answer.QueryDigest(text), Genesis: s.Genesis,
		Columns: []answer.Column{{Name: "n", Type: answer.Int64}}, Rows: [][]answer.Cell{{{Int: 929}}},
	}
}

// Context writes the context file of an analyst who wants another rig and
// reaches this one, and answers its path.
func (s *Served) Context(t testing.TB, wanted *Rig) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, content []byte) { must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600)) }
	p, err := wanted.PolicyFile().Marshal()
	must(t, err)
	write("policy.json", p)
	write("root.pem", wanted.Root.PEM())
	write("token", []byte(s.Issuer.Token(t)+"\n"))
	path := filepath.Join(dir, "context.json")
	must(t, (&client.Config{
		Version: 1, Attested: s.Address, Policy: "policy.json", TrustRoot: "root.pem", TokenFile: "token",
		Deployment: Deployment, Genesis: hex.EncodeToString(s.Genesis[:]),
	}).Save(path))
	return path
}
