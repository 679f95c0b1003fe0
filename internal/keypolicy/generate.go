package keypolicy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Condition keys of the policies made here (AWS KMS developer guide,
// condition keys for attested platforms, and kms:EncryptionContext).
const (
	// Attestation precedes the number of a register: kms:RecipientAttestation:PCR<n>.
	Attestation = "kms:RecipientAttestation:PCR"
	// ImageSha384 is register 0 by its other name. A request without a valid
	// attestation document lacks it.
	ImageSha384 = "kms:RecipientAttestation:ImageSha384"
	// EncryptionContext precedes the name of a pair of the encryption context.
	EncryptionContext = "kms:EncryptionContext:"
)

// recordPurpose is the purpose in the encryption context of record keys, the
// only keys that producers may make. Without it a producer could wrap a key
// that the enclave takes for one of its own.
const recordPurpose = "record"

// digits is the length of a register in hex digits: SHA-384.
const digits = 96

// Release is one tuple of registers that a key is released to, as lower-case
// or upper-case hex of 48 bytes each. PCR16 is the bundle: without it a host
// could start the genuine image with a bundle of its own.
type Release struct {
	PCR0, PCR1, PCR2, PCR16 string
	// PCR3 is the parent's role, PCR4 its instance and PCR8 the image's signer.
	// Empty asks for none.
	PCR3, PCR4, PCR8 string
}

// ErrRelease is wrapped by errors about a release's registers.
var ErrRelease = errors.New("release")

// Check refuses registers that aren't 96 hex digits, and zero: an enclave in
// debug mode has zeros in PCR0, PCR1 and PCR2.
func (r Release) Check() error {
	for _, p := range r.registers() {
		b, err := hex.DecodeString(p.value)
		if err != nil || len(p.value) != digits {
			return fmt.Errorf("%w: PCR%s isn't %d hex digits", ErrRelease, p.number, digits)
		}
		if !slices.ContainsFunc(b, func(b byte) bool { return b != 0 }) {
			return fmt.Errorf("%w: PCR%s is zero: a debug enclave would match", ErrRelease, p.number)
		}
	}
	return nil
}

type register struct{ number, value string }

func (r Release) registers() []register {
	all := []register{{"0", r.PCR0}, {"1", r.PCR1}, {"2", r.PCR2}, {"16", r.PCR16}}
	for _, p := range []register{{"3", r.PCR3}, {"4", r.PCR4}, {"8", r.PCR8}} {
		if p.value != "" {
			all = append(all, p)
		}
	}
	return all
}

// measured are the conditions on the registers.
func (r Release) measured() []Condition {
	var out []Condition
	for _, p := range r.registers() {
		out = append(out, Condition{StringEqualsIgnoreCase, Attestation + p.number, []string{strings.ToLower(p.value)}})
	}
	return out
}

// Producer is an upstream service that may make record keys.
type Producer struct {
	// Name is the producer's name in the bundle and in the encryption context.
	Name string
	// Role is the ARN of the role that it calls KMS with.
	Role string
}

// Owner makes the policy of a key that nobody can use yet: its owner may
// administer it and no more.
func Owner(owner string) *Document {
	return &Document{ID: "cloister-owner", Statements: []Statement{administration(owner), noGrants()}}
}

// Dataset makes the policy of a dataset's key. Each release of the enclave,
// called by enclaveRole, may Decrypt and GenerateDataKey with an attestation
// document; each producer may GenerateDataKey for its own record keys; the
// owner administers. It fails when there is no release or a bad one, when a
// name or ARN is bad, or when one role has two of the three parts.
func Dataset(releases []Release, enclaveRole string, producers []Producer, owner, deployment, dataset string) (*Document, error) {
	d := &Document{ID: "cloister-dataset", Statements: []Statement{administration(owner)}}
	context := []pair{{"deployment", deployment}, {"dataset", dataset}}
	var err error
	if d.Statements, err = appendReleases(d.Statements, releases, enclaveRole, context); err != nil {
		return nil, err
	}
	roles := []string{owner, enclaveRole}
	for i, p := range producers {
		if slices.Contains(roles, p.Role) {
			return nil, fmt.Errorf("%w: producer %d has the role of the owner or the enclave", ErrPolicy, i+1)
		}
		d.Statements = append(d.Statements, Statement{
			Sid: fmt.Sprintf("Producer%d", i+1), Effect: Allow, Principals: []string{p.Role},
			Actions: []string{"kms:GenerateDataKey"}, Resources: []string{"*"},
			Conditions: inContext(append(slices.Clone(context), pair{"producer", p.Name}, pair{"purpose", recordPurpose})),
		})
	}
	d.Statements = append(d.Statements,
		unattested("NoUseOutsideAnEnclave", "*", "kms:Decrypt", "kms:DeriveSharedSecret", "kms:ReEncryptFrom"),
		unattested("NoKeyForTheHost", enclaveRole, "kms:GenerateDataKey"),
		never("NoDataForTheOwner", owner, "kms:Decrypt", "kms:DeriveSharedSecret", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"),
		noGrants())
	return checked(d, owner, enclaveRole)
}

// State makes the policy of a deployment's state key. Only a release of the
// enclave may use it, and only to Decrypt and GenerateDataKey with an
// attestation document: a key that anybody could wrap by Encrypt or ReEncrypt,
// or make outside an enclave, would let them forge state.
func State(releases []Release, enclaveRole, owner, deployment string) (*Document, error) {
	d := &Document{ID: "cloister-state", Statements: []Statement{administration(owner)}}
	var err error
	if d.Statements, err = appendReleases(d.Statements, releases, enclaveRole, []pair{{"deployment", deployment}}); err != nil {
		return nil, err
	}
	d.Statements = append(d.Statements,
		unattested("NoUseOutsideAnEnclave", "*", "kms:Decrypt", "kms:GenerateDataKey"),
		never("NothingWithoutAttestedForm", "*", "kms:DeriveSharedSecret", "kms:Encrypt", "kms:GenerateDataKeyPair*", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt*"),
		never("NoDataForTheOwner", owner, "kms:Decrypt", "kms:GenerateDataKey"),
		noGrants())
	return checked(d, owner, enclaveRole)
}

// checked is the last step of a generator: the document must be well formed
// and fit, and the owner must not be the one who uses the key.
func checked(d *Document, owner, enclaveRole string) (*Document, error) {
	if owner == enclaveRole {
		return nil, fmt.Errorf("%w: owner and enclave have the same role", ErrPolicy)
	}
	for _, s := range d.Statements {
		for _, c := range s.Conditions {
			if strings.HasPrefix(c.Key, EncryptionContext) && (c.Values[0] == "" || strings.ContainsAny(c.Values[0], "*?$")) {
				return nil, fmt.Errorf("%w: %s: empty or with a wildcard", ErrPolicy, c.Key)
			}
		}
	}
	for _, role := range []string{owner, enclaveRole} {
		if !strings.HasPrefix(role, "arn:") {
			return nil, fmt.Errorf("%w: owner and enclave are roles with an ARN, never everybody or an account", ErrPolicy)
		}
	}
	if _, err := d.MarshalJSON(); err != nil {
		return nil, err
	}
	return d, nil
}

// appendReleases adds one statement for each release. Two releases as lists in
// one statement would admit mixtures of their registers.
func appendReleases(to []Statement, releases []Release, role string, context []pair) ([]Statement, error) {
	if len(releases) == 0 {
		return nil, fmt.Errorf("%w: none given", ErrRelease)
	}
	for i, r := range releases {
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("release %d: %w", i+1, err)
		}
		s := Statement{
			Sid: fmt.Sprintf("Release%d", i+1), Effect: Allow, Principals: []string{role},
			Actions: []string{"kms:Decrypt", "kms:GenerateDataKey"}, Resources: []string{"*"}, Conditions: append(inContext(context), r.measured()...),
		}
		to = append(to, s)
	}
	return to, nil
}

// pair is one pair of the encryption context.
type pair struct{ name, value string }

func inContext(pairs []pair) []Condition {
	var out []Condition
	for _, p := range pairs {
		out = append(out, Condition{StringEquals, EncryptionContext + p.name, []string{p.value}})
	}
	return out
}

// administration is what the owner may do: see the key, rotate its material and
// change its policy.
func administration(owner string) Statement {
	return Statement{
		Sid: "OwnerAdministers", Effect: Allow, Principals: []string{owner},
		Actions: []string{"kms:DescribeKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:PutKeyPolicy", "kms:RotateKeyOnDemand"}, Resources: []string{"*"},
	}
}

// unattested denies actions to a request without an attestation document, so
// that no policy elsewhere can widen them.
func unattested(sid, principal string, actions ...string) Statement {
	s := never(sid, principal, actions...)
	s.Conditions = []Condition{{Null, ImageSha384, []string{"true"}}}
	return s
}

// never denies actions whatever the request brings.
func never(sid, principal string, actions ...string) Statement {
	return Statement{Sid: sid, Effect: Deny, Principals: []string{principal}, Actions: actions, Resources: []string{"*"}}
}

// noGrants keeps grants out: they would release a key without the conditions
// of this policy.
func noGrants() Statement { return never("NoGrants", "*", "kms:CreateGrant") }
