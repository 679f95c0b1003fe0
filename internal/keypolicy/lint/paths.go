package lint

import (
	"slices"
	"strings"
)

// plaintext finds operations that answer plaintext to something else than a
// release.
func (l *linter) plaintext(s *statement, open []string) {
	var bare, generate, host, any []string
	missing := map[string][]string{} // by the registers that are missing
	for _, op := range open {
		if !slices.Contains(plaintextOperations(), op) {
			continue
		}
		h := l.held(s, op)
		absent := l.missing(h)
		switch {
		case len(absent) == 0:
		case len(h.pins) > 0 || len(h.faulty) > 0:
			missing[strings.Join(absent, ", ")] = append(missing[strings.Join(absent, ", ")], op)
		case h.document:
			any = append(any, op)
		case !strings.HasPrefix(op, "Generate"):
			bare = append(bare, op)
		case l.isHost(s):
			host = append(host, op)
		case !s.contextBound():
			generate = append(generate, op)
		}
	}
	for _, f := range []struct {
		rule rule
		ops  []string
	}{{ruleNoAttestation, bare}, {ruleGenerate, generate}, {ruleGenerateHost, host}} {
		if len(f.ops) > 0 {
			l.add(s, s.line, f.rule, strings.Join(f.ops, ", ")+" to "+s.who())
		}
	}
	if len(any) > 0 {
		l.add(s, s.line, ruleMissing, "any document is enough for "+strings.Join(any, ", "))
	}
	for absent, ops := range missing {
		if own := s.pins(); len(own) == 1 && own[8] != nil {
			l.add(s, s.line, ruleOnlyPCR8, strings.Join(ops, ", ")+" without "+absent)
			continue
		}
		l.add(s, s.line, ruleMissing, strings.Join(ops, ", ")+" without "+absent)
	}
}

// isHost says whether a statement names a role that some release is called
// with: the host has that role's credentials too.
func (l *linter) isHost(s *statement) bool {
	for _, p := range l.policies {
		for _, other := range p.statements {
			if !other.allow || !other.reaches("Decrypt") || len(other.pins()) == 0 {
				continue
			}
			if slices.ContainsFunc(s.principals, func(v string) bool { return slices.Contains(other.principals, v) }) {
				return true
			}
		}
	}
	return false
}

// harmless says whether an operation only looks at a key or its entry.
func harmless(op string) bool {
	return slices.ContainsFunc([]string{"Describe", "Get", "List", "Tag", "Untag"}, func(verb string) bool { return strings.HasPrefix(op, verb) })
}

// unsatisfiable finds operations without an attested form, named under a
// condition on registers.
func (l *linter) unsatisfiable(s *statement) {
	if len(s.pins()) == 0 {
		return
	}
	var ops, idle []string
	for _, op := range append(operations(), "ReEncrypt*") {
		switch {
		case !s.names(op) || slices.Contains(attestedOperations(), op):
		case harmless(op):
			idle = append(idle, op)
		default:
			ops = append(ops, op)
		}
	}
	if len(ops) > 0 {
		l.add(s, s.line, ruleUnsatisfiable, strings.Join(ops, ", "))
	}
	if len(idle) > 0 {
		l.add(s, s.line, ruleIdle, strings.Join(idle, ", "))
	}
}

// administration finds operations that lead to plaintext in two steps.
func (l *linter) administration(s *statement, open []string) {
	for _, op := range open {
		switch op {
		case "ReEncryptFrom", "ReEncryptTo":
			l.add(s, s.line, ruleReEncrypt, s.who())
		case "CreateGrant":
			if !s.grantsBound() {
				l.add(s, s.line, ruleCreateGrant, s.who())
			}
		case "ImportKeyMaterial":
			l.add(s, s.line, ruleImport, s.who())
		case "ReplicateKey":
			l.add(s, s.line, ruleReplicate, s.who())
		case "Encrypt":
			if s.anyone || l.isHost(s) {
				l.add(s, s.line, ruleEncryptHost, s.who())
			} else {
				l.add(s, s.line, ruleEncrypt, s.who())
			}
		case "PutKeyPolicy":
			l.putPolicy(s)
		}
	}
}

// grantsBound says whether a statement allows only grants that give nothing
// that matters.
func (s *statement) grantsBound() bool {
	return slices.ContainsFunc(s.conditions, func(c condition) bool {
		return c.key == "kms:grantoperations" && c.set == "forallvalues:" && !c.optional && c.base == "stringequals" &&
			!slices.ContainsFunc(c.values, func(v string) bool {
				return strings.ContainsAny(v, "*?$") || slices.ContainsFunc(powers(), func(op string) bool { return strings.EqualFold(op, v) })
			})
	})
}

// putPolicy finds principals beside the owner that may change the policy.
func (l *linter) putPolicy(s *statement) {
	if s.kind == IAMPolicy {
		l.add(s, s.line, rulePutPolicy, s.who())
		return
	}
	owner := l.owner(s.file)
	for _, p := range s.principals {
		switch {
		case isAccount(p) && p != owner:
			l.add(s, s.line, ruleRootAdministers, p)
		case p != owner:
			l.add(s, s.line, rulePutPolicy, p+"; taken for the owner: "+owner)
		case l.usesData(s.file, p):
			l.add(s, s.line, rulePutPolicy, p+" may use the key too")
		case isAccount(p):
			l.add(s, s.line, ruleRootAdministers, p)
		}
	}
}

// owner is who may change a policy: as the options say, else the first role
// that a statement gives the right to, else the first account.
func (l *linter) owner(file string) string {
	if l.options.Owner != "" {
		return l.options.Owner
	}
	account := ""
	for _, p := range l.policies {
		for _, s := range p.statements {
			if p.file != file || !s.allow || !s.reaches("PutKeyPolicy") || l.denied(s, "PutKeyPolicy") || len(s.pins()) > 0 {
				continue
			}
			for _, name := range s.principals {
				if !isAccount(name) {
					return name
				}
				if account == "" {
					account = name
				}
			}
		}
	}
	return account
}

func isAccount(principal string) bool {
	return strings.HasSuffix(principal, ":root") || len(principal) == 12 && strings.Trim(principal, "0123456789") == ""
}

// usesData says whether a policy lets a principal use the key in any way, with
// a document or without.
func (l *linter) usesData(file, principal string) bool {
	for _, p := range l.policies {
		for _, s := range p.statements {
			if p.file != file || !s.allow || !slices.Contains(s.principals, principal) {
				continue
			}
			if slices.ContainsFunc(append(plaintextOperations(), "Encrypt"), func(op string) bool { return s.reaches(op) && !l.denied(s, op) }) {
				return true
			}
		}
	}
	return false
}
