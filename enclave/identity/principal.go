package identity

import (
	"fmt"
	"io"
	"slices"
)

// Action is something that a principal may or may not do.
type Action uint8

// The actions.
const (
	// Query asks protected aggregates of a dataset.
	Query Action = iota + 1
)

// Principal is somebody whose token was verified. Only Verify makes one; nil
// is nobody and may do nothing.
type Principal struct {
	issuer  string
	subject string
	roles   []string
}

// Issuer answers the URL of the issuer that vouches for the principal.
func (p *Principal) Issuer() string { return p.issuer }

// Subject answers the issuer's name for the principal, unique and never given
// to another within that issuer (OpenID Connect Core 1.0, section 2). It is
// personal data: it belongs in the sealed audit log and nowhere else.
func (p *Principal) Subject() string { return p.subject }

// Roles answers the roles that the token lists, as the issuer spells them.
func (p *Principal) Roles() []string { return slices.Clone(p.roles) }

// Format writes the same words for every principal and verb, so that nobody's
// name gets into a log by accident.
func (p *Principal) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "a principal") }

// May says whether the principal may do something with a dataset. It is the one
// place that decides it: what no role allows is refused. Roles hold for every
// dataset of a deployment. The error is ErrNotAllowed, which names neither.
func (p *Principal) May(action Action, dataset string) error {
	if p == nil || dataset == "" || !slices.ContainsFunc(p.roles, func(role string) bool { return slices.Contains(allowed(role), action) }) {
		return ErrNotAllowed
	}
	return nil
}

// allowed is the table of roles. Names are compared exactly, and a role that
// isn't in the table allows nothing.
func allowed(role string) []Action {
	switch role {
	case "analyst":
		return []Action{Query}
	case "auditor", "data-owner":
		// Theirs are the audit log and the contracts, which need no token yet.
		return nil
	default:
		return nil
	}
}
