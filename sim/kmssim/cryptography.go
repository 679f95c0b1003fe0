package kmssim

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"

	"github.com/cloisterhq/cloister/internal/secret"
)

// Bounds of the KMS API reference, in bytes.
const (
	maxPlaintext = 4096
	maxDataKey   = 1024
)

// use is what the three operations on data have in common.
type use struct {
	KeyID               string `json:"KeyId"`
	EncryptionContext   map[string]string
	EncryptionAlgorithm string
	GrantTokens         []string
	DryRun              bool
}

// begin notes which key is meant and checks what all operations on data check
// before they ask the policy.
func (c *call) begin(in use) *failure {
	c.keyID = in.KeyID
	if in.EncryptionAlgorithm != "" && in.EncryptionAlgorithm != symmetric {
		return refuse("InvalidKeyUsageException", "EncryptionAlgorithm must be %s", symmetric)
	}
	if len(in.GrantTokens) > 0 {
		return refuse("InvalidGrantTokenException", "There are no grants")
	}
	return c.inContext(in.EncryptionContext)
}

func dryRun() *failure {
	return refuse("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
}

// encrypt ignores Recipient, as KMS does: there is no attested form.
func (s *Server) encrypt(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		use
		Plaintext []byte
	}
	f := read(body, &in)
	if f == nil {
		f = c.begin(in.use)
	}
	if f == nil && (len(in.Plaintext) == 0 || len(in.Plaintext) > maxPlaintext) {
		f = invalid("Plaintext must have 1 to %d bytes", maxPlaintext)
	}
	if f == nil {
		f = s.authorise(c, in.KeyID)
	}
	if f != nil {
		return nil, f
	}
	if in.DryRun {
		return nil, dryRun()
	}
	blob, err := wrap(c.key, c.context, in.Plaintext)
	if err != nil {
		return nil, internal()
	}
	return map[string]any{"KeyId": c.key.arn, "CiphertextBlob": blob, "EncryptionAlgorithm": symmetric}, nil
}

func (s *Server) decrypt(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		use
		CiphertextBlob []byte
		Recipient      *recipientInfo
	}
	f := read(body, &in)
	if f == nil {
		f = c.begin(in.use)
	}
	if f == nil {
		c.recipient, f = s.attest(in.Recipient)
	}
	if f != nil {
		return nil, f
	}
	id, whole := blobKey(in.CiphertextBlob)
	if in.KeyID == "" {
		if !whole {
			return nil, badCiphertext()
		}
		in.KeyID = id
	}
	if f := s.authorise(c, in.KeyID); f != nil {
		return nil, f
	}
	if whole && id != c.key.id {
		return nil, refuse("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	}
	plain, f := unwrap(c.key, c.context, in.CiphertextBlob)
	if f != nil {
		return nil, f
	}
	defer plain.Wipe()
	if in.DryRun {
		return nil, dryRun()
	}
	out := map[string]any{"EncryptionAlgorithm": symmetric}
	return s.answer(c, out, plain)
}

func (s *Server) generateDataKey(c *call, body []byte) (map[string]any, *failure) {
	var in struct {
		use
		KeySpec       string
		NumberOfBytes *int
		Recipient     *recipientInfo
	}
	f := read(body, &in)
	if f == nil {
		f = c.begin(in.use)
	}
	n, ok := dataKeyLength(in.KeySpec, in.NumberOfBytes)
	if f == nil && !ok {
		f = invalid("Give KeySpec AES_256 or AES_128, or NumberOfBytes from 1 to %d", maxDataKey)
	}
	if f == nil {
		c.recipient, f = s.attest(in.Recipient)
	}
	if f == nil {
		f = s.authorise(c, in.KeyID)
	}
	if f != nil {
		return nil, f
	}
	if in.DryRun {
		return nil, dryRun()
	}
	plain := secret.New(make([]byte, n))
	defer plain.Wipe()
	if _, err := rand.Read(plain.Expose()); err != nil {
		return nil, internal()
	}
	wrapped := plain.Expose()
	if c.fault == SwappedBlob {
		wrapped = bytes.Repeat([]byte{forgedByte}, n)
	}
	blob, err := wrap(c.key, c.context, wrapped)
	if err != nil {
		return nil, internal()
	}
	return s.answer(c, map[string]any{"CiphertextBlob": blob}, plain)
}

// dataKeyLength answers the length of a data key in bytes: exactly one of the
// two ways to name it must be used.
func dataKeyLength(spec string, n *int) (int, bool) {
	switch {
	case spec == "AES_256" && n == nil:
		return 32, true
	case spec == "AES_128" && n == nil:
		return 16, true
	case spec == "" && n != nil:
		return *n, *n >= 1 && *n <= maxDataKey
	default:
		return 0, false
	}
}

// answer adds the key's ARN and the plaintext to an answer: encrypted to the
// attested key when there is one, else in clear.
func (s *Server) answer(c *call, out map[string]any, plain secret.Bytes) (map[string]any, *failure) {
	out["KeyId"] = c.key.arn
	if c.fault == WrongKeyID {
		out["KeyId"] = s.keys.arn("00000000-0000-4000-8000-000000000000")
	}
	if c.recipient == nil || c.fault == PlaintextLeak {
		out["Plaintext"] = bytes.Clone(plain.Expose())
	}
	if c.recipient == nil {
		return out, nil
	}
	content, rid := plain.Expose(), c.recipient.rid
	switch c.fault {
	case Forged:
		content = bytes.Repeat([]byte{forgedByte}, plain.Len())
	case WrongRecipient:
		rid = sha256.Sum256(rid[:])
	}
	message, err := envelop(c.recipient.key, rid, content, c.fault == Primitive)
	if err != nil {
		return nil, internal()
	}
	out["CiphertextForRecipient"] = message
	return out, nil
}
