package identity

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/cloisterhq/cloister/internal/limits"
)

const (
	// skew is how far an issuer's clock may be from the enclave's.
	skew = 30 * time.Second
	// maxSubject is the longest subject, in bytes (OpenID Connect Core 1.0
	// section 2).
	maxSubject = 255
	// maxKeyID is the longest key id, in bytes.
	maxKeyID = 512
	// lastSecond is the end of year 9999; a later date isn't one.
	lastSecond = 253402300799
)

// algorithms are the signatures believed: asymmetric, with SHA-2 (RFC 7518
// section 3.1, RFC 8037). "none" and the keyed hashes, which would take the
// issuer's public key for a shared secret, aren't among them.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	}
}

// token is a well-formed token. Nothing of it is true before signedBy says so.
type token struct {
	jws       *jose.JSONWebSignature
	algorithm string
	keyID     string
	payload   []byte
	claims    claims
}

// claims are the registered claims that are judged.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Party     string   `json:"azp"`
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf"`
	IssuedAt  *float64 `json:"iat"`
	Methods   []string `json:"amr"`
}

// audience is one string or an array of them (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON reads either form.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// parse reads a token in compact form. Its errors are Malformed or
// WrongAlgorithm; what the libraries say of the text is dropped.
func parse(bearer string) (*token, error) {
	if len(bearer) > limits.Token {
		return nil, Malformed
	}
	parts, ok := split(bearer)
	if !ok {
		return nil, Malformed
	}
	t := &token{payload: parts[1]}
	if !t.readHeader(parts[0]) || !t.readClaims() {
		return nil, Malformed
	}
	var err error
	t.jws, err = jose.ParseSignedCompact(bearer, algorithms())
	if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return nil, WrongAlgorithm
	}
	if err != nil {
		return nil, Malformed
	}
	return t, nil
}

// split decodes the three parts. Each has one spelling: the decoder alone would
// skip line breaks and ignore the last character's unused bits.
func split(bearer string) (parts [3][]byte, ok bool) {
	texts := strings.SplitN(bearer, ".", 4)
	if len(texts) != 3 || strings.ContainsAny(bearer, "\r\n") {
		return parts, false
	}
	for i, text := range texts {
		var err error
		if parts[i], err = base64.RawURLEncoding.Strict().DecodeString(text); err != nil || i < 2 && !utf8.Valid(parts[i]) {
			return parts, false
		}
	}
	return parts, true
}

// readHeader reads the protected header (RFC 7515 section 4). It refuses keys
// in the header, extensions, and tokens that say to be something else than an
// ID token or an access token (RFC 8725 section 3.11).
func (t *token) readHeader(raw []byte) bool {
	var h struct {
		Algorithm *string         `json:"alg"`
		KeyID     string          `json:"kid"`
		Type      string          `json:"typ"`
		Key       json.RawMessage `json:"jwk"`
		Chain     json.RawMessage `json:"x5c"`
		Critical  json.RawMessage `json:"crit"`
		Encoded   json.RawMessage `json:"b64"`
	}
	if json.Unmarshal(raw, &h) != nil || h.Algorithm == nil || len(h.KeyID) > maxKeyID {
		return false
	}
	if h.Key != nil || h.Chain != nil || h.Critical != nil || h.Encoded != nil {
		return false
	}
	t.algorithm, t.keyID = *h.Algorithm, h.KeyID
	kind := strings.TrimPrefix(strings.ToLower(h.Type), "application/")
	return kind == "" || kind == "jwt" || kind == "at+jwt"
}

// readClaims reads the payload and holds that what every token must have is
// there.
func (t *token) readClaims() bool {
	c := &t.claims
	if json.Unmarshal(t.payload, c) != nil || c.Expires == nil || c.IssuedAt == nil {
		return false
	}
	for _, at := range []*float64{c.Expires, c.IssuedAt, c.NotBefore} {
		if at != nil && (*at < 0 || *at > lastSecond) {
			return false
		}
	}
	return len(c.Subject) >= 1 && len(c.Subject) <= maxSubject && !strings.ContainsFunc(c.Subject, unicode.IsControl)
}

// roles answers the strings of the claim that lists roles; a token without it
// has none.
func (t *token) roles(claim string) ([]string, error) {
	var all map[string]json.RawMessage
	var roles []string
	if json.Unmarshal(t.payload, &all) != nil {
		return nil, Malformed
	}
	if raw, ok := all[claim]; ok && json.Unmarshal(raw, &roles) != nil {
		return nil, Malformed
	}
	return roles, nil
}

// signedBy says whether one of the keys made the token's signature.
func (t *token) signedBy(keys []jose.JSONWebKey) bool {
	return slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool {
		if k.Algorithm != "" && k.Algorithm != t.algorithm {
			return false
		}
		_, err := t.jws.Verify(k.Key)
		return err == nil
	})
}

// madeFor says whether a token is for an audience. One that is for others too
// must name it as the authorised party (OpenID Connect Core 1.0 section
// 3.1.3.7, steps 3 to 5).
func (c *claims) madeFor(name string) bool {
	return slices.Contains(c.Audience, name) && (len(c.Audience) == 1 || c.Party == name)
}

// valid compares a token's times with now.
func (c *claims) valid(now time.Time) error {
	if !now.Before(date(*c.Expires).Add(skew)) {
		return Expired
	}
	earliest := now.Add(skew)
	if date(*c.IssuedAt).After(earliest) || c.NotBefore != nil && date(*c.NotBefore).After(earliest) {
		return NotYetValid
	}
	return nil
}

func date(seconds float64) time.Time { return time.Unix(int64(seconds), 0) }

// twoFactors says whether the methods of a sign-in (RFC 8176) are more than one
// factor: by their own word, or because they are of two kinds. A lone "otp" or
// "hwk" is one factor.
func twoFactors(methods []string) bool {
	var knows, has, is bool
	for _, m := range methods {
		switch m {
		case "mfa", "mca":
			return true
		case "pwd", "pin", "kba":
			knows = true
		case "otp", "hwk", "swk", "pop", "sc", "sms", "tel":
			has = true
		case "face", "fpt", "iris", "retina", "vbm":
			is = true
		}
	}
	return knows && has || knows && is || has && is
}
