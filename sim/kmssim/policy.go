package kmssim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// maxPolicy is the largest key policy, in bytes (KMS API reference,
// PutKeyPolicy: 32 KB).
const maxPolicy = 32 << 10

// policy is a key policy as far as the simulator evaluates the language (IAM
// user guide, JSON policy elements). What it can't evaluate isn't taken, as KMS
// doesn't take what is malformed: a policy that is understood in part allows
// more than it says.
type policy struct{ statements []statement }

type statement struct {
	allow                        bool
	principals                   []string
	actions, resources           []string
	notPrincipal, notAction, not bool // not is NotResource
	conditions                   []condition
}

// condition is one operator, its parts told apart, and one key.
type condition struct {
	set, base string
	optional  bool
	key       string // lower case
	values    []string
}

// The two prefixes of operators for keys with several values.
const (
	forAll = "ForAllValues:"
	forAny = "ForAnyValue:"
)

var (
	principalOf = regexp.MustCompile(`^(\*|[0-9]{12}|arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|(role|user|assumed-role|federated-user)/[A-Za-z0-9+=,.@_/-]{1,512}))$`)
	actionOf    = regexp.MustCompile(`^(?i:\*|kms:[A-Za-z*?]{1,128})$`)
	resourceOf  = regexp.MustCompile(`^(\*|arn:aws[a-z-]*:kms:[A-Za-z0-9*?:/_-]{1,512})$`)
)

// list is a string, or a list of strings; booleans count as their word.
type list []string

func (l *list) UnmarshalJSON(b []byte) error {
	var one any
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	many, ok := one.([]any)
	if !ok {
		many = []any{one}
	}
	for _, v := range many {
		switch v := v.(type) {
		case string:
			*l = append(*l, v)
		case bool:
			*l = append(*l, fmt.Sprint(v))
		default:
			return errors.New("a value that is no string")
		}
	}
	return nil
}

// readStatement is a statement's JSON form.
type readStatement struct {
	Sid, Effect                            string
	Principal, NotPrincipal                json.RawMessage
	Action, NotAction, Resource, Condition json.RawMessage
	NotResource                            json.RawMessage
}

// parsePolicy reads a key policy.
func parsePolicy(text []byte) (*policy, error) {
	if len(text) > maxPolicy {
		return nil, errors.New("the policy is larger than 32 KB")
	}
	var in struct {
		Version, ID string
		Statement   json.RawMessage
	}
	if err := strict(text, &in); err != nil {
		return nil, err
	}
	if in.Version != "2012-10-17" && in.Version != "2008-10-17" && in.Version != "" {
		return nil, errors.New("unknown Version")
	}
	var raw []json.RawMessage
	if json.Unmarshal(in.Statement, &raw) != nil {
		raw = []json.RawMessage{in.Statement}
	}
	if len(raw) == 0 {
		return nil, errors.New("no statement")
	}
	p := &policy{}
	for i, r := range raw {
		s, err := parseStatement(r)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		p.statements = append(p.statements, s)
	}
	return p, nil
}

func strict(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errors.New("not in the form of the policy language")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the policy")
	}
	return nil
}

func parseStatement(raw []byte) (statement, error) {
	var in readStatement
	if err := strict(raw, &in); err != nil {
		return statement{}, err
	}
	s := statement{allow: in.Effect == "Allow", notPrincipal: in.NotPrincipal != nil, notAction: in.NotAction != nil, not: in.NotResource != nil}
	if !s.allow && in.Effect != "Deny" {
		return s, errors.New("Effect is neither Allow nor Deny")
	}
	var err error
	if s.principals, err = parsePrincipals(in.Principal, in.NotPrincipal); err != nil {
		return s, err
	}
	if s.actions, err = parseOne("Action", in.Action, in.NotAction, actionOf); err != nil {
		return s, err
	}
	if s.resources, err = parseOne("Resource", in.Resource, in.NotResource, resourceOf); err != nil {
		return s, err
	}
	s.conditions, err = parseConditions(in.Condition)
	return s, err
}

// parseOne reads an element or its negation: exactly one of them is there.
func parseOne(name string, is, not json.RawMessage, form *regexp.Regexp) ([]string, error) {
	if (is == nil) == (not == nil) {
		return nil, fmt.Errorf("one of %s and Not%s is needed", name, name)
	}
	if is == nil {
		is = not
	}
	var values list
	if json.Unmarshal(is, &values) != nil || len(values) == 0 || slices.ContainsFunc(values, func(v string) bool { return !form.MatchString(v) }) {
		return nil, fmt.Errorf("%s has a value that isn't valid", name)
	}
	return values, nil
}

// parsePrincipals reads "*" or principals by type. Only AWS principals call the
// simulator; services and federated users are taken and match nobody.
func parsePrincipals(is, not json.RawMessage) ([]string, error) {
	if (is == nil) == (not == nil) {
		return nil, errors.New("one of Principal and NotPrincipal is needed")
	}
	if is == nil {
		is = not
	}
	var all string
	if json.Unmarshal(is, &all) == nil {
		if all != "*" {
			return nil, errors.New("Principal is a string other than *")
		}
		return []string{"*"}, nil
	}
	var types map[string]list
	if json.Unmarshal(is, &types) != nil || len(types) == 0 {
		return nil, errors.New("Principal isn't valid")
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(types)) {
		switch kind {
		case "AWS":
			if slices.ContainsFunc(types[kind], func(v string) bool { return !principalOf.MatchString(v) }) {
				return nil, errors.New("Policy contains a statement with one or more invalid principals.") //nolint:revive // KMS's own words
			}
			out = append(out, types[kind]...)
		case "Service", "Federated", "CanonicalUser":
			for _, v := range types[kind] {
				out = append(out, kind+" "+v)
			}
		default:
			return nil, errors.New("Principal has an unknown type")
		}
	}
	if len(out) == 0 {
		return nil, errors.New("Principal is empty")
	}
	return out, nil
}

func parseConditions(raw json.RawMessage) ([]condition, error) {
	if raw == nil {
		return nil, nil
	}
	var in map[string]map[string]list
	if json.Unmarshal(raw, &in) != nil {
		return nil, errors.New("Condition isn't valid")
	}
	var out []condition
	for _, operator := range slices.Sorted(maps.Keys(in)) {
		for _, key := range slices.Sorted(maps.Keys(in[operator])) {
			c := condition{base: operator, key: strings.ToLower(key), values: in[operator][key]}
			for _, set := range []string{forAll, forAny} {
				if rest, ok := strings.CutPrefix(c.base, set); ok {
					c.set, c.base = set, rest
				}
			}
			c.base, c.optional = strings.CutSuffix(c.base, "IfExists")
			match, _ := comparison(c.base)
			if match == nil && (c.base != "Null" || c.optional || c.set != "") {
				return nil, fmt.Errorf("the simulator doesn't evaluate the condition operator %s", operator)
			}
			if len(c.values) == 0 || slices.ContainsFunc(c.values, func(v string) bool { return strings.Contains(v, "${") }) {
				return nil, fmt.Errorf("%s has no value or a policy variable, which the simulator doesn't evaluate", operator)
			}
			if c.base == "Null" && !slices.Equal(c.values, []string{"true"}) && !slices.Equal(c.values, []string{"false"}) {
				return nil, errors.New("Null wants true or false")
			}
			out = append(out, c)
		}
	}
	return out, nil
}
