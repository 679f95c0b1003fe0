package sidecar

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/cloisterhq/cloister/internal/secret"
)

// handshake is Flight's own way to sign in: Basic credentials in, a Bearer
// header out. The proxy answers it, since the enclave knows tokens only.
const handshake = "/arrow.flight.protocol.FlightService/Handshake"

// anybody is the token of a listener without a password, for clients that
// insist on getting one.
const anybody = "local"

// NewPassword makes a random password of 128 bits, in letters that need no
// escaping in a URL.
func NewPassword() secret.Bytes { return secret.New([]byte(strings.ToLower(rand.Text()))) }

// door lets calls in that show the password.
type door struct {
	password secret.Bytes
	within   http.Handler
}

// ServeHTTP lets a call in, or says what is missing.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		http.Error(w, "this is a Flight SQL endpoint: use a client of Arrow Flight SQL", http.StatusUnsupportedMediaType)
		return
	}
	if !d.knows(r.Header.Values("Authorization")) {
		reply(w, codes.Unauthenticated, "the password that `cloister connect` printed is needed, with any user name")
		return
	}
	if r.URL.Path == handshake {
		token := anybody
		if d.password.Len() > 0 {
			token = string(d.password.Expose())
		}
		w.Header().Set("Authorization", "Bearer "+token)
		reply(w, codes.OK, "")
		return
	}
	d.within.ServeHTTP(w, r)
}

// knows says whether one of the authorization headers holds the password, as
// Basic credentials of any user or as a Bearer token. Some clients send both.
func (d *door) knows(headers []string) bool {
	if d.password.Len() == 0 {
		return true
	}
	for _, h := range headers {
		scheme, shown, _ := strings.Cut(h, " ")
		switch {
		case strings.EqualFold(scheme, "Bearer"):
		case strings.EqualFold(scheme, "Basic"):
			// RFC 7617 pads; arrow-go doesn't.
			raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(shown, "="))
			if err != nil {
				continue
			}
			_, shown, _ = strings.Cut(string(raw), ":")
		default:
			continue
		}
		if d.is(shown) {
			return true
		}
	}
	return false
}

// is compares digests, which have one length.
func (d *door) is(shown string) bool {
	a, b := sha256.Sum256(d.password.Expose()), sha256.Sum256([]byte(shown))
	return secret.New(a[:]).Equal(secret.New(b[:]))
}
