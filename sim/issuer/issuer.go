// Package issuer is a small OpenID Connect issuer for simulation: the discovery
// document, the key set, and tokens that are minted by a call instead of a
// sign-in. It proves nobody's identity; whoever holds its key is every analyst.
package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// pemType is how PKCS #8 keys are marked (RFC 7468 section 10).
	pemType = "PRIVATE KEY"
	// defaultLife is how long a token is good when Claims doesn't say.
	defaultLife = time.Hour
	// keysPath is where the key set is served, below the issuer's URL.
	keysPath = "/keys"
	// discoveryPath is fixed by OpenID Connect Discovery 1.0, section 4.
	discoveryPath = "/.well-known/openid-configuration"
)

// Config says what the issuer is.
type Config struct {
	// URL is the issuer's https URL, without a slash at its end. Required.
	URL string
	// Audience is whom tokens are made for when Claims doesn't say.
	Audience string
	// Key is the signing key, a PKCS #8 key in PEM: P-256, Ed25519 or RSA.
	// Required.
	Key []byte
	// Now is the time. Required.
	Now func() time.Time
}

// Issuer publishes its key and mints tokens. It is safe for concurrent use.
type Issuer struct {
	config Config
	path   string
	key    jose.JSONWebKey
	signer jose.Signer
}

// Claims is what a token says.
type Claims struct {
	// Subject names the person.
	Subject string
	// Roles become the claim "groups".
	Roles []string
	// Audience takes the place of Config.Audience.
	Audience string
	// Life is how long the token is good from now on; 0 is an hour, less than 0
	// makes a token that has expired.
	Life time.Duration
	// SingleFactor leaves the second factor out of the claim "amr".
	SingleFactor bool
	// Other adds claims or, under the name of one from above, replaces it; a
	// nil value takes it away.
	Other map[string]any
}

// NewKey makes a P-256 signing key, PKCS #8 in PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// New opens an issuer. Its key id is the key's RFC 7638 thumbprint, so that the
// same key has the same name after a restart.
func New(c Config) (*Issuer, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.HasSuffix(c.URL, "/") {
		return nil, errors.New("issuer: the URL isn't https, or ends in a slash")
	}
	if c.Now == nil {
		return nil, errors.New("issuer: a clock is needed")
	}
	private, algorithm, err := readKey(c.Key)
	if err != nil {
		return nil, err
	}
	key := jose.JSONWebKey{Key: private, Algorithm: string(algorithm), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &Issuer{config: c, path: u.Path, key: key, signer: signer}, nil
}

// readKey reads a signing key and answers the algorithm that goes with it.
func readKey(text []byte) (any, jose.SignatureAlgorithm, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemType || len(strings.TrimSpace(string(rest))) != 0 {
		return nil, "", errors.New("issuer: the key isn't one PKCS #8 key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "", errors.New("issuer: the key can't be read")
	}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			return k, jose.ES256, nil
		}
	case ed25519.PrivateKey:
		return k, jose.EdDSA, nil
	case *rsa.PrivateKey:
		return k, jose.RS256, nil
	}
	return nil, "", errors.New("issuer: the key isn't P-256, Ed25519 or RSA")
}

// Handler serves the discovery document and the key set below the path of the
// issuer's URL.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+i.path+discoveryPath, document(map[string]any{
		"issuer":                                i.config.URL,
		"jwks_uri":                              i.config.URL + keysPath,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{i.key.Algorithm},
	}))
	mux.Handle("GET "+i.path+keysPath, document(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.key.Public()}}))
	return mux
}

// document serves one JSON document.
func document(content any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(content)
	})
}

// Mint answers a signed token, an OpenID Connect ID token (Core 1.0 section 2)
// of somebody who has just signed in with two factors.
func (i *Issuer) Mint(c Claims) (string, error) {
	now := i.config.Now()
	if c.Life == 0 {
		c.Life = defaultLife
	}
	if c.Audience == "" {
		c.Audience = i.config.Audience
	}
	amr := []string{"pwd", "otp", "mfa"}
	if c.SingleFactor {
		amr = []string{"pwd"}
	}
	claims := map[string]any{
		"iss": i.config.URL, "sub": c.Subject, "aud": c.Audience,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(c.Life).Unix(), "auth_time": now.Unix(),
		"amr": amr, "groups": append([]string{}, c.Roles...),
	}
	maps.Copy(claims, c.Other)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("issuer: %w", err)
	}
	signed, err := i.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("issuer: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("issuer: %w", err)
	}
	return token, nil
}
