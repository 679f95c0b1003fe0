package kmssim

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	"github.com/cloisterhq/cloister/internal/secret"
)

// Bounds of the KMS API reference, in bytes.
const (
	maxPlaintext = 4096
	maxDataKey   = 1024
)

// use is what the operations on data have in common.
type use struct {
	KeyID               string `json:"KeyId"`
	EncryptionContext   map[string]string
	EncryptionAlgorithm string
	GrantTokens         []string
	DryRun              bool
	DryRunModifiers     []string
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

// blind says whether a dry run is to leave the ciphertext alone.
func (u use) blind() bool {
	return u.DryRun && slices.Contains(u.DryRunModifiers, "IGNORE_CIPHERTEXT")
}

func dryRun() *failure {
	return refuse("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
}

// permit authorises a call on a key and checks that the key can do it. A dry
// run ends here, unless there is more to check.
func (s *Server) permit(c *call, keyID, usage string) *failure {
	if f := s.authorise(c, keyID); f != nil {
		return f
	}
	return c.usable(usage)
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
		c.extra = map[string][]string{"kms:EncryptionAlgorithm": {symmetric}}
		f = s.permit(c, in.KeyID, encryptDecrypt)
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
	c.extra = map[string][]string{"kms:EncryptionAlgorithm": {symmetric}}
	if in.blind() {
		if f := s.permit(c, in.KeyID, encryptDecrypt); f != nil {
			return nil, f
		}
		return nil, dryRun()
	}
	plain, material, f := s.open(c, in.KeyID, "Decrypt", in.CiphertextBlob)
	if f != nil {
		return nil, f
	}
	defer plain.Wipe()
	if in.DryRun {
		return nil, dryRun()
	}
	out := map[string]any{"EncryptionAlgorithm": symmetric, "KeyId": c.key.arn, "KeyMaterialId": c.key.materialID(material)}
	return s.answer(c, out, "Plaintext", plain)
}

// open authorises an action on the key of a blob, which the request may name
// too, and opens the blob.
func (s *Server) open(c *call, keyID, action string, blob []byte) (secret.Bytes, int, *failure) {
	id, whole := blobKey(blob)
	if keyID == "" {
		if !whole {
			return secret.Bytes{}, 0, badCiphertext()
		}
		keyID = id
	}
	if f := s.authoriseAs(c, keyID, action); f != nil {
		return secret.Bytes{}, 0, f
	}
	if f := c.usable(encryptDecrypt); f != nil {
		return secret.Bytes{}, 0, f
	}
	if whole && id != c.key.id {
		return secret.Bytes{}, 0, refuse("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
	}
	return unwrap(c.key, c.context, blob)
}

func (s *Server) generateDataKey(c *call, body []byte) (map[string]any, *failure) {
	return s.makeDataKey(c, body, true)
}

// generateDataKeyWithoutPlaintext ignores Recipient, as KMS does.
func (s *Server) generateDataKeyWithoutPlaintext(c *call, body []byte) (map[string]any, *failure) {
	return s.makeDataKey(c, body, false)
}

func (s *Server) makeDataKey(c *call, body []byte, shown bool) (map[string]any, *failure) {
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
	if f == nil && shown {
		c.recipient, f = s.attest(in.Recipient)
	}
	if f == nil {
		f = s.permit(c, in.KeyID, encryptDecrypt)
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
	blob, err := s.blob(c, plain)
	if err != nil {
		return nil, internal()
	}
	out := map[string]any{"CiphertextBlob": blob, "KeyId": c.key.arn, "KeyMaterialId": c.key.materialID(len(c.key.material) - 1)}
	if !shown {
		return s.misnamed(c, out), nil
	}
	return s.answer(c, out, "Plaintext", plain)
}

// blob wraps a fresh data key, or does what the call's fault says instead.
func (s *Server) blob(c *call, plain secret.Bytes) ([]byte, error) {
	wrapped := plain.Expose()
	if c.fault == SwappedBlob {
		wrapped = bytes.Repeat([]byte{forgedByte}, plain.Len())
	}
	blob, err := wrap(c.key, c.context, wrapped)
	if err != nil {
		return nil, err
	}
	if before, ok := s.last.Swap(c.key.id, blob); ok && c.fault == StaleBlob {
		return before.([]byte), nil
	}
	return blob, nil
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

// misnamed lets the call's fault change the key that an answer names.
func (s *Server) misnamed(c *call, out map[string]any) map[string]any {
	if _, has := out["KeyId"]; has && c.fault == WrongKeyID {
		out["KeyId"] = s.keys.arn("00000000-0000-4000-8000-000000000000")
	}
	return out
}

// answer adds the plaintext to an answer: encrypted to the attested key when
// there is one, else in clear under a name.
func (s *Server) answer(c *call, out map[string]any, name string, plain secret.Bytes) (map[string]any, *failure) {
	out = s.misnamed(c, out)
	if c.recipient == nil || c.fault == PlaintextLeak {
		out[name] = bytes.Clone(plain.Expose())
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
