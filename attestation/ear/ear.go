// Package ear writes verification results as attestation results for machines:
// JSON Web Tokens in the shape of EAT Attestation Results
// (draft-ietf-rats-ear), signed by whoever verified. It trusts the key that it
// is given and the results that package verifier made, and uses the standard
// library alone.
//
// A token says what one verifier found at one time. It carries the verifier's
// word to others; it isn't evidence, and nobody should take it for fresh longer
// than they would take the evidence.
package ear

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
)

// Profile is the value of eat_profile (draft-ietf-rats-ear, section 3).
const Profile = "tag:github.com,2023:veraison/ear"

// Submodule is the name of the one appraised part in "submods".
const Submodule = "nitro-enclave"

// Status is the value of ear.status, the worst tier of the trustworthiness
// vector (draft-ietf-rats-ear, section 3.2).
type Status string

// The statuses.
const (
	// Affirming: hardware or what the policy's author takes for it, fresh, an
	// accepted release, not in debug mode.
	Affirming Status = "affirming"
	// Warning: all of that at another time, which is nothing about now.
	Warning Status = "warning"
	// Contraindicated: a simulation, or an enclave in debug mode, both of which
	// only a policy for tests accepts.
	Contraindicated Status = "contraindicated"
)

// Values of the trustworthiness vector (draft-ietf-rats-ar4si, section 2.3).
const (
	recognised   = 2  // instance-identity: recognised and not known to be compromised
	approved     = 2  // configuration: known and approved
	genuine      = 2  // hardware: genuine
	approvedBoot = 3  // executables: only approved ones were loaded at boot
	notGenuine   = 97 // hardware: not recognised as genuine
	visible      = 96 // runtime-opaque: visible from outside
)

// Claims are the claims of a token.
type Claims struct {
	// Profile is [Profile].
	Profile string `json:"eat_profile"`
	// IssuedAt is when the token was made, in seconds since 1970.
	IssuedAt int64 `json:"iat"`
	// Nonce is the verifier's challenge in base64url, if the result is a live
	// one and the challenge has at most 64 bytes.
	Nonce string `json:"eat_nonce,omitempty"`
	// Verifier names the program.
	Verifier VerifierID `json:"ear.verifier-id"`
	// Submodules has the one entry [Submodule].
	Submodules map[string]Appraisal `json:"submods"`
}

// VerifierID names the maker of a token.
type VerifierID struct {
	Developer string `json:"developer"`
	Build     string `json:"build"`
}

// Appraisal is what was found.
type Appraisal struct {
	// Status sums the vector up.
	Status Status `json:"ear.status"`
	// Vector has an entry for each claim that is made; no entry is no claim.
	Vector map[string]int `json:"ear.trustworthiness-vector"`
	// PolicyID is the name of the release that matched.
	PolicyID string `json:"ear.appraisal-policy-id"`
	// Result is the whole result in the form [verifier.Schema].
	Result json.RawMessage `json:"cloister.verify"`
}

// maxNonce is the largest nonce, in bytes, whose text fits into eat_nonce: at
// most 88 characters (RFC 9711, section 4.1).
const maxNonce = 64

// Token writes the result of a live verification.
func (s *Signer) Token(r *verifier.Result, issued time.Time) (string, error) {
	result, err := r.MarshalJSON()
	if err != nil {
		return "", err
	}
	vector := trust(r.Document(), r.Environment(), r.Debug(), r.Checks())
	c := claims(issued, Appraisal{Status: status(vector, Affirming), Vector: vector, PolicyID: r.Release(), Result: result})
	if nonce := r.Document().Nonce(); len(nonce) <= maxNonce {
		c.Nonce = base64.RawURLEncoding.EncodeToString(nonce)
	}
	return s.sign(c)
}

// ArchivedToken writes the result about a document of the past. Its status is
// never affirming, and it has no nonce.
func (s *Signer) ArchivedToken(r *verifier.Archived, issued time.Time) (string, error) {
	result, err := r.MarshalJSON()
	if err != nil {
		return "", err
	}
	vector := trust(r.Document(), r.Environment(), r.Debug(), r.Checks())
	return s.sign(claims(issued, Appraisal{Status: status(vector, Warning), Vector: vector, PolicyID: r.Release(), Result: result}))
}

func claims(issued time.Time, a Appraisal) Claims {
	return Claims{
		Profile: Profile, IssuedAt: issued.Unix(),
		Verifier:   VerifierID{Developer: "https://github.com/cloisterhq/cloister", Build: verifier.Schema},
		Submodules: map[string]Appraisal{Submodule: a},
	}
}

// trust makes the claims that the checks support. Memory is isolated but not
// known to be encrypted, so runtime-opaque is claimed in the bad case only.
func trust(d *attestation.Document, environment string, debug bool, checks []verifier.Check) map[string]int {
	vector := map[string]int{"instance-identity": recognised, "executables": approvedBoot}
	switch environment {
	case policy.AWS:
		vector["hardware"] = genuine
	case policy.Simulation:
		vector["hardware"] = notGenuine
	}
	for _, c := range checks {
		if c.Name == verifier.CheckBundle && c.OK {
			vector["configuration"] = approved
		}
	}
	if debug {
		vector["runtime-opaque"] = visible
	}
	return vector
}

// status is the worst tier of the vector, and no better than the best possible.
func status(vector map[string]int, best Status) Status {
	for _, value := range vector {
		if value >= 96 {
			return Contraindicated
		}
	}
	return best
}
