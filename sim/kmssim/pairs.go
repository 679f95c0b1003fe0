package kmssim

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"

	"github.com/cloisterhq/cloister/internal/secret"
)

// newPairMaterial makes an ECC key, as PKCS#8.
func newPairMaterial(spec string) (secret.Bytes, error) {
	key, err := newPair(spec)
	if err != nil {
		return secret.Bytes{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return secret.New(der), err
}

// newPair makes a private key of a specification.
func newPair(spec string) (crypto.Signer, error) {
	switch spec {
	case p256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case p384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RSA_2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	default:
		return nil, errors.New("no such specification")
	}
}

// agreementKey reads what newPairMaterial made.
func agreementKey(material secret.Bytes) (*ecdh.PrivateKey, error) {
	private, err := signingKey(material)
	if err != nil {
		return nil, err
	}
	return private.ECDH()
}

func (s *Server) generateDataKeyPair(c *call, body []byte) (map[string]any, *failure) {
	return s.makePair(c, body, true)
}

// generateDataKeyPairWithoutPlaintext ignores Recipient, as KMS does.
func (s *Server) generateDataKeyPairWithoutPlaintext(c *call, body []byte) (map[string]any, *failure) {
	return s.makePair(c, body, false)
}

func (s *Server) makePair(c *call, body []byte, shown bool) (map[string]any, *failure) {
	var in struct {
		use
		KeyPairSpec string
		Recipient   *recipientInfo
	}
	f := read(body, &in)
	if f == nil {
		f = c.begin(in.use)
	}
	if f == nil && in.KeyPairSpec != p256 && in.KeyPairSpec != p384 && in.KeyPairSpec != "RSA_2048" {
		f = refuse("UnsupportedOperationException", "The simulator makes pairs of RSA_2048, %s and %s only", p256, p384)
	}
	if f == nil && shown {
		c.recipient, f = s.attest(in.Recipient)
	}
	if f == nil {
		c.extra = map[string][]string{"kms:DataKeyPairSpec": {in.KeyPairSpec}}
		f = s.permit(c, in.KeyID, encryptDecrypt)
	}
	if f == nil && in.DryRun {
		f = dryRun()
	}
	if f != nil {
		return nil, f
	}
	pair, err := newPair(in.KeyPairSpec)
	if err != nil {
		return nil, internal()
	}
	public, err := x509.MarshalPKIXPublicKey(pair.Public())
	if err != nil {
		return nil, internal()
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		return nil, internal()
	}
	private := secret.New(der)
	defer private.Wipe()
	blob, err := wrap(c.key, c.context, private.Expose())
	if err != nil {
		return nil, internal()
	}
	out := map[string]any{
		"KeyId": c.key.arn, "KeyPairSpec": in.KeyPairSpec, "PublicKey": public, "PrivateKeyCiphertextBlob": blob,
		"KeyMaterialId": c.key.materialID(len(c.key.material) - 1),
	}
	if !shown {
		return s.misnamed(c, out), nil
	}
	return s.answer(c, out, "PrivateKeyPlaintext", private)
}

func (s *Server) getPublicKey(c *call, body []byte) (map[string]any, *failure) {
	k, f := s.named(c, body)
	if f != nil {
		return nil, f
	}
	if k.spec == symmetric {
		return nil, refuse("UnsupportedOperationException", "%s is a symmetric key.", k.arn)
	}
	if f := c.usable(k.usage); f != nil {
		return nil, f
	}
	private, err := agreementKey(k.current())
	if err != nil {
		return nil, internal()
	}
	public, err := x509.MarshalPKIXPublicKey(private.PublicKey())
	if err != nil {
		return nil, internal()
	}
	out := map[string]any{"KeyId": k.arn, "PublicKey": public, "KeySpec": k.spec, "CustomerMasterKeySpec": k.spec, "KeyUsage": k.usage}
	k.algorithms(out)
	return out, nil
}

// algorithms adds what an ECC key can do to a description of it.
func (k key) algorithms(out map[string]any) {
	if k.usage == signVerify {
		out["SigningAlgorithms"] = []string{algorithmOf(k.spec)}
		return
	}
	out["KeyAgreementAlgorithms"] = []string{"ECDH"}
}

func (s *Server) deriveSharedSecret(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		use
		KeyAgreementAlgorithm string
		PublicKey             []byte
		Recipient             *recipientInfo
	}
	f := read(body, &in)
	if f == nil {
		f = c.begin(in.use)
	}
	if f == nil && in.KeyAgreementAlgorithm != "ECDH" {
		f = invalid("KeyAgreementAlgorithm must be ECDH")
	}
	if f == nil {
		c.recipient, f = s.attest(in.Recipient)
	}
	if f == nil {
		c.extra = map[string][]string{"kms:KeyAgreementAlgorithm": {"ECDH"}}
		f = s.permit(c, in.KeyID, keyAgreement)
	}
	if f != nil {
		return nil, f
	}
	private, err := agreementKey(c.key.current())
	if err != nil {
		return nil, internal()
	}
	parsed, err := x509.ParsePKIXPublicKey(in.PublicKey)
	peer, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok {
		return nil, invalid("PublicKey isn't an ECC key in DER (SubjectPublicKeyInfo)")
	}
	public, err := peer.ECDH()
	if err != nil || public.Curve() != private.Curve() {
		return nil, invalid("PublicKey isn't of the key's curve, %s", c.key.spec)
	}
	if in.DryRun {
		return nil, dryRun()
	}
	shared, err := private.ECDH(public)
	if err != nil {
		return nil, invalid("PublicKey gives no secret")
	}
	plain := secret.New(shared)
	defer plain.Wipe()
	out := map[string]any{"KeyId": c.key.arn, "KeyAgreementAlgorithm": "ECDH", "KeyOrigin": "AWS_KMS"}
	return s.answer(c, out, "SharedSecret", plain)
}

// generateRandom uses no key, so only identity policies could condition it;
// there are none here, and everybody in the account may.
func (s *Server) generateRandom(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		NumberOfBytes *int
		Recipient     *recipientInfo
	}
	f := read(body, &in)
	if f == nil && (in.NumberOfBytes == nil || *in.NumberOfBytes < 1 || *in.NumberOfBytes > maxDataKey) {
		f = invalid("NumberOfBytes must be between 1 and %d", maxDataKey)
	}
	if f == nil {
		c.recipient, f = s.attest(in.Recipient)
	}
	if f == nil && accountOf(c.principal.ARN) != s.config.Account {
		f = refuse(accessDenied, "User: %s is not authorized to perform: kms:GenerateRandom", c.principal.ARN)
	}
	if f != nil {
		return nil, f
	}
	plain := secret.New(make([]byte, *in.NumberOfBytes))
	defer plain.Wipe()
	if _, err := rand.Read(plain.Expose()); err != nil {
		return nil, internal()
	}
	return s.answer(c, map[string]any{}, "Plaintext", plain)
}
