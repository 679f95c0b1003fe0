package lint

import "slices"

// rule is one thing that a policy shouldn't do.
type rule struct {
	name       string
	severity   Severity
	means, fix string
}

// The rules. Names are stable: scripts compare them.
var (
	ruleFull = rule{"full-access", Problem,
		"kms:* holds Decrypt, CreateGrant and PutKeyPolicy. With an account as principal, any IAM policy of the account can grant them without a condition.",
		"Name the administrative actions that are needed, for one role, and none that reaches data."}
	ruleFullAttested = rule{"wildcard-action", Note,
		"Only the operations with an attested form can meet the condition; the wildcard hides which ones are meant.",
		"Name kms:Decrypt and kms:GenerateDataKey."}
	ruleNoAttestation = rule{"no-attestation", Problem,
		"The principal gets plaintext without an enclave.",
		"Add StringEqualsIgnoreCase conditions on kms:RecipientAttestation:PCR0, PCR1, PCR2 and PCR16, or take the action away."}
	ruleGenerate = rule{"generate-without-recipient", Problem,
		"The principal gets the plaintext of fresh data keys for any purpose, the enclave's own among them.",
		"Add conditions on the registers; for a producer, StringEquals on kms:EncryptionContext:producer and :purpose."}
	ruleGenerateHost = rule{"generate-for-the-host", Problem,
		"The role that the enclave calls KMS with is the host's too: without Recipient the host makes data keys that it knows.",
		"Add the registers to this statement, or Deny kms:GenerateDataKey to the role when kms:RecipientAttestation:ImageSha384 is absent (Null true)."}
	ruleMissing = rule{"pcr-missing", Problem,
		"An image or a bundle of somebody else's making can have the registers that are named.",
		"Name PCR0, PCR1 and PCR2 of the image and PCR16 of the bundle in one statement."}
	ruleOnlyPCR8 = rule{"only-pcr8", Problem,
		"PCR8 is the signer: every image that the signer ever signed gets the key, old and faulty ones too.",
		"Name PCR0, PCR1, PCR2 and PCR16 beside PCR8."}
	ruleMixed = rule{"mixed-releases", Problem,
		"Values in a list are alternatives, so that registers of different releases go together: code of one with the bundle of another.",
		"Write one statement for each release, each register with one value."}
	ruleList = rule{"value-list", Note,
		"Several values of one register are alternatives.",
		"Write one statement for each release."}
	ruleReEncrypt = rule{"re-encrypt", Problem,
		"ReEncrypt has no attested form: it moves a wrapped key to another KMS key, where it can be decrypted, or puts one of the caller's choice under this key.",
		"Take ReEncryptFrom and ReEncryptTo away, and Deny them to everybody."}
	ruleCreateGrant = rule{"create-grant", Problem,
		"A grant gives Decrypt without any condition on registers: grants know none.",
		"Take kms:CreateGrant away, and Deny it to everybody."}
	rulePutPolicy = rule{"put-key-policy", Problem,
		"Whoever may change the policy can give themselves the key.",
		"Leave kms:PutKeyPolicy to the data owner's role, one that can't use the key; never to the host, CI or an IAM policy."}
	ruleRootAdministers = rule{"root-administers", Note,
		"Any IAM policy of the account can pass this on to a user or role of the account.",
		"Name the one role that administers the key, and keep the account's IAM policies under review."}
	ruleReplicate = rule{"replicate-key", Problem,
		"A replica of a multi-Region key has the same key material and a policy of its own.",
		"Take kms:ReplicateKey away, and use single-Region keys."}
	ruleEncrypt = rule{"encrypt", Note,
		"A blob made by Encrypt proves nothing about its maker: the principal can wrap keys that it knows.",
		"Use GenerateDataKey with an encryption context, and let only the dataset's producers call it."}
	ruleEncryptHost = rule{"encrypt-for-the-host", Problem,
		"The enclave's host can wrap keys of its own choice, which the enclave can't tell from genuine ones.",
		"Take kms:Encrypt away from everybody, and from the enclave's role first."}
	ruleUnsatisfiable = rule{"unsatisfiable", Problem,
		"The operation takes no Recipient, so the condition never holds: the statement does nothing, or an attested form was expected that doesn't exist.",
		"Remove the action; attested operations are Decrypt, DeriveSharedSecret, GenerateDataKey, GenerateDataKeyPair and GenerateRandom."}
	ruleIdle = rule{"idle-action", Note,
		"The operation takes no Recipient, so the condition never holds and the statement doesn't allow it.",
		"Move the action to a statement without conditions on registers, if it is needed."}
	ruleImport = rule{"import-key-material", Note,
		"Whoever imports a key's material knows it.",
		"Use keys whose material KMS made (Origin AWS_KMS)."}
	ruleAnyone = rule{"principal-anyone", Problem,
		"Everybody in every AWS account is meant, up to the conditions.",
		"Name the ARN of one role."}
	ruleOtherPrincipal = rule{"other-principal", Problem,
		"A service or a federated user runs no enclave of yours; what a service decrypts, its users can read.",
		"Name the ARN of one role under AWS."}
	rulePrincipalForm = rule{"principal-form", Problem,
		"It is no principal that AWS knows: a wildcard inside an ARN matches nothing, and an id without ARN belongs to somebody who was deleted.",
		"Write the role's whole ARN."}
	ruleNotPrincipal = rule{"not-principal", Problem,
		"An Allow with NotPrincipal reaches everybody else, and a Deny misses sessions that weren't listed.",
		"Use Principal, with conditions on aws:PrincipalArn where somebody is to be left out."}
	ruleNotAction = rule{"not-action", Problem,
		"An Allow with NotAction reaches everything that isn't listed, with what AWS adds next year; a Deny hides what it leaves open.",
		"List the actions that are meant."}
	ruleNotResource = rule{"not-resource", Problem,
		"An Allow with NotResource reaches every other key; a Deny hides what it leaves open.",
		"List the resources that are meant."}
	ruleIfExists = rule{"if-exists", Problem,
		"IfExists holds when the request has no attestation document at all.",
		"Use the operator without IfExists."}
	ruleSetOperator = rule{"set-operator", Problem,
		"ForAllValues holds when the key is absent, ForAnyValue doesn't: with a key of one value, an Allow or a Deny is then open without a document.",
		"Use the operator without ForAllValues or ForAnyValue."}
	ruleNegated = rule{"negated-allow", Problem,
		"A negated operator holds when the request has no attestation document at all.",
		"Use StringEqualsIgnoreCase in an Allow."}
	ruleDenyEquals = rule{"deny-equals", Problem,
		"The Deny doesn't hold without an attestation document: it stops the named image and nobody else.",
		"Use StringNotEqualsIgnoreCase, which holds without a document, or Null with true."}
	ruleDenyAll = rule{"deny-needs-all", Note,
		"All conditions of a Deny must hold: a request with one good register passes.",
		"Write one Deny for each register."}
	ruleNull = rule{"null-misuse", Problem,
		"Null with true holds without a document, with false when there is any: in an Allow the first lets everybody in, in a Deny the second keeps enclaves out.",
		"Use Null with true in a Deny only, and compare the registers themselves in an Allow."}
	ruleLike = rule{"string-like", Problem,
		"StringLike compares patterns and knows case: a value that is edited later may match more than one image.",
		"Use StringEqualsIgnoreCase."}
	ruleOperator = rule{"operator", Problem,
		"A register is text; the operator compares something else.",
		"Use StringEqualsIgnoreCase."}
	ruleUnknownOperator = rule{"unknown-operator", Problem,
		"There is no such operator, so nobody can say when the condition holds.",
		"Use StringEqualsIgnoreCase."}
	ruleUnknownKey = rule{"unknown-key", Problem,
		"No request to KMS by an enclave has this condition key: an Allow never holds, a Deny with a positive operator never does either.",
		"Use kms:RecipientAttestation:PCR0 to PCR31 or ImageSha384 for registers, or a documented key of KMS."}
	ruleWildcard = rule{"wildcard-value", Problem,
		"A wildcard lets other images in, or matches nothing where the operator takes it as it is.",
		"Write the whole register."}
	ruleVariable = rule{"policy-variable", Problem,
		"A policy variable takes its value from the caller.",
		"Write the register itself."}
	ruleZero = rule{"zero-pcr", Problem,
		"A debug enclave has zeros in PCR0, PCR1 and PCR2, and its console shows the data.",
		"Take the register from the release's published measurements."}
	ruleNotHex = rule{"bad-pcr", Problem,
		"A register has 96 hex digits; this value matches no enclave.",
		"Take the register from the release's published measurements."}
	ruleUpperCase = rule{"upper-case", Problem,
		"KMS has registers in lower case and the operator knows case: an Allow never holds, a Deny always does.",
		"Use StringEqualsIgnoreCase, or lower case."}
	ruleGrant = rule{"grant", Problem,
		"Grants know no condition on registers: the grantee gets plaintext without an enclave, or passes the right on.",
		"Revoke the grant (kms:RevokeGrant)."}
	ruleUnknownAction = rule{"unknown-action", Problem,
		"There is no such action of KMS: the statement doesn't do what it says.",
		"Correct the name."}
	ruleElement = rule{"unknown-element", Problem,
		"The element isn't part of the policy language; AWS refuses the policy or reads it otherwise.",
		"Remove it."}
	ruleDuplicate = rule{"duplicate-name", Problem,
		"The name stands twice in one object: which one counts isn't said.",
		"Merge the two."}
	ruleMalformed = rule{"malformed", Problem,
		"The statement isn't in the form of the policy language, so nobody can say what it means.",
		"Correct the form."}
	ruleVersion = rule{"no-version", Note,
		"Without Version the policy is read as 2008-10-17.",
		`Add "Version": "2012-10-17".`}
)

// add notes a finding at a line of a statement.
func (l *linter) add(s *statement, line int, r rule, detail string) {
	f := Finding{File: s.file, Line: line, Statement: s.name, Rule: r.name, Severity: r.severity, Detail: detail, Means: r.means, Fix: r.fix}
	if !slices.Contains(l.found, f) {
		l.found = append(l.found, f)
	}
}
