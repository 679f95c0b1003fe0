package lint

import (
	"fmt"
	"slices"
	"strings"
)

// grantList is a file of grants.
type grantList struct {
	file string
	node *node
}

// judgeGrants finds grants that give plaintext, or the right to give it on.
func (l *linter) judgeGrants(g *grantList) {
	items := g.node.list()
	if list := g.node.get("Grants"); list != nil {
		items = list.list()
	}
	for i, n := range items {
		l.judgeGrant(g.file, i+1, n)
	}
}

func (l *linter) judgeGrant(file string, number int, n *node) {
	s := &statement{file: file, name: fmt.Sprintf("grant %d", number), line: n.line, kind: Grants, allow: true, resources: []string{"*"}}
	if id := n.get("GrantId"); id != nil && id.text != "" {
		s.name = "grant " + id.text
	}
	grantee, ops := n.get("GranteePrincipal"), n.get("Operations")
	values, ok := ops.texts()
	if grantee == nil || grantee.text == "" || !ok || len(values) == 0 {
		l.add(s, n.line, ruleMalformed, "a grant without GranteePrincipal or Operations")
		return
	}
	s.principals = []string{grantee.text}
	l.constraints(s, n.get("Constraints"))
	for _, op := range values {
		if !slices.Contains(operations(), op) {
			l.add(s, ops.line, ruleUnknownAction, op)
		}
		s.actions = append(s.actions, strings.ToLower("kms:"+op))
	}
	var bad []string
	for _, op := range powers() {
		if s.reaches(op) && !l.denied(s, op) && l.gives(s, op) {
			bad = append(bad, op)
		}
	}
	if len(bad) > 0 {
		l.add(s, ops.line, ruleGrant, strings.Join(bad, ", ")+" to "+grantee.text)
	} else if s.reaches("Encrypt") && !l.denied(s, "Encrypt") {
		l.add(s, ops.line, ruleEncrypt, grantee.text)
	}
}

// gives says whether a granted operation leads to plaintext. A data key for one
// encryption context is what producers get.
func (l *linter) gives(s *statement, op string) bool {
	switch {
	case op == "Encrypt", op == "ImportKeyMaterial":
		return l.isHost(s)
	case !slices.Contains(plaintextOperations(), op):
		return true
	case strings.HasPrefix(op, "Generate") && s.contextBound() && !l.isHost(s):
		return false
	default:
		return len(l.missing(l.held(s, op))) > 0
	}
}

// constraints reads the encryption context that a grant is bound to.
func (l *linter) constraints(s *statement, n *node) {
	if n == nil {
		return
	}
	for _, m := range n.members {
		if m.name != "EncryptionContextEquals" && m.name != "EncryptionContextSubset" {
			l.add(s, m.line, ruleElement, m.name)
			continue
		}
		for _, pair := range m.node.members {
			s.conditions = append(s.conditions, condition{base: "stringequals", key: context + strings.ToLower(pair.name), values: []string{pair.node.text}})
		}
	}
}
