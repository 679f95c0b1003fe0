package keypolicy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// maxDepth is the deepest nesting of a key policy: document, statement list,
// statement, condition, operator, value list, value. One more is never read.
const maxDepth = 7

// Parse reads a key policy. It is stricter than KMS: names are compared with
// their case, no name may occur twice, and whatever this package doesn't model
// is an error. The error wraps ErrPolicy.
func Parse(b []byte) (*Document, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrPolicy, MaxSize)
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrPolicy)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := value(dec, maxDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the policy", ErrPolicy)
	}
	d, err := document(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	return d, nil
}

// UnmarshalJSON reads what MarshalJSON wrote, with Parse.
func (d *Document) UnmarshalJSON(b []byte) error {
	p, err := Parse(b)
	if err != nil {
		return err
	}
	*d = *p
	return nil
}

// value reads one JSON value and refuses objects that name a member twice,
// which encoding/json would let the last one win.
func value(dec *json.Decoder, depth int) (any, error) {
	if depth == 0 {
		return nil, errors.New("nested too deep")
	}
	token, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	switch token {
	case json.Delim('{'):
		return object(dec, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := value(dec, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	default:
		return token, nil
	}
}

func object(dec *json.Decoder, depth int) (any, error) {
	members := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		name, ok := token.(string)
		if !ok {
			return nil, errors.New("not JSON: a name is missing")
		}
		if _, twice := members[name]; twice {
			return nil, errors.New("a name occurs twice in an object")
		}
		if members[name], err = value(dec, depth-1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return members, err
}

func document(v any) (*Document, error) {
	members, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	if members["Version"] != version {
		return nil, errors.New("Version isn't " + version)
	}
	d := &Document{}
	for name, v := range members {
		switch name {
		case "Version":
		case "Id":
			if d.ID, ok = v.(string); !ok {
				return nil, errors.New("Id isn't a string")
			}
		case "Statement":
			list, ok := v.([]any)
			if !ok { // one statement may stand without a list
				list = []any{v}
			}
			for i, v := range list {
				s, err := statement(v)
				if err != nil {
					return nil, fmt.Errorf("statement %d: %w", i+1, err)
				}
				d.Statements = append(d.Statements, s)
			}
		default:
			return nil, errors.New("an element that isn't supported")
		}
	}
	return d, nil
}

func statement(v any) (s Statement, err error) {
	members, ok := v.(map[string]any)
	if !ok {
		return s, errors.New("not an object")
	}
	for name, v := range members {
		switch name {
		case "Sid":
			if s.Sid, ok = v.(string); !ok {
				err = errors.New("Sid isn't a string")
			}
		case "Effect":
			effect, _ := v.(string)
			s.Effect = Effect(effect)
		case "Principal":
			s.Principals, err = principals(v)
		case "Action":
			s.Actions, err = texts(v)
		case "Resource":
			s.Resources, err = texts(v)
		case "Condition":
			s.Conditions, err = conditions(v)
		default:
			err = errors.New("an element that isn't supported")
		}
		if err != nil {
			return Statement{}, err
		}
	}
	return s, nil
}

// principals reads "*" or {"AWS": …}: the two mean the same for everybody.
func principals(v any) ([]string, error) {
	if v == "*" {
		return []string{"*"}, nil
	}
	members, ok := v.(map[string]any)
	aws, has := members["AWS"]
	if !ok || !has || len(members) != 1 {
		return nil, errors.New("Principal holds something else than AWS")
	}
	return texts(aws)
}

// conditions answers the conditions in the order of operator and key.
func conditions(v any) ([]Condition, error) {
	operators, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("Condition isn't an object")
	}
	var out []Condition
	for operator, v := range operators {
		keys, ok := v.(map[string]any)
		if !ok || len(keys) == 0 {
			return nil, errors.New("a condition operator without keys")
		}
		for key, v := range keys {
			values, err := texts(v)
			if err != nil {
				return nil, err
			}
			out = append(out, Condition{operator, key, values})
		}
	}
	slices.SortFunc(out, func(a, b Condition) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

// texts reads a string, or a list of strings. A boolean counts as its word:
// Null is often written without quotes.
func texts(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case bool:
			out = append(out, fmt.Sprint(v))
		default:
			return nil, errors.New("a value that is neither a string nor a boolean")
		}
	}
	return out, nil
}
