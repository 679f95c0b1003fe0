// Package rig is a small attested enclave for tests: a simulated module with a
// measured bundle, and a policy that accepts it. It is trusted by nobody and
// linked by tests alone.
package rig

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/attls"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// Dataset is the name of a rig's one dataset; Deployment is its deployment.
const (
	Dataset    = "colon"
	Deployment = "colon-study"
)

// Config changes a rig. The zero value is a good one.
type Config struct {
	// Root signs; nil makes a new one.
	Root *nsmsim.Root
	// Label makes another image.
	Label string
	// Bundle changes the bundle before it is measured; nil doesn't.
	Bundle func(*bundle.Bundle)
	// Module changes the module's configuration; nil doesn't.
	Module func(*nsmsim.Config)
	// Measured is what is measured in place of the encoded bundle; nil is that.
	Measured []byte
	// Unmeasured leaves PCR16 as it was and unlocked.
	Unmeasured bool
}

// Rig is an enclave that has booted.
type Rig struct {
	// Root is the root of trust; Image is what PCR0 to 2 say.
	Root  *nsmsim.Root
	Image nsmsim.Image
	// Module is the client of the rig's module.
	Module *nsm.Client
	// Bundle is the measured bundle, and Raw its encoding.
	Bundle *bundle.Bundle
	Raw    []byte
	// Service signs receipts and answers; Genesis names the state.
	Service ed25519.PrivateKey
	Genesis [32]byte
	// Certificate carries the TLS key.
	Certificate tls.Certificate
}

// New boots a rig; what fails ends the test.
func New(t testing.TB, c Config) *Rig {
	t.Helper()
	r := &Rig{Root: c.Root, Bundle: newBundle(), Certificate: Certificate(t), Genesis: [32]byte{7}}
	if c.Bundle != nil {
		c.Bundle(r.Bundle)
	}
	var err error
	r.Raw, err = r.Bundle.Encode()
	must(t, err)
	if c.Measured != nil {
		r.Raw = c.Measured
	}
	if r.Root == nil {
		r.Root, err = nsmsim.NewRoot(time.Now(), Deployment)
		must(t, err)
	}
	_, r.Service, err = ed25519.GenerateKey(rand.Reader)
	must(t, err)
	r.Image, err = nsmsim.Measure(strings.NewReader("an executable"), c.Label)
	must(t, err)
	module := nsmsim.Config{Root: r.Root, Image: r.Image, Now: time.Now}
	if c.Module != nil {
		c.Module(&module)
	}
	device, err := nsmsim.New(module)
	must(t, err)
	t.Cleanup(func() { device.Close() })
	r.Module = nsm.NewClient(device)
	if !c.Unmeasured {
		digest := bundle.Digest(r.Raw)
		_, err = r.Module.Extend(t.Context(), policy.BundlePCR, digest[:])
		must(t, err)
		must(t, r.Module.LockRange(t.Context(), attestation.PCRCount))
	}
	return r
}

// Evidence is what an honest enclave with keys answers.
func (r *Rig) Evidence(ctx context.Context, nonce []byte, spki [32]byte) (attls.Evidence, error) {
	return r.Attest(ctx, nonce, spki, attls.Evidence{
		Bundle: r.Raw, ServiceKey: r.Service.Public().(ed25519.PublicKey), Genesis: r.Genesis[:],
	})
}

// Attest adds a document that commits to the rest of the evidence.
func (r *Rig) Attest(ctx context.Context, nonce []byte, spki [32]byte, e attls.Evidence) (attls.Evidence, error) {
	userData := attls.Binding{
		SPKI: spki, ServiceKey: e.ServiceKey, IntakeKey: e.IntakeKey, Genesis: e.Genesis, BundleDigest: bundle.Digest(e.Bundle),
	}.UserData()
	var err error
	e.Document, err = r.Module.Attest(ctx, nsm.Request{UserData: userData[:], Nonce: nonce})
	return e, err
}

// PolicyFile accepts the rig and nothing else.
func (r *Rig) PolicyFile() policy.File {
	pcr16 := attestation.PCR(bundle.PCR16(r.Raw))
	return policy.File{
		Version: 1, Environment: policy.Simulation, Kind: policy.KindEnclave, Roots: []string{r.Root.Fingerprint()}, Bundle: policy.BundleRequired,
		Releases: []policy.FileRelease{{Name: "test", PCRs: map[string]string{
			"0": r.Image.PCR0.String(), "1": r.Image.PCR1.String(), "2": r.Image.PCR2.String(), "16": pcr16.String(),
		}}},
	}
}

// Client is the configuration of a client that accepts the rig. change may
// change the policy; nil doesn't.
func (r *Rig) Client(t testing.TB, change func(*policy.File)) attls.Config {
	t.Helper()
	file := r.PolicyFile()
	if change != nil {
		change(&file)
	}
	b, err := file.Marshal()
	must(t, err)
	p, err := policy.Load(b)
	must(t, err)
	roots, err := verifier.NewRoots(r.Root.PEM())
	must(t, err)
	return attls.Config{Roots: roots, Policy: p, Now: time.Now}
}

// Certificate makes a TLS key and a certificate that carries it.
func Certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rig"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newBundle() *bundle.Bundle {
	const key = "arn:aws:kms:eu-central-1:111122223333:key/"
	low, high, length := int64(0), int64(120), 16
	return &bundle.Bundle{
		Version: bundle.Version, Deployment: Deployment, Profile: bundle.Simulation,
		Datasets: []bundle.Dataset{{
			Contract: contract.Contract{
				Dataset: Dataset, ID: Dataset, Version: "1.0.0", Floor: contract.DefaultFloor, Mode: contract.Threshold,
				Fields: []contract.Field{
					{Name: "id", Type: contract.Integer, Role: contract.Unit, Required: true},
					{Name: "rx", Type: contract.String, Role: contract.Dimension, MaxLength: &length},
					{Name: "age", Type: contract.Integer, Role: contract.Measure, Minimum: &low, Maximum: &high},
				},
			},
			KeyARN: key + "dataset", KeyEpoch: 1,
		}},
		KMS:       bundle.KMS{Region: "eu-central-1", StateKeyARN: key + "state"},
		Freshness: bundle.FreshnessNone, Limits: bundle.DefaultLimits(),
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
