// Package identity turns an analyst's OpenID Connect token into a Principal,
// and says what a principal may do. It trusts the issuers that the measured
// bundle names, under the TLS roots that the bundle gives for each, and the
// enclave's clock; the parent carries the bytes and can only withhold them.
//
// Tokens are checked here, over go-jose's signatures and JSON, and not by
// go-oidc: that library fetches keys again for every unknown key id, reads
// responses without a bound, keeps keys for ever, puts claims and bodies into
// its errors, and allows five minutes of skew on "nbf" and another spelling of
// one issuer's name. What is left of it would be the twenty lines of OpenID
// Connect Core 1.0 section 3.1.3.7 that stand in token.go.
package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// Config says who vouches for analysts.
type Config struct {
	// Issuers are the only issuers believed. With none, every token is refused.
	Issuers []Issuer
	// Dial opens connections to issuers, as http.Transport.DialContext.
	// Required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the enclave's clock, for tokens, certificates and caches. Required.
	Now func() time.Time
}

// Issuer is an OpenID Connect issuer.
type Issuer struct {
	// URL is the issuer's https URL, exactly as its tokens name it.
	URL string
	// Audience is what its tokens must be made for.
	Audience string
	// RolesClaim is the claim that lists a person's roles, an array of strings.
	RolesClaim string
	// TLSRoots is PEM, the only roots under which the servers of the issuer's
	// discovery document and key set are believed.
	TLSRoots []byte
	// RequireMFA refuses tokens that don't say that a second factor was used.
	RequireMFA bool
}

// issuer is an Issuer and the keys that it publishes.
type issuer struct {
	Issuer
	keys *keySet
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	issuers map[string]*issuer
	now     func() time.Time
}

// New checks the configuration. It reaches no issuer: keys are fetched when the
// first token needs them.
func New(c Config) (*Verifier, error) {
	if c.Dial == nil || c.Now == nil {
		return nil, errors.New("identity: a dialer and a clock are needed")
	}
	v := &Verifier{issuers: map[string]*issuer{}, now: c.Now}
	for i, entry := range c.Issuers {
		roots, err := entry.check()
		if err != nil {
			return nil, fmt.Errorf("identity: issuer %d: %w", i+1, err)
		}
		if v.issuers[entry.URL] != nil {
			return nil, fmt.Errorf("identity: issuer %d stands twice", i+1)
		}
		source := newSource(entry.URL, roots, c.Dial, c.Now)
		v.issuers[entry.URL] = &issuer{Issuer: entry, keys: &keySet{fetch: source.fetch, now: c.Now}}
	}
	return v, nil
}

// check holds that an entry can work and answers its roots.
func (i *Issuer) check() (*x509.CertPool, error) {
	if u, err := url.Parse(i.URL); err != nil || !isHTTPS(u) || u.RawQuery != "" {
		return nil, errors.New("not an https URL without user, query and fragment")
	}
	if i.Audience == "" || i.RolesClaim == "" {
		return nil, errors.New("an audience and a roles claim are needed")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(i.TLSRoots) {
		return nil, errors.New("no TLS roots")
	}
	return roots, nil
}

func isHTTPS(u *url.URL) bool {
	return u.Scheme == "https" && u.Host != "" && u.User == nil && u.Fragment == "" && u.Opaque == ""
}

// Verify answers who a bearer token speaks for. Its errors are a Refusal, or
// wrap ErrIssuerUnavailable; none carries anything of the token.
func (v *Verifier) Verify(ctx context.Context, bearer string) (*Principal, error) {
	t, err := parse(bearer)
	if err != nil {
		return nil, err
	}
	i, ok := v.issuers[t.claims.Issuer]
	if !ok {
		return nil, WrongIssuer
	}
	roles, err := t.roles(i.RolesClaim)
	if err != nil {
		return nil, err
	}
	keys, err := i.keys.named(ctx, t.keyID)
	if err != nil {
		return nil, err
	}
	if !t.signedBy(keys) {
		return nil, BadSignature
	}
	if !t.claims.madeFor(i.Audience) {
		return nil, WrongAudience
	}
	if err := t.claims.valid(v.now()); err != nil {
		return nil, err
	}
	if i.RequireMFA && !twoFactors(t.claims.Methods) {
		return nil, OneFactor
	}
	return &Principal{issuer: i.URL, subject: t.claims.Subject, roles: roles}, nil
}
