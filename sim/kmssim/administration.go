package kmssim

import (
	"github.com/cloisterhq/cloister/internal/keypolicy"
)

const symmetric = "SYMMETRIC_DEFAULT"

// maxDescription is the longest description of a key, in bytes.
const maxDescription = 8192

// createKey makes a symmetric key. Every principal may: a key gives no access
// to others. The default policy of KMS isn't offered, since it lets identity
// policies release the key without any condition.
func (s *Server) createKey(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		Policy, Description, KeySpec, CustomerMasterKeySpec, KeyUsage, Origin string
		MultiRegion, BypassPolicyLockoutSafetyCheck                           bool
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	for _, p := range []struct{ value, only string }{{in.KeySpec, symmetric}, {in.CustomerMasterKeySpec, symmetric}, {in.KeyUsage, "ENCRYPT_DECRYPT"}, {in.Origin, "AWS_KMS"}} {
		if p.value != "" && p.value != p.only {
			return nil, refuse("UnsupportedOperationException", "The simulator makes keys with %s only", p.only)
		}
	}
	if in.MultiRegion || in.Policy == "" {
		return nil, refuse("UnsupportedOperationException", "The simulator makes single-Region keys with an explicit policy only")
	}
	if len(in.Description) > maxDescription {
		return nil, invalid("Description is too long")
	}
	policy, f := s.policy(c, in.Policy, "*", in.BypassPolicyLockoutSafetyCheck)
	if f != nil {
		return nil, f
	}
	var err error
	if c.key, err = s.keys.create(in.Policy, in.Description, policy, c.at); err != nil {
		return nil, internal()
	}
	return map[string]any{"KeyMetadata": s.metadata(c.key)}, nil
}

func (s *Server) describeKey(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		KeyID string `json:"KeyId"`
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	if f := s.authorise(c, in.KeyID); f != nil {
		return nil, f
	}
	return map[string]any{"KeyMetadata": s.metadata(c.key)}, nil
}

func (s *Server) getKeyPolicy(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		KeyID      string `json:"KeyId"`
		PolicyName string
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	if f := s.authorise(c, in.KeyID); f != nil {
		return nil, f
	}
	if in.PolicyName != "" && in.PolicyName != "default" {
		return nil, refuse("NotFoundException", "No such policy exists")
	}
	return map[string]any{"Policy": c.key.text, "PolicyName": "default"}, nil
}

func (s *Server) putKeyPolicy(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		KeyID                          string `json:"KeyId"`
		PolicyName, Policy             string
		BypassPolicyLockoutSafetyCheck bool
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	if f := s.authorise(c, in.KeyID); f != nil {
		return nil, f
	}
	if in.PolicyName != "" && in.PolicyName != "default" {
		return nil, invalid("PolicyName must be default")
	}
	policy, f := s.policy(c, in.Policy, c.key.arn, in.BypassPolicyLockoutSafetyCheck)
	if f != nil {
		return nil, f
	}
	changed := c.key
	changed.text, changed.policy = in.Policy, policy
	if s.keys.put(changed) != nil {
		return nil, internal()
	}
	return nil, nil
}

// policy reads a policy and refuses one that locks its maker out, unless asked
// not to.
func (s *Server) policy(c *call, text, arn string, bypass bool) (*keypolicy.Document, *failure) {
	policy, err := keypolicy.Parse([]byte(text))
	if err != nil {
		return nil, refuse("MalformedPolicyDocumentException", "%v", err)
	}
	q := question{principal: c.principal.ARN, action: "kms:PutKeyPolicy", resource: arn, attributes: map[string]string{}}
	if !bypass && evaluate(policy, q) != allowed {
		return nil, refuse("MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.")
	}
	return policy, nil
}

// metadata is KeyMetadata of the KMS API.
func (s *Server) metadata(k key) map[string]any {
	return map[string]any{
		"AWSAccountId": s.config.Account, "KeyId": k.id, "Arn": k.arn, "CreationDate": k.created.Unix(), "Enabled": true,
		"Description": k.description, "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
		"CustomerMasterKeySpec": symmetric, "KeySpec": symmetric, "EncryptionAlgorithms": []string{symmetric}, "MultiRegion": false,
	}
}
