package lint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	attestation = "kms:recipientattestation"
	context     = "kms:encryptioncontext:"
	image       = attestation + ":imagesha384"
)

// digits is the length of a register in hex digits: SHA-384.
const digits = 96

// register answers which register a condition key is about. known is false for
// keys below kms:RecipientAttestation that no enclave's document fills.
func register(key string) (n int, attested, known bool) {
	if key == image {
		return 0, true, true
	}
	rest, ok := strings.CutPrefix(key, attestation)
	if !ok {
		return 0, false, false
	}
	number, ok := strings.CutPrefix(rest, ":pcr")
	n, err := strconv.Atoi(number)
	return n, true, ok && err == nil && n >= 0 && n < 32 && strconv.Itoa(n) == number
}

// conditions reads the Condition element.
func (l *linter) conditions(s *statement, n *node) {
	if n == nil {
		return
	}
	if n.kind != '{' {
		l.add(s, n.line, ruleMalformed, "Condition isn't an object")
		return
	}
	for _, operator := range n.members {
		if operator.node.kind != '{' || len(operator.node.members) == 0 {
			l.add(s, operator.line, ruleMalformed, operator.name+" without keys")
			l.unclear(s)
			continue
		}
		seen := map[string]bool{}
		for _, key := range operator.node.members {
			c := newCondition(operator.name, key)
			if seen[c.key] {
				l.add(s, key.line, ruleDuplicate, operator.name+" "+key.name)
			}
			seen[c.key] = true
			if values, ok := key.node.texts(); !ok || len(values) == 0 {
				l.add(s, key.line, ruleMalformed, operator.name+" "+key.name+" without values")
				l.unclear(s)
				continue
			}
			l.condition(s, c, key.name)
			s.conditions = append(s.conditions, c)
		}
	}
}

// unclear makes a Deny with a condition that can't be read close nothing.
func (l *linter) unclear(s *statement) {
	if !s.allow {
		s.conditions = append(s.conditions, condition{base: "?"})
	}
}

func newCondition(operator string, key member) condition {
	c := condition{line: key.line, operator: operator, key: strings.ToLower(key.name)}
	c.base = strings.ToLower(operator)
	for _, set := range []string{"forallvalues:", "foranyvalue:"} {
		if rest, ok := strings.CutPrefix(c.base, set); ok {
			c.set, c.base = set, rest
		}
	}
	c.base, c.optional = strings.CutSuffix(c.base, "ifexists")
	c.values, _ = key.node.texts()
	return c
}

// baseOperators are IAM's condition operators without prefix and suffix.
func baseOperators() []string {
	return []string{
		"stringequals", "stringnotequals", "stringequalsignorecase", "stringnotequalsignorecase", "stringlike", "stringnotlike",
		"numericequals", "numericnotequals", "numericlessthan", "numericlessthanequals", "numericgreaterthan", "numericgreaterthanequals",
		"dateequals", "datenotequals", "datelessthan", "datelessthanequals", "dategreaterthan", "dategreaterthanequals",
		"bool", "binaryequals", "ipaddress", "notipaddress", "arnequals", "arnlike", "arnnotequals", "arnnotlike", "null",
	}
}

// condition judges one condition by itself.
func (l *linter) condition(s *statement, c condition, written string) {
	at := c.operator + " " + written
	if !slices.Contains(baseOperators(), c.base) || c.base == "null" && (c.optional || c.set != "") {
		l.add(s, c.line, ruleUnknownOperator, at)
	}
	n, attested, known := register(c.key)
	switch {
	case attested && !known:
		l.add(s, c.line, ruleUnknownKey, written)
		return
	case !attested:
		if !knownKey(c.key) {
			l.add(s, c.line, ruleUnknownKey, written)
		}
		if c.base == "null" && !isWord(c.values) {
			l.add(s, c.line, ruleNull, at)
		}
		if strings.HasPrefix(c.key, context) && s.allow && c.optional {
			l.add(s, c.line, ruleIfExists, at)
		}
		return
	}
	l.operator(s, c, at)
	if c.base != "null" {
		for _, v := range c.values {
			l.value(s, c, fmt.Sprintf("PCR%d", n), v)
		}
	}
}

// isWord says whether the values are one of the two that Null takes.
func isWord(values []string) bool {
	return len(values) == 1 && (strings.EqualFold(values[0], "true") || strings.EqualFold(values[0], "false"))
}

// operator judges how a register is compared.
func (l *linter) operator(s *statement, c condition, at string) {
	if c.set != "" {
		l.add(s, c.line, ruleSetOperator, at)
	}
	if c.optional && s.allow {
		l.add(s, c.line, ruleIfExists, at)
	}
	switch c.base {
	case "null":
		if !isWord(c.values) || s.allow == strings.EqualFold(c.values[0], "true") {
			l.add(s, c.line, ruleNull, at+" "+strings.Join(c.values, ", "))
		}
	case "stringequals", "stringequalsignorecase":
		if !s.allow {
			l.add(s, c.line, ruleDenyEquals, at)
		}
	case "stringlike", "arnequals", "arnlike":
		if s.allow {
			l.add(s, c.line, ruleLike, at)
		} else {
			l.add(s, c.line, ruleDenyEquals, at)
		}
	case "stringnotequals", "stringnotequalsignorecase", "stringnotlike", "arnnotequals", "arnnotlike":
		if s.allow {
			l.add(s, c.line, ruleNegated, at)
		} else if c.base == "stringnotlike" {
			l.add(s, c.line, ruleLike, at)
		}
	default:
		if slices.Contains(baseOperators(), c.base) {
			l.add(s, c.line, ruleOperator, at)
		}
	}
}

// value judges one value that a register is compared with.
func (l *linter) value(s *statement, c condition, name, v string) {
	switch {
	case strings.Contains(v, "${"):
		l.add(s, c.line, ruleVariable, name)
	case strings.ContainsAny(v, "*?"):
		l.add(s, c.line, ruleWildcard, name)
	case v != "" && strings.Trim(v, "0") == "":
		l.add(s, c.line, ruleZero, name)
	case len(v) != digits || strings.Trim(v, "0123456789abcdefABCDEF") != "":
		l.add(s, c.line, ruleNotHex, fmt.Sprintf("%s has %d characters", name, len(v)))
	case (c.base == "stringequals" || c.base == "stringnotequals") && !slices.Contains(c.values, strings.ToLower(v)):
		l.add(s, c.line, ruleUpperCase, name)
	}
}

// pins answers the register that a condition of an Allow holds to values, if
// it does: it must be false without a document and for every other value.
func (c condition) pins() (int, bool) {
	n, attested, known := register(c.key)
	if !attested || !known || c.optional || c.set == "forallvalues:" {
		return 0, false
	}
	switch c.base {
	case "stringequals", "stringequalsignorecase":
	case "stringlike", "arnequals", "arnlike":
		if slices.ContainsFunc(c.values, func(v string) bool { return strings.ContainsAny(v, "*?") }) {
			return 0, false
		}
	default:
		return 0, false
	}
	return n, !slices.ContainsFunc(c.values, func(v string) bool { return strings.Contains(v, "${") })
}

// excludes answers the register that a Deny with only this condition holds to
// values: it must be true without a document and for every other value. With
// presence it is only true without one.
func (c condition) excludes() (n int, presence, ok bool) {
	n, attested, known := register(c.key)
	if !attested || !known || c.set == "foranyvalue:" {
		return 0, false, false
	}
	switch c.base {
	case "null":
		return n, true, c.set == "" && !c.optional && len(c.values) == 1 && strings.EqualFold(c.values[0], "true")
	case "stringnotequals", "stringnotequalsignorecase":
		return n, false, true
	case "stringnotlike":
		return n, false, !slices.ContainsFunc(c.values, func(v string) bool { return strings.ContainsAny(v, "*?") })
	}
	return 0, false, false
}

// contextBound says whether an Allow holds for named encryption contexts only.
func (s *statement) contextBound() bool {
	return slices.ContainsFunc(s.conditions, func(c condition) bool {
		return strings.HasPrefix(c.key, context) && !c.optional && c.set == "" && (c.base == "stringequals" || c.base == "stringequalsignorecase") &&
			!slices.ContainsFunc(c.values, func(v string) bool { return v == "" || strings.ContainsAny(v, "*?") || strings.Contains(v, "${") })
	})
}
