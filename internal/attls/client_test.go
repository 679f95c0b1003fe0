package attls_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/sim/nsmsim"
	"github.com/cloisterhq/cloister/test/rig"
)

// spki is the hash of a certificate's key.
func spki(t testing.TB, c tls.Certificate) [32]byte {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
}

// serverTLS is the TLS of an honest server.
func serverTLS(c tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS13, NextProtos: []string{attls.Protocol}}
}

// serve is a server that the test controls: it takes the client's request,
// answers whatever answer makes of the nonce, and returns what comes after.
func serve(t testing.TB, conn net.Conn, config *tls.Config, answer func(nonce []byte) []byte) []byte {
	secured := tls.Server(conn, config)
	defer secured.Close()
	if secured.HandshakeContext(t.Context()) != nil {
		return nil
	}
	raw, err := attls.ReadFrame(secured, limits.EvidenceRequest)
	if err != nil {
		t.Errorf("the client's request: %v", err)
		return nil
	}
	nonce, err := attls.ParseRequest(raw[4:])
	if err != nil {
		t.Errorf("the client's request: %v", err)
		return nil
	}
	if _, err := secured.Write(answer(nonce)); err != nil {
		return nil
	}
	said, _ := io.ReadAll(secured)
	return said
}

// dial runs the client against a server that answers as said.
func dial(t testing.TB, config attls.Config, server *tls.Config, answer func(nonce []byte) []byte) (*attls.Peer, error) {
	t.Helper()
	near, far := net.Pipe()
	var running sync.WaitGroup
	running.Go(func() {
		if said := serve(t, far, server, answer); len(said) > 0 {
			t.Errorf("the client said %q", said)
		}
	})
	defer running.Wait()
	conn, peer, err := attls.Dial(t.Context(), near, config)
	if err == nil {
		conn.Close()
	} else if _, err := near.Write([]byte{0}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a refused connection is still open: %v", err)
	}
	return peer, err
}

// encode writes evidence or ends the test.
func encode(t testing.TB, e attls.Evidence, err error) []byte {
	t.Helper()
	if err != nil {
		t.Error(err)
		return nil
	}
	raw, err := e.Encode()
	if err != nil {
		t.Error(err)
	}
	return raw
}

// honest answers as the rig's enclave does.
func honest(t testing.TB, r *rig.Rig) func(nonce []byte) []byte {
	return func(nonce []byte) []byte {
		e, err := r.Evidence(t.Context(), nonce, spki(t, r.Certificate))
		return encode(t, e, err)
	}
}

func class(err error) attestation.Class {
	refusal, ok := errors.AsType[*attestation.Error](err)
	if !ok {
		return ""
	}
	return refusal.Class
}

func TestDial(t *testing.T) {
	r := rig.New(t, rig.Config{})
	config := r.Client(t, nil)
	var seen *attls.Peer
	config.OnPeer = func(p *attls.Peer) error { seen = p; return nil }
	config.OnRefusal = func(err error) { t.Errorf("refused: %v", err) }
	var sent []byte
	answer := func(nonce []byte) []byte { sent = honest(t, r)(nonce); return sent }
	peer, err := dial(t, config, serverTLS(r.Certificate), answer)
	if err != nil {
		t.Fatal(err)
	}
	if peer != seen {
		t.Error("OnPeer saw another peer")
	}
	if !peer.ServiceKey.Equal(r.Service.Public()) || !bytes.Equal(peer.Genesis, r.Genesis[:]) || peer.IntakeKey != nil {
		t.Error("other keys than the enclave's")
	}
	if peer.Bundle.Deployment != rig.Deployment || peer.SPKI != spki(t, r.Certificate) || !bytes.Equal(peer.Evidence, sent) {
		t.Error("another bundle, key or message than the enclave's")
	}
	var names []string
	for _, c := range peer.Result.Checks() {
		names = append(names, c.Name)
	}
	if got := names[len(names)-2:]; !slices.Equal(got, []string{verifier.CheckBinding, verifier.CheckBundle}) {
		t.Errorf("the last checks are %v", got)
	}
	for _, open := range peer.Result.NotEstablished() {
		if strings.Contains(open, "connection") || strings.Contains(open, "PCR16") {
			t.Errorf("still open: %s", open)
		}
	}
	e, err := attls.ReadEvidence(peer.Evidence)
	if err != nil || !bytes.Equal(e.Bundle, r.Raw) {
		t.Errorf("the kept evidence doesn't read: %v", err)
	}
}

// TestDialWithoutKeys: an enclave that KMS gave nothing yet can be verified.
func TestDialWithoutKeys(t *testing.T) {
	r := rig.New(t, rig.Config{})
	peer, err := dial(t, r.Client(t, nil), serverTLS(r.Certificate), func(nonce []byte) []byte {
		e, err := r.Attest(t.Context(), nonce, spki(t, r.Certificate), attls.Evidence{Bundle: r.Raw})
		return encode(t, e, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if peer.ServiceKey != nil || peer.Genesis != nil {
		t.Error("keys out of nothing")
	}
}

// TestRefusals runs one enclave that isn't the wanted one after another.
func TestRefusals(t *testing.T) {
	r := rig.New(t, rig.Config{})
	otherBundle := func(b *bundle.Bundle) { b.Limits.MaxResultRows = 1 }
	bundleNone := func(f *policy.File) { f.Bundle = policy.BundleNone; delete(f.Releases[0].PCRs, "16") }
	fault := func(fault nsmsim.Fault) func(*nsmsim.Config) {
		return func(c *nsmsim.Config) {
			c.Faults = func(request string) nsmsim.Fault {
				if request == "Attestation" {
					return fault
				}
				return nsmsim.Healthy
			}
		}
	}
	for name, c := range map[string]struct {
		enclave rig.Config
		policy  func(*policy.File)
		want    attestation.Class
	}{
		"under another root":                 {rig.Config{}, func(f *policy.File) { f.Roots = []string{r.Root.Fingerprint()} }, attestation.UntrustedRoot},
		"another image":                      {rig.Config{Root: r.Root, Label: "another"}, nil, attestation.PolicyMismatch},
		"another bundle":                     {rig.Config{Root: r.Root, Bundle: otherBundle}, nil, attestation.PolicyMismatch},
		"no bundle measured":                 {rig.Config{Root: r.Root, Unmeasured: true}, nil, attestation.PolicyMismatch},
		"no bundle measured, not asked for":  {rig.Config{Root: r.Root, Unmeasured: true}, bundleNone, attestation.Binding},
		"a measured file that is no bundle":  {rig.Config{Root: r.Root, Measured: []byte("no bundle")}, bundleNone, attestation.Malformed},
		"production in simulation":           {rig.Config{Root: r.Root, Bundle: production}, bundleNone, attestation.Inconsistent},
		"debug mode":                         {rig.Config{Root: r.Root, Module: func(c *nsmsim.Config) { c.Debug = true }}, nil, attestation.Debug},
		"an old document":                    {rig.Config{Root: r.Root, Module: fault(nsmsim.OldTimestamp)}, nil, attestation.Stale},
		"another nonce":                      {rig.Config{Root: r.Root, Module: fault(nsmsim.WrongNonce)}, nil, attestation.Nonce},
		"debug registers in a good document": {rig.Config{Root: r.Root, Module: fault(nsmsim.DebugPCRs)}, nil, attestation.Debug},
	} {
		enclave := rig.New(t, c.enclave)
		config := r.Client(t, c.policy)
		var refused error
		config.OnRefusal = func(err error) { refused = err }
		config.OnPeer = func(*attls.Peer) error { t.Errorf("%s: OnPeer was asked", name); return nil }
		peer, err := dial(t, config, serverTLS(enclave.Certificate), honest(t, enclave))
		if peer != nil || class(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
		if !errors.Is(err, refused) {
			t.Errorf("%s: OnRefusal was told %v", name, refused)
		}
	}
}

// production turns a bundle into one of production.
func production(b *bundle.Bundle) {
	b.Profile, b.Freshness = bundle.Production, bundle.FreshnessWitnesses
	b.Datasets[0].Contract.Mode = 0
}

// TestOtherHardware: a root that the policy calls "other" may run both profiles.
func TestOtherHardware(t *testing.T) {
	for _, change := range []func(*bundle.Bundle){nil, production} {
		r := rig.New(t, rig.Config{Bundle: change})
		peer, err := dial(t, r.Client(t, func(f *policy.File) { f.Environment = policy.Other }), serverTLS(r.Certificate), honest(t, r))
		if err != nil {
			t.Errorf("%v", err)
		} else if peer.Result.Environment() != policy.Other {
			t.Errorf("environment %s", peer.Result.Environment())
		}
	}
}

func TestGoesWith(t *testing.T) {
	for _, c := range []struct {
		profile, environment string
		want                 bool
	}{
		{bundle.Production, policy.AWS, true}, {bundle.Simulation, policy.AWS, false},
		{bundle.Production, policy.Simulation, false}, {bundle.Simulation, policy.Simulation, true},
		{bundle.Production, policy.Other, true}, {bundle.Simulation, policy.Other, true},
	} {
		if got := attls.GoesWith(c.profile, c.environment); got != c.want {
			t.Errorf("%s with %s: %t", c.profile, c.environment, got)
		}
	}
}

// TestForged: a host in the middle has an accepted enclave at hand and may show
// it any nonce, but must show the client evidence for a key of its own.
func TestForged(t *testing.T) {
	r := rig.New(t, rig.Config{})
	other := rig.New(t, rig.Config{Root: r.Root, Bundle: func(b *bundle.Bundle) { b.Limits.MaxResultRows = 1 }})
	middle := rig.Certificate(t)
	var recorded []byte
	if _, err := dial(t, r.Client(t, nil), serverTLS(r.Certificate), func(nonce []byte) []byte {
		recorded = honest(t, r)(nonce)
		return recorded
	}); err != nil {
		t.Fatal(err)
	}
	// changed answers good evidence for this connection, changed afterwards.
	changed := func(change func(*attls.Evidence)) func([]byte) []byte {
		return func(nonce []byte) []byte {
			e, err := r.Evidence(t.Context(), nonce, spki(t, r.Certificate))
			change(&e)
			return encode(t, e, err)
		}
	}
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	for name, c := range map[string]struct {
		certificate tls.Certificate
		answer      func(nonce []byte) []byte
		want        attestation.Class
	}{
		"passed on from another connection":    {middle, honest(t, r), attestation.Binding},
		"recorded, with the middle's key":      {middle, func([]byte) []byte { return recorded }, attestation.Nonce},
		"recorded, with the enclave's key":     {r.Certificate, func([]byte) []byte { return recorded }, attestation.Nonce},
		"another service key":                  {r.Certificate, changed(func(e *attls.Evidence) { e.ServiceKey = key.Public().(ed25519.PublicKey) }), attestation.Binding},
		"no service key":                       {r.Certificate, changed(func(e *attls.Evidence) { e.ServiceKey, e.Genesis = nil, nil }), attestation.Binding},
		"another genesis":                      {r.Certificate, changed(func(e *attls.Evidence) { e.Genesis = make([]byte, 32) }), attestation.Binding},
		"an intake key added":                  {r.Certificate, changed(func(e *attls.Evidence) { e.IntakeKey = make([]byte, 32) }), attestation.Binding},
		"another bundle":                       {r.Certificate, changed(func(e *attls.Evidence) { e.Bundle = other.Raw }), attestation.Binding},
		"a bundle with a changed byte":         {r.Certificate, changed(func(e *attls.Evidence) { e.Bundle = append(slices.Clone(e.Bundle[:99]), e.Bundle[99]^1) }), attestation.Binding},
		"another bundle that the enclave says": {r.Certificate, lies(t, r, other.Raw), attestation.Binding},
		"a document with a changed byte":       {r.Certificate, changed(func(e *attls.Evidence) { e.Document[len(e.Document)-1] ^= 1 }), attestation.Signature},
		"a document that is none":              {r.Certificate, changed(func(e *attls.Evidence) { e.Document = []byte{1} }), attestation.Malformed},
		"a document without user data":         {r.Certificate, changed(func(e *attls.Evidence) { e.Document = bare(t, r, e) }), attestation.Binding},
		"no message":                           {r.Certificate, func([]byte) []byte { return []byte{0, 0, 0, 0} }, attestation.Malformed},
		"a message that is too long":           {r.Certificate, func([]byte) []byte { return binary.BigEndian.AppendUint32(nil, limits.Evidence+1) }, attestation.Malformed},
	} {
		config := r.Client(t, nil)
		config.OnPeer = func(*attls.Peer) error { t.Errorf("%s: OnPeer was asked", name); return nil }
		if peer, err := dial(t, config, serverTLS(c.certificate), c.answer); peer != nil || class(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// lies is an enclave that binds another bundle than it measured.
func lies(t *testing.T, r *rig.Rig, raw []byte) func([]byte) []byte {
	return func(nonce []byte) []byte {
		e, err := r.Attest(t.Context(), nonce, spki(t, r.Certificate), attls.Evidence{Bundle: raw})
		return encode(t, e, err)
	}
}

// bare answers a document for the same nonce that binds nothing.
func bare(t *testing.T, r *rig.Rig, e *attls.Evidence) []byte {
	d, err := attestation.Parse(e.Document)
	if err != nil {
		t.Error(err)
		return nil
	}
	return document(t, r, d.Nonce(), nil)
}

// TestOnPeer: what OnPeer doesn't want is a refusal in its own words.
func TestOnPeer(t *testing.T) {
	r := rig.New(t, rig.Config{})
	config := r.Client(t, nil)
	unwanted := errors.New("unwanted")
	var refused error
	config.OnPeer = func(*attls.Peer) error { return unwanted }
	config.OnRefusal = func(err error) { refused = err }
	if peer, err := dial(t, config, serverTLS(r.Certificate), honest(t, r)); peer != nil || !errors.Is(err, unwanted) || errors.Is(err, attls.ErrExchange) {
		t.Errorf("%v", err)
	}
	if !errors.Is(refused, unwanted) {
		t.Errorf("OnRefusal was told %v", refused)
	}
}

// TestClocks: the client's clock decides, and one that isn't set never accepts.
func TestClocks(t *testing.T) {
	r := rig.New(t, rig.Config{})
	for name, c := range map[string]struct {
		now  time.Time
		want attestation.Class
	}{
		"not set": {time.Time{}, attestation.Clock}, "an hour ahead": {time.Now().Add(time.Hour), attestation.Stale},
		"an hour behind": {time.Now().Add(-50 * time.Minute), attestation.NotYetValid}, "a day ahead": {time.Now().Add(24 * time.Hour), attestation.Expired},
	} {
		config := r.Client(t, nil)
		config.Now = func() time.Time { return c.now }
		if peer, err := dial(t, config, serverTLS(r.Certificate), honest(t, r)); peer != nil || class(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNoEvidence: peers that give none are ErrExchange, and no refusal.
func TestNoEvidence(t *testing.T) {
	r := rig.New(t, rig.Config{})
	tls12 := serverTLS(r.Certificate)
	tls12.MinVersion, tls12.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	h2, none := serverTLS(r.Certificate), serverTLS(r.Certificate)
	h2.NextProtos, none.NextProtos = []string{"h2"}, nil
	handshake := func(c *tls.Config) func(net.Conn) {
		return func(conn net.Conn) {
			s := tls.Server(conn, c)
			_ = s.Handshake()
			_, _ = attls.ReadFrame(s, limits.EvidenceRequest)
		}
	}
	for name, peer := range map[string]func(net.Conn){
		"closes": func(net.Conn) {},
		"speaks HTTP": func(conn net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, conn) }()
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		},
		"closes after the handshake": handshake(serverTLS(r.Certificate)),
		"TLS 1.2":                    handshake(tls12),
		"another protocol":           handshake(h2),
		"no protocol":                handshake(none),
		"half a message": func(conn net.Conn) {
			s := tls.Server(conn, serverTLS(r.Certificate))
			_ = s.Handshake()
			_, _ = attls.ReadFrame(s, limits.EvidenceRequest)
			_, _ = s.Write([]byte{0, 0, 0, 9, 1})
		},
	} {
		near, far := net.Pipe()
		var running sync.WaitGroup
		running.Go(func() {
			defer far.Close()
			peer(far)
		})
		config := r.Client(t, nil)
		config.OnRefusal = func(err error) { t.Errorf("%s: refused: %v", name, err) }
		conn, p, err := attls.Dial(t.Context(), near, config)
		if conn != nil || p != nil || !errors.Is(err, attls.ErrExchange) || class(err) != "" {
			t.Errorf("%s: %v", name, err)
		}
		running.Wait()
	}
}

// TestStalledServer: a peer that says nothing is left after the timeout or as
// soon as the context ends, at every place.
func TestStalledServer(t *testing.T) {
	certificate := rig.Certificate(t)
	r := rig.New(t, rig.Config{})
	for name, peer := range map[string]func(net.Conn){
		"before the handshake": func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"after the handshake": func(conn net.Conn) {
			s := tls.Server(conn, serverTLS(certificate))
			_ = s.Handshake()
			_, _ = io.Copy(io.Discard, s)
		},
		"in the message": func(conn net.Conn) {
			s := tls.Server(conn, serverTLS(certificate))
			_ = s.Handshake()
			_, _ = s.Write([]byte{0, 0, 1, 0, 1})
			_, _ = io.Copy(io.Discard, s)
		},
		"before anything is read": func(net.Conn) {},
	} {
		config := r.Client(t, nil)
		synctest.Test(t, func(t *testing.T) {
			for _, cancelled := range []bool{false, true} {
				near, far := net.Pipe()
				go peer(far)
				ctx, cancel := context.WithCancel(t.Context())
				config.Timeout = time.Minute
				if cancelled {
					config.Timeout = 0
					time.AfterFunc(time.Second, cancel)
				}
				started := time.Now()
				_, _, err := attls.Dial(ctx, near, config)
				took := time.Since(started)
				cancel()
				want, after := context.DeadlineExceeded, time.Minute
				if cancelled {
					want, after = context.Canceled, time.Second
				}
				if !errors.Is(err, want) || !errors.Is(err, attls.ErrExchange) || took != after {
					t.Errorf("%s: %v after %v", name, err, took)
				}
				far.Close()
			}
		})
	}
}

// TestEnded: a connection outlives the context that it was dialled with.
func TestEnded(t *testing.T) {
	r := rig.New(t, rig.Config{})
	near, far := net.Pipe()
	said := make(chan []byte)
	go func() { said <- serve(t, far, serverTLS(r.Certificate), honest(t, r)) }()
	ctx, cancel := context.WithCancel(t.Context())
	conn, _, err := attls.Dial(ctx, near, r.Client(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := conn.Write([]byte("still there")); err != nil {
		t.Error(err)
	}
	conn.Close()
	if got := <-said; string(got) != "still there" {
		t.Errorf("the server heard %q", got)
	}
}

// TestConfig: without roots, policy or clock nothing is dialled.
func TestConfig(t *testing.T) {
	r := rig.New(t, rig.Config{})
	for name, spoil := range map[string]func(*attls.Config){
		"no roots": func(c *attls.Config) { c.Roots = verifier.Roots{} }, "no policy": func(c *attls.Config) { c.Policy = nil },
		"no clock": func(c *attls.Config) { c.Now = nil }, "nothing": func(c *attls.Config) { *c = attls.Config{} },
	} {
		config := r.Client(t, nil)
		spoil(&config)
		near, far := net.Pipe()
		if _, _, err := attls.Dial(t.Context(), near, config); err == nil || errors.Is(err, attls.ErrExchange) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the connection is still open: %v", name, err)
		}
	}
}

// document asks the rig's module for a document.
func document(t testing.TB, r *rig.Rig, nonce, userData []byte) []byte {
	t.Helper()
	d, err := r.Module.Attest(t.Context(), nsm.Request{Nonce: nonce, UserData: userData})
	if err != nil {
		t.Error(err)
	}
	return d
}
