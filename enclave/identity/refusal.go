package identity

import "errors"

var (
	// ErrIssuerUnavailable says that the issuer's keys can't be had and none in
	// the cache will do. The token may be good; try again.
	ErrIssuerUnavailable = errors.New("identity: the issuer's keys can't be fetched")
	// ErrNotAllowed says that a principal may not do what was asked.
	ErrNotAllowed = errors.New("identity: the token's roles don't allow this")
)

// Refusal is why a token was refused. Each is one class of failure with one
// constant phrase; nothing of the token goes into it.
type Refusal uint8

// The refusals, in the order in which a token meets them.
const (
	// Malformed is anything that isn't one signed JSON web token in compact
	// form (RFC 7519 section 7.2), with every claim once and of its own type.
	Malformed Refusal = iota + 1
	// WrongAlgorithm is a signature algorithm that isn't asymmetric and strong.
	WrongAlgorithm
	// WrongIssuer is a token of an issuer that the bundle doesn't name.
	WrongIssuer
	// UnknownKey is a key that the issuer doesn't publish.
	UnknownKey
	// BadSignature is a signature that isn't the named key's.
	BadSignature
	// WrongAudience is a token made for somebody else.
	WrongAudience
	// Expired is a token whose time is over.
	Expired
	// NotYetValid is a token from the future.
	NotYetValid
	// OneFactor is a token that doesn't say that a second factor was used, from
	// an issuer that must.
	OneFactor
)

// Error answers the phrase, said of the token.
func (r Refusal) Error() string { return "identity: the token was refused: " + r.reason() }

// reason answers the phrase alone.
func (r Refusal) reason() string {
	if r < Malformed || r > OneFactor {
		return "it can't be judged"
	}
	return [...]string{
		Malformed:      "not a token",
		WrongAlgorithm: "its signature algorithm isn't allowed",
		WrongIssuer:    "its issuer isn't this deployment's",
		UnknownKey:     "signed with a key that its issuer doesn't publish",
		BadSignature:   "its signature is wrong",
		WrongAudience:  "made for another audience",
		Expired:        "expired",
		NotYetValid:    "not valid yet",
		OneFactor:      "a second factor is needed",
	}[r]
}

// Reason answers a constant phrase for an error of Verify, fit for the caller:
// it says which check failed and nothing about the token.
func Reason(err error) string {
	refusal, _ := errors.AsType[Refusal](err)
	return refusal.reason()
}
