package kmssim

import (
	"fmt"
	"strings"
)

// maxDescription is the longest description of a key, in bytes.
const maxDescription = 8192

// createKey makes a symmetric key, or one for key agreement or signing. Every principal of
// the account may: a key gives no access to others. Without a policy it gets the
// default one, under which the account may do everything.
func (s *Server) createKey(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		Policy, Description, KeySpec, CustomerMasterKeySpec, KeyUsage, Origin string
		MultiRegion, BypassPolicyLockoutSafetyCheck                           bool
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	if in.KeySpec == "" {
		in.KeySpec = in.CustomerMasterKeySpec
	}
	if in.MultiRegion || in.Origin != "" && in.Origin != "AWS_KMS" {
		return nil, refuse("UnsupportedOperationException", "The simulator makes single-Region keys with origin AWS_KMS only")
	}
	spec, usage, f := specification(in.KeySpec, in.KeyUsage)
	if f != nil {
		return nil, f
	}
	if len(in.Description) > maxDescription {
		return nil, invalid("Description is too long")
	}
	if in.Policy == "" {
		in.Policy = s.defaultPolicy()
	}
	fresh, err := s.keys.fresh(spec, usage, c.at)
	if err != nil {
		return nil, internal()
	}
	fresh.description, fresh.text = in.Description, in.Policy
	c.key = fresh
	if fresh.policy, f = s.policy(c, in.Policy, in.BypassPolicyLockoutSafetyCheck); f != nil {
		c.key = key{}
		return nil, f
	}
	if s.keys.put(fresh) != nil {
		return nil, internal()
	}
	c.key = fresh
	return map[string]any{"KeyMetadata": s.metadata(fresh)}, nil
}

// specification checks a key's specification and usage together.
func specification(spec, usage string) (string, string, *failure) {
	switch {
	case (spec == "" || spec == symmetric) && (usage == "" || usage == encryptDecrypt):
		return symmetric, encryptDecrypt, nil
	case (spec == p256 || spec == p384) && (usage == keyAgreement || usage == signVerify):
		return spec, usage, nil
	case (spec == p256 || spec == p384) && usage == "":
		return "", "", invalid("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
	default:
		return "", "", refuse("UnsupportedOperationException", "The simulator makes keys with %s and %s, and with %s or %s and %s or %s only", symmetric, encryptDecrypt, p256, p384, keyAgreement, signVerify)
	}
}

// defaultPolicy is the policy that KMS gives keys that are made without one.
func (s *Server) defaultPolicy() string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Id":"key-default-1","Statement":[{"Sid":"Enable IAM User Permissions","Effect":"Allow",`+
		`"Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":"kms:*","Resource":"*"}]}`, s.config.Account)
}

func (s *Server) describeKey(c *call, body []byte) (map[string]any, *failure) {
	if _, f := s.named(c, body); f != nil {
		return nil, f
	}
	return map[string]any{"KeyMetadata": s.metadata(c.key)}, nil
}

// named reads a request that names a key and authorises it.
func (s *Server) named(c *call, body []byte) (key, *failure) {
	var in struct {
		KeyID string `json:"KeyId"`
	}
	f := read(body, &in)
	if f == nil && in.KeyID == "" {
		f = invalid("KeyId is required")
	}
	if alias := strings.Contains(in.KeyID, "alias/"); f == nil && alias && c.operation != "DescribeKey" && c.operation != "GetPublicKey" {
		f = refuse("NotFoundException", "Invalid keyId '%s'", in.KeyID) // these take no alias
	}
	if f == nil {
		f = s.authorise(c, in.KeyID)
	}
	return c.key, f
}

func (s *Server) getKeyPolicy(c *call, body []byte) (map[string]any, *failure) {
	var in struct{ PolicyName string }
	if f := read(body, &in); f != nil {
		return nil, f
	}
	if _, f := s.named(c, body); f != nil {
		return nil, f
	}
	if in.PolicyName != "" && in.PolicyName != "default" {
		return nil, refuse("NotFoundException", "No such policy exists")
	}
	return map[string]any{"Policy": c.key.text, "PolicyName": "default"}, nil
}

func (s *Server) putKeyPolicy(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		PolicyName, Policy             string
		BypassPolicyLockoutSafetyCheck bool
	}
	if f := read(body, &in); f != nil {
		return nil, f
	}
	changed, f := s.named(c, body)
	if f != nil {
		return nil, f
	}
	if in.PolicyName != "" && in.PolicyName != "default" {
		return nil, invalid("PolicyName must be default")
	}
	if changed.policy, f = s.policy(c, in.Policy, in.BypassPolicyLockoutSafetyCheck); f != nil {
		return nil, f
	}
	changed.text = in.Policy
	return nil, s.keep(changed)
}

// policy reads a policy and refuses one that locks its maker out, unless asked
// not to.
func (s *Server) policy(c *call, text string, bypass bool) (*policy, *failure) {
	p, err := parsePolicy([]byte(text))
	if err != nil {
		return nil, refuse("MalformedPolicyDocumentException", "%v", err)
	}
	q := question{principal: c.principal.ARN, action: "kms:PutKeyPolicy", resource: c.key.arn, attributes: s.attributes(c)}
	if !bypass && evaluate(p, q) != allowed {
		return nil, refuse("MalformedPolicyDocumentException", "The new key policy will not allow you to update the key policy in the future.")
	}
	return p, nil
}

// keep stores a changed key.
func (s *Server) keep(changed key) *failure {
	if s.keys.put(changed) != nil {
		return internal()
	}
	return nil
}

// metadata is KeyMetadata of the KMS API.
func (s *Server) metadata(k key) map[string]any {
	state := "Enabled"
	switch {
	case !k.deletion.IsZero():
		state = "PendingDeletion"
	case k.disabled:
		state = "Disabled"
	}
	out := map[string]any{
		"AWSAccountId": s.config.Account, "KeyId": k.id, "Arn": k.arn, "CreationDate": k.created.Unix(), "Enabled": state == "Enabled",
		"Description": k.description, "KeyUsage": k.usage, "KeyState": state, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
		"CustomerMasterKeySpec": k.spec, "KeySpec": k.spec, "MultiRegion": false,
	}
	if k.spec == symmetric {
		out["EncryptionAlgorithms"], out["CurrentKeyMaterialId"] = []string{symmetric}, k.materialID(len(k.material)-1)
	} else {
		k.algorithms(out)
	}
	if !k.deletion.IsZero() {
		out["DeletionDate"] = k.deletion.Unix()
	}
	return out
}
