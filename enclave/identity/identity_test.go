package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/sim/issuer"
)

func TestGoodToken(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string][]byte{"P-256": nil, "Ed25519": marshalKey(t, edwards), "RSA": marshalKey(t, big)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			i := w.issue(t, key)
			p := accepted(t, verifier(t, w.config()), mint(t, i, issuer.Claims{Roles: []string{"analyst", "staff"}}))
			if p.Subject() != who || p.Issuer() != address || !slices.Equal(p.Roles(), []string{"analyst", "staff"}) {
				t.Errorf("%q of %q with roles %q", p.Subject(), p.Issuer(), p.Roles())
			}
			if to := *w.dialled.Load(); to != "id.example.com:443" {
				t.Errorf("dialled %s: egress wouldn't let that out", to)
			}
		})
	}
}

// TestAlgorithms signs with every algorithm that is believed.
func TestAlgorithms(t *testing.T) {
	big, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[jose.SignatureAlgorithm]any{}
	for _, a := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512} {
		keys[a] = big
	}
	for a, curve := range map[jose.SignatureAlgorithm]elliptic.Curve{jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521()} {
		if keys[a], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	f := newForger(w)
	_, payload, _ := strings.Cut(f.claims(t, plain, nil), ".")
	payload, _, _ = strings.Cut(payload, ".")
	for algorithm, key := range keys {
		t.Run(string(algorithm), func(t *testing.T) {
			private := jose.JSONWebKey{Key: key, KeyID: "k"}
			text, err := json.Marshal(private.Public())
			if err != nil {
				t.Fatal(err)
			}
			w.serve(documents(fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, address, address+"/keys"), `{"keys":[`+string(text)+`]}`))
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: private}, nil)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := decode(payload)
			if err != nil {
				t.Fatal(err)
			}
			signed, err := signer.Sign(raw)
			if err != nil {
				t.Fatal(err)
			}
			token, err := signed.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			v := verifier(t, w.config())
			accepted(t, v, token)
			refused(t, v, flip(token), identity.BadSignature)
		})
	}
}

// TestMinted is the table of tokens that a real issuer made.
func TestMinted(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	v := verifier(t, w.config())
	other := func(name string, value any) issuer.Claims {
		return issuer.Claims{Other: map[string]any{name: value}}
	}
	now := epoch().Unix()
	tests := []struct {
		name   string
		claims issuer.Claims
		want   error
	}{
		{"good", issuer.Claims{}, nil},
		{"expired within the skew", issuer.Claims{Life: -29 * time.Second}, nil},
		{"expired beyond the skew", issuer.Claims{Life: -30 * time.Second}, identity.Expired},
		{"expired long ago", issuer.Claims{Life: -time.Hour}, identity.Expired},
		{"not before, within the skew", other("nbf", now+30), nil},
		{"not before, beyond the skew", other("nbf", now+31), identity.NotYetValid},
		{"issued within the skew", other("iat", now+30), nil},
		{"issued in the future", other("iat", now+31), identity.NotYetValid},
		{"without nbf", other("nbf", nil), nil},
		{"without iat", other("iat", nil), identity.Malformed},
		{"without exp", other("exp", nil), identity.Malformed},
		{"exp as text", other("exp", fmt.Sprint(now+60)), identity.Malformed},
		{"exp beyond the calendar", other("exp", 1e300), identity.Malformed},
		{"exp with a fraction", other("exp", float64(now)+0.5), nil},
		{"negative nbf", other("nbf", -1), identity.Malformed},

		{"another audience", issuer.Claims{Audience: "lung-study"}, identity.WrongAudience},
		{"audience in other letters", issuer.Claims{Audience: "Colon-Study"}, identity.WrongAudience},
		{"audience with a tail", issuer.Claims{Audience: study + "2"}, identity.WrongAudience},
		{"no audience", other("aud", nil), identity.WrongAudience},
		{"empty list of audiences", other("aud", []string{}), identity.WrongAudience},
		{"list of one audience", other("aud", []string{study}), nil},
		{"audience as a number", other("aud", 7), identity.Malformed},
		{"several audiences", other("aud", []string{study, "lung-study"}), identity.WrongAudience},
		{"several audiences, for us", issuer.Claims{Other: map[string]any{"aud": []string{"lung-study", study}, "azp": study}}, nil},
		{"several audiences, for another", issuer.Claims{Other: map[string]any{"aud": []string{study, "lung-study"}, "azp": "lung-study"}}, identity.WrongAudience},
		{"others' audiences, for us", issuer.Claims{Other: map[string]any{"aud": []string{"a", "b"}, "azp": study}}, identity.WrongAudience},

		{"another issuer", other("iss", "https://id.example.org"), identity.WrongIssuer},
		{"issuer with a slash", other("iss", address+"/"), identity.WrongIssuer},
		{"issuer in capitals", other("iss", strings.ToUpper(address)), identity.WrongIssuer},
		{"no issuer", other("iss", nil), identity.WrongIssuer},

		{"one factor", issuer.Claims{SingleFactor: true}, identity.OneFactor},
		{"no methods", other("amr", nil), identity.OneFactor},
		{"a lone second factor", other("amr", []string{"otp"}), identity.OneFactor},
		{"two of a kind", other("amr", []string{"pwd", "pin"}), identity.OneFactor},
		{"one factor and words", other("amr", []string{"pwd", "user", "rba", "MFA"}), identity.OneFactor},
		{"password and key", other("amr", []string{"pwd", "hwk"}), nil},
		{"finger and pin", other("amr", []string{"fpt", "pin"}), nil},
		{"card and face", other("amr", []string{"sc", "face"}), nil},
		{"several factors", other("amr", []string{"mfa"}), nil},
		{"several channels", other("amr", []string{"mca"}), nil},
		{"methods as text", other("amr", "mfa"), identity.Malformed},

		{"no roles", other("groups", nil), nil},
		{"roles as text", other("groups", "analyst"), identity.Malformed},
		{"roles as numbers", other("groups", []int{1}), identity.Malformed},
		{"roles as an object", other("groups", map[string]bool{"analyst": true}), identity.Malformed},
		{"nested roles", other("groups", []any{[]string{"analyst"}}), identity.Malformed},

		{"no subject", other("sub", nil), identity.Malformed},
		{"empty subject", other("sub", ""), identity.Malformed},
		{"subject as a number", other("sub", 7), identity.Malformed},
		{"longest subject", other("sub", strings.Repeat("a", 255)), nil},
		{"too long a subject", other("sub", strings.Repeat("a", 256)), identity.Malformed},
		{"subject with a line break", other("sub", "ada\nroot"), identity.Malformed},
		{"too long a token", other("more", strings.Repeat("a", limits.Token)), identity.Malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := mint(t, i, tt.claims)
			if tt.want == nil {
				accepted(t, v, token)
				return
			}
			refused(t, v, token, tt.want)
		})
	}
	if n := w.fetches.Load(); n != 1 {
		t.Errorf("%d fetches for one key", n)
	}
}

// TestForged is the table of tokens that no issuer would make.
func TestForged(t *testing.T) {
	w := newWorld(t)
	f := newForger(w)
	v := verifier(t, w.config())
	good := f.claims(t, plain, nil)
	accepted(t, v, good)
	parts := strings.Split(good, ".")
	public := f.key.Public().(ed25519.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	keyed := func(secret []byte) string {
		input := b64([]byte(`{"alg":"HS256","kid":"k"}`)) + "." + parts[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + b64(mac.Sum(nil))
	}
	stranger := forger{ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", ed25519.SeedSize)))}
	jwk, err := json.Marshal(stranger.jwk())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := decode(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	payload := string(raw)
	again := func(claim string) string { return f.sign(plain, strings.TrimSuffix(payload, "}")+","+claim+"}") }
	header := func(h string) string { return f.claims(t, h, nil) }
	tests := []struct {
		name  string
		token string
		want  error
	}{
		{"nothing", "", identity.Malformed},
		{"a word", "garbage", identity.Malformed},
		{"dots", "..", identity.Malformed},
		{"two parts", parts[0] + "." + parts[1], identity.Malformed},
		{"four parts", good + ".", identity.Malformed},
		{"five parts, as if encrypted", "a.b.c.d.e", identity.Malformed},
		{"not base64", "a!.b.c", identity.Malformed},
		{"not JSON", b64([]byte("x")) + "." + b64([]byte("y")) + ".", identity.Malformed},
		{"JSON serialisation", fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]), identity.Malformed},
		{"a space in front", " " + good, identity.Malformed},
		{"a line break inside", parts[0] + ".\n" + parts[1] + "." + parts[2], identity.Malformed},
		{"a line break at the end", good + "\r\n", identity.Malformed},
		{"padded", good + "==", identity.Malformed},
		{"the last character's unused bits", good[:len(good)-1] + string(nextInAlphabet(good[len(good)-1])), identity.Malformed},
		{"longest, of nothing", strings.Repeat("a", limits.Token), identity.Malformed},
		{"a byte too long", strings.Repeat("a", limits.Token+1), identity.Malformed},
		{"deeply nested claims", f.sign(plain, strings.Repeat("[", 8000)), identity.Malformed},
		{"deeply nested claim", again(`"x":` + strings.Repeat("[", 4000) + strings.Repeat("]", 4000)), nil},
		{"claims that are a list", f.sign(plain, "["+payload+"]"), identity.Malformed},
		{"claims that are null", f.sign(plain, "null"), identity.Malformed},
		{"something after the claims", f.sign(plain, payload+"{}"), identity.Malformed},
		{"claims not in UTF-8", f.sign(plain, strings.Replace(payload, "ada", "ad\xff", 1)), identity.Malformed},

		{"alg none", b64([]byte(`{"alg":"none","kid":"k"}`)) + "." + parts[1] + ".", identity.WrongAlgorithm},
		{"alg None", b64([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2], identity.WrongAlgorithm},
		{"HS256 under the public key's bytes", keyed(public), identity.WrongAlgorithm},
		{"HS256 under the public key's DER", keyed(der), identity.WrongAlgorithm},
		{"HS256 under the public key's PEM", keyed(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), identity.WrongAlgorithm},
		{"alg in small letters", header(`{"alg":"eddsa","kid":"k"}`), identity.WrongAlgorithm},
		{"alg of another kind of key", header(`{"alg":"RS256","kid":"k"}`), identity.BadSignature},
		{"no alg", header(`{"kid":"k"}`), identity.Malformed},
		{"alg as a number", header(`{"alg":1,"kid":"k"}`), identity.Malformed},

		{"unknown key id", header(`{"alg":"EdDSA","kid":"other"}`), identity.UnknownKey},
		{"no key id", header(`{"alg":"EdDSA"}`), identity.UnknownKey},
		{"too long a key id", header(`{"alg":"EdDSA","kid":"` + strings.Repeat("k", 513) + `"}`), identity.Malformed},
		{"a stranger's signature", stranger.claims(t, plain, nil), identity.BadSignature},
		{"a key of its own", stranger.claims(t, `{"alg":"EdDSA","kid":"k","jwk":`+string(jwk)+`}`, nil), identity.Malformed},
		{"a chain of its own", stranger.claims(t, `{"alg":"EdDSA","kid":"k","x5c":[]}`, nil), identity.Malformed},
		{"keys elsewhere", stranger.claims(t, `{"alg":"EdDSA","kid":"k","jku":"https://evil.example.com/keys"}`, nil), identity.BadSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", identity.BadSignature},
		{"short signature", parts[0] + "." + parts[1] + "." + parts[2][:40], identity.BadSignature},
		{"one bit of the signature", flip(good), identity.BadSignature},
		{"other claims under the signature", parts[0] + "." + b64([]byte(strings.Replace(payload, "analyst", "auditor", 1))) + "." + parts[2], identity.BadSignature},

		{"an extension", header(`{"alg":"EdDSA","kid":"k","crit":["exp"],"exp":1}`), identity.Malformed},
		{"claims without base64", header(`{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":false}`), identity.Malformed},
		{"b64 that isn't critical", header(`{"alg":"EdDSA","kid":"k","b64":false}`), identity.Malformed},
		{"a header twice", header(`{"alg":"EdDSA","kid":"other","kid":"k"}`), identity.Malformed},
		{"a logout token", header(`{"alg":"EdDSA","kid":"k","typ":"logout+jwt"}`), identity.Malformed},
		{"a proof of possession", header(`{"alg":"EdDSA","kid":"k","typ":"dpop+jwt"}`), identity.Malformed},
		{"an access token", header(`{"alg":"EdDSA","kid":"k","typ":"at+jwt"}`), nil},
		{"an access token, spelt out", header(`{"alg":"EdDSA","kid":"k","typ":"application/AT+JWT"}`), nil},
		{"no type", header(`{"alg":"EdDSA","kid":"k"}`), nil},

		{"subject twice", again(`"sub":"eve"`), identity.Malformed},
		{"audience twice", again(`"aud":"colon-study"`), identity.Malformed},
		{"roles twice", again(`"groups":["analyst"]`), identity.Malformed},
		{"an unknown claim twice", again(`"x":1,"x":1`), identity.Malformed},
		{"subject twice by an escape", again(`"s\u0075b":"eve"`), identity.Malformed},
		{"subject in capitals too", again(`"SUB":"eve"`), nil},
		{"subject in capitals only", f.sign(plain, strings.Replace(payload, `"sub"`, `"Sub"`, 1)), identity.Malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == nil {
				if p := accepted(t, v, tt.token); p.Subject() != who {
					t.Errorf("another subject than the signed one: %q", p.Subject())
				}
				return
			}
			refused(t, v, tt.token, tt.want)
		})
	}
}

// TestEveryChange changes every character of a good token to others.
func TestEveryChange(t *testing.T) {
	w := newWorld(t)
	f := newForger(w)
	v := verifier(t, w.config())
	good := f.claims(t, plain, nil)
	accepted(t, v, good)
	for i := range good {
		for _, c := range []byte{'.', 'A', good[i] ^ 1, '\n'} {
			if c == good[i] {
				continue
			}
			changed := good[:i] + string(rune(c)) + good[i+1:]
			if p, err := v.Verify(context.Background(), changed); p != nil || err == nil {
				t.Fatalf("character %d as %q is accepted", i, c)
			}
		}
		if p, err := v.Verify(context.Background(), good[:i]); p != nil || err == nil {
			t.Fatalf("the first %d characters are accepted", i)
		}
	}
}

// TestTimes holds every combination of dates around the skew against the rule
// in one line.
func TestTimes(t *testing.T) {
	w := newWorld(t)
	f := newForger(w)
	v := verifier(t, w.config())
	around := []int64{-3600, -31, -30, -29, 0, 29, 30, 31, 3600}
	for _, exp := range around {
		for _, nbf := range around {
			for _, iat := range around {
				now := epoch().Unix()
				token := f.claims(t, plain, map[string]any{"exp": now + exp, "nbf": now + nbf, "iat": now + iat})
				_, err := v.Verify(context.Background(), token)
				good := exp+30 > 0 && nbf-30 <= 0 && iat-30 <= 0
				if (err == nil) != good {
					t.Errorf("exp %d, nbf %d, iat %d from now: %v", exp, nbf, iat, err)
				}
			}
		}
	}
}

func TestIssuersAreApart(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	lenient := w.entry()
	lenient.RequireMFA, lenient.RolesClaim = false, "https://example.com/roles"
	elsewhere := lenient
	elsewhere.URL = "https://id.example.com/realms/other"
	v := verifier(t, w.configOf(lenient, elsewhere))
	p := accepted(t, v, mint(t, i, issuer.Claims{SingleFactor: true, Other: map[string]any{"https://example.com/roles": []string{"auditor"}}}))
	if !slices.Equal(p.Roles(), []string{"auditor"}) {
		t.Errorf("roles %q aren't those of the configured claim", p.Roles())
	}
	// The other issuer's discovery isn't served: its keys aren't this one's.
	refused(t, v, mint(t, i, issuer.Claims{Other: map[string]any{"iss": elsewhere.URL}}), identity.ErrIssuerUnavailable)
	refused(t, verifier(t, w.configOf()), mint(t, i, issuer.Claims{}), identity.WrongIssuer)
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t)
	change := func(f func(*identity.Issuer)) identity.Config {
		entry := w.entry()
		f(&entry)
		return w.configOf(entry)
	}
	tests := map[string]identity.Config{
		"no clock":     {Dial: w.dial},
		"no dialer":    {Now: w.now},
		"twice":        w.configOf(w.entry(), w.entry()),
		"http":         change(func(i *identity.Issuer) { i.URL = "http://id.example.com" }),
		"no URL":       change(func(i *identity.Issuer) { i.URL = "" }),
		"not a URL":    change(func(i *identity.Issuer) { i.URL = "https://[" }),
		"a user":       change(func(i *identity.Issuer) { i.URL = "https://ada@id.example.com" }),
		"a query":      change(func(i *identity.Issuer) { i.URL = address + "?a=b" }),
		"a fragment":   change(func(i *identity.Issuer) { i.URL = address + "#a" }),
		"no audience":  change(func(i *identity.Issuer) { i.Audience = "" }),
		"no claim":     change(func(i *identity.Issuer) { i.RolesClaim = "" }),
		"no roots":     change(func(i *identity.Issuer) { i.TLSRoots = nil }),
		"roots no PEM": change(func(i *identity.Issuer) { i.TLSRoots = []byte("root") }),
	}
	for name, c := range tests {
		if v, err := identity.New(c); v != nil || err == nil {
			t.Errorf("%s: a verifier", name)
		}
	}
}

func TestReason(t *testing.T) {
	seen := map[string]bool{}
	for r := identity.Malformed; r <= identity.OneFactor; r++ {
		phrase := identity.Reason(fmt.Errorf("wrapped: %w", r))
		if phrase == "" || seen[phrase] || !strings.HasSuffix(r.Error(), phrase) {
			t.Errorf("refusal %d: %q", r, phrase)
		}
		seen[phrase] = true
	}
	unknown := identity.Reason(errors.New("ada's token"))
	if unknown == "" || seen[unknown] || strings.Contains(unknown, "ada") || identity.Reason(nil) != unknown || identity.Reason(identity.OneFactor+1) != unknown {
		t.Errorf("an unknown error's reason is %q", unknown)
	}
	if got := identity.Reason(identity.Expired); got != "expired" {
		t.Errorf("%q", got)
	}
}

func TestMay(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	v := verifier(t, w.config())
	tests := []struct {
		roles []string
		query bool
	}{
		{[]string{"analyst"}, true},
		{[]string{"staff", "auditor", "analyst"}, true},
		{[]string{}, false},
		{[]string{""}, false},
		{[]string{"auditor"}, false},
		{[]string{"data-owner"}, false},
		{[]string{"Analyst"}, false},
		{[]string{"analyst "}, false},
		{[]string{"analysts", "admin", "*"}, false},
	}
	for _, tt := range tests {
		p := accepted(t, v, mint(t, i, issuer.Claims{Roles: tt.roles}))
		err := p.May(identity.Query, "colon")
		if (err == nil) != tt.query || err != nil && !errors.Is(err, identity.ErrNotAllowed) {
			t.Errorf("roles %q: %v", tt.roles, err)
		}
		for _, action := range []identity.Action{0, identity.Query + 1, 255} {
			if err := p.May(action, "colon"); !errors.Is(err, identity.ErrNotAllowed) {
				t.Errorf("roles %q may do what isn't an action: %v", tt.roles, err)
			}
		}
		if err := p.May(identity.Query, ""); !errors.Is(err, identity.ErrNotAllowed) {
			t.Errorf("roles %q may query no dataset: %v", tt.roles, err)
		}
	}
	for name, p := range map[string]*identity.Principal{"nobody": nil, "a made-up principal": {}} {
		if err := p.May(identity.Query, "colon"); !errors.Is(err, identity.ErrNotAllowed) {
			t.Errorf("%s may query: %v", name, err)
		}
	}
}

func TestPrincipalDoesntPrint(t *testing.T) {
	w := newWorld(t)
	p := accepted(t, verifier(t, w.config()), mint(t, w.issue(t, nil), issuer.Claims{}))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		if got := fmt.Sprintf(verb, p); strings.Contains(got, "ada") || strings.Contains(got, "analyst") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if got, err := json.Marshal(p); err != nil || string(got) != "{}" { //nolint:staticcheck // that nothing comes out is the point
		t.Errorf("marshals to %s, %v", got, err)
	}
	p.Roles()[0] = "data-owner"
	if p.May(identity.Query, "colon") != nil {
		t.Error("who gets the roles can change them")
	}
}

// TestOthersRoots holds that the issuer's roots alone are believed, at the
// enclave's time.
func TestOthersRoots(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strange := w.entry()
	strange.TLSRoots = certificatePEM(selfSigned(t, key))
	refused(t, verifier(t, w.configOf(strange)), mint(t, i, issuer.Claims{}), identity.ErrIssuerUnavailable)

	v := verifier(t, w.config())
	w.pass(w.server.Certificate().NotAfter.Sub(epoch()) + time.Hour)
	refused(t, v, mint(t, i, issuer.Claims{}), identity.ErrIssuerUnavailable)
	misnamed := w.entry()
	misnamed.URL = "https://id.example.net/realms/study"
	w.offset.Store(0)
	refused(t, verifier(t, w.configOf(misnamed)), mint(t, i, issuer.Claims{Other: map[string]any{"iss": misnamed.URL}}), identity.ErrIssuerUnavailable)
	accepted(t, verifier(t, w.config()), mint(t, i, issuer.Claims{}))
}

func selfSigned(t *testing.T, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: newSerial(), NotBefore: epoch(), NotAfter: epoch().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRedirectsArentFollowed(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	behind := i.Handler()
	w.serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if path, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
			r.URL.Path = path
			behind.ServeHTTP(rw, r)
			return
		}
		http.Redirect(rw, r, "/moved"+r.URL.Path, http.StatusFound)
	}))
	refused(t, verifier(t, w.config()), mint(t, i, issuer.Claims{}), identity.ErrIssuerUnavailable)
}
