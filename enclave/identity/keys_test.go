package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloisterhq/cloister/enclave/identity"
	"github.com/cloisterhq/cloister/sim/issuer"
)

func TestOneFetchForAll(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	v := verifier(t, w.config())
	token := mint(t, i, issuer.Claims{})
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := v.Verify(context.Background(), token); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := w.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestStrangersCantHammer sends tokens with ever new key ids: the issuer is
// asked once a pause, and good tokens pass meanwhile.
func TestStrangersCantHammer(t *testing.T) {
	w := newWorld(t)
	f := newForger(w)
	v := verifier(t, w.config())
	good := f.claims(t, plain, nil)
	accepted(t, v, good)
	for pause := range int64(3) {
		for n := range 100 {
			refused(t, v, f.claims(t, fmt.Sprintf(`{"alg":"EdDSA","kid":"k%d-%d"}`, pause, n), nil), identity.UnknownKey)
			accepted(t, v, good)
		}
		if n := w.fetches.Load(); n != 1+pause {
			t.Errorf("%d fetches in %d pauses", n, pause)
		}
		w.pass(30 * time.Second)
	}
	// Tokens that fail before their key matters reach no issuer at all.
	before := w.fetches.Load()
	refused(t, v, f.claims(t, `{"alg":"EdDSA","kid":"new"}`, map[string]any{"iss": "https://evil.example.com"}), identity.WrongIssuer)
	refused(t, v, f.claims(t, `{"alg":"none","kid":"new"}`, nil), identity.WrongAlgorithm)
	if n := w.fetches.Load(); n != before {
		t.Errorf("%d fetches for tokens that no key could save", n-before)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	before := w.issue(t, nil)
	v := verifier(t, w.config())
	old := mint(t, before, issuer.Claims{})
	accepted(t, v, old)
	fresh := mint(t, w.issue(t, nil), issuer.Claims{})
	refused(t, v, fresh, identity.UnknownKey) // fetched just now
	w.pass(30 * time.Second)
	accepted(t, v, fresh)
	refused(t, v, old, identity.UnknownKey)
	if n := w.fetches.Load(); n != 2 {
		t.Errorf("%d fetches for two key sets", n)
	}
}

// TestWithdrawnKey holds that a key which the issuer doesn't publish any more
// vouches for nothing a quarter of an hour later, even if no other key is asked
// for.
func TestWithdrawnKey(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	v := verifier(t, w.config())
	token := mint(t, i, issuer.Claims{})
	accepted(t, v, token)
	w.issue(t, nil)
	w.pass(15*time.Minute - time.Second)
	accepted(t, v, token)
	w.pass(time.Second)
	refused(t, v, token, identity.UnknownKey)
}

func TestOutage(t *testing.T) {
	w := newWorld(t)
	i := w.issue(t, nil)
	v := verifier(t, w.config())
	token := func() string { return mint(t, i, issuer.Claims{}) }
	w.cut.Store(true)
	refused(t, v, token(), identity.ErrIssuerUnavailable)
	w.cut.Store(false)
	refused(t, v, token(), identity.ErrIssuerUnavailable) // asked just now
	w.pass(5 * time.Second)
	accepted(t, v, token())

	w.cut.Store(true)
	w.pass(time.Hour)
	accepted(t, v, token())
	// A key that isn't in the cache may be a new one: nobody can say.
	stranger := mint(t, func() *issuer.Issuer { defer w.issue(t, nil); return w.issue(t, nil) }(), issuer.Claims{})
	refused(t, v, stranger, identity.ErrIssuerUnavailable)
	w.pass(3*time.Hour - time.Second)
	accepted(t, v, token())
	w.pass(time.Second)
	refused(t, v, token(), identity.ErrIssuerUnavailable)
	w.pass(time.Hour)
	refused(t, v, token(), identity.ErrIssuerUnavailable)

	w.cut.Store(false)
	w.pass(30 * time.Second)
	refused(t, v, token(), identity.UnknownKey) // back with other keys
}

// TestSilentIssuer lets an issuer take the connection and say nothing, or not
// even take it. Whoever gives up leaves the fetch to the others; the fetch ends
// too, and what it began.
func TestSilentIssuer(t *testing.T) {
	token := newForger(newWorld(t)).claims(t, plain, nil)
	silent := func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }() // until the fetch hangs up
		return near, nil
	}
	away := func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, dial := range map[string]func(context.Context) (net.Conn, error){"silent": silent, "away": away} {
		t.Run(name, func(t *testing.T) { giveUp(t, token, dial) })
	}
}

func giveUp(t *testing.T, token string, dial func(context.Context) (net.Conn, error)) {
	synctest.Test(t, func(t *testing.T) {
		var dialled atomic.Int64
		roots := certificatePEM(selfSigned(t, mustKey(t)))
		v := verifier(t, identity.Config{
			Issuers: []identity.Issuer{{URL: address, Audience: study, RolesClaim: "groups", TLSRoots: roots}},
			Now:     epoch,
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
				dialled.Add(1)
				return dial(ctx)
			},
		})
		began := time.Now()
		var group sync.WaitGroup
		group.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if _, err := v.Verify(ctx, token); !errors.Is(err, identity.ErrIssuerUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who gave up: %v", err)
			}
			if waited := time.Since(began); waited != time.Second {
				t.Errorf("gave up after %v", waited)
			}
		})
		synctest.Wait() // whoever gives up began the fetch
		group.Go(func() {
			if _, err := v.Verify(context.Background(), token); !errors.Is(err, identity.ErrIssuerUnavailable) {
				t.Errorf("who waited: %v", err)
			}
			if waited := time.Since(began); waited != 10*time.Second {
				t.Errorf("a fetch took %v", waited)
			}
		})
		group.Wait()
		if n := dialled.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
		time.Sleep(time.Minute) // whatever still runs then is a leak, and fails the bubble
	})
}

func mustKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// with answers a key with other members; nil takes one away.
func with(key map[string]any, change map[string]any) map[string]any {
	out := maps.Clone(key)
	for name, value := range change {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

// rsaKey answers a public key with a modulus of so many bits.
func rsaKey(bits uint) map[string]any {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return map[string]any{"kty": "RSA", "kid": "r", "n": b64(n.SetBit(n, 0, 1).Bytes()), "e": "AQAB"}
}

// TestKeySets serves key sets and holds what of them may vouch for a token.
func TestKeySets(t *testing.T) {
	w := newWorld(t)
	f := newForger(w)
	good := f.jwk()
	token := f.claims(t, plain, nil)
	oct := map[string]any{"kty": "oct", "kid": "k", "k": good["x"]}
	many := func(n int) []map[string]any {
		keys := []map[string]any{good}
		for len(keys) < n {
			keys = append(keys, with(good, map[string]any{"kid": fmt.Sprint(len(keys))}))
		}
		return keys
	}
	tests := []struct {
		name string
		keys []map[string]any
		want error
	}{
		{"one key", []map[string]any{good}, nil},
		{"with its use and algorithm", []map[string]any{with(good, map[string]any{"use": "sig", "alg": "EdDSA"})}, nil},
		{"after kinds that aren't known", []map[string]any{{"kty": "XYZ", "kid": "k"}, {"kty": "EC", "crv": "secp256k1", "kid": "k"}, {}, good}, nil},
		{"two keys with one id", []map[string]any{with(good, map[string]any{"x": strings.Repeat("A", 43)}), good}, nil},
		{"the most keys", many(64), nil},
		{"too many keys", many(65), identity.ErrIssuerUnavailable},
		{"no keys", nil, identity.ErrIssuerUnavailable},
		{"a key for encryption", []map[string]any{with(good, map[string]any{"use": "enc"})}, identity.ErrIssuerUnavailable},
		{"a key for another algorithm", []map[string]any{with(good, map[string]any{"alg": "ES256"})}, identity.BadSignature},
		{"a key without an id", []map[string]any{with(good, map[string]any{"kid": nil})}, identity.ErrIssuerUnavailable},
		{"a key with its private half", []map[string]any{with(good, map[string]any{"d": b64(f.key.Seed())})}, identity.ErrIssuerUnavailable},
		{"a shared secret", []map[string]any{oct}, identity.ErrIssuerUnavailable},
		{"a short key", []map[string]any{with(good, map[string]any{"x": "AAAA"})}, identity.ErrIssuerUnavailable},
		{"RSA of 2047 bits", []map[string]any{rsaKey(2047)}, identity.ErrIssuerUnavailable},
		{"RSA of 2048 bits, for others", []map[string]any{rsaKey(2048)}, identity.UnknownKey},
		{"RSA of 8193 bits", []map[string]any{rsaKey(8193)}, identity.ErrIssuerUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.serve(publish(tt.keys...))
			v := verifier(t, w.config())
			if tt.want == nil {
				accepted(t, v, token)
				return
			}
			refused(t, v, token, tt.want)
		})
	}
}

// TestIssuersAnswers serves documents that aren't what they should be.
func TestIssuersAnswers(t *testing.T) {
	w := newWorld(t)
	f := newForger(w)
	token := f.claims(t, plain, nil)
	key, err := json.Marshal(f.jwk())
	if err != nil {
		t.Fatal(err)
	}
	set := `{"keys":[` + string(key) + `]}`
	discovery := fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, address, address+"/keys")
	names := func(issuer, keys string) http.Handler {
		return documents(fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, keys), set)
	}
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	tests := []struct {
		name    string
		handler http.Handler
		good    bool
	}{
		{"what they should be", documents(discovery, set), true},
		{"with more members", documents(strings.Replace(discovery, "{", `{"a":[1],`, 1), strings.Replace(set, "{", `{"a":{},`, 1)), true},
		{"the longest", documents(discovery, set+strings.Repeat(" ", 256<<10-len(set))), true},
		{"too long a key set", documents(discovery, set+strings.Repeat(" ", 256<<10-len(set)+1)), false},
		{"too long a discovery document", documents(discovery+strings.Repeat(" ", 256<<10), set), false},
		{"another issuer", names(address+"/", address+"/keys"), false},
		{"no issuer", names("", address+"/keys"), false},
		{"issuer twice", documents(`{"issuer":"https://a.example.com",`+discovery[1:], set), false},
		{"keys over http", names(address, "http"+strings.TrimPrefix(address, "https")+"/keys"), false},
		{"keys in a file", names(address, "file:///keys"), false},
		{"keys for a user", names(address, strings.Replace(address, "//", "//ada@", 1)+"/keys"), false},
		{"keys nowhere", names(address, ""), false},
		{"keys at no URL", names(address, "https://["), false},
		{"keys that are missing", names(address, address+"/none"), false},
		{"not JSON", documents(discovery, "<html>"), false},
		{"discovery not JSON", documents("<html>", set), false},
		{"not UTF-8", documents(discovery, strings.Replace(set, `"kid":"k"`, "\"kid\":\"k\",\"a\":\"\xff\"", 1)), false},
		{"keys twice", documents(discovery, `{"keys":[],`+set[1:]), false},
		{"keys as an object", documents(discovery, `{"keys":{}}`), false},
		{"two documents", documents(discovery, set+set), false},
		{"server error", status(http.StatusInternalServerError), false},
		{"no content", status(http.StatusNoContent), false},
		{"long headers", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("A", strings.Repeat("a", 32<<10))
			documents(discovery, set).ServeHTTP(w, r)
		}), false},
		{"broken off", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(discovery))
		}), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.serve(tt.handler)
			v := verifier(t, w.config())
			if tt.good {
				accepted(t, v, token)
				return
			}
			refused(t, v, token, identity.ErrIssuerUnavailable)
		})
	}
}
