package kms

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// What callers can tell apart. Errors name the operation and at most KMS's
// error code; KMS's own words are dropped.
var (
	// ErrDenied says that the key's policy doesn't release it to this enclave
	// with these credentials. It is final until the policy changes.
	ErrDenied = errors.New("the key policy denies it")
	// ErrCiphertext says that KMS can't open the wrapped key, which is damaged or
	// was wrapped under another KMS key or in another encryption context, or that
	// it holds a key of another length. It is final for the wrapped key.
	ErrCiphertext = errors.New("KMS can't open the wrapped key")
	// ErrRefused says that KMS won't do what was asked, for another reason than
	// policy or the wrapped key: a KMS key that is disabled or unknown, a
	// document that KMS doesn't take. It is final for the call.
	ErrRefused = errors.New("KMS refuses it")
	// ErrUnavailable says that KMS gave no answer, or that something which the
	// call needs isn't there now. It may succeed later.
	ErrUnavailable = errors.New("KMS can't be used now")
	// ErrAnswer says that the answer isn't one that KMS gives to an attested
	// call: key material in clear, another key, no message to the recipient key
	// or one that doesn't open.
	ErrAnswer = errors.New("the answer isn't KMS's")
)

// Errors from inside the SDK's own layers, made here and found again by
// classify.
var (
	errCredentials = fmt.Errorf("%w: no credentials", ErrUnavailable)
	errTooLong     = fmt.Errorf("%w: longer than any", ErrAnswer)
	errRedirect    = fmt.Errorf("%w: a redirection", ErrAnswer)
)

// refusal is an error that KMS itself answered.
type refusal struct {
	class error
	code  string
}

// Error answers the class and KMS's error code.
func (r *refusal) Error() string { return r.class.Error() + " (" + r.code + ")" }

// Unwrap answers the class.
func (r *refusal) Unwrap() error { return r.class }

// badCredentials says whether KMS didn't take the credentials.
func badCredentials(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && aboutCredentials(r.code)
}

// classify turns an error of the SDK into one of ours. It keeps none of the
// text in it.
func classify(err error) error {
	for _, own := range []error{errCredentials, errTooLong, errRedirect} {
		if errors.Is(err, own) {
			return own
		}
	}
	status := 0
	if response, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		status = response.HTTPStatusCode()
	}
	code := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code = plain(api.ErrorCode())
	}
	switch {
	case status >= http.StatusInternalServerError || status == http.StatusTooManyRequests:
		return &refusal{ErrUnavailable, fmt.Sprintf("status %d", status)}
	case code != "":
		return &refusal{class(code), code}
	case status != 0:
		return fmt.Errorf("%w: not in its protocol", ErrAnswer)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: the server doesn't prove that it is KMS", ErrUnavailable)
	}
	return fmt.Errorf("%w: no connection", ErrUnavailable)
}

// class answers what an error code of KMS or of AWS's front door means to
// callers (KMS API reference, common errors), beside the SDK's own tables of
// throttling and retryable codes.
func class(code string) error {
	switch code {
	case "AccessDeniedException", "AccessDenied", "NotAuthorized", "UnauthorizedOperation":
		return ErrDenied
	case "IncorrectKeyException", "InvalidCiphertextException":
		return ErrCiphertext
	case "DependencyTimeoutException", "InternalFailure", "KMSInternalException", "KeyUnavailableException", "ServiceUnavailable":
		return ErrUnavailable
	}
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	_, retryable := retry.DefaultRetryableErrorCodes[code]
	if throttled || retryable || aboutCredentials(code) {
		return ErrUnavailable
	}
	return ErrRefused
}

// aboutCredentials says whether a code is about the credentials or the
// signature made with them.
func aboutCredentials(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "IncompleteSignatureException", "InvalidClientTokenId",
		"InvalidSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestExpired",
		"SignatureDoesNotMatch", "UnrecognizedClientException":
		return true
	default:
		return false
	}
}

// plain answers an error code that is a word of at most 64 letters, and else a
// phrase of ours: codes stand in errors, and theirs is the only foreign text
// there.
func plain(code string) string {
	for _, c := range []byte(code) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return "unreadable code"
		}
	}
	if code == "" || len(code) > 64 {
		return "unreadable code"
	}
	return code
}
