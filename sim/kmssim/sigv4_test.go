package kmssim_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/cloisterhq/cloister/internal/keypolicy"
)

// call is a request that is signed and then changed.
type call struct {
	id, secret, token string
	service, region   string
	body              string
	at                time.Time
	change            func(*http.Request)
	sent              string // body that is sent instead
	target            string // operation; DescribeKey when empty
}

// send signs, changes and sends a request and answers status and error code.
func (w *world) send(c call) (status int, code string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.server.URL+"/", strings.NewReader(c.body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "TrentService."+cmp.Or(c.target, "DescribeKey"))
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	hash := sha256.Sum256([]byte(c.body))
	creds := aws.Credentials{AccessKeyID: c.id, SecretAccessKey: c.secret, SessionToken: c.token}
	if err := v4.NewSigner().SignHTTP(w.t.Context(), creds, r, hex.EncodeToString(hash[:]), c.service, c.region, c.at); err != nil {
		w.t.Fatal(err)
	}
	if c.sent != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.sent)), int64(len(c.sent))
	}
	if c.change != nil {
		c.change(r)
	}
	resp, err := w.server.Client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var answer struct {
		Type string `json:"__type"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		w.t.Fatalf("%s: %v", body, err)
	}
	return resp.StatusCode, answer.Type
}

func TestSignatures(t *testing.T) {
	w := newWorld(t)
	body := `{"KeyId":"` + w.create(keypolicy.Owner(owner)) + `"}`
	long := strings.Repeat("x", 513<<10)
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	edit := func(old, replacement string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, replacement, 1))
		}
	}
	for name, c := range map[string]struct {
		change func(*call)
		code   string // "" is success
	}{
		"as it is":           {func(*call) {}, ""},
		"five minutes old":   {func(c *call) { c.at = c.at.Add(-5 * time.Minute) }, ""},
		"five minutes ahead": {func(c *call) { c.at = c.at.Add(5 * time.Minute) }, ""},
		"one second older":   {func(c *call) { c.at = c.at.Add(-5*time.Minute - time.Second) }, "InvalidSignatureException"},
		"one second later":   {func(c *call) { c.at = c.at.Add(5*time.Minute + time.Second) }, "InvalidSignatureException"},
		"another secret":     {func(c *call) { c.secret += "x" }, "InvalidSignatureException"},
		"unknown key id":     {func(c *call) { c.id = "AKIAUNKNOWN" }, "UnrecognizedClientException"},
		"unasked token":      {func(c *call) { c.token = token }, "UnrecognizedClientException"},
		"token left out":     {func(c *call) { c.id, c.secret = accessKey(session), "secret of "+session }, "UnrecognizedClientException"},
		"another token":      {func(c *call) { c.id, c.secret, c.token = accessKey(session), "secret of "+session, "other" }, "UnrecognizedClientException"},
		"another region":     {func(c *call) { c.region = "eu-west-1" }, "InvalidSignatureException"},
		"another service":    {func(c *call) { c.service = "s3" }, "InvalidSignatureException"},
		"another body":       {func(c *call) { c.sent = strings.Replace(c.body, "}", " }", 1) }, "InvalidSignatureException"},
		"another date":       {func(c *call) { c.change = header("X-Amz-Date", "20261102T120001Z") }, "InvalidSignatureException"},
		"no date":            {func(c *call) { c.change = func(r *http.Request) { r.Header.Del("X-Amz-Date") } }, "InvalidSignatureException"},
		"another target":     {func(c *call) { c.change = header("X-Amz-Target", "TrentService.GetKeyPolicy") }, "InvalidSignatureException"},
		"another host":       {func(c *call) { c.change = func(r *http.Request) { r.Host = "kms.example.org" } }, "InvalidSignatureException"},
		"header added":       {func(c *call) { c.change = header("X-Amz-Extra", "1") }, "InvalidSignatureException"},
		"header unsigned":    {func(c *call) { c.change = edit("x-amz-target", "x-amz-targes") }, "InvalidSignatureException"},
		"no signature":       {func(c *call) { c.change = func(r *http.Request) { r.Header.Del("Authorization") } }, "MissingAuthenticationTokenException"},
		"another algorithm":  {func(c *call) { c.change = edit("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256") }, "IncompleteSignatureException"},
		"no signed headers":  {func(c *call) { c.change = edit("SignedHeaders=", "Signed=") }, "IncompleteSignatureException"},
		"no scope":           {func(c *call) { c.change = edit("/20261102/eu-central-1/kms/aws4_request", "") }, "IncompleteSignatureException"},
		"signature not hex":  {func(c *call) { c.change = edit("Signature=", "Signature=zz") }, "IncompleteSignatureException"},
		"signature cut": {func(c *call) {
			c.change = func(r *http.Request) { a := r.Header.Get("Authorization"); r.Header.Set("Authorization", a[:len(a)-2]) }
		}, "IncompleteSignatureException"},
		"unknown operation":   {func(c *call) { c.change = header("X-Amz-Target", "TrentService.Verify") }, "UnknownOperationException"},
		"another API":         {func(c *call) { c.change = header("X-Amz-Target", "DynamoDB_20120810.DescribeKey") }, "UnknownOperationException"},
		"another protocol":    {func(c *call) { c.change = header("Content-Type", "application/x-amz-json-1.0") }, "UnknownOperationException"},
		"a query":             {func(c *call) { c.change = func(r *http.Request) { r.URL.RawQuery = "a=b" } }, "UnknownOperationException"},
		"a path":              {func(c *call) { c.change = func(r *http.Request) { r.URL.Path = "/a" } }, "UnknownOperationException"},
		"another method":      {func(c *call) { c.change = func(r *http.Request) { r.Method = http.MethodPut } }, "UnknownOperationException"},
		"over the size limit": {func(c *call) { c.body = long }, "RequestEntityTooLargeException"},
		"not JSON":            {func(c *call) { c.body = "{" }, "SerializationException"},
	} {
		t.Run(name, func(t *testing.T) {
			request := call{id: accessKey(owner), secret: "secret of " + owner, service: "kms", region: region, body: body, at: w.time()}
			c.change(&request)
			status, code := w.send(request)
			if code != c.code || (status == http.StatusOK) != (c.code == "") {
				t.Errorf("status %d, code %q; want %q", status, code, c.code)
			}
		})
	}
}

// TestSessionCredentials signs with a session's token, which is signed too.
func TestSessionCredentials(t *testing.T) {
	w := newWorld(t)
	arn := w.create(only(owner, "kms:*", host))
	if _, err := w.as(session).DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String(arn)}); err != nil {
		t.Error(err)
	}
}

// TestRequestsAreRefusedBeforeTheyCount holds that a forged request changes
// nothing: the policy stays.
func TestRequestsAreRefusedBeforeTheyCount(t *testing.T) {
	w := newWorld(t)
	arn := w.create(keypolicy.Owner(owner))
	forger := w.as(owner, func(o *kms.Options) {
		o.APIOptions, o.Credentials = nil, aws.CredentialsProviderFunc(credentials(accessKey(owner), "guessed"))
	})
	_, err := forger.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{KeyId: &arn, Policy: aws.String(written(t, keypolicy.Owner(stranger))), BypassPolicyLockoutSafetyCheck: true})
	if codeOf(t, err) != "InvalidSignatureException" {
		t.Error(err)
	}
	out, err := w.as(owner).GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: &arn})
	if err != nil || !bytes.Contains([]byte(aws.ToString(out.Policy)), []byte(owner)) {
		t.Errorf("the policy changed: %v", err)
	}
}
