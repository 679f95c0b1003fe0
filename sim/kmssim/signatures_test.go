package kmssim_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/cloisterhq/cloister/sim/kmssim"
)

// publicKey asks for the public key of a key that signs.
func (w *world) publicKey(arn string, algorithm types.SigningAlgorithmSpec) *ecdsa.PublicKey {
	w.t.Helper()
	out, err := w.as(owner).GetPublicKey(w.t.Context(), &kms.GetPublicKeyInput{KeyId: &arn})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(out.SigningAlgorithms) != 1 || out.SigningAlgorithms[0] != algorithm || len(out.KeyAgreementAlgorithms) != 0 || out.KeyUsage != types.KeyUsageTypeSignVerify {
		w.t.Errorf("the key is described as %v, %v, %v", out.SigningAlgorithms, out.KeyAgreementAlgorithms, out.KeyUsage)
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	public, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok {
		w.t.Fatalf("not an ECC key: %v", err)
	}
	return public
}

func TestSign(t *testing.T) {
	message := []byte("a release")
	sum256, sum384 := sha256.Sum256(message), sha512.Sum384(message)
	for spec, c := range map[types.KeySpec]struct {
		algorithm types.SigningAlgorithmSpec
		digest    []byte
	}{
		types.KeySpecEccNistP256: {types.SigningAlgorithmSpecEcdsaSha256, sum256[:]},
		types.KeySpecEccNistP384: {types.SigningAlgorithmSpecEcdsaSha384, sum384[:]},
	} {
		w := newWorld(t)
		arn := w.bare(spec, types.KeyUsageTypeSignVerify)
		public := w.publicKey(arn, c.algorithm)
		for kind, text := range map[types.MessageType][]byte{types.MessageTypeDigest: c.digest, types.MessageTypeRaw: message, "": message} {
			out, err := w.as(host).Sign(t.Context(), &kms.SignInput{KeyId: &arn, Message: text, MessageType: kind, SigningAlgorithm: c.algorithm})
			if err != nil {
				t.Fatalf("%s %s: %v", spec, kind, err)
			}
			if aws.ToString(out.KeyId) != arn || out.SigningAlgorithm != c.algorithm || !ecdsa.VerifyASN1(public, c.digest, out.Signature) {
				t.Errorf("%s %s: not a signature of the key", spec, kind)
			}
		}
		if e := w.lastEvent(); e.EventName != "Sign" || !e.ReadOnly || len(e.Resources) != 1 || e.Resources[0].ARN != arn {
			t.Errorf("the event: %+v", e)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	w := newWorld(t)
	signs, agrees, encrypts := w.bare(types.KeySpecEccNistP384, types.KeyUsageTypeSignVerify), w.bare(types.KeySpecEccNistP384, types.KeyUsageTypeKeyAgreement), w.bare("", "")
	off := w.bare(types.KeySpecEccNistP384, types.KeyUsageTypeSignVerify)
	want(t, "disable", failed(w.as(owner).DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: &off})), "")
	digest := make([]byte, 48)
	good := kms.SignInput{KeyId: &signs, Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha384}
	for name, c := range map[string]struct {
		caller string
		change func(*kms.SignInput)
		want   string
	}{
		"good":            {owner, func(*kms.SignInput) {}, ""},
		"a stranger":      {stranger, func(*kms.SignInput) {}, denied},
		"for agreement":   {owner, func(in *kms.SignInput) { in.KeyId = &agrees }, "InvalidKeyUsageException"},
		"symmetric":       {owner, func(in *kms.SignInput) { in.KeyId = &encrypts }, "InvalidKeyUsageException"},
		"disabled":        {owner, func(in *kms.SignInput) { in.KeyId = &off }, "DisabledException"},
		"another curve":   {owner, func(in *kms.SignInput) { in.SigningAlgorithm = types.SigningAlgorithmSpecEcdsaSha256 }, "InvalidKeyUsageException"},
		"another kind":    {owner, func(in *kms.SignInput) { in.SigningAlgorithm = types.SigningAlgorithmSpecRsassaPssSha256 }, "InvalidKeyUsageException"},
		"short digest":    {owner, func(in *kms.SignInput) { in.Message = digest[:32] }, "ValidationException"},
		"empty":           {owner, func(in *kms.SignInput) { in.Message, in.MessageType = []byte{}, types.MessageTypeRaw }, "ValidationException"},
		"long":            {owner, func(in *kms.SignInput) { in.Message, in.MessageType = make([]byte, 4097), types.MessageTypeRaw }, "ValidationException"},
		"the longest":     {owner, func(in *kms.SignInput) { in.Message, in.MessageType = make([]byte, 4096), types.MessageTypeRaw }, ""},
		"unknown message": {owner, func(in *kms.SignInput) { in.MessageType = "HASHED" }, "ValidationException"},
		"dry run":         {owner, func(in *kms.SignInput) { in.DryRun = aws.Bool(true) }, "DryRunOperationException"},
		"grants":          {owner, func(in *kms.SignInput) { in.GrantTokens = []string{"x"} }, "InvalidGrantTokenException"},
	} {
		in := good
		c.change(&in)
		want(t, name, failed(w.as(c.caller).Sign(t.Context(), &in)), c.want)
	}
	// A key that signs does nothing else.
	want(t, "encrypt", failed(w.as(owner).Encrypt(t.Context(), &kms.EncryptInput{KeyId: &signs, Plaintext: digest})), "InvalidKeyUsageException")
}

// TestSignConditions: a policy sees the algorithm and what is signed.
func TestSignConditions(t *testing.T) {
	w := newWorld(t)
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + owner + `"},"Action":"kms:*","Resource":"*"},` +
		`{"Effect":"Allow","Principal":{"AWS":"` + host + `"},"Action":"kms:Sign","Resource":"*","Condition":{"StringEquals":{"kms:MessageType":"DIGEST","kms:SigningAlgorithm":"ECDSA_SHA_384"}}}]}`
	out, err := w.as(owner).CreateKey(t.Context(), &kms.CreateKeyInput{Policy: &policy, KeySpec: types.KeySpecEccNistP384, KeyUsage: types.KeyUsageTypeSignVerify})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(kind types.MessageType) error {
		return failed(w.as(host).Sign(t.Context(), &kms.SignInput{KeyId: out.KeyMetadata.Arn, Message: make([]byte, 48), MessageType: kind, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha384}))
	}
	want(t, "a digest", sign(types.MessageTypeDigest), "")
	want(t, "a message", sign(types.MessageTypeRaw), denied)
}

// TestSigningKeyIsKept restarts on a state file.
func TestSigningKeyIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kms.json")
	w := newWorld(t, func(c *kmssim.Config) { c.StateFile = file })
	arn := w.bare(types.KeySpecEccNistP384, types.KeyUsageTypeSignVerify)
	before := w.publicKey(arn, types.SigningAlgorithmSpecEcdsaSha384)
	w.start()
	if after := w.publicKey(arn, types.SigningAlgorithmSpecEcdsaSha384); !after.Equal(before) {
		t.Error("another key")
	}
	digest := bytes.Repeat([]byte{7}, 48)
	out, err := w.as(owner).Sign(t.Context(), &kms.SignInput{KeyId: &arn, Message: digest, MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha384})
	if err != nil || !ecdsa.VerifyASN1(before, digest, out.Signature) {
		t.Errorf("after the restart: %v", err)
	}
}
