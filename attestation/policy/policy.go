// Package policy holds what a relying party accepts: the kind and environment
// of the attester, the roots it may be signed under, and releases as whole
// tuples of measurements. It trusts the file it reads, which is the relying
// party's own word. The zero value accepts nothing.
package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/cloisterhq/cloister/attestation"
)

// AWSRoot is the SHA-256 fingerprint of the DER form of AWS's Nitro Enclaves
// root G1, in hexadecimal digits, from AWS_NitroEnclaves_Root-G1.zip (AWS
// Nitro Enclaves user guide, "Verifying the root of trust"). The environment
// "aws" means this root and no other.
const AWSRoot = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

// Environments.
const (
	// AWS is hardware: documents under [AWSRoot].
	AWS = "aws"
	// Simulation is a simulated security module under a root of its own.
	Simulation = "simulation"
	// Other is hardware under another root, such as another partition's.
	Other = "other"
)

// KindEnclave is the only kind of attester there is: a Nitro enclave made from
// an image file.
const KindEnclave = "nitro-enclave"

// What a policy says about the bundle, the configuration that PCR16 measures.
const (
	// BundleRequired: every release names PCR16.
	BundleRequired = "required"
	// BundleNone: releases may leave PCR16 out. For other people's enclaves;
	// with Cloister's, the host could choose the configuration.
	BundleNone = "none"
)

// BundlePCR is the register that measures the bundle.
const BundlePCR = 16

// DefaultMaxAge is the maximum age of a document when a policy names none.
const DefaultMaxAge = 5 * time.Minute

// Policy is an appraisal policy. Only [Load] makes one that accepts anything;
// it never changes.
type Policy struct {
	environment string
	roots       []string
	bundle      string
	releases    []Release
	maxAge      time.Duration
	allowDebug  bool
}

// Release is one acceptable tuple of measurements. It matches as a whole:
// registers of two releases never mix.
type Release struct {
	// Name says which release this is, for people.
	Name string
	// PCRs are the registers that must have exactly these values.
	PCRs map[int]attestation.PCR
	// NotBefore and NotAfter bound when the release is accepted, inclusive;
	// zero means unbounded.
	NotBefore, NotAfter time.Time
}

// Current says whether t lies within the release's bounds.
func (r Release) Current(t time.Time) bool {
	return (r.NotBefore.IsZero() || !t.Before(r.NotBefore)) && (r.NotAfter.IsZero() || !t.After(r.NotAfter))
}

// Environment is [AWS], [Simulation] or [Other]; empty for the zero policy.
func (p *Policy) Environment() string { return p.environment }

// Roots answers the SHA-256 fingerprints of acceptable roots' DER form, in
// lower-case hexadecimal digits.
func (p *Policy) Roots() []string { return slices.Clone(p.roots) }

// Names says whether the root with that fingerprint is acceptable.
func (p *Policy) Names(fingerprint string) bool { return slices.Contains(p.roots, fingerprint) }

// Bundle is [BundleRequired] or [BundleNone]; empty for the zero policy.
func (p *Policy) Bundle() string { return p.bundle }

// Releases answers a copy of the acceptable releases, in the file's order.
func (p *Policy) Releases() []Release {
	all := slices.Clone(p.releases)
	for i := range all {
		all[i].PCRs = maps.Clone(all[i].PCRs)
	}
	return all
}

// MaxAge is how old a document may be.
func (p *Policy) MaxAge() time.Duration { return p.maxAge }

// AllowDebug says whether enclaves in debug mode, whose memory the host can
// read, are acceptable.
func (p *Policy) AllowDebug() bool { return p.allowDebug }
