package kms_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cloisterhq/cloister/enclave/kms"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/sim/kmssim"
)

func repeat(n int) []kmssim.Fault {
	out := make([]kmssim.Fault, n)
	for i := range out {
		out[i] = []kmssim.Fault{kmssim.Throttle, kmssim.Unavailable}[i%2]
	}
	return out
}

// TestEnvironmentHasNoSay sets every variable that the SDK or Go would listen
// to and looks at what KMS is sent.
func TestEnvironmentHasNoSay(t *testing.T) { synctest.Test(t, testEnvironmentHasNoSay) }

func testEnvironmentHasNoSay(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": "https://canary-7f3a.example.org", "AWS_ENDPOINT_URL_KMS": "https://canary-7f3a.example.org", "AWS_REGION": "canary-7f3a",
		"AWS_ACCESS_KEY_ID": "canary-7f3a", "AWS_SECRET_ACCESS_KEY": "canary-7f3a", "AWS_SESSION_TOKEN": "canary-7f3a", "AWS_PROFILE": "canary-7f3a",
		"AWS_EXECUTION_ENV": "canary-7f3a", "AWS_LAMBDA_FUNCTION_NAME": "canary-7f3a", "_X_AMZN_TRACE_ID": "canary-7f3a", "AWS_SDK_UA_APP_ID": "canary-7f3a",
		"AWS_MAX_ATTEMPTS": "9", "HTTPS_PROXY": "http://canary-7f3a.example.org", "https_proxy": "http://canary-7f3a.example.org",
		"AWS_USE_FIPS_ENDPOINT": "true", "AWS_ENABLE_DEFAULT_SOCKET_TIMEOUT_2026": "true",
	} {
		t.Setenv(name, value)
	}
	s := newScript(t)
	if n, err := s.decrypt(t, stop); n != 1 {
		t.Fatal(err)
	}
	r := s.requests[0]
	for name, values := range r.Header {
		if strings.Contains(strings.Join(values, " "), canary) {
			t.Errorf("%s says %q", name, values)
		}
	}
	if got := r.Header.Get("Authorization"); !strings.Contains(got, "Credential=AKIAHOST/20310101/eu-central-1/kms/aws4_request") {
		t.Errorf("signed as %s", got)
	}
	if r.Header.Get("X-Amz-Target") != "TrentService.Decrypt" || r.Header.Get("X-Amz-Date") != "20310101T000000Z" {
		t.Errorf("target %s at %s", r.Header.Get("X-Amz-Target"), r.Header.Get("X-Amz-Date"))
	}
}

// TestOneClock holds that requests are signed with the enclave's time and that
// the server's Date doesn't move it: the simulated KMS lives in
// 2031, and the test's server says what the machine says.
func TestOneClock(t *testing.T) { synctest.Test(t, testOneClock) }

func testOneClock(t *testing.T) {
	w := newWorld(t)
	e := w.boot("", "bundle")
	arn := w.create(e.release)
	if _, _, err := w.client(e).GenerateDataKey(t.Context(), arn, study()); err != nil {
		t.Errorf("the enclave's time: %v", err)
	}
	w.next()
	_, _, err := w.client(e, func(c *kms.Config) { c.Now = time.Now }).GenerateDataKey(t.Context(), arn, study())
	if !errors.Is(err, kms.ErrUnavailable) || !strings.Contains(err.Error(), "InvalidSignatureException") || w.calls() != 4 {
		t.Errorf("another time: %v after %d calls", err, w.calls())
	}
}

// TestServerMustBeKMS connects to a server whose certificate isn't trusted.
func TestServerMustBeKMS(t *testing.T) { synctest.Test(t, testServerMustBeKMS) }

func testServerMustBeKMS(t *testing.T) {
	s := newScript(t)
	s.config.HTTP = &http.Client{Transport: &http.Transport{DialContext: s.server.Client().Transport.(*http.Transport).DialContext}}
	var err error
	if s.client, err = kms.New(s.config); err != nil {
		t.Fatal(err)
	}
	if n, err := s.decrypt(t, stop); !errors.Is(err, kms.ErrUnavailable) || !strings.Contains(err.Error(), "prove") || n != 0 {
		t.Errorf("%v after %d requests", err, n)
	}
}

func TestCredentials(t *testing.T) { synctest.Test(t, testCredentials) }

func testCredentials(t *testing.T) {
	s := newScript(t)
	good := aws.Credentials{AccessKeyID: "AKIA1", SecretAccessKey: "x"}
	expiring := good
	expiring.CanExpire, expiring.Expires = true, now().Add(time.Hour)
	use := func(creds aws.Credentials, err error) {
		s.creds = func() (aws.Credentials, error) { return creds, err }
	}
	ask := func(later time.Duration, handlers ...http.HandlerFunc) int {
		t.Helper()
		time.Sleep(later)
		if _, err := s.decrypt(t, handlers...); !errors.Is(err, kms.ErrRefused) {
			t.Error(err)
		}
		return s.fetched
	}
	use(expiring, nil)
	for _, c := range []struct {
		name     string
		later    time.Duration
		handlers []http.HandlerFunc
		fetched  int
	}{
		{"first use", 0, []http.HandlerFunc{stop}, 1},
		{"kept", 58 * time.Minute, []http.HandlerFunc{stop}, 0},
		{"a minute before they expire", time.Minute, []http.HandlerFunc{stop}, 1},
	} {
		if n := ask(c.later, c.handlers...); n != c.fetched {
			t.Errorf("%s: fetched %d times", c.name, n)
		}
	}
	use(good, nil) // without an end
	ask(0, stop)
	if n := ask(4*time.Minute, stop); n != 0 {
		t.Errorf("without an end: fetched %d times", n)
	}
	if n := ask(time.Minute, stop); n != 1 {
		t.Errorf("without an end, later: fetched %d times", n)
	}
	if n := ask(0, code(400, "ExpiredTokenException"), stop); n != 1 {
		t.Errorf("refused: fetched %d times", n)
	}
	for name, refuse := range map[string]func(){
		"none": func() { use(aws.Credentials{}, nil) }, "no secret": func() { use(aws.Credentials{AccessKeyID: "AKIA1"}, nil) },
		"an error": func() { use(good, errors.New(canary)) },
	} {
		refuse()
		time.Sleep(time.Hour)
		if n, err := s.decrypt(t, stop); !errors.Is(err, kms.ErrUnavailable) || strings.Contains(err.Error(), canary) || n != 0 || s.fetched != 4 {
			t.Errorf("%s: %v after %d requests, %d fetches", name, err, n, s.fetched)
		}
	}
}

// TestCredentialsAreFetchedOnce asks from several goroutines at a time.
func TestCredentialsAreFetchedOnce(t *testing.T) { synctest.Test(t, testCredentialsAreFetchedOnce) }

func testCredentialsAreFetchedOnce(t *testing.T) {
	s := newScript(t)
	s.handlers = []http.HandlerFunc{stop}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := s.client.Decrypt(t.Context(), "arn", nil, []byte{1}); !errors.Is(err, kms.ErrRefused) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if s.fetched != 1 {
		t.Errorf("fetched %d times", s.fetched)
	}
}

func TestDocumentFails(t *testing.T) { synctest.Test(t, testDocumentFails) }

func testDocumentFails(t *testing.T) {
	s := newScript(t)
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		document []byte
		err      error
	}{"an error": {nil, broken}, "empty": {nil, nil}, "too long": {make([]byte, limits.Document+1), nil}} {
		asked := 0
		s.config.Attest = func(context.Context, []byte) ([]byte, error) { asked++; return c.document, c.err }
		client, err := kms.New(s.config)
		if err != nil {
			t.Fatal(err)
		}
		s.handlers, s.requests = []http.HandlerFunc{stop}, nil
		_, err = client.Decrypt(t.Context(), "arn", nil, []byte{1})
		if !errors.Is(err, kms.ErrUnavailable) || c.err != nil && !errors.Is(err, c.err) || len(s.requests) != 0 || asked != 4 {
			t.Errorf("%s: %v after %d requests and %d documents", name, err, len(s.requests), asked)
		}
	}
}
