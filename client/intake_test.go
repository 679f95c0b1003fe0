package client_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/enclave/ingest"
	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/keyring"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/envelope"
	"github.com/cloisterhq/cloister/internal/intakekey"
	"github.com/cloisterhq/cloister/internal/secret"
	"github.com/cloisterhq/cloister/test/genuine"
	"github.com/cloisterhq/cloister/test/rig"
)

// offer is what an enclave says of its intake key.
type offer struct {
	claims intakekey.Claims
	signer crypto.Signer
	// named is the key that the evidence names; nil names none.
	named []byte
}

// publishing is an enclave whose evidence and key set are the test's.
type publishing struct {
	*rig.Rig
	paths   *server.Paths
	address string
	offers  atomic.Pointer[func(call int32) offer]
	calls   atomic.Int32 // key sets that were asked for
}

func (p *publishing) now() offer { return (*p.offers.Load())(p.calls.Load()) }

// KeySet signs what is offered.
func (p *publishing) KeySet() ([]byte, error) {
	o := (*p.offers.Load())(p.calls.Add(1) - 1)
	return intakekey.Sign(o.claims, o.signer)
}

func publish(t *testing.T) *publishing {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	p := &publishing{Rig: rig.New(t, rig.Config{}), paths: server.NewPaths(), address: l.Addr().String()}
	attested := attls.NewServer(p.Certificate, time.Now, func(ctx context.Context, nonce []byte, spki [32]byte) (attls.Evidence, error) {
		return p.Attest(ctx, nonce, spki, attls.Evidence{
			Bundle: p.Raw, ServiceKey: p.Service.Public().(ed25519.PublicKey), Genesis: p.Genesis[:], IntakeKey: p.now().named,
		})
	}, 20*time.Second)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.ServeQueries(ctx, l, attested, p.paths, nil) }()
	t.Cleanup(func() {
		stop()
		check(t, <-ended)
	})
	p.paths.Publish(p)
	return p
}

// offer makes the enclave offer what change makes of a good offer.
func (p *publishing) offer(change func(call int32, o *offer)) {
	p.calls.Store(0)
	f := func(call int32) offer {
		o := offer{claims: p.claims(0), signer: p.Service}
		o.named = named(&o.claims)
		if change != nil {
			change(call, &o)
		}
		return o
	}
	p.offers.Store(&f)
}

// named is the hash of the key in claims.
func named(c *intakekey.Claims) []byte {
	public, err := intakekey.ParsePublic(c.Key)
	if err != nil {
		return nil
	}
	digest := public.Digest()
	return digest[:]
}

// claims are those of the n-th key.
func (p *publishing) claims(n int) intakekey.Claims {
	return claimsOf(rig.Deployment, p.Genesis, n, time.Hour)
}

// claimsOf are those of the n-th key, which is good for so long.
func claimsOf(deployment string, genesis [32]byte, n int, life time.Duration) intakekey.Claims {
	now := time.Now()
	return intakekey.Claims{
		Deployment: deployment, Genesis: genesis, Key: intakePublic(n),
		Born: now.Add(-48 * time.Hour).UnixMilli(), NotAfter: now.Add(life).UnixMilli(),
	}
}

// intakePublic is the n-th of a few keys.
func intakePublic(n int) []byte {
	k, err := intakekey.ParsePrivate(secret.New(bytes.Repeat([]byte{byte(n + 1)}, intakekey.SeedSize)))
	if err != nil {
		panic(err)
	}
	return k.Public().Bytes()
}

// client reaches the enclave and wants another rig.
func (p *publishing) client(t *testing.T, wanted *rig.Rig, change func(*client.Config)) *client.Client {
	t.Helper()
	dir := t.TempDir()
	policy, err := wanted.PolicyFile().Marshal()
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "policy.json"), policy, 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "root.pem"), wanted.Root.PEM(), 0o600))
	path := filepath.Join(dir, "context.json")
	config := &client.Config{
		Version: 1, Deployment: rig.Deployment, Attested: p.address, Policy: "policy.json", TrustRoot: "root.pem", Genesis: hex.EncodeToString(p.Genesis[:]),
	}
	if change != nil {
		change(config)
	}
	check(t, config.Save(path))
	config, err = client.Load(path)
	check(t, err)
	c, err := client.New(config)
	check(t, err)
	c.Wait = 0
	return c
}

func TestFetchKeys(t *testing.T) {
	p := publish(t)
	p.offer(nil)
	set, err := p.client(t, p.Rig, nil).FetchKeys(t.Context())
	check(t, err)
	if digest := set.Public().Digest(); !bytes.Equal(digest[:], p.now().named) || !set.Service().Equal(p.Service.Public()) {
		t.Error("another key was fetched")
	}
	file, err := set.File()
	check(t, err)
	path := filepath.Join(t.TempDir(), "keys.json")
	check(t, os.WriteFile(path, file, 0o600))
	if again, err := client.LoadKeys(path); err != nil || again.Public().ID() != set.Public().ID() {
		t.Errorf("another key was read: %v", err)
	}
	check(t, os.WriteFile(path, bytes.ToUpper(file), 0o600))
	for _, path := range []string{path, path + "x"} {
		if set, err := client.LoadKeys(path); set != nil || !errors.Is(err, client.ErrUsage) {
			t.Errorf("a file that isn't one: %v", err)
		}
	}
}

// TestFetchKeysRefuses: nobody but the verified enclave gives a key.
func TestFetchKeysRefuses(t *testing.T) {
	p := publish(t)
	other := rig.New(t, rig.Config{})
	for name, c := range map[string]struct {
		change func(int32, *offer)
		want   attestation.Class
		calls  int32
	}{
		"another service key": {func(_ int32, o *offer) { o.signer = other.Service }, client.ClassIntake, 1},
		"another key":         {func(_ int32, o *offer) { o.claims = p.claims(1) }, client.ClassIntake, 2},
		"another deployment":  {func(_ int32, o *offer) { o.claims.Deployment = "lung-study" }, client.ClassIntake, 1},
		"another state":       {func(_ int32, o *offer) { o.claims.Genesis = other.Genesis; o.claims.Genesis[0] ^= 1 }, client.ClassIntake, 1},
		"no key":              {func(_ int32, o *offer) { o.claims.Key = o.claims.Key[1:] }, client.ClassIntake, 1},
	} {
		p.offer(c.change)
		if set, err := p.client(t, p.Rig, nil).FetchKeys(t.Context()); set != nil || class(err) != c.want || p.calls.Load() != c.calls {
			t.Errorf("%s: %v after %d calls", name, err, p.calls.Load())
		}
	}
	p.offer(nil)
	for name, c := range map[string]struct {
		wanted *rig.Rig
		pin    func(*client.Config)
		want   attestation.Class
	}{
		"another image":      {other, nil, attestation.UntrustedRoot},
		"another genesis":    {p.Rig, func(c *client.Config) { c.Genesis = hex.EncodeToString(make([]byte, 32)) }, client.ClassGenesis},
		"another deployment": {p.Rig, func(c *client.Config) { c.Deployment = "lung-study" }, client.ClassDeployment},
	} {
		if set, err := p.client(t, c.wanted, c.pin).FetchKeys(t.Context()); set != nil || class(err) != c.want || p.calls.Load() != 0 {
			t.Errorf("%s pinned: %v after %d calls", name, err, p.calls.Load())
		}
	}
}

// TestFetchKeysLater: an enclave without an intake key isn't refused.
func TestFetchKeysLater(t *testing.T) {
	p := publish(t)
	p.offer(func(_ int32, o *offer) { o.named = nil })
	if set, err := p.client(t, p.Rig, nil).FetchKeys(t.Context()); set != nil || !errors.Is(err, client.ErrLocked) {
		t.Errorf("evidence without a key: %v", err)
	}
	p.offer(func(_ int32, o *offer) { o.claims.NotAfter = time.Now().Add(-time.Hour).UnixMilli() })
	if set, err := p.client(t, p.Rig, nil).FetchKeys(t.Context()); set != nil || !errors.Is(err, client.ErrUsage) {
		t.Errorf("an expired key: %v", err)
	}
	// The key is renewed between the evidence and the answer.
	p.offer(func(call int32, o *offer) {
		if o.claims = p.claims(1); call == 0 {
			o.named = named(new(intakekey.Claims{Key: intakePublic(0)}))
			return
		}
		o.named = named(&o.claims)
	})
	if set, err := p.client(t, p.Rig, nil).FetchKeys(t.Context()); err != nil || !bytes.Equal(set.Public().Bytes(), intakePublic(1)) {
		t.Errorf("a renewed key: %v", err)
	}
	unpublished := rig.Serve(t)
	c := dial(t, load(t, unpublished, unpublished.Rig))
	c.Wait = 0
	if set, err := c.FetchKeys(t.Context()); set != nil || !errors.Is(err, client.ErrUnreachable) || err.Error() != "the enclave has no keys yet; try again" {
		t.Errorf("nothing is published: %v", err)
	}
}

// intakeStudy is a study whose record path has intake keys and no KMS.
func intakeStudy(t *testing.T) (*study, *intake.Keys) {
	t.Helper()
	s := newStudy(t, small)
	keys, err := intake.Open(t.Context(), intake.Config{Objects: genuine.NewObjects(), Sealer: s.state, Now: time.Now})
	check(t, err)
	ring := keyring.New(keyring.Config{
		Intake: keys, Deployment: rig.Deployment, Max: 8, TTL: time.Hour, Now: time.Now,
		Dataset: func(name string) (string, uint64, bool) { return "", 0, name == rig.Dataset },
	})
	t.Cleanup(ring.Close)
	s.ingest, err = ingest.New(ingest.Config{Bundle: s.rig.Bundle, Keys: ring, State: s.state, Store: s, Now: time.Now})
	check(t, err)
	return s, keys
}

// setOf signs a key set as the study's enclave.
func setOf(t *testing.T, s *state.State, c intakekey.Claims) *intakekey.Set {
	t.Helper()
	raw, err := intakekey.Sign(c, s.ServiceKey())
	check(t, err)
	set, err := intakekey.Verify(raw, s.ServicePublicKey())
	check(t, err)
	return set
}

// noKMS is a context without anything of KMS.
func noKMS(c *client.Config) { c.KMS = client.KMS{} }

func intakeSubmission(set *intakekey.Set, n int) client.Submission {
	sub := submission(csvOf(n))
	sub.Key, sub.Keys = client.KeyIntake, set
	return sub
}

// TestSubmitIntake: a producer without KMS submits, also while the enclave is
// away, and every batch of a stream carries the same wrapped key.
func TestSubmitIntake(t *testing.T) {
	s, keys := intakeStudy(t)
	public, born, notAfter := keys.Current()
	set := setOf(t, s.state, intakekey.Claims{
		Deployment: rig.Deployment, Genesis: s.state.Genesis(), Key: public.Bytes(), Born: born.UnixMilli(), NotAfter: notAfter.UnixMilli(),
	})
	blobs := make(chan string, 1000)
	watch := func(raw []byte) error {
		sealed, err := envelope.Parse(raw)
		if err != nil {
			return err
		}
		w := sealed.Header().Wrap
		if w.Kind != envelope.WrapIntake || w.Key != public.ID() {
			t.Errorf("wrapped as %d by %s", w.Kind, w.Key)
		}
		blobs <- string(w.Blob)
		return nil
	}
	s.accept.Store(&watch)
	sum, err := s.producer(20*time.Second, noKMS).Submit(t.Context(), intakeSubmission(set, 100))
	check(t, err)
	if got := of(sum); got != (totals{100, 90, 10, 0, 0}) || s.counted.Load() != 90 || len(sum.Receipts) < 3 {
		t.Errorf("%+v, %d counted, %d receipts", got, s.counted.Load(), len(sum.Receipts))
	}
	first := <-blobs
	for range len(sum.Receipts) - 1 {
		if <-blobs != first {
			t.Error("two wrapped keys in one stream")
		}
	}
	s.leave()
	sum, err = s.producer(0, noKMS).Submit(t.Context(), intakeSubmission(set, 50))
	check(t, err)
	if got := of(sum); got != (totals{50, 0, 0, 50, 0}) {
		t.Errorf("while the enclave is away: %+v", got)
	}
}

// TestSubmitKeys: nothing is sealed to a key that isn't this deployment's or has
// expired, whether the enclave answers or not.
func TestSubmitKeys(t *testing.T) {
	s, _ := intakeStudy(t)
	genesis := s.state.Genesis()
	another, err := genuine.State(t.Context(), genuine.NewObjects())
	check(t, err)
	for name, c := range map[string]struct {
		set  *intakekey.Set
		live attestation.Class
		away attestation.Class // the file is believed then
	}{
		"of another deployment": {setOf(t, s.state, claimsOf("lung-study", genesis, 0, time.Hour)), client.ClassIntake, client.ClassIntake},
		"of another state":      {setOf(t, another, claimsOf(rig.Deployment, another.Genesis(), 0, time.Hour)), client.ClassIntake, client.ClassIntake},
		"signed by another":     {setOf(t, another, claimsOf(rig.Deployment, genesis, 0, time.Hour)), client.ClassIntake, ""},
		"expired":               {setOf(t, s.state, claimsOf(rig.Deployment, genesis, 0, -time.Hour)), "", ""},
	} {
		s.away.Store(false)
		_, err := s.producer(0, noKMS).Submit(t.Context(), intakeSubmission(c.set, 10))
		if err == nil || class(err) != c.live || c.live == "" && !errors.Is(err, client.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
		s.away.Store(true)
		_, err = s.producer(0, noKMS).Submit(t.Context(), intakeSubmission(c.set, 10))
		if class(err) != c.away || c.set.Expired(time.Now()) && !errors.Is(err, client.ErrUsage) {
			t.Errorf("%s, the enclave is away: %v", name, err)
		}
	}
	if s.counted.Load() != 0 {
		t.Errorf("%d records counted", s.counted.Load())
	}
}
