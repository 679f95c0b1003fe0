package nsmsim_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/nsm"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/sim/nsmsim"
)

// path answers the certificates of a document, the root first.
func path(t testing.TB, document []byte) []*x509.Certificate {
	t.Helper()
	parsed, err := attestation.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	var all []*x509.Certificate
	for _, der := range append(parsed.CABundle(), parsed.Certificate()) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// TestProfile holds each level against the profile of the real certificates.
func TestProfile(t *testing.T) {
	const ca = x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	levels := []struct {
		name                   string
		commonName             string
		shortest, longest      time.Duration
		pathLen                int
		isCA                   bool
		usage                  x509.KeyUsage
		usageCritical          bool
		lists                  int
		extensions, size, room int
	}{
		{"root", `^simulation\.nitro-enclaves$`, 10957 * 24 * time.Hour, 10959 * 24 * time.Hour, -1, true, ca, true, 0, 3, 533, 80},
		{"regional", `^[0-9a-f]{16}\.sim-local-1\.simulation\.nitro-enclaves$`, 481 * time.Hour, 481 * time.Hour, 2, true, ca, true, 1, 5, 707, 60},
		{"zonal", `^[0-9a-f]{16}\.zonal\.sim-local-1\.simulation\.nitro-enclaves$`, 133 * time.Hour, 145 * time.Hour, 1, true, ca, true, 1, 5, 794, 60},
		{"instance", `^i-0809849710bf1b61b\.sim-local-1\.simulation\.nitro-enclaves$`, 24 * time.Hour, 24 * time.Hour, 0, true, x509.KeyUsageCertSign, true, 0, 4, 707, 80},
		{"leaf", `^i-0809849710bf1b61b-enc[0-9a-f]{16}\.sim-local-1\.simulation$`, 3*time.Hour + 3*time.Second, 3*time.Hour + 3*time.Second, -1, false, x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment, false, 0, 2, 640, 80},
	}
	d := newDevice(t, nsmsim.Config{Instance: "i-0809849710bf1b61b"})
	all := path(t, attest(t, d, nsm.Request{}))
	if len(all) != len(levels) {
		t.Fatalf("%d certificates, want %d", len(all), len(levels))
	}
	for i, want := range levels {
		c := all[i]
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P384() || c.SignatureAlgorithm != x509.ECDSAWithSHA384 || c.Version != 3 {
			t.Errorf("%s: not version 3, P-384 and ECDSA with SHA-384", want.name)
		}
		if !regexp.MustCompile(want.commonName).MatchString(c.Subject.CommonName) || len(c.Subject.CommonName) > 64 {
			t.Errorf("%s: common name %s", want.name, c.Subject.CommonName)
		}
		if len(c.Subject.Organization) != 1 || c.Subject.Organization[0] != "Cloister simulation" {
			t.Errorf("%s: the subject doesn't say that it is a simulation: %s", want.name, c.Subject)
		}
		if life := c.NotAfter.Sub(c.NotBefore); life < want.shortest || life > want.longest {
			t.Errorf("%s: lives for %v", want.name, life)
		}
		if c.MaxPathLen != want.pathLen || c.IsCA != want.isCA || !c.BasicConstraintsValid || c.KeyUsage != want.usage || len(c.ExtKeyUsage) != 0 {
			t.Errorf("%s: path length %d, CA %v, key usage %b", want.name, c.MaxPathLen, c.IsCA, c.KeyUsage)
		}
		if len(c.CRLDistributionPoints) != want.lists || len(c.Extensions) != want.extensions {
			t.Errorf("%s: %d revocation lists, %d extensions", want.name, len(c.CRLDistributionPoints), len(c.Extensions))
		}
		if off := len(c.Raw) - want.size; off < -want.room || off > want.room {
			t.Errorf("%s: %d bytes, the real one has %d", want.name, len(c.Raw), want.size)
		}
		for _, e := range c.Extensions {
			if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 15}) && e.Critical != want.usageCritical {
				t.Errorf("%s: key usage critical %v", want.name, e.Critical)
			}
		}
	}
	if before := start.Sub(all[4].NotBefore); before < 3*time.Second || before > 4*time.Second {
		t.Errorf("the leaf begins %v before its first document", before)
	}
}

// TestRenewal lets a module run for two weeks. Every document verifies when it
// is made, signed by a leaf of at most two and a half hours; root and module
// stay, and every other level is replaced in time.
func TestRenewal(t *testing.T) {
	root, now := newRoot(t), &clock{start}
	d := newDevice(t, nsmsim.Config{Root: root, Now: now.now})
	trusted := roots(t, root)
	var serials [5]map[string]bool
	for i := range serials {
		serials[i] = map[string]bool{}
	}
	for now.Before(start.Add(340 * time.Hour)) {
		step := 40 * time.Hour
		if now.Before(start.Add(6 * time.Hour)) {
			step = 29 * time.Minute
		}
		now.Time = now.Add(step)
		document := attest(t, d, nsm.Request{})
		if _, err := verifier.Authenticate(document, trusted, now.Time); err != nil {
			t.Fatalf("after %v: %v", now.Sub(start), err)
		}
		all := path(t, document)
		if age := now.Sub(all[4].NotBefore); age > 2*time.Hour+31*time.Minute {
			t.Errorf("after %v: a leaf of %v signs", now.Sub(start), age)
		}
		for i, c := range all {
			serials[i][c.SerialNumber.String()] = true
		}
	}
	for i, want := range []int{1, 2, 4, 10, 12} {
		if n := len(serials[i]); n != want {
			t.Errorf("level %d had %d certificates, want %d", i, n, want)
		}
	}
}

// TestPathOutlivesLeaf asks for a document close to the end of each level and
// checks that its whole path lasts as long as its leaf.
func TestPathOutlivesLeaf(t *testing.T) {
	root := newRoot(t)
	trusted := roots(t, root)
	for level := 1; level <= 4; level++ {
		for _, left := range []time.Duration{time.Minute, 170 * time.Minute} {
			now := &clock{start}
			d := newDevice(t, nsmsim.Config{Root: root, Now: now.now})
			aging := path(t, attest(t, d, nsm.Request{}))[level]
			if now.Time = aging.NotAfter.Add(-left); now.Before(start) {
				continue
			}
			document := attest(t, d, nsm.Request{})
			if _, err := verifier.Authenticate(document, trusted, path(t, document)[4].NotAfter); err != nil {
				t.Errorf("level %d has %v left: %v", level, left, err)
			}
		}
	}
}

// TestLeafIsKept checks that documents close together have one leaf.
func TestLeafIsKept(t *testing.T) {
	now := &clock{start}
	d := newDevice(t, nsmsim.Config{Now: now.now})
	first := path(t, attest(t, d, nsm.Request{}))[4]
	now.Time = start.Add(2 * time.Hour)
	if later := path(t, attest(t, d, nsm.Request{}))[4]; !later.Equal(first) {
		t.Error("another leaf after two hours")
	}
	now.Time = start.Add(2*time.Hour + 31*time.Minute)
	if later := path(t, attest(t, d, nsm.Request{}))[4]; later.Equal(first) || first.PublicKey.(*ecdsa.PublicKey).Equal(later.PublicKey) {
		t.Error("the same leaf or key half an hour before its end")
	}
}

// TestClockSteps checks a clock that steps back, and one that leaves the root's
// life.
func TestClockSteps(t *testing.T) {
	root, now := newRoot(t), &clock{start.Add(48 * time.Hour)}
	d := newDevice(t, nsmsim.Config{Root: root, Now: now.now})
	now.Time = start
	if _, err := verifier.Authenticate(attest(t, d, nsm.Request{}), roots(t, root), start); err != nil {
		t.Errorf("stepped back: %v", err)
	}
	for _, at := range []time.Time{start.Add(-2 * time.Hour), start.AddDate(30, 0, 1), time.Unix(-1, 0)} {
		now.Time = at
		if _, err := nsm.NewClient(d).Attest(t.Context(), nsm.Request{}); !errors.Is(err, nsm.InternalError) {
			t.Errorf("at %v: %v, want InternalError", at, err)
		}
	}
}
