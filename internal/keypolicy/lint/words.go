package lint

import (
	"regexp"
	"slices"
	"strings"
)

// principalForm is an AWS principal that a policy may name: an account, or a
// role, user or session of one.
var principalForm = regexp.MustCompile(`^([0-9]{12}|arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|(role|user|assumed-role|federated-user)/[A-Za-z0-9+=,.@_/-]{1,512}))$`)

// operations are the actions of AWS KMS (Service Authorization Reference).
func operations() []string {
	return []string{
		"CancelKeyDeletion", "ConnectCustomKeyStore", "CreateAlias", "CreateCustomKeyStore", "CreateGrant", "CreateKey", "Decapsulate", "Decrypt", "DeleteAlias",
		"DeleteCustomKeyStore", "DeleteImportedKeyMaterial", "DeriveSharedSecret", "DescribeCustomKeyStores", "DescribeKey", "DisableKey", "DisableKeyRotation",
		"DisconnectCustomKeyStore", "EnableKey", "EnableKeyRotation", "Encapsulate", "Encrypt", "GenerateDataKey", "GenerateDataKeyPair",
		"GenerateDataKeyPairWithoutPlaintext", "GenerateDataKeyWithoutPlaintext", "GenerateMac", "GenerateRandom", "GetKeyLastUsage", "GetKeyPolicy", "GetKeyRotationStatus",
		"GetParametersForImport", "GetPublicKey", "ImportKeyMaterial", "ListAliases", "ListGrants", "ListKeyPolicies", "ListKeyRotations", "ListKeys",
		"ListResourceTags", "ListRetirableGrants", "PutKeyPolicy", "ReEncryptFrom", "ReEncryptTo", "ReplicateKey", "RetireGrant", "RevokeGrant",
		"RotateKeyOnDemand", "ScheduleKeyDeletion", "Sign", "SynchronizeMultiRegionKey", "TagResource", "UntagResource", "UpdateAlias",
		"UpdateCustomKeyStore", "UpdateKeyDescription", "UpdatePrimaryRegion", "Verify", "VerifyMac",
	}
}

// attestedOperations take Recipient.
func attestedOperations() []string {
	return []string{"Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair", "GenerateRandom"}
}

// reaches says whether a statement means an operation.
func (s *statement) reaches(op string) bool {
	op = strings.ToLower("kms:" + op)
	return slices.ContainsFunc(s.actions, func(a string) bool { return like(a, op) }) != s.except
}

// names says whether a statement names an operation without a wildcard.
func (s *statement) names(op string) bool {
	return !s.except && slices.Contains(s.actions, strings.ToLower("kms:"+op))
}

// everything says whether a statement means all of KMS.
func (s *statement) everything() bool {
	return !slices.ContainsFunc(operations(), func(op string) bool { return !s.reaches(op) })
}

// knownKey says whether a request to KMS can have a condition key, by its
// lower-case name.
func knownKey(key string) bool {
	for _, prefix := range []string{context, "aws:principaltag/", "aws:resourcetag/", "aws:requesttag/"} {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			return rest != ""
		}
	}
	name, ok := strings.CutPrefix(key, "kms:")
	if ok {
		return slices.Contains(kmsKeys(), name)
	}
	name, ok = strings.CutPrefix(key, "aws:")
	return ok && slices.Contains(globalKeys(), name)
}

// kmsKeys are the condition keys of KMS without the attested ones (KMS
// developer guide, condition keys).
func kmsKeys() []string {
	return []string{
		"bypasspolicylockoutsafetycheck", "calleraccount", "customermasterkeyspec", "customermasterkeyusage", "datakeypairspec", "encryptionalgorithm",
		"encryptioncontextkeys", "expirationmodel", "grantconstrainttype", "grantisforawsresource", "grantoperations", "granteeprincipal",
		"keyagreementalgorithm", "keyorigin", "keyspec", "keyusage", "macalgorithm", "messagetype", "multiregion", "multiregionkeytype", "primaryregion",
		"reencryptonsamekey", "replicaregion", "requestalias", "resourcealiases", "retiringprincipal", "rotationperiodindays",
		"schedulekeydeletionpendingwindowindays", "signingalgorithm", "validto", "viaservice", "wrappingalgorithm", "wrappingkeyspec",
	}
}

// globalKeys are the condition keys of every service (IAM user guide, global
// condition context keys).
func globalKeys() []string {
	return []string{
		"calledvia", "calledviafirst", "calledvialast", "chatbotsourcearn", "currenttime", "ec2instancesourceprivateipv4", "ec2instancesourcevpc", "epochtime",
		"federatedprovider", "assumedroot", "multifactorauthage", "multifactorauthpresent", "principalaccount", "principalarn", "principalisawsservice",
		"principalorgid", "principalorgpaths", "principalservicename", "principalservicenameslist", "principaltype", "referer", "requestedregion", "resourceaccount",
		"resourceorgid", "resourceorgpaths", "securetransport", "sourceaccount", "sourcearn", "sourceidentity", "sourceip", "sourceorgid", "sourceorgpaths",
		"sourcevpc", "sourcevpcarn", "sourcevpce", "tagkeys", "tokenissuetime", "useragent", "userid", "username", "viaawsservice", "vpceaccount", "vpceorgid",
		"vpceorgpaths", "vpcsourceip",
	}
}

// like matches a text with a pattern of * (any number of bytes) and ? (one).
func like(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
