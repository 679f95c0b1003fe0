package kms_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cloisterhq/cloister/enclave/kms"
)

const canary = "canary-7f3a"

// script is a server that answers whatever a test says.
type script struct {
	server *httptest.Server
	config kms.Config
	client *kms.Client

	mu       sync.Mutex
	handlers []http.HandlerFunc // the last one stays
	requests []*http.Request
	fetched  int
	creds    func() (aws.Credentials, error)
}

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{}
	s.creds = func() (aws.Credentials, error) { return credentials(t.Context()) }
	s.server = serve(t, s)
	s.config = kms.Config{
		Region: region, Endpoint: s.server.URL, HTTP: s.server.Client(), Now: now, Credentials: s.fetch,
		Attest: func(context.Context, []byte) ([]byte, error) { return []byte("document"), nil },
	}
	var err error
	if s.client, err = kms.New(s.config); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *script) fetch(context.Context) (aws.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched++
	return s.creds()
}

// ServeHTTP answers the next answer.
func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	handler := s.handlers[0]
	if len(s.handlers) > 1 {
		s.handlers = s.handlers[1:]
	}
	s.requests = append(s.requests, r)
	s.mu.Unlock()
	handler(w, r)
}

// decrypt asks once and answers the error and how many requests it took.
func (s *script) decrypt(t *testing.T, handlers ...http.HandlerFunc) (requests int, err error) {
	t.Helper()
	s.mu.Lock()
	s.handlers, s.requests, s.fetched = handlers, nil, 0
	s.mu.Unlock()
	key, err := s.client.Decrypt(t.Context(), "arn", study(), []byte("blob"))
	if err == nil || key.Len() != 0 {
		t.Error("a scripted answer gave a key")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests), err
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func code(status int, name string) http.HandlerFunc {
	return answer(status, fmt.Sprintf(`{"__type":%q,"message":%q,"Message":%q}`, name, canary, canary))
}

// stop is a final answer that ends retries.
var stop = code(400, "ValidationException")

func TestClasses(t *testing.T) { synctest.Test(t, testClasses) }

func testClasses(t *testing.T) {
	s := newScript(t)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    error
		shown   string // what stands in the error
	}{
		"denied":               {code(400, "AccessDeniedException"), kms.ErrDenied, "AccessDeniedException"},
		"denied, with a name":  {code(400, "com.amazon.coral.service#AccessDeniedException"), kms.ErrDenied, "AccessDeniedException"},
		"denied, status 403":   {code(403, "AccessDenied"), kms.ErrDenied, "AccessDenied"},
		"disabled":             {code(400, "DisabledException"), kms.ErrRefused, "DisabledException"},
		"pending deletion":     {code(400, "KMSInvalidStateException"), kms.ErrRefused, "KMSInvalidStateException"},
		"bad ciphertext":       {answer(400, `{"__type":"InvalidCiphertextException"}`), kms.ErrCiphertext, "InvalidCiphertextException"},
		"another key's":        {code(400, "IncorrectKeyException"), kms.ErrCiphertext, "IncorrectKeyException"},
		"a new error":          {code(400, "SomethingNewException"), kms.ErrRefused, "SomethingNewException"},
		"a code with data":     {code(400, canary+" is denied"), kms.ErrRefused, "unreadable code"},
		"a long code":          {code(400, strings.Repeat("A", 65)), kms.ErrRefused, "unreadable code"},
		"no code":              {answer(400, `{}`), kms.ErrRefused, "UnknownError"},
		"not JSON":             {answer(400, canary), kms.ErrAnswer, "protocol"},
		"success, not JSON":    {answer(200, canary), kms.ErrAnswer, "protocol"},
		"success, empty":       {answer(200, ""), kms.ErrAnswer, "another KMS key"},
		"success, no members":  {answer(200, "{}"), kms.ErrAnswer, "another KMS key"},
		"success, no message":  {answer(200, `{"KeyId":"arn"}`), kms.ErrAnswer, "cms: "},
		"success, in clear":    {answer(200, `{"KeyId":"arn","Plaintext":"AAAA"}`), kms.ErrAnswer, "in clear"},
		"success, bad base64":  {answer(200, `{"KeyId":"arn","CiphertextForRecipient":"*"}`), kms.ErrAnswer, "protocol"},
		"success, not CMS":     {answer(200, `{"KeyId":"arn","CiphertextForRecipient":"AAAA"}`), kms.ErrAnswer, "cms: "},
		"success, over a page": {answer(200, `{"KeyId":"`+strings.Repeat("a", 128<<10)+`"}`), kms.ErrAnswer, "longer than any"},
		"moved for good":       {http.RedirectHandler("https://"+canary+".example.org/", http.StatusFound).ServeHTTP, kms.ErrAnswer, "redirection"},
		"moved":                {http.RedirectHandler("https://"+canary+".example.org/", http.StatusTemporaryRedirect).ServeHTTP, kms.ErrAnswer, "redirection"},
	} {
		n, err := s.decrypt(t, c.handler)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.shown) || strings.Contains(err.Error(), canary) || n != 1 {
			t.Errorf("%s: %v after %d requests", name, err, n)
		}
	}
}

// TestTransientErrors holds which errors are asked again: the second answer is
// final.
func TestTransientErrors(t *testing.T) { synctest.Test(t, testTransientErrors) }

func testTransientErrors(t *testing.T) {
	s := newScript(t)
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"KeyId":"arn"`)
		panic(http.ErrAbortHandler)
	}
	for name, h := range map[string]http.HandlerFunc{
		"throttled": code(400, "ThrottlingException"), "status 429": answer(429, canary), "internal": code(500, "KMSInternalException"),
		"dependency": code(503, "DependencyTimeoutException"), "key unavailable": code(400, "KeyUnavailableException"),
		"a balancer's page": answer(502, "<html>"), "closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "cut off": cut,
		"expired credentials": code(400, "ExpiredTokenException"), "unknown credentials": code(400, "UnrecognizedClientException"),
		"signature": code(400, "InvalidSignatureException"),
	} {
		n, err := s.decrypt(t, h, stop)
		if !errors.Is(err, kms.ErrRefused) || n != 2 {
			t.Errorf("%s: %v after %d requests", name, err, n)
		}
	}
}

// TestAttemptsAreBounded holds that each attempt has a document of its own, and
// that they end.
func TestAttemptsAreBounded(t *testing.T) { synctest.Test(t, testAttemptsAreBounded) }

func testAttemptsAreBounded(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	client := w.client(e)
	busy := []error{kms.ErrUnavailable, nil}
	for i, healthyAfter := range []int{9, 3} {
		e.documents = nil
		w.next(repeat(healthyAfter)...)
		_, _, err := client.GenerateDataKey(t.Context(), arn, study())
		if !errors.Is(err, busy[i]) || w.calls() != 4 {
			t.Errorf("KMS is busy %d times: %v after %d calls", healthyAfter, err, w.calls())
		}
		seen := map[string]bool{}
		for _, d := range e.documents {
			seen[string(d)] = true
		}
		if len(seen) != 4 {
			t.Errorf("%d documents for 4 attempts", len(seen))
		}
	}
}

// TestStalledServer holds that a call to a KMS that never answers ends well
// before the first document is too old.
func TestStalledServer(t *testing.T) { synctest.Test(t, testStalledServer) }

func testStalledServer(t *testing.T) {
	s := newScript(t)
	start := time.Now()
	n, err := s.decrypt(t, func(_ http.ResponseWriter, r *http.Request) { wait(r) })
	if took := time.Since(start); !errors.Is(err, kms.ErrUnavailable) || n != 4 || took < time.Minute || took > 2*time.Minute {
		t.Errorf("%v: %d attempts took %v", err, n, took)
	}
}

// wait ends when the client has gone, which the server sees only after it has
// read the request.
func wait(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func TestContextEnds(t *testing.T) { synctest.Test(t, testContextEnds) }

func testContextEnds(t *testing.T) {
	s := newScript(t)
	for name, handler := range map[string]func(cancel func()) http.HandlerFunc{
		"while KMS thinks": func(cancel func()) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { cancel(); wait(r) }
		},
		"between attempts": func(cancel func()) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				code(400, "ThrottlingException")(w, r)
				time.AfterFunc(10*time.Millisecond, cancel)
			}
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		s.handlers = []http.HandlerFunc{handler(cancel)}
		if _, err := s.client.Decrypt(ctx, "arn", nil, []byte{1}); !errors.Is(err, context.Canceled) || errors.Is(err, kms.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWrappedKeyIsBounded(t *testing.T) { synctest.Test(t, testWrappedKeyIsBounded) }

func testWrappedKeyIsBounded(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	inner := w.server.Config.Handler
	for name, blob := range map[string]string{"none": "", "too long": strings.Repeat("AAAA", 6145/3+1)} {
		// KMS's own answer with another blob in it.
		w.server.Config.Handler = http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			recorder := httptest.NewRecorder()
			inner.ServeHTTP(recorder, r)
			head, rest, _ := strings.Cut(recorder.Body.String(), `"CiphertextBlob":"`)
			_, tail, _ := strings.Cut(rest, `"`)
			answer(recorder.Code, head+`"CiphertextBlob":"`+blob+`"`+tail)(out, r)
		})
		key, wrapped, err := w.client(e).GenerateDataKey(t.Context(), arn, study())
		if !errors.Is(err, kms.ErrAnswer) || key.Len() != 0 || wrapped != nil || !strings.Contains(err.Error(), "wrapped key") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
