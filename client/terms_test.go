package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
)

// offline submits while the enclave is away and answers the error.
func (s *study) offline(change func(*client.Config)) error {
	s.t.Helper()
	sum, err := s.producer(0, change).Submit(s.t.Context(), submission(csvOf(10)))
	if err == nil && sum.Pending != 10 {
		s.t.Errorf("%+v", of(sum))
	}
	return err
}

// rule writes the policy anew with a change.
func (s *study) rule(change func(*policy.File)) {
	s.t.Helper()
	file := s.rig.PolicyFile()
	change(&file)
	b, err := file.Marshal()
	check(s.t, err)
	s.write("policy.json", b)
}

// TestPinnedBundle: without an enclave the policy alone says whether the pinned
// bundle is one to seal under.
func TestPinnedBundle(t *testing.T) {
	s := newStudy(t, nil)
	s.leave()
	lower := *s.rig.Bundle
	lower.Limits.QueryTimeout++
	other, err := lower.Encode()
	check(t, err)
	s.write("other.cbor", other)
	s.write("garbage.cbor", []byte("garbage"))
	s.write("huge.cbor", make([]byte, 4<<20))
	past := func(f *policy.File) { f.Releases[0].NotAfter = "2020-01-01T00:00:00Z" }
	future := func(f *policy.File) { f.Releases[0].NotBefore = "2100-01-01T00:00:00Z" }
	for _, c := range []struct {
		name    string
		policy  func(*policy.File)
		context func(*client.Config)
		class   attestation.Class
		want    error
	}{
		{"another bundle", nil, func(c *client.Config) { c.Bundle = "other.cbor" }, attestation.PolicyMismatch, nil},
		{"garbage", nil, func(c *client.Config) { c.Bundle = "garbage.cbor" }, attestation.PolicyMismatch, nil},
		{"release of the past", past, nil, attestation.PolicyMismatch, nil},
		{"release of the future", future, nil, attestation.PolicyMismatch, nil},
		{"policy without bundles", func(f *policy.File) { f.Bundle = policy.BundleNone; delete(f.Releases[0].PCRs, "16") }, nil, attestation.PolicyMismatch, nil},
		{"another deployment", nil, func(c *client.Config) { c.Deployment = "other" }, client.ClassDeployment, nil},
		{"missing", nil, func(c *client.Config) { c.Bundle = "missing.cbor" }, "", client.ErrUsage},
		{"huge", nil, func(c *client.Config) { c.Bundle = "huge.cbor" }, "", client.ErrUsage},
		{"none", nil, func(c *client.Config) { c.Bundle = "" }, "", client.ErrUnreachable},
	} {
		if c.policy == nil {
			c.policy = func(*policy.File) {}
		}
		s.rule(c.policy)
		err := s.offline(c.context)
		if c.class != "" && class(err) != c.class || c.want != nil && !errors.Is(err, c.want) || err == nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(sealedFiles(t, s)) != 0 {
			t.Fatalf("%s: sealed", c.name)
		}
	}
	// A second release of an update's policy serves as well as the first.
	s.rule(func(f *policy.File) {
		pcr16 := attestation.PCR(bundle.PCR16(other))
		second := policy.FileRelease{Name: "next", PCRs: map[string]string{
			"0": s.rig.Image.PCR0.String(), "1": s.rig.Image.PCR1.String(), "2": s.rig.Image.PCR2.String(), "16": pcr16.String(),
		}}
		f.Releases = append(f.Releases, second)
	})
	for _, name := range []string{"bundle.cbor", "other.cbor"} {
		if err := s.offline(func(c *client.Config) { c.Bundle, c.Spool = name, "spool-"+name }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProfile: a policy for AWS's hardware never goes with a simulated bundle.
func TestProfile(t *testing.T) {
	s := newStudy(t, nil)
	s.leave()
	s.rule(func(f *policy.File) { f.Environment = policy.Other })
	if err := s.offline(nil); err != nil {
		t.Errorf("other hardware says nothing of profiles: %v", err)
	}
	s.rule(func(f *policy.File) { f.Environment, f.Roots = policy.AWS, []string{policy.AWSRoot} })
	if err := s.offline(func(c *client.Config) { c.TrustRoot, c.Spool = "", "other" }); class(err) != attestation.Inconsistent {
		t.Errorf("%v", err)
	}
}

// TestRefusedIsNotAway: nothing is sealed when an enclave answers that the
// policy doesn't accept, pinned bundle or not.
func TestRefusedIsNotAway(t *testing.T) {
	s := newStudy(t, nil)
	s.rule(func(f *policy.File) { f.Releases[0].PCRs["0"] = strings.Repeat("ab", 48) })
	c := s.producer(time.Hour, nil)
	if _, err := c.Submit(t.Context(), submission(csvOf(10))); class(err) != attestation.PolicyMismatch {
		t.Errorf("%v", err)
	}
	if len(sealedFiles(t, s)) != 0 {
		t.Error("sealed")
	}
}
