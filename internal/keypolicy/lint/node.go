package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	// maxFile is the largest file, in bytes. Key policies end at 32 KB; a list
	// of grants may be longer.
	maxFile = 1 << 20
	// maxDepth is the deepest nesting that is read.
	maxDepth = 16
)

// node is a JSON value with the line that it begins on. Objects keep their
// order and every member, twice named ones too.
type node struct {
	line    int
	kind    byte // '{', '[', 's' text, 'w' other word
	text    string
	members []member
	items   []*node
}

type member struct {
	name string
	line int
	node *node
}

// get answers the first member of a name; names know no case.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for _, m := range n.members {
		if strings.EqualFold(m.name, name) {
			return m.node
		}
	}
	return nil
}

// texts answers the texts of a value or of a list of values; words such as true
// count as their text. ok is false when something else is among them.
func (n *node) texts() (all []string, ok bool) {
	switch {
	case n == nil:
		return nil, false
	case n.kind == 's', n.kind == 'w':
		return []string{n.text}, true
	case n.kind != '[':
		return nil, false
	}
	ok = true
	for _, item := range n.items {
		if item.kind != 's' && item.kind != 'w' {
			ok = false
			continue
		}
		all = append(all, item.text)
	}
	return all, ok
}

// list answers the items of a list, or the value itself: one statement may
// stand without a list.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	if n.kind == '[' {
		return n.items
	}
	return []*node{n}
}

type reader struct {
	dec   *json.Decoder
	bytes []byte
	at    int // how far lines are counted, in bytes
	line  int
}

// parse reads one JSON value and nothing after it.
func parse(b []byte) (*node, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	r := &reader{dec: json.NewDecoder(bytes.NewReader(b)), bytes: b, line: 1}
	r.dec.UseNumber()
	n, err := r.value(maxDepth)
	if err != nil {
		return nil, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return n, nil
}

// token answers the next token and the line that it ends on.
func (r *reader) token() (json.Token, int, error) {
	t, err := r.dec.Token()
	if err != nil {
		return nil, 0, fmt.Errorf("not JSON: %w", err)
	}
	end := int(r.dec.InputOffset())
	r.line += bytes.Count(r.bytes[r.at:end], []byte("\n"))
	r.at = end
	return t, r.line, nil
}

func (r *reader) value(depth int) (*node, error) {
	t, line, err := r.token()
	if err != nil {
		return nil, err
	}
	if depth == 0 {
		return nil, errors.New("nested too deep")
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return r.object(line, depth)
		}
		return r.array(line, depth)
	case string:
		return &node{line: line, kind: 's', text: t}, nil
	case nil:
		return &node{line: line, kind: 'w', text: "null"}, nil
	default:
		return &node{line: line, kind: 'w', text: fmt.Sprint(t)}, nil
	}
}

func (r *reader) object(line, depth int) (*node, error) {
	n := &node{line: line, kind: '{'}
	for r.dec.More() {
		t, at, err := r.token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, errors.New("not JSON: a name is missing")
		}
		v, err := r.value(depth - 1)
		if err != nil {
			return nil, err
		}
		n.members = append(n.members, member{name, at, v})
	}
	_, _, err := r.token()
	return n, err
}

func (r *reader) array(line, depth int) (*node, error) {
	n := &node{line: line, kind: '['}
	for r.dec.More() {
		v, err := r.value(depth - 1)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, v)
	}
	_, _, err := r.token()
	return n, err
}
