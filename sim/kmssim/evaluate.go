package kmssim

import (
	"slices"
	"strings"
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
	attributes attributes
}

// attributes are condition keys with their values.
type attributes map[string][]string

// set gives a condition key one value; an empty one leaves it absent.
func (a attributes) set(name, value string) {
	if value != "" {
		a[strings.ToLower(name)] = []string{value}
	}
}

// evaluate judges a request by a policy (IAM user guide, policy evaluation
// logic): an explicit Deny wins, else an Allow, else the request is denied.
func evaluate(p *policy, q question) decision {
	out := implicitDeny
	for _, s := range p.statements {
		if !s.applies(q) {
			continue
		}
		if !s.allow {
			return explicitDeny
		}
		out = allowed
	}
	return out
}

// applies says whether principal, action, resource and all conditions match.
func (s statement) applies(q question) bool {
	return slices.ContainsFunc(s.principals, func(v string) bool { return isPrincipal(v, q.principal) }) != s.notPrincipal &&
		slices.ContainsFunc(s.actions, func(v string) bool { return like(strings.ToLower(v), strings.ToLower(q.action)) }) != s.notAction &&
		slices.ContainsFunc(s.resources, func(v string) bool { return like(v, q.resource) }) != s.not &&
		!slices.ContainsFunc(s.conditions, func(c condition) bool { return !c.holds(q.attributes) })
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

// holds judges one condition (IAM JSON policy elements: condition operators,
// and multivalued context keys). Without the key in the request, positive
// operators and ForAnyValue fail; negated ones, IfExists and ForAllValues hold.
// Several values are alternatives; for a negated operator, none may match.
func (c condition) holds(a attributes) bool {
	values := a[c.key]
	present := len(values) > 0
	if c.base == "Null" {
		return present == (c.values[0] == "false")
	}
	match, negated := comparison(c.base)
	if match == nil {
		return false // the reader lets none through
	}
	if !present {
		return c.optional || c.set == forAll || negated && c.set == ""
	}
	one := func(value string) bool {
		return slices.ContainsFunc(c.values, func(v string) bool { return v != "" && match(v, value) }) != negated
	}
	if c.set == forAny || c.set == "" && !negated {
		return slices.ContainsFunc(values, one)
	}
	return !slices.ContainsFunc(values, func(v string) bool { return !one(v) })
}

// comparison answers how an operator compares a policy's value with a
// request's, and whether it wants them to differ.
func comparison(operator string) (match func(policy, request string) bool, negated bool) {
	same := func(p, r string) bool { return p == r }
	switch operator {
	case "StringEquals":
		return same, false
	case "StringNotEquals":
		return same, true
	case "StringEqualsIgnoreCase", "Bool":
		return strings.EqualFold, false
	case "StringNotEqualsIgnoreCase":
		return strings.EqualFold, true
	case "StringLike":
		return like, false
	case "StringNotLike":
		return like, true
	case "ArnEquals", "ArnLike":
		return likeARN, false
	case "ArnNotEquals", "ArnNotLike":
		return likeARN, true
	default:
		return nil, false
	}
}

// likeARN compares the six parts of two ARNs, each as a pattern.
func likeARN(pattern, arn string) bool {
	p, a := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	if len(p) != 6 || len(a) != 6 {
		return false
	}
	for i := range p {
		if !like(p[i], a[i]) {
			return false
		}
	}
	return true
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
