package issuer_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cloisterhq/cloister/sim/issuer"
)

const address = "https://127.0.0.1:8443/realms/study"

func epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func newKey(t *testing.T) []byte {
	t.Helper()
	key, err := issuer.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func marshal(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func open(t *testing.T, key []byte) *issuer.Issuer {
	t.Helper()
	i, err := issuer.New(issuer.Config{URL: address, Audience: "colon-study", Key: key, Now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// get answers what the issuer serves at a path.
func get(t *testing.T, i *issuer.Issuer, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	i.Handler().ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec
}

// keys answers the published key set, found through the discovery document.
func keys(t *testing.T, i *issuer.Issuer) jose.JSONWebKeySet {
	t.Helper()
	var discovery struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	rec := get(t, i, http.MethodGet, "/realms/study/.well-known/openid-configuration")
	if err := json.Unmarshal(rec.Body.Bytes(), &discovery); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("status %d, %v", rec.Code, err)
	}
	path, ok := strings.CutPrefix(discovery.Keys, "https://127.0.0.1:8443")
	if discovery.Issuer != address || !ok {
		t.Fatalf("issuer %q with keys at %q", discovery.Issuer, discovery.Keys)
	}
	rec = get(t, i, http.MethodGet, path)
	if kind := rec.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("keys of type %q", kind)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// read verifies a token under the published key and answers its claims.
func read(t *testing.T, i *issuer.Issuer, token string) map[string]any {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	set := keys(t, i)
	found := set.Key(jws.Signatures[0].Protected.KeyID)
	if len(found) != 1 || found[0].Algorithm != jws.Signatures[0].Protected.Algorithm {
		t.Fatalf("%d published keys are the token's", len(found))
	}
	payload, err := jws.Verify(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestMint(t *testing.T) {
	i := open(t, newKey(t))
	now := float64(epoch().Unix())
	base := func(change map[string]any) map[string]any {
		claims := map[string]any{
			"iss": address, "sub": "ada", "aud": "colon-study", "iat": now, "nbf": now, "exp": now + 3600, "auth_time": now,
			"amr": []any{"pwd", "otp", "mfa"}, "groups": []any{"analyst"},
		}
		for name, value := range change {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		return claims
	}
	analyst := []string{"analyst"}
	tests := []struct {
		name   string
		claims issuer.Claims
		want   map[string]any
	}{
		{"plain", issuer.Claims{Subject: "ada", Roles: analyst}, base(nil)},
		{"a life of its own", issuer.Claims{Subject: "ada", Roles: analyst, Life: time.Minute}, base(map[string]any{"exp": now + 60})},
		{"expired", issuer.Claims{Subject: "ada", Roles: analyst, Life: -time.Minute}, base(map[string]any{"exp": now - 60})},
		{"for another", issuer.Claims{Subject: "ada", Roles: analyst, Audience: "lung-study"}, base(map[string]any{"aud": "lung-study"})},
		{"one factor", issuer.Claims{Subject: "ada", Roles: analyst, SingleFactor: true}, base(map[string]any{"amr": []any{"pwd"}})},
		{"without roles", issuer.Claims{Subject: "ada"}, base(map[string]any{"groups": []any{}})},
		{"others", issuer.Claims{Subject: "ada", Roles: analyst, Other: map[string]any{"azp": "cli", "iss": "https://example.com", "nbf": nil}},
			base(map[string]any{"azp": "cli", "iss": "https://example.com", "nbf": nil})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := i.Mint(tt.claims)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, i, token); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("claims %v\nwant   %v", got, tt.want)
			}
		})
	}
	if token, err := i.Mint(issuer.Claims{Other: map[string]any{"x": func() {}}}); err == nil || token != "" {
		t.Error("minted what isn't JSON")
	}
}

// TestKeys opens issuers with every kind of key, twice: the key's id is its own.
func TestKeys(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for algorithm, key := range map[string][]byte{"ES256": newKey(t), "EdDSA": marshal(t, edwards), "RS256": marshal(t, big)} {
		first, second := open(t, key), open(t, append(bytes.Clone(key), '\n'))
		token, err := first.Mint(issuer.Claims{Subject: "ada"})
		if err != nil {
			t.Fatal(err)
		}
		read(t, second, token)
		set := keys(t, first)
		if len(set.Keys) != 1 || set.Keys[0].Algorithm != algorithm || set.Keys[0].Use != "sig" || !set.Keys[0].IsPublic() || ids[set.Keys[0].KeyID] {
			t.Errorf("%s publishes %d keys, the first for %s", algorithm, len(set.Keys), set.Keys[0].Algorithm)
		}
		ids[set.Keys[0].KeyID] = true
	}
	if bytes.Equal(newKey(t), newKey(t)) {
		t.Error("two new keys are the same")
	}
}

func TestHandlerServesNothingElse(t *testing.T) {
	i := open(t, newKey(t))
	for _, path := range []string{"/", "/keys", "/realms/study", "/realms/study/token", "/.well-known/openid-configuration"} {
		if rec := get(t, i, http.MethodGet, path); rec.Code != http.StatusNotFound {
			t.Errorf("GET %s answers %d", path, rec.Code)
		}
	}
	if rec := get(t, i, http.MethodPost, "/realms/study/keys"); rec.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST answers %d", rec.Code)
	}
}

func TestNewRefuses(t *testing.T) {
	good := newKey(t)
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	config := func(change func(*issuer.Config)) issuer.Config {
		c := issuer.Config{URL: address, Audience: "colon-study", Key: good, Now: epoch}
		change(&c)
		return c
	}
	tests := map[string]issuer.Config{
		"no URL":       config(func(c *issuer.Config) { c.URL = "" }),
		"http":         config(func(c *issuer.Config) { c.URL = "http://127.0.0.1" }),
		"a slash":      config(func(c *issuer.Config) { c.URL += "/" }),
		"no host":      config(func(c *issuer.Config) { c.URL = "https:///realms" }),
		"no clock":     config(func(c *issuer.Config) { c.Now = nil }),
		"no key":       config(func(c *issuer.Config) { c.Key = nil }),
		"not PEM":      config(func(c *issuer.Config) { c.Key = []byte("key") }),
		"two keys":     config(func(c *issuer.Config) { c.Key = append(bytes.Clone(good), good...) }),
		"another form": config(func(c *issuer.Config) { c.Key = bytes.ReplaceAll(good, []byte("PRIVATE"), []byte("PUBLIC")) }),
		"not PKCS #8":  config(func(c *issuer.Config) { c.Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}) }),
		"P-384":        config(func(c *issuer.Config) { c.Key = marshal(t, other) }),
	}
	for name, c := range tests {
		if i, err := issuer.New(c); i != nil || err == nil {
			t.Errorf("%s: an issuer", name)
		}
	}
	if _, err := issuer.New(config(func(*issuer.Config) {})); err != nil {
		t.Errorf("the configuration that the others change: %v", err)
	}
}
