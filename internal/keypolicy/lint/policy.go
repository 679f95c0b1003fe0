package lint

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxStatements is how many statements a policy may have; no policy within
// AWS's 32 KB has more.
const maxStatements = 400

// policy is a policy as far as it was understood; the rest became findings.
type policy struct {
	file       string
	kind       Kind
	statements []*statement
}

type statement struct {
	file, name string
	line       int
	kind       Kind
	allow      bool
	principals []string
	// anyone says that Principal is everybody, or NotPrincipal.
	anyone bool
	// others are services, federated and canonical users.
	others []string
	// actions are patterns; with except they are those that aren't meant.
	actions    []string
	except     bool
	resources  []string
	conditions []condition
}

// condition is one operator and key with its values.
type condition struct {
	line int
	// operator is as written; set, base and optional are its parts.
	operator, set, base string
	optional            bool
	key                 string // lower case
	values              []string
}

// unescaped undoes the percent-encoding that IAM answers policies in.
func unescaped(text string) string {
	if strings.HasPrefix(text, "%7B") || strings.HasPrefix(text, "%7b") {
		if plain, err := url.PathUnescape(text); err == nil {
			return plain
		}
	}
	return text
}

// read turns a file into statements. It fails when there are none.
func (l *linter) read(file string, kind Kind, n *node) (*policy, error) {
	statements := n.get("Statement")
	if n.kind != '{' || statements == nil || len(statements.list()) == 0 {
		return nil, errors.New("no statement")
	}
	if len(statements.list()) > maxStatements {
		return nil, fmt.Errorf("more than %d statements", maxStatements)
	}
	whole := &statement{file: file, name: "policy", line: n.line}
	l.members(whole, n, "Version", "Id", "Statement")
	if v := n.get("Version"); v == nil {
		l.add(whole, n.line, ruleVersion, "no Version")
	} else if v.text != "2012-10-17" && v.text != "2008-10-17" {
		l.add(whole, v.line, ruleMalformed, fmt.Sprintf("Version %q", v.text))
	}
	p := &policy{file: file, kind: kind}
	seen := map[string]bool{}
	for i, item := range statements.list() {
		s := l.statement(file, kind, i+1, item)
		if seen[s.name] {
			l.add(s, s.line, ruleMalformed, "the Sid occurs twice")
		}
		seen[s.name] = true
		p.statements = append(p.statements, s)
	}
	return p, nil
}

// members finds names that aren't known and names that occur twice.
func (l *linter) members(s *statement, n *node, known ...string) {
	seen := map[string]bool{}
	for _, m := range n.members {
		lower := strings.ToLower(m.name)
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, m.name) }) {
			l.add(s, m.line, ruleElement, m.name)
		}
		if seen[lower] {
			l.add(s, m.line, ruleDuplicate, m.name)
		}
		seen[lower] = true
	}
}

func (l *linter) statement(file string, kind Kind, number int, n *node) *statement {
	s := &statement{file: file, name: fmt.Sprintf("statement %d", number), line: n.line, kind: kind}
	if sid := n.get("Sid"); sid != nil && sid.text != "" {
		s.name = sid.text
	}
	if n.kind != '{' {
		l.add(s, n.line, ruleMalformed, "not an object")
		// Taken for the worst that it could be.
		s.allow, s.anyone, s.except, s.resources = true, true, true, []string{"*"}
		return s
	}
	l.members(s, n, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
	switch effect := n.get("Effect"); {
	case effect != nil && effect.text == "Allow":
		s.allow = true
	case effect != nil && effect.text == "Deny":
	default:
		// Taken for an Allow, the worse of the two.
		s.allow = true
		l.add(s, n.line, ruleMalformed, "Effect is neither Allow nor Deny")
	}
	l.principals(s, n)
	l.actions(s, n)
	l.resources(s, n)
	l.conditions(s, n.get("Condition"))
	return s
}

func (l *linter) principals(s *statement, n *node) {
	if not := n.get("NotPrincipal"); not != nil {
		l.add(s, not.line, ruleNotPrincipal, "")
		// An Allow reaches nearly everybody; a Deny closes nothing for sure.
		s.anyone = s.allow
		return
	}
	p := n.get("Principal")
	switch {
	case p == nil && s.kind == KeyPolicy:
		l.add(s, n.line, ruleMalformed, "no Principal")
		s.anyone = s.allow
	case p == nil:
	case s.kind == IAMPolicy:
		l.add(s, p.line, ruleMalformed, "Principal in an IAM policy")
	case p.kind == 's' && p.text == "*":
		s.anyone, s.principals = true, []string{"*"}
	case p.kind != '{' || len(p.members) == 0:
		l.add(s, p.line, ruleMalformed, "Principal")
		s.anyone = s.allow
	default:
		for _, m := range p.members {
			l.principal(s, m)
		}
	}
}

// principal reads the principals of one type.
func (l *linter) principal(s *statement, m member) {
	values, ok := m.node.texts()
	if !ok || len(values) == 0 {
		l.add(s, m.line, ruleMalformed, "Principal."+m.name)
		s.anyone = s.anyone || s.allow
	}
	if !strings.EqualFold(m.name, "AWS") {
		for _, v := range values {
			s.principals, s.others = append(s.principals, m.name+" "+v), append(s.others, m.name+" "+v)
			s.anyone = s.anyone || v == "*"
		}
		return
	}
	for _, v := range values {
		s.principals = append(s.principals, v)
		switch {
		case v == "*":
			s.anyone = true
		case strings.ContainsAny(v, "*?") || !principalForm.MatchString(v):
			l.add(s, m.line, rulePrincipalForm, v)
			// A wildcard that somebody honours reaches everybody.
			s.anyone = s.anyone || s.allow && strings.ContainsAny(v, "*?")
		}
	}
}

func (l *linter) actions(s *statement, n *node) {
	a, not := n.get("Action"), n.get("NotAction")
	if not != nil {
		l.add(s, not.line, ruleNotAction, "")
		if a == nil {
			a, s.except = not, true
		}
	}
	if a == nil {
		l.add(s, n.line, ruleMalformed, "no Action")
		s.actions, s.except = nil, s.allow // an Allow of everything, a Deny of nothing
		return
	}
	values, ok := a.texts()
	if !ok || len(values) == 0 {
		l.add(s, a.line, ruleMalformed, "Action")
	}
	for _, v := range values {
		s.actions = append(s.actions, strings.ToLower(v))
		prefix, _, has := strings.Cut(v, ":")
		switch {
		case v == "*":
		case !has:
			l.add(s, a.line, ruleUnknownAction, v)
		case !like(strings.ToLower(prefix), "kms"):
			if s.kind == KeyPolicy {
				l.add(s, a.line, ruleUnknownAction, v)
			}
		case !slices.ContainsFunc(operations(), func(op string) bool { return like(strings.ToLower(v), strings.ToLower("kms:"+op)) }):
			l.add(s, a.line, ruleUnknownAction, v)
		}
	}
}

// resources reads what a statement is about. In a key policy that is the key,
// however it is written.
func (l *linter) resources(s *statement, n *node) {
	r, not := n.get("Resource"), n.get("NotResource")
	s.resources = []string{"*"}
	switch {
	case not != nil:
		l.add(s, not.line, ruleNotResource, "")
		if !s.allow {
			s.resources = nil // a Deny of the rest closes nothing for sure
		}
	case r == nil:
		l.add(s, n.line, ruleMalformed, "no Resource")
	default:
		values, ok := r.texts()
		if !ok || len(values) == 0 {
			l.add(s, r.line, ruleMalformed, "Resource")
		}
		if s.kind == IAMPolicy {
			s.resources = values
		}
	}
}

// covers says whether a Deny of these resources reaches all of an Allow's.
func covers(deny, allow []string) bool {
	return !slices.ContainsFunc(allow, func(a string) bool {
		return !slices.ContainsFunc(deny, func(d string) bool { return d == a || !strings.Contains(d, "?") && like(d, a) })
	})
}
