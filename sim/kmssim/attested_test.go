package kmssim_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/internal/keypolicy"
)

// TestDataKeyPairs checks both forms of every pair, attested and not.
func TestDataKeyPairs(t *testing.T) {
	w := newWorld(t)
	arn := w.bare("", "")
	e := w.boot("", "bundle")
	api, ctx := w.as(host), t.Context()
	for _, spec := range []types.DataKeyPairSpec{types.DataKeyPairSpecRsa2048, types.DataKeyPairSpecEccNistP256, types.DataKeyPairSpecEccNistP384} {
		made, err := api.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &arn, KeyPairSpec: spec, Recipient: e.recipient()})
		if err != nil || made.PrivateKeyPlaintext != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		opened, err := api.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: made.PrivateKeyCiphertextBlob})
		if err != nil || !bytes.Equal(opened.Plaintext, openMessage(t, made.CiphertextForRecipient)) {
			t.Fatalf("%s: the wrapped private key: %v", spec, err)
		}
		private, err := x509.ParsePKCS8PrivateKey(opened.Plaintext)
		if err != nil {
			t.Fatal(err)
		}
		var public any
		switch key := private.(type) {
		case *rsa.PrivateKey:
			public = key.Public()
		case *ecdsa.PrivateKey:
			public = key.Public()
		}
		if !bytes.Equal(spki(t, public), made.PublicKey) {
			t.Errorf("%s: not the public key of the private key", spec)
		}
		hidden, err := api.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: &arn, KeyPairSpec: spec})
		if err != nil || len(hidden.PublicKey) == 0 || len(hidden.PrivateKeyCiphertextBlob) == 0 {
			t.Errorf("%s without plaintext: %v", spec, err)
		}
	}
	want(t, "another curve", failed(api.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: &arn, KeyPairSpec: types.DataKeyPairSpecSm2})), "UnsupportedOperationException")
	hidden, err := api.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: &arn, KeySpec: types.DataKeySpecAes128})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := api.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: hidden.CiphertextBlob})
	if err != nil || len(opened.Plaintext) != 16 {
		t.Errorf("a data key without plaintext: %v", err)
	}
}

// TestSharedSecret derives on both sides, in clear and attested.
func TestSharedSecret(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	api, ctx := w.as(host), t.Context()
	for spec, curve := range map[types.KeySpec]ecdh.Curve{types.KeySpecEccNistP256: ecdh.P256(), types.KeySpecEccNistP384: ecdh.P384()} {
		arn := w.bare(spec, types.KeyUsageTypeKeyAgreement)
		got, err := api.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &arn})
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParsePKIXPublicKey(got.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := parsed.(*ecdsa.PublicKey).ECDH()
		if err != nil {
			t.Fatal(err)
		}
		ours, err := curve.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		shared, err := ours.ECDH(theirs)
		if err != nil {
			t.Fatal(err)
		}
		in := kms.DeriveSharedSecretInput{KeyId: &arn, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: spki(t, ours.PublicKey())}
		out, err := api.DeriveSharedSecret(ctx, &in)
		if err != nil || !bytes.Equal(out.SharedSecret, shared) {
			t.Errorf("%s: %v", spec, err)
		}
		in.Recipient = e.recipient()
		out, err = api.DeriveSharedSecret(ctx, &in)
		if err != nil || out.SharedSecret != nil || !bytes.Equal(openMessage(t, out.CiphertextForRecipient), shared) {
			t.Errorf("%s, attested: %v", spec, err)
		}
		in.PublicKey = []byte("no key")
		want(t, "no key", failed(api.DeriveSharedSecret(ctx, &in)), "ValidationException")
		want(t, "encrypt", failed(api.Encrypt(ctx, &kms.EncryptInput{KeyId: &arn, Plaintext: []byte("x")})), "InvalidKeyUsageException")
		want(t, "rotate", failed(api.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: &arn})), "UnsupportedOperationException")
	}
	symmetric := w.bare("", "")
	want(t, "public key of a symmetric one", failed(api.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &symmetric})), "UnsupportedOperationException")
	want(t, "a curve without usage", failed(w.as(owner).CreateKey(ctx, &kms.CreateKeyInput{KeySpec: types.KeySpecEccNistP256})), "ValidationException")
}

func TestRandom(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	api, ctx := w.as(host), t.Context()
	plain, err := api.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(64)})
	if err != nil || len(plain.Plaintext) != 64 {
		t.Errorf("in clear: %v", err)
	}
	attested, err := api.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(48), Recipient: e.recipient()})
	if err != nil || attested.Plaintext != nil || len(openMessage(t, attested.CiphertextForRecipient)) != 48 {
		t.Errorf("attested: %v", err)
	}
	want(t, "too many", failed(api.GenerateRandom(ctx, &kms.GenerateRandomInput{NumberOfBytes: aws.Int32(1025)})), "ValidationException")
}

// TestDryRun checks every operation that has one: it says what would happen and
// does nothing.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	openKey, closed := w.bare("", ""), w.create(keypolicy.Owner(owner))
	dry, ctx, api := aws.Bool(true), t.Context(), w.as(host)
	blind := []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext}
	for _, c := range []struct{ key, want string }{{openKey, "DryRunOperationException"}, {closed, denied}} {
		arn := &c.key
		for name, err := range map[string]error{
			"Encrypt":                             failed(api.Encrypt(ctx, &kms.EncryptInput{KeyId: arn, Plaintext: []byte("x"), DryRun: dry})),
			"Decrypt":                             failed(api.Decrypt(ctx, &kms.DecryptInput{KeyId: arn, DryRun: dry, DryRunModifiers: blind})),
			"ReEncrypt":                           failed(api.ReEncrypt(ctx, &kms.ReEncryptInput{SourceKeyId: arn, DestinationKeyId: arn, DryRun: dry, DryRunModifiers: blind})),
			"GenerateDataKey":                     failed(api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: arn, KeySpec: types.DataKeySpecAes256, DryRun: dry})),
			"GenerateDataKeyWithoutPlaintext":     failed(api.GenerateDataKeyWithoutPlaintext(ctx, &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: arn, KeySpec: types.DataKeySpecAes256, DryRun: dry})),
			"GenerateDataKeyPair":                 failed(api.GenerateDataKeyPair(ctx, &kms.GenerateDataKeyPairInput{KeyId: arn, KeyPairSpec: types.DataKeyPairSpecEccNistP256, DryRun: dry})),
			"GenerateDataKeyPairWithoutPlaintext": failed(api.GenerateDataKeyPairWithoutPlaintext(ctx, &kms.GenerateDataKeyPairWithoutPlaintextInput{KeyId: arn, KeyPairSpec: types.DataKeyPairSpecEccNistP256, DryRun: dry})),
			"CreateGrant":                         failed(api.CreateGrant(ctx, &kms.CreateGrantInput{KeyId: arn, GranteePrincipal: aws.String(host), Operations: []types.GrantOperation{types.GrantOperationDecrypt}, DryRun: dry})),
		} {
			want(t, name, err, c.want)
		}
	}
	agreement := w.bare(types.KeySpecEccNistP256, types.KeyUsageTypeKeyAgreement)
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "DeriveSharedSecret", failed(api.DeriveSharedSecret(ctx, &kms.DeriveSharedSecretInput{KeyId: &agreement, KeyAgreementAlgorithm: types.KeyAgreementAlgorithmSpecEcdh, PublicKey: spki(t, key.PublicKey()), DryRun: dry})), "DryRunOperationException")
}

// TestOperators evaluates the operators that the policy generator never writes.
func TestOperators(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		condition string
		allowed   bool
	}{
		"ArnLike":                         {`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/ho?t"}}`, true},
		"ArnLike across parts":            {`{"ArnLike":{"aws:PrincipalArn":"arn:*"}}`, false},
		"ArnEquals":                       {`{"ArnEquals":{"aws:PrincipalArn":"` + host + `"}}`, true},
		"ArnNotEquals":                    {`{"ArnNotEquals":{"aws:PrincipalArn":"` + host + `"}}`, false},
		"Bool":                            {`{"Bool":{"aws:SecureTransport":"true"}}`, true},
		"Bool, written as one":            {`{"Bool":{"aws:ViaAWSService":true}}`, false},
		"ForAllValues, all of them":       {`{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["a","b","c"]}}`, true},
		"ForAllValues, one too many":      {`{"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":["a"]}}`, false},
		"ForAllValues, absent":            {`{"ForAllValues:StringEquals":{"kms:RecipientAttestation:PCR0":"x"}}`, true},
		"ForAnyValue, one of them":        {`{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":["a","z"]}}`, true},
		"ForAnyValue, none":               {`{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":"z"}}`, false},
		"ForAnyValue, absent":             {`{"ForAnyValue:StringEquals":{"kms:RecipientAttestation:PCR0":"x"}}`, false},
		"ForAnyValue, negated and absent": {`{"ForAnyValue:StringNotEquals":{"kms:RecipientAttestation:PCR0":"x"}}`, false},
		"ForAllValues, negated":           {`{"ForAllValues:StringNotEquals":{"kms:EncryptionContextKeys":["b"]}}`, false},
		"spec and usage":                  {`{"StringEquals":{"kms:KeySpec":"SYMMETRIC_DEFAULT","kms:KeyUsage":"ENCRYPT_DECRYPT"}}`, true},
		"unknown key":                     {`{"StringEquals":{"kms:NoSuchKey":"x"}}`, false},
	} {
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + owner + `"},"Action":"kms:PutKeyPolicy","Resource":"*"},` +
			`{"Effect":"Allow","Principal":{"AWS":"` + host + `"},"NotAction":"kms:Decrypt","Resource":"*","Condition":` + c.condition + `}]}`
		out, err := w.as(owner).CreateKey(t.Context(), &kms.CreateKeyInput{Policy: &policy})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, code := w.generate(host, aws.ToString(out.KeyMetadata.Arn), map[string]string{"a": "1", "b": "2"}, nil); (code == "") != c.allowed {
			t.Errorf("%s: %q", name, code)
		}
	}
	for name, condition := range map[string]string{
		"operator": `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, "variable": `{"StringEquals":{"aws:PrincipalArn":"${aws:PrincipalArn}"}}`, "Null": `{"Null":{"kms:KeySpec":"no"}}`,
		"set of Null": `{"ForAllValues:Null":{"kms:KeySpec":"true"}}`, "no value": `{"StringEquals":{"kms:KeySpec":[]}}`, "list": `[]`,
	} {
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*","Condition":` + condition + `}]}`
		want(t, name, failed(w.as(owner).CreateKey(t.Context(), &kms.CreateKeyInput{Policy: &policy, BypassPolicyLockoutSafetyCheck: true})), "MalformedPolicyDocumentException")
	}
}
