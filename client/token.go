package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cloisterhq/cloister/internal/limits"
)

// TokenError says why there is no usable bearer token, in one line with what
// to do. It names the token's file and never its content.
type TokenError struct {
	// Expired is when the token ended; zero when that isn't what is wrong.
	Expired time.Time

	text string
	err  error
}

// Error says what is wrong and what to do.
func (e *TokenError) Error() string { return e.text }

// Unwrap answers the error of the file, or nil.
func (e *TokenError) Unwrap() error { return e.err }

// Is makes it ErrUsage, unless the token was good once.
func (e *TokenError) Is(target error) bool { return target == ErrUsage && e.Expired.IsZero() }

// expiryLeeway is how long after its end the enclave may still take a token:
// clocks differ. Refusing earlier is the enclave's business.
const expiryLeeway = time.Minute

// Bearer reads the analyst's bearer token from the context's file, each time
// anew, and answers it with the time at which it expires, zero when it doesn't
// say. A token that expired is an error, so that it isn't sent in vain. Nothing
// of it is verified here: that is the enclave's part. Errors are *TokenError.
func (c *Client) Bearer() (token string, expires time.Time, err error) {
	if token, err = c.config.token(); err != nil {
		return "", time.Time{}, err
	}
	expires = tokenExpiry(token)
	if past := c.attls.Now().Sub(expires); !expires.IsZero() && past > expiryLeeway {
		return "", expires, &TokenError{Expired: expires, text: fmt.Sprintf(
			"the token in %s expired at %s: get a new one from your identity provider and write it to that file",
			c.config.path(c.config.TokenFile), expires.UTC().Format(time.RFC3339))}
	}
	return token, expires, nil
}

// token reads the analyst's bearer token.
func (c *Config) token() (string, error) {
	if c.TokenFile == "" {
		return "", &TokenError{text: "the context names no token_file: write a token of your identity provider to a file and name it there"}
	}
	path := c.path(c.TokenFile)
	b, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", &TokenError{err: err, text: "there is no token in " + path + ": get one from your identity provider and write it to that file"}
	case err != nil:
		return "", &TokenError{err: err, text: "the token can't be read: " + err.Error()}
	}
	token := strings.TrimSpace(string(b))
	if token == "" || len(token) > limits.Token || strings.ContainsFunc(token, notInToken) {
		return "", &TokenError{text: path + " holds no bearer token: get one from your identity provider and write it, and nothing else, to that file"}
	}
	return token, nil
}

// notInToken says that a character never stands in a bearer token (RFC 6750,
// section 2.1), so that nothing else gets into a request's header.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

// tokenExpiry reads the claim "exp" of a JSON Web Token (RFC 7519, section
// 4.1.4) without verifying anything; zero when there is none to be read.
func tokenExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var c struct {
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(claims, &c) != nil || c.Expires <= 0 || c.Expires > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(c.Expires), 0)
}
