// Package enclave wires the enclave process: boot, keys, state, and the two
// paths behind the two vsock ports. It trusts the NSM, KMS over TLS that ends
// here, and the bundle that it has measured; it trusts the parent with nothing
// but availability.
package enclave

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/enclave/boot"
	"github.com/cloisterhq/cloister/enclave/clock"
	"github.com/cloisterhq/cloister/enclave/counters"
	"github.com/cloisterhq/cloister/enclave/host"
	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/enclave/intake"
	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/enclave/server"
	"github.com/cloisterhq/cloister/enclave/state"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/vsock"
)

const (
	// certificateLife is how long a boot's TLS certificate says it is good;
	// nobody judges it, the evidence vouches for its key.
	certificateLife = 365 * 24 * time.Hour
	// exchangeTimeout bounds one attls exchange, the NSM's answer included.
	exchangeTimeout = 20 * time.Second
	// intakeEvery is how often the intake key is looked at for its renewal.
	intakeEvery = time.Hour
	// retryFirst and retryLast bound the pause between attempts at what the
	// parent or KMS must give.
	retryFirst = 200 * time.Millisecond
	retryLast  = 15 * time.Second
)

// ErrFreshness says that the bundle names a source of freshness that this
// enclave can't ask. Going on without it would break what the bundle promises.
var ErrFreshness = errors.New("enclave: the bundle wants freshness witnesses, which this release can't ask")

// Config is what the process hands to the enclave: its device and its
// transport. Everything else comes from the measured bundle.
type Config struct {
	// Device is the Nitro Secure Module. Required.
	Device nsm.Device
	// Transport is vsock. Required.
	Transport vsock.Transport
	// Clocksource answers what the machine counts time by, or why it must not be
	// used; nil where no machine is the enclave's own. Optional.
	Clocksource func() (string, error)
	// Say takes fixed phrases about progress, never data. Optional.
	Say func(Phrase)
}

// Enclave is a booted enclave: its bundle is measured, its registers are
// locked, its own evidence was verified.
type Enclave struct {
	config Config
	device *nsm.Client
	bundle *bundle.Bundle
	raw    []byte
	clock  *clock.Clock
	host   *host.Host
	egress *host.Egress
	who    *identity.Verifier
	kms    *kms.Client
	cert   tls.Certificate
	paths  *server.Paths
	counts *counters.Counters
	// opened is the state once KMS has released its key.
	opened atomic.Pointer[state.State]
	// intake has the intake keys, soon after the state is open.
	intake atomic.Pointer[intake.Keys]
}

// New boots: refuses an image that isn't measured, fetches the bundle, measures and locks, checks its own evidence,
// sets the clock, and makes the keys that live for this boot only.
func New(ctx context.Context, c Config) (*Enclave, error) {
	if c.Device == nil || c.Transport == nil {
		return nil, errors.New("enclave: a device and a transport are needed")
	}
	if c.Say == nil {
		c.Say = func(Phrase) {}
	}
	e := &Enclave{config: c, device: nsm.NewClient(c.Device), paths: server.NewPaths(), counts: counters.New()}
	e.paths.Show(e.counts)
	var err error
	if e.host, err = host.New(c.Transport); err != nil {
		return nil, err
	}
	if err := boot.CheckImage(ctx, e.device); err != nil {
		return nil, err
	}
	if err := e.measure(ctx); err != nil {
		return nil, err
	}
	if e.clock, err = clock.New(ctx, func(ctx context.Context) (time.Time, error) { return boot.SignedTime(ctx, e.device) }); err != nil {
		return nil, fmt.Errorf("enclave: %w", err)
	}
	e.paths.Time(e.clock)
	e.egress = host.NewEgress(c.Transport, e.bundle.Egress)
	if e.who, err = newIdentity(e.bundle, e.egress, e.clock.Now); err != nil {
		return nil, err
	}
	if e.cert, err = newCertificate(e.clock.Now()); err != nil {
		return nil, err
	}
	if e.kms, err = e.newKMS(); err != nil {
		return nil, err
	}
	return e, nil
}

// measure fetches the bundle as often as it takes and measures it once.
func (e *Enclave) measure(ctx context.Context) error {
	err := retry(ctx, func() error {
		var err error
		e.raw, err = e.host.Bundle(ctx)
		return err
	}, func(err error) bool { return errors.Is(err, host.ErrUnavailable) })
	if err != nil {
		return err
	}
	if e.bundle, err = boot.Measure(ctx, e.device, e.raw); err != nil {
		return err
	}
	if err := boot.SelfCheck(ctx, e.device, e.bundle, e.raw); err != nil {
		return err
	}
	if e.bundle.Freshness != bundle.FreshnessNone {
		return ErrFreshness
	}
	e.config.Say(SayMeasured)
	return nil
}

// Serve listens on both ports at once, so that evidence can be had and judged
// before any key is there, and opens the two paths when the state is open.
func (e *Enclave) Serve(ctx context.Context) error {
	records, err := e.config.Transport.Listen(vsock.PortIngest)
	if err != nil {
		return fmt.Errorf("enclave: %w", err)
	}
	queries, err := e.config.Transport.Listen(vsock.PortAttested)
	if err != nil {
		records.Close()
		return fmt.Errorf("enclave: %w", err)
	}
	attested := attls.NewServer(e.cert, e.clock.Now, e.evidence, exchangeTimeout)
	group, ctx := errgroup.WithContext(ctx)
	// On a shared machine every enclave and every process could reach the ports.
	group.Go(func() error { return server.ServeIntake(ctx, vsock.Only(records, vsock.HostCID), e.paths) })
	group.Go(func() error {
		return server.ServeQueries(ctx, vsock.Only(queries, vsock.HostCID), attested, e.paths, e.who)
	})
	group.Go(func() error { return e.unlock(ctx) })
	group.Go(func() error { return e.clock.Keep(ctx, e.config.Clocksource) })
	group.Go(func() error { return e.keepIntake(ctx) })
	group.Go(func() error {
		e.counts.Run(ctx)
		return nil
	})
	group.Go(func() error {
		if err := boot.Heartbeat(ctx, e.config.Transport); err != nil && ctx.Err() == nil {
			e.config.Say(SayNoHeartbeat)
		}
		return nil
	})
	err = group.Wait()
	e.host.Close()
	return err
}

// evidence answers one client's challenge with a fresh document that binds
// this connection's key, the service key and the bundle.
func (e *Enclave) evidence(ctx context.Context, nonce []byte, spki [32]byte) (attls.Evidence, error) {
	ev := attls.Evidence{Bundle: e.raw}
	if s := e.opened.Load(); s != nil {
		genesis := s.Genesis()
		ev.ServiceKey, ev.Genesis = s.ServicePublicKey(), genesis[:]
	}
	if keys := e.intake.Load(); keys != nil {
		public, _, _ := keys.Current()
		digest := public.Digest()
		ev.IntakeKey = digest[:]
	}
	userData := attls.Binding{
		SPKI: spki, ServiceKey: ev.ServiceKey, IntakeKey: ev.IntakeKey, Genesis: ev.Genesis, BundleDigest: bundle.Digest(e.raw),
	}.UserData()
	var err error
	ev.Document, err = e.device.Attest(ctx, nsm.Request{UserData: userData[:], Nonce: nonce})
	return ev, err
}

// newKMS makes the client whose recipient key lives for this boot.
func (e *Enclave) newKMS() (*kms.Client, error) {
	roots, err := kmsRoots(e.bundle)
	if err != nil {
		return nil, err
	}
	return kms.New(kms.Config{
		Region:   e.bundle.KMS.Region,
		Endpoint: e.bundle.KMS.Endpoint,
		HTTP: &http.Client{Transport: &http.Transport{
			Proxy:               nil, // nothing that the environment says may redirect keys
			DialContext:         e.egress.DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, Time: e.clock.Now},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxConnsPerHost:     4,
		}},
		Credentials: e.host.Credentials,
		Attest: func(ctx context.Context, publicKey []byte) ([]byte, error) {
			return e.device.Attest(ctx, nsm.Request{PublicKey: publicKey})
		},
		Now: e.clock.Now,
	})
}

// kmsRoots are the roots under which KMS is believed: the bundle's own in
// simulation, Amazon's in production.
func kmsRoots(b *bundle.Bundle) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	pem := b.KMS.CA
	if b.Profile == bundle.Production {
		pem = amazonRoots
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("enclave: the bundle names no root for KMS")
	}
	return pool, nil
}

// newCertificate makes the TLS key of this boot. Its certificate carries the
// key and proves nothing.
func newCertificate(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("enclave: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "cloister enclave"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certificateLife),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("enclave: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// retry repeats f while its error is one that can go away, pausing longer each
// time, until ctx ends.
func retry(ctx context.Context, f func() error, transient func(error) bool) error {
	for pause := retryFirst; ; pause = min(2*pause, retryLast) {
		err := f()
		if err == nil || !transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}
