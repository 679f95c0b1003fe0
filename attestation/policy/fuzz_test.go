package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/attestation/policy"
)

// FuzzLoad: whatever loads is complete, and accepts nothing by being empty.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(text(f, file())))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := policy.Load(b)
		if err != nil {
			got, ok := errors.AsType[*policy.Error](err)
			if !ok || p != nil || got.Line < 1 || got.Column < 1 || got.Problem == "" {
				t.Errorf("%#v", err)
			}
			return
		}
		if len(p.Roots()) == 0 || len(p.Releases()) == 0 || p.MaxAge() <= 0 || p.MaxAge().Hours() > 3 {
			t.Error("a policy that holds nothing loads")
		}
		for _, root := range p.Roots() {
			if len(root) != 64 || root != strings.ToLower(root) || (root == policy.AWSRoot) != (p.Environment() == policy.AWS) {
				t.Errorf("root %q in %q", root, p.Environment())
			}
		}
		required := []int{0, 1, 2}
		if p.Bundle() != policy.BundleNone {
			required = append(required, policy.BundlePCR)
		}
		for _, r := range p.Releases() {
			for _, i := range required {
				if _, ok := r.PCRs[i]; !ok {
					t.Errorf("a release without PCR%d", i)
				}
			}
			for i, pcr := range r.PCRs {
				if pcr.IsZero() && !p.AllowDebug() || i < 0 || i > 31 {
					t.Errorf("PCR%d is %s", i, pcr)
				}
			}
		}
	})
}
