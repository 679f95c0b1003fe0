// Package lint reads key policies, IAM policies and grants that anybody wrote
// and finds the ways to plaintext that a measured enclave isn't needed for. It
// trusts nothing that it reads. What it doesn't understand is a finding: a
// policy that is understood in part allows more than it says.
//
// A clean verdict is about these files alone. Other policies of the account,
// service control policies and the key's replicas aren't seen.
package lint

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Kind says what a file is.
type Kind string

// The kinds of files.
const (
	// KeyPolicy is a resource policy: its statements have principals.
	KeyPolicy Kind = "key-policy"
	// IAMPolicy is an identity policy: whom it is attached to isn't in it.
	IAMPolicy Kind = "iam-policy"
	// Grants is what ListGrants answers.
	Grants Kind = "grants"
)

// File is one file to judge.
type File struct {
	// Name stands in findings.
	Name string
	// Kind says what it is; empty lets the content tell.
	Kind Kind
	// Content is JSON: the policy or the list of grants, by itself or as the AWS
	// command line answers it.
	Content []byte
}

// Options change what is demanded. The zero value is strict.
type Options struct {
	// Owner is the ARN that may change the key's policy. When it is empty, one
	// principal may, if it can't use the key.
	Owner string
	// Require are the registers that a release must name; nil is 0, 1, 2 and 16.
	Require []int
}

// Severity says how much a finding matters.
type Severity string

const (
	// Problem is a way to plaintext, or something that nobody should rely on.
	Problem Severity = "problem"
	// Note is worth knowing and doesn't make a policy bad.
	Note Severity = "note"
)

// Finding is one thing that is wrong with a statement or a grant.
type Finding struct {
	File string `json:"file"`
	// Line is where it stands, from 1.
	Line int `json:"line"`
	// Statement is the Sid, or "statement 2" or "grant 1" without one.
	Statement string `json:"statement"`
	// Rule is the stable name of what was broken.
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	// Detail is what was found: names from the policy.
	Detail string `json:"detail"`
	// Means says what follows from it, and Fix what to do.
	Means string `json:"means"`
	Fix   string `json:"fix"`
}

// ErrUnreadable is wrapped by errors about a file that is no policy at all.
var ErrUnreadable = errors.New("unreadable")

// linter judges files together: a Deny in the key policy holds against IAM
// policies and grants too.
type linter struct {
	options  Options
	found    []Finding
	policies []*policy
}

// Lint judges files together and answers what it found, by file, line and rule.
// When exactly one of them is a key policy, the others are taken to be about
// that key.
func Lint(files []File, o Options) ([]Finding, error) {
	if o.Require == nil {
		o.Require = []int{0, 1, 2, 16}
	}
	l := &linter{options: o}
	var grants []*grantList
	for _, f := range files {
		root, err := parse(f.Content)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", f.Name, ErrUnreadable, err)
		}
		body, err := unwrap(root, 3)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %w", f.Name, ErrUnreadable, err)
		}
		kind := f.Kind
		if kind == "" {
			kind = detect(body)
		}
		switch kind {
		case KeyPolicy, IAMPolicy:
			p, err := l.read(f.Name, kind, body)
			if err != nil {
				return nil, fmt.Errorf("%s: %w: %w", f.Name, ErrUnreadable, err)
			}
			l.policies = append(l.policies, p)
		case Grants:
			grants = append(grants, &grantList{f.Name, body})
		default:
			return nil, fmt.Errorf("%s: %w: neither a policy nor a list of grants", f.Name, ErrUnreadable)
		}
	}
	for _, p := range l.policies {
		l.judge(p)
	}
	for _, g := range grants {
		l.judgeGrants(g)
	}
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule))
	})
	return slices.Compact(l.found), nil
}

// Problems counts the findings that make a policy bad.
func Problems(found []Finding) int {
	n := 0
	for _, f := range found {
		if f.Severity == Problem {
			n++
		}
	}
	return n
}

// unwrap looks inside the answers of GetKeyPolicy, GetRolePolicy,
// GetPolicyVersion and templates for the policy itself.
func unwrap(n *node, depth int) (*node, error) {
	if n.kind == 's' && depth > 0 {
		inner, err := parse([]byte(unescaped(n.text)))
		if err != nil {
			return nil, err
		}
		return unwrap(inner, depth-1)
	}
	if n.kind != '{' || n.get("Statement") != nil || depth == 0 {
		return n, nil
	}
	for _, name := range []string{"Policy", "PolicyDocument", "KeyPolicy", "PolicyVersion", "Document"} {
		if inner := n.get(name); inner != nil {
			return unwrap(inner, depth-1)
		}
	}
	return n, nil
}

// detect tells the kind of a file by its content.
func detect(n *node) Kind {
	if n.get("Grants") != nil || n.get("GranteePrincipal") != nil || n.kind == '[' && len(n.items) > 0 && n.items[0].get("GranteePrincipal") != nil {
		return Grants
	}
	statements := n.get("Statement")
	if statements == nil {
		return ""
	}
	for _, s := range statements.list() {
		if s.get("Principal") != nil || s.get("NotPrincipal") != nil {
			return KeyPolicy
		}
	}
	return IAMPolicy
}
