package kmssim

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"

	"github.com/cloisterhq/cloister/internal/secret"
)

// algorithmOf is the one signing algorithm of a specification (AWS KMS
// developer guide, "Supported signing algorithms for ECC key specs").
func algorithmOf(spec string) string {
	if spec == p256 {
		return "ECDSA_SHA_256"
	}
	return "ECDSA_SHA_384"
}

// digestOf hashes for an algorithm.
func digestOf(algorithm string, message []byte) []byte {
	if algorithm == algorithmOf(p256) {
		sum := sha256.Sum256(message)
		return sum[:]
	}
	sum := sha512.Sum384(message)
	return sum[:]
}

// signingKey reads what newPairMaterial made.
func signingKey(material secret.Bytes) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(material.Expose())
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECC key")
	}
	return private, nil
}

// sign signs a message, or its digest, and answers the signature in DER
// (ANSI X9.62).
func (s *Server) sign(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		use
		Message                       []byte
		MessageType, SigningAlgorithm string
	}
	f := read(body, &in)
	if f == nil {
		f = c.begin(in.use)
	}
	if in.MessageType == "" {
		in.MessageType = "RAW"
	}
	switch {
	case f != nil:
	case in.SigningAlgorithm == "":
		f = invalid("SigningAlgorithm is required")
	case in.MessageType != "RAW" && in.MessageType != "DIGEST":
		f = invalid("MessageType must be RAW or DIGEST")
	case len(in.Message) == 0 || len(in.Message) > maxPlaintext:
		f = invalid("Message must have 1 to %d bytes", maxPlaintext)
	default:
		c.extra = map[string][]string{"kms:SigningAlgorithm": {in.SigningAlgorithm}, "kms:MessageType": {in.MessageType}}
		f = s.permit(c, in.KeyID, signVerify)
	}
	if f == nil && in.SigningAlgorithm != algorithmOf(c.key.spec) {
		f = refuse("InvalidKeyUsageException", "Algorithm %s and key spec %s are incompatible.", in.SigningAlgorithm, c.key.spec)
	}
	if f != nil {
		return nil, f
	}
	digest := in.Message
	if in.MessageType == "RAW" {
		digest = digestOf(in.SigningAlgorithm, in.Message)
	}
	if len(digest) != len(digestOf(in.SigningAlgorithm, nil)) {
		return nil, invalid("Digest is invalid length for algorithm %s.", in.SigningAlgorithm)
	}
	if in.DryRun {
		return nil, dryRun()
	}
	private, err := signingKey(c.key.current())
	if err != nil {
		return nil, internal()
	}
	signature, err := ecdsa.SignASN1(rand.Reader, private, digest)
	if err != nil {
		return nil, internal()
	}
	return s.misnamed(c, map[string]any{"KeyId": c.key.arn, "Signature": signature, "SigningAlgorithm": in.SigningAlgorithm}), nil
}
