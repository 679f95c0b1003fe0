// Package keypolicy makes and reads KMS key policies: who may use a data
// owner's key, and which release of the enclave it is released to. It trusts
// nothing that it reads, holds no secret, and leaves judging a request to KMS.
//
// Only the part of the policy language that Cloister uses exists here. What it
// doesn't know (NotAction, NotPrincipal, services and federated users, other
// operators, policy variables) is an error and is never skipped: a policy that
// is understood in part allows more than it says.
package keypolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxSize is the largest key policy, in bytes (AWS KMS API reference,
// PutKeyPolicy: 32 KB).
const MaxSize = 32 << 10

// version is the only policy language version in use (IAM JSON policy
// elements: Version). The older one lacks policy variables and nothing else.
const version = "2012-10-17"

// ErrPolicy is wrapped by every error about a policy's form or content.
var ErrPolicy = errors.New("key policy")

// Effect says what a statement that applies does.
type Effect string

// The two effects of the policy language. An explicit Deny beats every Allow.
const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Document is a key policy. The zero value allows nothing and is no valid
// policy: KMS wants at least one statement.
type Document struct {
	// ID is the optional name of the policy.
	ID string
	// Statements are judged together; their order means nothing.
	Statements []Statement
}

// Statement applies to a request when principal, action, resource and all
// conditions match.
type Statement struct {
	// Sid is the optional name of the statement; names differ within a policy.
	Sid string
	// Effect is Allow or Deny.
	Effect Effect
	// Principals are ARNs, account ids or "*", which is everybody.
	Principals []string
	// Actions are names such as kms:Decrypt, with wildcards * and ?.
	Actions []string
	// Resources are key ARNs or, as usual in a key policy, "*": this key.
	Resources []string
	// Conditions must all hold.
	Conditions []Condition
}

// Condition compares one condition key of the request with values. Several
// values are alternatives.
type Condition struct {
	// Operator is one of Operators, with or without IfExists.
	Operator string
	// Key is the condition key, for example kms:RecipientAttestation:PCR0.
	Key string
	// Values are the values that it is compared with, at least one.
	Values []string
}

// The condition operators that Parse accepts (IAM JSON policy elements:
// condition operators). All but Null also exist with the suffix IfExists.
const (
	StringEquals              = "StringEquals"
	StringNotEquals           = "StringNotEquals"
	StringEqualsIgnoreCase    = "StringEqualsIgnoreCase"
	StringNotEqualsIgnoreCase = "StringNotEqualsIgnoreCase"
	StringLike                = "StringLike"
	StringNotLike             = "StringNotLike"
	Null                      = "Null"
	// IfExists is the suffix that makes an operator hold when the request
	// lacks the key.
	IfExists = "IfExists"
)

// Operators answers the condition operators that Parse accepts, without
// IfExists.
func Operators() []string {
	return []string{StringEquals, StringNotEquals, StringEqualsIgnoreCase, StringNotEqualsIgnoreCase, StringLike, StringNotLike, Null}
}

var (
	// principalForm is "*", an account id, or the ARN of an account's root, a
	// role, a user or a role session.
	principalForm = regexp.MustCompile(`^(\*|[0-9]{12}|arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|(role|user|assumed-role)/[A-Za-z0-9+=,.@_/-]{1,512}))$`)
	actionForm    = regexp.MustCompile(`^(\*|kms:[A-Za-z*?]{1,128})$`)
	resourceForm  = regexp.MustCompile(`^(\*|arn:aws[a-z-]*:kms:[a-z0-9*-]{1,32}:[0-9*]{1,12}:key/[A-Za-z0-9*-]{1,128})$`)
	keyForm       = regexp.MustCompile(`^(kms|aws):[A-Za-z0-9][A-Za-z0-9:_./-]{0,255}$`)
	nameForm      = regexp.MustCompile(`^[A-Za-z0-9 _-]{0,128}$`)
)

// Check says whether the policy is well formed: known words only, nothing
// empty, no name twice. The error wraps ErrPolicy and names the statement.
func (d *Document) Check() error {
	if len(d.Statements) == 0 {
		return fmt.Errorf("%w: no statement", ErrPolicy)
	}
	if !nameForm.MatchString(d.ID) {
		return fmt.Errorf("%w: Id has a character that isn't allowed", ErrPolicy)
	}
	seen := map[string]bool{}
	for i := range d.Statements {
		s := &d.Statements[i]
		if err := s.check(); err != nil {
			return fmt.Errorf("%w: statement %d: %w", ErrPolicy, i+1, err)
		}
		if s.Sid != "" && seen[s.Sid] {
			return fmt.Errorf("%w: statement %d: Sid occurs twice", ErrPolicy, i+1)
		}
		seen[s.Sid] = true
	}
	return nil
}

func (s *Statement) check() error {
	if s.Effect != Allow && s.Effect != Deny {
		return errors.New("Effect is neither Allow nor Deny")
	}
	if !nameForm.MatchString(s.Sid) {
		return errors.New("Sid has a character that isn't allowed")
	}
	for _, list := range []struct {
		name   string
		values []string
		form   *regexp.Regexp
	}{{"Principal", s.Principals, principalForm}, {"Action", s.Actions, actionForm}, {"Resource", s.Resources, resourceForm}} {
		if len(list.values) == 0 {
			return fmt.Errorf("no %s", list.name)
		}
		for _, v := range list.values {
			if !list.form.MatchString(v) {
				return fmt.Errorf("%s has a value that isn't supported", list.name)
			}
		}
	}
	type place struct{ operator, key string }
	seen := map[place]bool{}
	for _, c := range s.Conditions {
		if err := c.check(); err != nil {
			return err
		}
		// Condition keys know no case, so that the same one can't stand twice.
		at := place{c.Operator, strings.ToLower(c.Key)}
		if seen[at] {
			return fmt.Errorf("%s names a key twice", c.Operator)
		}
		seen[at] = true
	}
	return nil
}

func (c *Condition) check() error {
	base := strings.TrimSuffix(c.Operator, IfExists)
	if !slices.Contains(Operators(), base) || c.Operator == Null+IfExists {
		return errors.New("an operator that isn't supported")
	}
	if !keyForm.MatchString(c.Key) {
		return fmt.Errorf("%s has a key that isn't supported", c.Operator)
	}
	if len(c.Values) == 0 {
		return fmt.Errorf("%s has a key without values", c.Operator)
	}
	for _, v := range c.Values {
		switch {
		case !utf8.ValidString(v):
			return fmt.Errorf("%s has a value that isn't UTF-8", c.Operator)
		case strings.Contains(v, "${"):
			return fmt.Errorf("%s has a policy variable", c.Operator)
		case base == Null && (v != "true" && v != "false" || len(c.Values) != 1):
			return errors.New("Null wants true or false")
		}
	}
	return nil
}

// written is a statement as KMS reads it.
type written struct {
	Sid       string `json:",omitempty"`
	Effect    Effect
	Principal map[string][]string `json:",omitempty"`
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"`
}

// written is the statement's JSON form; an identity policy's has no principal.
func (s *Statement) written() written {
	w := written{Sid: s.Sid, Effect: s.Effect, Action: s.Actions, Resource: s.Resources}
	if len(s.Principals) > 0 {
		w.Principal = map[string][]string{"AWS": s.Principals}
	}
	for _, c := range s.Conditions {
		if w.Condition == nil {
			w.Condition = map[string]map[string][]string{}
		}
		if w.Condition[c.Operator] == nil {
			w.Condition[c.Operator] = map[string][]string{}
		}
		w.Condition[c.Operator][c.Key] = c.Values
	}
	return w
}

// MarshalJSON answers the policy as PutKeyPolicy takes it. The same policy
// always gives the same bytes. It fails on a policy that Check refuses and on
// one that is larger than MaxSize.
func (d *Document) MarshalJSON() ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	out := struct {
		Version   string
		ID        string `json:"Id,omitempty"`
		Statement []written
	}{Version: version, ID: d.ID}
	for _, s := range d.Statements {
		out.Statement = append(out.Statement, s.written())
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if b.Len() > MaxSize {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrPolicy, MaxSize)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}
