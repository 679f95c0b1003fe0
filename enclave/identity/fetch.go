package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

const (
	// discoveryPath is fixed by OpenID Connect Discovery 1.0, section 4.
	discoveryPath = "/.well-known/openid-configuration"
	// maxBody bounds a response, in bytes.
	maxBody = 256 << 10
	// maxHeaders bounds a response's headers, in bytes.
	maxHeaders = 16 << 10
	// maxKeys is how many keys an issuer may publish.
	maxKeys = 64
	// minRSA and maxRSA bound the modulus of an RSA key, in bits.
	minRSA = 2048
	maxRSA = 8192
)

// source fetches one issuer's keys over TLS that ends here.
type source struct {
	issuer string
	client *http.Client
}

// newSource makes a client of its own: no proxy from the environment, only the
// issuer's roots, the enclave's clock, no redirects, nothing kept between
// fetches. Dialling and the handshake have limits of their own, because the
// transport lets both go on when the request that wanted them has ended.
func newSource(issuer string, roots *x509.CertPool, dial func(ctx context.Context, network, address string) (net.Conn, error), now func() time.Time) *source {
	bounded := func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
		defer cancel()
		return dial(ctx, network, address)
	}
	return &source{issuer: issuer, client: &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            bounded,
			TLSHandshakeTimeout:    fetchTimeout,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, Time: now},
			MaxResponseHeaderBytes: maxHeaders,
			DisableKeepAlives:      true,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// fetch answers the usable keys of the set that the issuer's discovery document
// names, at least one. Its errors wrap ErrIssuerUnavailable.
func (s *source) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	document, err := s.get(ctx, strings.TrimSuffix(s.issuer, "/")+discoveryPath)
	if err != nil {
		return nil, err
	}
	address, err := readDiscovery(document, s.issuer)
	if err != nil {
		return nil, err
	}
	if document, err = s.get(ctx, address); err != nil {
		return nil, err
	}
	return readKeys(document)
}

// readDiscovery answers where an issuer's discovery document says that its keys
// are (OpenID Connect Discovery 1.0, sections 3 and 4.3).
func readDiscovery(document []byte, issuer string) (string, error) {
	var d struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if !utf8.Valid(document) || json.Unmarshal(document, &d) != nil {
		return "", unavailable("its discovery document can't be read")
	}
	if d.Issuer != issuer {
		return "", unavailable("its discovery document names another issuer")
	}
	if u, err := url.Parse(d.Keys); err != nil || !isHTTPS(u) {
		return "", unavailable("its discovery document names no key set")
	}
	return d.Keys, nil
}

// readKeys reads a key set. Keys of unknown kinds are passed over (RFC 7517
// section 5), and so are those that may not vouch for tokens.
func readKeys(document []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if !utf8.Valid(document) || json.Unmarshal(document, &set) != nil {
		return nil, unavailable("its key set can't be read")
	}
	if len(set.Keys) > maxKeys {
		return nil, unavailable("it publishes too many keys")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) == nil && usable(&k) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, unavailable("it publishes no key that can be used")
	}
	return keys, nil
}

// usable says whether a published key may vouch for tokens: a public signing
// key of good size with an id. A key that is published with its private half
// vouches for nothing.
func usable(k *jose.JSONWebKey) bool {
	if k.KeyID == "" || len(k.KeyID) > maxKeyID || k.Use != "" && k.Use != "sig" || !k.Valid() {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSA && key.N.BitLen() <= maxRSA
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	default:
		return false
	}
}

// get fetches one document. The network's own words stay out of errors: some
// would be the parent's.
func (s *source) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, unavailable("its address can't be asked for")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, unavailable("it can't be reached over TLS")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, unavailable(fmt.Sprintf("it answers status %d", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, unavailable("its answer broke off or is too long")
	}
	return body, nil
}

// unavailable is ErrIssuerUnavailable with a constant reason.
func unavailable(why string) error { return fmt.Errorf("%w: %s", ErrIssuerUnavailable, why) }
