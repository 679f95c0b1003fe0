package kmssim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	service    = "kms"
	terminator = "aws4_request"
	amzDate    = "20060102T150405Z"
	// signatureSkew is how far a signature's time may lie from ours (AWS
	// General Reference, Signature Version 4: five minutes).
	signatureSkew = 5 * time.Minute
)

// authenticate verifies a request's SigV4 signature by computing it again
// (IAM user guide, "Create a signed AWS API request") and answers the caller.
// Host, date, target and every other X-Amz header must be signed.
func (s *Server) authenticate(r *http.Request, body []byte) (Principal, *failure) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return Principal{}, refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	a, ok := parseAuthorization(header)
	if !ok {
		return Principal{}, refuse("IncompleteSignatureException", "Authorization header is malformed")
	}
	p, ok := s.config.Principals[a.id]
	if !ok || r.Header.Get("X-Amz-Security-Token") != p.Token {
		return Principal{}, refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	stamp := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(amzDate, stamp)
	if err != nil || a.scope != strings.Join([]string{at.Format("20060102"), s.config.Region, service, terminator}, "/") {
		return Principal{}, refuse("InvalidSignatureException", "Credential should be scoped to a valid date, region and service.")
	}
	if age := s.config.Now().Sub(at); age > signatureSkew || age < -signatureSkew {
		return Principal{}, refuse("InvalidSignatureException", "Signature expired or not yet current: %s", stamp)
	}
	if !covers(a.signed, r.Header) {
		return Principal{}, refuse("InvalidSignatureException", "A header that must be signed isn't.")
	}
	want := signature(p.Secret, a.scope, stamp, canonical(r, a.signed, body))
	if !hmac.Equal(want, a.signature) {
		return Principal{}, refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return p, nil
}

// authorization is the content of an Authorization header.
type authorization struct {
	id, scope string
	signed    []string
	signature []byte
}

func parseAuthorization(header string) (authorization, bool) {
	var a authorization
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	parts := strings.Split(rest, ",")
	if !ok || len(parts) != 3 {
		return a, false
	}
	var values [3]string
	for i, name := range []string{"Credential=", "SignedHeaders=", "Signature="} {
		if values[i], ok = strings.CutPrefix(strings.TrimSpace(parts[i]), name); !ok {
			return a, false
		}
	}
	if a.id, a.scope, ok = strings.Cut(values[0], "/"); !ok {
		return a, false
	}
	a.signed = strings.Split(values[1], ";")
	var err error
	a.signature, err = hex.DecodeString(values[2])
	return a, err == nil && len(a.signature) == sha256.Size && slices.IsSorted(a.signed)
}

// covers says whether the signed headers include all that decide what the
// request means.
func covers(signed []string, h http.Header) bool {
	must := []string{"host", "x-amz-date", "x-amz-target"}
	for name := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			must = append(must, name)
		}
	}
	return !slices.ContainsFunc(must, func(name string) bool { return !slices.Contains(signed, name) })
}

// canonical is the canonical request: method, path, query, headers, their
// names, and the hash of the body.
func canonical(r *http.Request, signed []string, body []byte) []byte {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n\n") // serve takes no query
	for _, name := range signed {
		values := slices.Clone(r.Header.Values(name))
		switch name {
		case "host":
			values = []string{r.Host}
		case "content-length":
			values = []string{strconv.Itoa(len(body))}
		}
		for i, v := range values {
			values[i] = strings.Join(strings.Fields(v), " ")
		}
		b.WriteString(name + ":" + strings.Join(values, ",") + "\n")
	}
	sum := sha256.Sum256(body)
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + hex.EncodeToString(sum[:]))
	return []byte(b.String())
}

// signature derives the signing key of the scope and signs the canonical
// request with it.
func signature(secret, scope, stamp string, request []byte) []byte {
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	sum := sha256.Sum256(request)
	return mac(key, strings.Join([]string{algorithm, stamp, scope, hex.EncodeToString(sum[:])}, "\n"))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
