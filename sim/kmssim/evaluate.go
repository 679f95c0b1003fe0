package kmssim

import (
	"strings"

	"github.com/cloisterhq/cloister/internal/keypolicy"
)

// decision is the outcome of a key policy for one request.
type decision int

const (
	// implicitDeny is the default: no statement allows the request.
	implicitDeny decision = iota
	allowed
	// explicitDeny beats every Allow.
	explicitDeny
)

// question is a request as policies see it.
type question struct {
	// principal is the caller's ARN.
	principal string
	// action is the exact action, for example kms:Decrypt.
	action string
	// resource is the key's ARN.
	resource string
	// attributes are the condition keys that the request has, by lower-case
	// name: condition keys know no case.
	attributes map[string]string
}

// evaluate judges a request by a policy (IAM user guide, policy evaluation
// logic): an explicit Deny wins, else an Allow, else the request is denied.
func evaluate(p *keypolicy.Document, q question) decision {
	out := implicitDeny
	for _, s := range p.Statements {
		if !applies(s, q) {
			continue
		}
		if s.Effect != keypolicy.Allow {
			return explicitDeny
		}
		out = allowed
	}
	return out
}

// applies says whether principal, action, resource and all conditions match.
func applies(s keypolicy.Statement, q question) bool {
	return some(s.Principals, func(v string) bool { return isPrincipal(v, q.principal) }) &&
		some(s.Actions, func(v string) bool { return like(strings.ToLower(v), strings.ToLower(q.action)) }) &&
		some(s.Resources, func(v string) bool { return like(v, q.resource) }) &&
		!some(s.Conditions, func(c keypolicy.Condition) bool { return !holds(c, q.attributes) })
}

func some[T any](list []T, is func(T) bool) bool {
	for _, v := range list {
		if is(v) {
			return true
		}
	}
	return false
}

// isPrincipal says whether a policy's principal names the caller: everybody,
// the caller's account, the caller, or the role that the caller's session
// assumed.
func isPrincipal(named, caller string) bool {
	if named == "*" || named == caller {
		return true
	}
	if accountForm.MatchString(named) || strings.HasSuffix(named, ":root") {
		return accountOf(named) == accountOf(caller)
	}
	return named == roleOf(caller)
}

// roleOf answers the ARN of the role that a session assumed, and every other
// principal as it is. Sessions don't name the path of their role.
func roleOf(caller string) string {
	prefix := "arn:aws:sts::" + accountOf(caller) + ":assumed-role/"
	session, ok := strings.CutPrefix(caller, prefix)
	role, _, named := strings.Cut(session, "/")
	if !ok || !named {
		return caller
	}
	return "arn:aws:iam::" + accountOf(caller) + ":role/" + role
}

// holds judges one condition (IAM JSON policy elements: condition operators).
// Without the key in the request, positive operators fail, negated ones and
// IfExists hold. Several values are alternatives; for a negated operator, none
// of them may match.
func holds(c keypolicy.Condition, attributes map[string]string) bool {
	value, present := attributes[strings.ToLower(c.Key)]
	if c.Operator == keypolicy.Null {
		return present == (c.Values[0] == "false")
	}
	operator, optional := strings.CutSuffix(c.Operator, keypolicy.IfExists)
	if !present && optional {
		return true
	}
	match, negated := comparison(operator)
	if match == nil {
		return false // Parse lets none through
	}
	if !present {
		return negated
	}
	found := some(c.Values, func(v string) bool { return v != "" && match(v, value) })
	return found != negated
}

// comparison answers how an operator compares a policy's value with a
// request's, and whether it wants them to differ.
func comparison(operator string) (match func(policy, request string) bool, negated bool) {
	same := func(p, r string) bool { return p == r }
	switch operator {
	case keypolicy.StringEquals:
		return same, false
	case keypolicy.StringNotEquals:
		return same, true
	case keypolicy.StringEqualsIgnoreCase:
		return strings.EqualFold, false
	case keypolicy.StringNotEqualsIgnoreCase:
		return strings.EqualFold, true
	case keypolicy.StringLike:
		return like, false
	case keypolicy.StringNotLike:
		return like, true
	default:
		return nil, false
	}
}

// like matches a text with a pattern of literal bytes, * (any number of bytes)
// and ? (one byte). It takes time in the product of both lengths at most.
func like(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0: // let the last star take one byte more
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
