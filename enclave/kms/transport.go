package kms

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go/middleware"
)

// maxAnswer is the longest answer that is read, in bytes: a message of the
// largest size that is opened and a wrapped key, both in base64, and the rest.
const maxAnswer = 128 << 10

// newAPI makes the SDK's client with everything in it that would act on its
// own switched off: retries, which send the same document again; the
// correction of the clock by the server's; headers made from environment
// variables; and, since the configuration is made by hand, every other source
// of settings.
func newAPI(c Config, creds *credentials) *awskms.Client {
	options := awskms.Options{
		Region:                     c.Region,
		HTTPClient:                 &bounded{client: &http.Client{Transport: c.HTTP.Transport, CheckRedirect: stay}},
		Credentials:                creds,
		HTTPSignerV4:               &signer{inner: v4.NewSigner(), now: c.Now},
		Retryer:                    aws.NopRetryer{},
		DisableClockSkewCorrection: true,
		APIOptions:                 []func(*middleware.Stack) error{unadorned},
	}
	if c.Endpoint != "" {
		options.BaseEndpoint = aws.String(c.Endpoint)
	}
	return awskms.New(options)
}

// unadorned takes out what reads environment variables: the user agent and the
// trace of Lambda functions.
func unadorned(stack *middleware.Stack) error {
	for _, id := range []string{"UserAgent", "RecursionDetection"} {
		if _, err := stack.Build.Remove(id); err != nil {
			return err
		}
	}
	return nil
}

// signer signs with the enclave's time instead of the machine's.
type signer struct {
	inner *v4.Signer
	now   func() time.Time
}

// SignHTTP signs a request (IAM user guide, Signature Version 4). The time that
// the SDK gives is the machine's and isn't used.
func (s *signer) SignHTTP(ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, _ time.Time, options ...func(*v4.SignerOptions)) error {
	return s.inner.SignHTTP(ctx, creds, r, payloadHash, service, region, s.now().UTC(), options...)
}

// bounded reads whole answers up to maxAnswer, so that the SDK never buffers
// more and never sees one that was cut off, and takes no redirection.
type bounded struct{ client *http.Client }

// Do makes a request.
func (b *bounded) Do(r *http.Request) (*http.Response, error) {
	resp, err := b.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest {
		return nil, errRedirect
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, errTooLong
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// stay makes the HTTP client answer a redirection instead of following it.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// direct says whether a transport is one that can't be led elsewhere by the
// environment, as far as can be seen.
func direct(t http.RoundTripper) bool {
	transport, ok := t.(*http.Transport)
	return ok && transport != nil && transport.Proxy == nil
}
