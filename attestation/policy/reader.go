package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong with a policy file, and where.
type Error struct {
	// Line and Column count from 1; columns count bytes.
	Line, Column int
	// Where is the path of the value in question, such as releases[0].name;
	// empty for the whole file.
	Where string
	// Problem says what is wrong.
	Problem string
}

// Error is line, column, path and problem.
func (e *Error) Error() string {
	where := ""
	if e.Where != "" {
		where = e.Where + ": "
	}
	return fmt.Sprintf("policy: %d:%d: %s%s", e.Line, e.Column, where, e.Problem)
}

// reader walks strict JSON token by token. encoding/json's own decoding into
// structs matches names in any case and lets the last of two equal names win,
// so that "PCRS" behind "pcrs" would replace it unseen.
type reader struct {
	input []byte
	dec   *json.Decoder
}

// newReader checks the syntax of the whole input first.
func newReader(b []byte) (*reader, error) {
	r := &reader{input: b, dec: json.NewDecoder(bytes.NewReader(b))}
	if !utf8.Valid(b) {
		return nil, r.at(0, "", "not UTF-8")
	}
	var whole json.RawMessage
	err := json.Unmarshal(b, &whole)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, r.at(int(syntax.Offset), "", "not JSON: "+syntax.Error())
	}
	if err != nil {
		return nil, r.at(0, "", "not JSON")
	}
	r.dec.UseNumber()
	return r, nil
}

// fail is an error about what was read last.
func (r *reader) fail(where, problem string) error {
	return r.at(int(r.dec.InputOffset()), where, problem)
}

func (r *reader) at(offset int, where, problem string) error {
	before := r.input[:min(offset, len(r.input))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return &Error{Line: line, Column: column, Where: where, Problem: problem}
}

// token reads one token. The syntax is known to be good.
func (r *reader) token(where string) (json.Token, error) {
	t, err := r.dec.Token()
	if err != nil {
		return nil, r.fail(where, "not JSON")
	}
	return t, nil
}

// object reads an object and calls field for each of its names, before the
// value. Two names that differ in case only are an error, as are equal ones.
func (r *reader) object(where string, field func(name string) error) error {
	if t, err := r.token(where); err != nil {
		return err
	} else if t != json.Delim('{') {
		return r.fail(where, "must be an object")
	}
	seen := make(map[string]string)
	for r.dec.More() {
		t, err := r.token(where)
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return r.fail(where, "not JSON")
		}
		folded := strings.ToLower(name)
		if first, twice := seen[folded]; twice {
			return r.fail(where, fmt.Sprintf("duplicate key %q, after %q", name, first))
		}
		seen[folded] = name
		if err := field(name); err != nil {
			return err
		}
	}
	_, err := r.token(where)
	return err
}

// array reads an array of at most limit values and calls item for each.
func (r *reader) array(where string, limit int, item func(i int) error) error {
	if t, err := r.token(where); err != nil {
		return err
	} else if t != json.Delim('[') {
		return r.fail(where, "must be a list")
	}
	for i := 0; r.dec.More(); i++ {
		if i == limit {
			return r.fail(where, fmt.Sprintf("more than %d entries", limit))
		}
		if err := item(i); err != nil {
			return err
		}
	}
	_, err := r.token(where)
	return err
}

// text reads a string of at least one byte.
func (r *reader) text(where string) (string, error) {
	t, err := r.token(where)
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", r.fail(where, "must be text")
	}
	if s == "" {
		return "", r.fail(where, "must not be empty")
	}
	return s, nil
}

// oneOf reads a string that must be one of the words.
func (r *reader) oneOf(where string, words ...string) (string, error) {
	s, err := r.text(where)
	if err != nil {
		return "", err
	}
	for _, w := range words {
		if s == w {
			return s, nil
		}
	}
	return "", r.fail(where, fmt.Sprintf("%q is none of: %s", s, strings.Join(words, ", ")))
}

// boolean reads true or false.
func (r *reader) boolean(where string) (bool, error) {
	t, err := r.token(where)
	if err != nil {
		return false, err
	}
	b, ok := t.(bool)
	if !ok {
		return false, r.fail(where, "must be true or false")
	}
	return b, nil
}

// literal reads a number that is written exactly so.
func (r *reader) literal(where, want string) error {
	t, err := r.token(where)
	if err != nil {
		return err
	}
	if n, ok := t.(json.Number); !ok || n.String() != want {
		return r.fail(where, "must be "+want)
	}
	return nil
}

// end demands that nothing is left.
func (r *reader) end() error {
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return r.fail("", "something follows the policy")
	}
	return nil
}
