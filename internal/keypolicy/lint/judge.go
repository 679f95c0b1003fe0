package lint

import (
	"fmt"
	"slices"
	"strings"
)

// plaintextOperations answer key material in clear when nobody asks for the
// attested form. GenerateRandom uses no key.
func plaintextOperations() []string {
	return []string{"Decrypt", "DeriveSharedSecret", "GenerateDataKey", "GenerateDataKeyPair"}
}

// powers are the operations that matter: plaintext, and ways to get it.
func powers() []string {
	return append(plaintextOperations(), "CreateGrant", "Encrypt", "ImportKeyMaterial", "PutKeyPolicy", "ReEncryptFrom", "ReEncryptTo", "ReplicateKey")
}

// judge finds what a policy allows and what its denials fail to do.
func (l *linter) judge(p *policy) {
	for _, s := range p.statements {
		if s.allow {
			l.judgeAllow(s)
		} else if n := s.attestedConditions(); n > 1 {
			l.add(s, s.line, ruleDenyAll, fmt.Sprintf("%d conditions on registers", n))
		}
	}
}

// attestedConditions counts the different registers that a Deny compares.
func (s *statement) attestedConditions() int {
	seen := map[int]bool{}
	for _, c := range s.conditions {
		if n, presence, ok := c.excludes(); ok && !presence {
			seen[n] = true
		}
	}
	return len(seen)
}

func (l *linter) judgeAllow(s *statement) {
	if s.elsewhere() {
		return
	}
	open := slices.DeleteFunc(powers(), func(op string) bool { return !s.reaches(op) || l.denied(s, op) })
	if len(open) == 0 && !s.except {
		l.unsatisfiable(s)
		return
	}
	if s.anyone {
		l.add(s, s.line, ruleAnyone, strings.Join(open, ", "))
	}
	if len(s.others) > 0 {
		l.add(s, s.line, ruleOtherPrincipal, strings.Join(s.others, ", ")+": "+strings.Join(open, ", "))
	}
	own := s.pins()
	if s.everything() {
		if len(own) > 0 {
			l.add(s, s.line, ruleFullAttested, s.who())
		} else if l.dangerous(s, open) {
			l.add(s, s.line, ruleFull, s.who()+" reaches "+strings.Join(open, ", "))
			return
		}
	}
	l.releases(s, own)
	l.plaintext(s, open)
	l.unsatisfiable(s)
	if len(own) > 0 {
		return // the rest has no attested form: the conditions never hold
	}
	l.administration(s, open)
}

// elsewhere says whether an IAM policy's statement is about resources of other
// services only.
func (s *statement) elsewhere() bool {
	if s.kind != IAMPolicy || len(s.resources) == 0 {
		return false
	}
	return !slices.ContainsFunc(s.resources, func(r string) bool {
		parts := strings.SplitN(r, ":", 4)
		return len(parts) < 4 || parts[0] != "arn" || like(parts[2], "kms")
	})
}

// dangerous says whether something is left of kms:* that isn't attested.
func (l *linter) dangerous(s *statement, open []string) bool {
	return slices.ContainsFunc(open, func(op string) bool {
		if !slices.Contains(plaintextOperations(), op) {
			return op != "Encrypt" && op != "ImportKeyMaterial"
		}
		return len(l.missing(l.held(s, op))) > 0
	})
}

// who names the principals of a statement.
func (s *statement) who() string {
	switch {
	case s.kind == IAMPolicy:
		return "whoever the policy is attached to"
	case s.anyone:
		return "everybody"
	default:
		return strings.Join(s.principals, ", ")
	}
}

// pins are the registers that the conditions of an Allow hold to values.
func (s *statement) pins() map[int][]string {
	all := map[int][]string{}
	for _, c := range s.conditions {
		if n, ok := c.pins(); ok {
			all[n] = c.values
		}
	}
	return all
}

// denies answers the denials that hold against a statement for an operation:
// those of the same policy, and of the key policy when there is one.
func (l *linter) denies(s *statement, op string) []*statement {
	var keyPolicies int
	for _, p := range l.policies {
		if p.kind == KeyPolicy {
			keyPolicies++
		}
	}
	var all []*statement
	for _, p := range l.policies {
		for _, d := range p.statements {
			same := p.file == s.file
			if d.allow || !d.reaches(op) || !same && (p.kind != KeyPolicy || keyPolicies != 1 || s.kind == KeyPolicy) {
				continue
			}
			if d.against(s) && (!same || covers(d.resources, s.resources)) {
				all = append(all, d)
			}
		}
	}
	return all
}

// against says whether a Deny means every principal of an Allow.
func (d *statement) against(s *statement) bool {
	if d.kind == IAMPolicy || d.anyone {
		return true
	}
	return !s.anyone && len(s.principals) > 0 &&
		!slices.ContainsFunc(s.principals, func(p string) bool { return !slices.Contains(d.principals, p) })
}

// denied says whether an operation is denied whatever the request brings.
func (l *linter) denied(s *statement, op string) bool {
	return slices.ContainsFunc(l.denies(s, op), func(d *statement) bool { return len(d.conditions) == 0 })
}

// holding is what a request must have for an operation.
type holding struct {
	pins map[int]bool
	// document says that some document is needed.
	document bool
	// faulty are registers of conditions that are findings by themselves.
	faulty map[int]bool
}

// held collects what an Allow demands for an operation, with what denials add.
func (l *linter) held(s *statement, op string) holding {
	h := holding{pins: map[int]bool{}, faulty: map[int]bool{}}
	for _, c := range s.conditions {
		n, attested, known := register(c.key)
		if _, ok := c.pins(); ok {
			h.pins[n], h.document = true, true
		} else if attested && known && c.base != "null" {
			h.faulty[n] = true
		}
	}
	for _, d := range l.denies(s, op) {
		if len(d.conditions) != 1 {
			continue
		}
		if n, presence, ok := d.conditions[0].excludes(); ok {
			h.document = true
			if !presence {
				h.pins[n] = true
			}
		}
	}
	return h
}

// missing are the required registers that nothing holds to a value.
func (l *linter) missing(h holding) []string {
	var out []string
	for _, n := range l.options.Require {
		if !h.pins[n] && !h.faulty[n] {
			out = append(out, fmt.Sprintf("PCR%d", n))
		}
	}
	return out
}

// releases finds lists of values under several registers.
func (l *linter) releases(s *statement, own map[int][]string) {
	lists := 0
	for _, values := range own {
		if !slices.ContainsFunc(values, func(v string) bool { return !strings.EqualFold(v, values[0]) }) {
			continue // one value, however often
		}
		lists++
	}
	switch {
	case lists > 1:
		l.add(s, s.line, ruleMixed, fmt.Sprintf("%d registers with lists", lists))
	case lists == 1:
		l.add(s, s.line, ruleList, "one register with a list")
	}
}
