package identity_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/sim/issuer"
)

const (
	// address is a name that the test server's certificate holds for.
	address = "https://id.example.com/realms/study"
	// study is the deployment that tokens are for.
	study = "colon-study"
	who   = "ada@example.com"
)

// TestMain sets proxies that don't exist: an identity package that asked the
// environment would reach no issuer in any test.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		os.Setenv(name, "http://127.0.0.1:1")
	}
	os.Exit(m.Run())
}

// world is an issuer over TLS on loopback, a clock and the way to it.
type world struct {
	server  *httptest.Server
	handler atomic.Pointer[http.Handler]
	// fetches counts key sets asked for; cut makes dialling fail.
	fetches atomic.Int64
	cut     atomic.Bool
	dialled atomic.Pointer[string]
	offset  atomic.Int64
}

// epoch is when tests happen.
func epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/keys") {
			w.fetches.Add(1)
		}
		(*w.handler.Load()).ServeHTTP(rw, r)
	}))
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) now() time.Time          { return epoch().Add(time.Duration(w.offset.Load())) }
func (w *world) pass(d time.Duration)    { w.offset.Add(int64(d)) }
func (w *world) serve(h http.Handler)    { w.handler.Store(&h) }
func (w *world) roots() []byte           { return certificatePEM(w.server.Certificate()) }
func (w *world) config() identity.Config { return w.configOf(w.entry()) }
func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// dial reaches the test's server, whatever the address, and keeps the address.
func (w *world) dial(ctx context.Context, network, to string) (net.Conn, error) {
	w.dialled.Store(&to)
	if w.cut.Load() {
		return nil, errors.New("no route for " + who)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, w.server.Listener.Addr().String())
}

func (w *world) entry() identity.Issuer {
	return identity.Issuer{URL: address, Audience: study, RolesClaim: "groups", TLSRoots: w.roots(), RequireMFA: true}
}

func (w *world) configOf(issuers ...identity.Issuer) identity.Config {
	return identity.Config{Issuers: issuers, Dial: w.dial, Now: w.now}
}

func verifier(t testing.TB, c identity.Config) *identity.Verifier {
	t.Helper()
	v, err := identity.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// issue opens an issuer with a key, a new one when it is nil, and serves it.
func (w *world) issue(t testing.TB, key []byte) *issuer.Issuer {
	t.Helper()
	if key == nil {
		var err error
		if key, err = issuer.NewKey(); err != nil {
			t.Fatal(err)
		}
	}
	i, err := issuer.New(issuer.Config{URL: address, Audience: study, Key: key, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	w.serve(i.Handler())
	return i
}

func marshalKey(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func mint(t testing.TB, i *issuer.Issuer, c issuer.Claims) string {
	t.Helper()
	if c.Subject == "" {
		c.Subject = who
	}
	if c.Roles == nil {
		c.Roles = []string{"analyst"}
	}
	token, err := i.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// refused holds that a token is refused with exactly one class of failure and
// that the error says nothing but its constant phrase.
func refused(t *testing.T, v *identity.Verifier, token string, want error) {
	t.Helper()
	p, err := v.Verify(context.Background(), token)
	if p != nil || !errors.Is(err, want) {
		t.Errorf("%v, %v; want %v", p, err, want)
		return
	}
	if _, ok := errors.AsType[identity.Refusal](want); ok && err.Error() != want.Error() {
		t.Errorf("%q says more than %q", err, want)
	}
	if strings.Contains(err.Error(), "ada") {
		t.Errorf("%q names somebody", err)
	}
}

func accepted(t *testing.T, v *identity.Verifier, token string) *identity.Principal {
	t.Helper()
	p, err := v.Verify(context.Background(), token)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return p
}

// forger signs what no issuer would, with an Ed25519 key whose public half the
// world publishes under the id "k".
type forger struct{ key ed25519.PrivateKey }

func newForger(w *world) forger {
	f := forger{ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	w.serve(publish(f.jwk()))
	return f
}

func (f forger) jwk() map[string]any {
	return map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(f.key.Public().(ed25519.PublicKey))}
}

// sign signs a header and a payload, byte for byte.
func (f forger) sign(header, payload string) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	return input + "." + b64(ed25519.Sign(f.key, []byte(input)))
}

// claims signs the claims of a good token with some of them replaced; nil takes
// one away.
func (f forger) claims(t testing.TB, header string, change map[string]any) string {
	t.Helper()
	now := epoch().Unix()
	all := map[string]any{
		"iss": address, "sub": who, "aud": study, "iat": now, "nbf": now, "exp": now + 3600,
		"amr": []string{"pwd", "otp"}, "groups": []string{"analyst"},
	}
	for name, value := range change {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return f.sign(header, string(payload))
}

const plain = `{"alg":"EdDSA","kid":"k","typ":"JWT"}`

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// publish serves a discovery document and a key set.
func publish(keys ...map[string]any) http.Handler {
	discovery, _ := json.Marshal(map[string]any{"issuer": address, "jwks_uri": address + "/keys"})
	set, _ := json.Marshal(map[string]any{"keys": keys})
	return documents(string(discovery), string(set))
}

// documents serves two texts as they are.
func documents(discovery, keys string) http.Handler {
	mux := http.NewServeMux()
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	mux.Handle("/realms/study/.well-known/openid-configuration", text(discovery))
	mux.Handle("/realms/study/keys", text(keys))
	return mux
}

func decode(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

func newSerial() *big.Int { return big.NewInt(1) }

// flip changes one bit of a token's signature.
func flip(token string) string {
	input, last := token[:strings.LastIndexByte(token, '.')], token[strings.LastIndexByte(token, '.')+1:]
	signature, err := decode(last)
	if err != nil {
		panic(err)
	}
	signature[len(signature)/2] ^= 4
	return input + "." + b64(signature)
}

// nextInAlphabet answers the character whose value is one more.
func nextInAlphabet(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[(strings.IndexByte(alphabet, c)+1)%len(alphabet)]
}
