package ear

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Algorithms of tokens (RFC 7518, section 3.4; RFC 8037, section 3.1).
const (
	es256 = "ES256"
	eddsa = "EdDSA"
	// half is the size of r and of s in an ES256 signature, in bytes.
	half = 32
	// maxToken bounds the tokens that Read looks at, in bytes.
	maxToken = 64 << 10
)

var (
	// ErrKey says that a key is no Ed25519 or P-256 key in PKCS #8 and PEM.
	ErrKey = errors.New("ear: a signing key is an Ed25519 or P-256 private key, PKCS #8 in PEM (BEGIN PRIVATE KEY)")
	// ErrToken says that a token isn't one, or isn't signed by the given key.
	ErrToken = errors.New("ear: not a token signed by this key")
)

// Signer signs tokens. Only [NewSigner] makes one.
type Signer struct {
	key       crypto.Signer
	algorithm string
	id        string
}

// header is a token's JOSE header.
type header struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid,omitempty"`
}

// NewSigner reads a private key: one PEM block "PRIVATE KEY" (RFC 5958) with
// a key on P-256, for ES256, or an Ed25519 key, for EdDSA. Errors are [ErrKey].
func NewSigner(file []byte) (*Signer, error) {
	block, rest := pem.Decode(file)
	if block == nil || block.Type != "PRIVATE KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, ErrKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	clear(block.Bytes)
	if err != nil {
		return nil, ErrKey // the cause could quote the key
	}
	switch key := parsed.(type) {
	case ed25519.PrivateKey:
		return &Signer{key, eddsa, thumbprint(key.Public())}, nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return &Signer{key, es256, thumbprint(key.Public())}, nil
		}
	}
	return nil, ErrKey
}

// Public is the key that [Read] needs: an ed25519.PublicKey or an
// *ecdsa.PublicKey.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// sign makes the compact form (RFC 7515, section 7.1).
func (s *Signer) sign(c Claims) (string, error) {
	head, err := json.Marshal(header{Algorithm: s.algorithm, Type: "JWT", KeyID: s.id})
	if err != nil {
		return "", fmt.Errorf("ear: %w", err)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("ear: %w", err)
	}
	signed := encode(head) + "." + encode(body)
	signature, err := s.signature([]byte(signed))
	if err != nil {
		return "", fmt.Errorf("ear: %w", err)
	}
	return signed + "." + encode(signature), nil
}

func (s *Signer) signature(message []byte) ([]byte, error) {
	key, ok := s.key.(*ecdsa.PrivateKey)
	if !ok {
		return s.key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	digest := sha256.Sum256(message)
	r, t, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 2*half)
	r.FillBytes(raw[:half])
	t.FillBytes(raw[half:])
	return raw, nil
}

// Read verifies a token's signature by the key of a verifier whom the caller
// trusts, and answers its claims. The key alone decides about the algorithm.
// Whether the token is recent enough is the caller's to say. Errors are
// [ErrToken].
func Read(token string, key crypto.PublicKey) (*Claims, error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return nil, ErrToken
	}
	var head header
	if b, err := decode(parts[0]); err != nil || json.Unmarshal(b, &head) != nil {
		return nil, ErrToken
	}
	signature, err := decode(parts[2])
	if err != nil || !verified(key, head, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, ErrToken
	}
	var c Claims
	if b, err := decode(parts[1]); err != nil || json.Unmarshal(b, &c) != nil {
		return nil, ErrToken
	}
	if _, ok := c.Submodules[Submodule]; !ok || c.Profile != Profile || c.IssuedAt <= 0 {
		return nil, ErrToken
	}
	return &c, nil
}

// verified checks the header against the key, and then the signature.
func verified(key crypto.PublicKey, head header, message, signature []byte) bool {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return head.Algorithm == eddsa && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature)
	case *ecdsa.PublicKey:
		if head.Algorithm != es256 || key.Curve != elliptic.P256() || len(signature) != 2*half {
			return false
		}
		digest := sha256.Sum256(message)
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		return ecdsa.Verify(key, digest[:], r, s)
	default:
		return false
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// thumbprint names a public key: SHA-256 of its JWK with the required members
// in order (RFC 7638, section 3; RFC 8037, section 2).
func thumbprint(key crypto.PublicKey) string {
	var jwk string
	switch key := key.(type) {
	case ed25519.PublicKey:
		jwk = `{"crv":"Ed25519","kty":"OKP","x":"` + encode(key) + `"}`
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			return ""
		}
		jwk = `{"crv":"P-256","kty":"EC","x":"` + encode(point[1:1+half]) + `","y":"` + encode(point[1+half:]) + `"}`
	}
	sum := sha256.Sum256([]byte(jwk))
	return encode(sum[:])
}
