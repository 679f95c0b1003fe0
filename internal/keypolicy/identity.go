package keypolicy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxIdentity is the largest inline policy of a role, in bytes without white
// space (IAM quotas).
const MaxIdentity = 10240

// ErrTooLarge says that an identity policy doesn't fit into a role.
var ErrTooLarge = errors.New("larger than a role's policy may be")

// Key is a dataset's key.
type Key struct {
	// Dataset is its name in the encryption context, and ARN the key.
	Dataset, ARN string
}

// ProducerIdentity makes the IAM policy of a producer's role: GenerateDataKey
// for its own record keys of these datasets and nothing else. A role of another
// account needs it beside the key policy.
func ProducerIdentity(name, deployment string, keys []Key) ([]byte, error) {
	var statements []Statement
	for i, k := range keys {
		statements = append(statements, Statement{
			Sid: fmt.Sprintf("RecordKeys%d", i+1), Effect: Allow, Actions: []string{"kms:GenerateDataKey"}, Resources: []string{k.ARN},
			Conditions: inContext([]pair{{"deployment", deployment}, {"dataset", k.Dataset}, {"producer", name}, {"purpose", recordPurpose}}),
		})
	}
	return identity(statements)
}

// EnclaveIdentity makes the IAM policy of the role that the enclave calls KMS
// with: what the key policies release, under the same registers. The host has
// the role's credentials too.
func EnclaveIdentity(releases []Release, arns []string) ([]byte, error) {
	var statements []Statement
	for i, r := range releases {
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("release %d: %w", i+1, err)
		}
		statements = append(statements, Statement{
			Sid: fmt.Sprintf("Release%d", i+1), Effect: Allow, Actions: []string{"kms:Decrypt", "kms:GenerateDataKey"},
			Resources: slices.Clone(arns), Conditions: r.measured(),
		})
	}
	return identity(statements)
}

// identity writes statements without a principal.
func identity(statements []Statement) ([]byte, error) {
	if len(statements) == 0 {
		return nil, fmt.Errorf("%w: no statement", ErrPolicy)
	}
	out := struct {
		Version   string
		Statement []written
	}{Version: version}
	for i := range statements {
		s := &statements[i]
		if len(s.Resources) == 0 || slices.ContainsFunc(s.Resources, func(r string) bool { return !resourceForm.MatchString(r) || strings.Contains(r, "*") }) {
			return nil, fmt.Errorf("%w: statement %d: not the ARN of a key", ErrPolicy, i+1)
		}
		for _, c := range s.Conditions {
			if err := c.check(); err != nil {
				return nil, fmt.Errorf("%w: statement %d: %w", ErrPolicy, i+1, err)
			}
		}
		out.Statement = append(out.Statement, s.written())
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if len(b) > MaxIdentity {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, ErrTooLarge)
	}
	return b, nil
}
