package yamltree

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Node is one value of a tree. Its methods answer false, and keep a problem in
// the tree, when the value isn't what they are asked for.
type Node struct {
	tree *Tree
	yaml *yaml.Node
}

// Fail keeps a problem at this value.
func (n Node) Fail(format string, args ...any) {
	n.tree.add(n.yaml, fmt.Sprintf(format, args...))
}

// Text answers a text of at least one byte.
func (n Node) Text() (string, bool) {
	// YAML 1.1 reads 2020-01-31 as a timestamp; it is text here.
	if n.yaml.Kind != yaml.ScalarNode || n.yaml.Tag != "!!str" && n.yaml.Tag != "!!timestamp" {
		if n.yaml.Kind == yaml.ScalarNode && n.yaml.Value != "" && n.yaml.Tag != "!!null" {
			n.Fail("must be text; write it in quotes: %s", Quote(n.yaml.Value))
		} else {
			n.Fail("must be text")
		}
		return "", false
	}
	if n.yaml.Value == "" {
		n.Fail("must not be empty")
		return "", false
	}
	return n.yaml.Value, true
}

// Word answers a text that must be one of the words.
func (n Node) Word(words ...string) (string, bool) {
	if n.yaml.Kind != yaml.ScalarNode {
		n.Fail("must be %s", either(words))
		return "", false
	}
	for _, w := range words {
		if n.yaml.Value == w {
			return w, true
		}
	}
	n.Fail("%s is unknown; write %s", Quote(n.yaml.Value), either(words))
	return "", false
}

// Bool answers true or false.
func (n Node) Bool() (value, ok bool) {
	if n.yaml.Kind != yaml.ScalarNode || n.yaml.Tag != "!!bool" {
		n.Fail("must be true or false, without quotes")
		return false, false
	}
	return strings.EqualFold(n.yaml.Value, "true"), true
}

// Numeral answers a number as it is written: a plain decimal.
func (n Node) Numeral() (string, bool) {
	switch {
	case n.yaml.Kind != yaml.ScalarNode || n.yaml.Tag != "!!int" && n.yaml.Tag != "!!float":
		n.Fail("must be a number, without quotes")
		return "", false
	case !isDecimal(n.yaml.Value):
		n.Fail("must be a plain decimal number, such as 12 or 0.5")
		return "", false
	}
	return n.yaml.Value, true
}

// Whole answers a whole number between low and high.
func (n Node) Whole(low, high int64) (int64, bool) {
	v, err := int64(0), strconv.ErrSyntax
	if n.yaml.Kind == yaml.ScalarNode && n.yaml.Tag == "!!int" && isDecimal(n.yaml.Value) {
		v, err = strconv.ParseInt(n.yaml.Value, 10, 64)
	}
	switch {
	case err == nil && v >= low && v <= high:
		return v, true
	case low == high:
		n.Fail("must be %d, without quotes", low)
	default:
		n.Fail("must be a whole number from %d to %d, without quotes", low, high)
	}
	return 0, false
}

// Peek answers a scalar as it is written, and keeps no problem if it is none.
func (n Node) Peek() (string, bool) {
	return n.yaml.Value, n.yaml.Kind == yaml.ScalarNode
}

// List answers the values of a list of at most limit.
func (n Node) List(limit int) ([]Node, bool) {
	switch {
	case n.yaml.Kind != yaml.SequenceNode:
		n.Fail("must be a list")
		return nil, false
	case len(n.yaml.Content) > limit:
		n.Fail("more than %d entries", limit)
		return nil, false
	}
	out := make([]Node, 0, len(n.yaml.Content))
	for _, c := range n.yaml.Content {
		out = append(out, Node{n.tree, c})
	}
	return out, true
}

// Walk calls visit for every key below this value and the value that it has.
func (n Node) Walk(visit func(key string, value Node)) {
	for i, c := range n.yaml.Content {
		if n.yaml.Kind == yaml.MappingNode && i%2 == 1 {
			visit(n.yaml.Content[i-1].Value, Node{n.tree, c})
		}
		Node{n.tree, c}.Walk(visit)
	}
}

// Object answers a mapping all of whose keys are known.
func (n Node) Object(known ...string) (Object, bool) {
	o := Object{at: n}
	if n.yaml.Kind != yaml.MappingNode {
		n.Fail("must be a mapping of %s", either(known))
		return o, false
	}
	for i := 0; i < len(n.yaml.Content); i += 2 {
		key := Node{n.tree, n.yaml.Content[i]}
		if !slices.Contains(known, key.yaml.Value) {
			key.Fail("%s", Unknown("key", key.yaml.Value, known))
		}
	}
	return o, true
}

// Entries answers keys and values of a mapping whose keys are free, at most
// limit, in the order of the file.
func (n Node) Entries(limit int) ([]Entry, bool) {
	switch {
	case n.yaml.Kind != yaml.MappingNode:
		n.Fail("must be a mapping")
		return nil, false
	case len(n.yaml.Content) > 2*limit:
		n.Fail("more than %d entries", limit)
		return nil, false
	}
	var out []Entry
	for i := 0; i < len(n.yaml.Content); i += 2 {
		out = append(out, Entry{Key: n.yaml.Content[i].Value, At: Node{n.tree, n.yaml.Content[i]}, Value: Node{n.tree, n.yaml.Content[i+1]}})
	}
	return out, true
}

// Entry is one key of a mapping and its value.
type Entry struct {
	// Key is the key's text and At where it stands.
	Key string
	At  Node
	// Value is its value.
	Value Node
}

// Object is a mapping with known keys. A key whose value is empty or null
// counts as absent, as the standard for contracts says.
type Object struct{ at Node }

// At is the mapping itself.
func (o Object) At() Node { return o.at }

// Get answers the value of a key.
func (o Object) Get(key string) (Node, bool) {
	_, v, ok := o.find(key)
	return v, ok && v.yaml.Tag != "!!null"
}

// Need is Get of a key that must be there; hint says what to write.
func (o Object) Need(key, hint string) (Node, bool) {
	k, v, ok := o.find(key)
	switch {
	case !ok:
		o.at.Fail("%s is missing; write %s", key, hint)
	case v.yaml.Tag == "!!null":
		k.Fail("%s has no value; write %s", key, hint)
	default:
		return v, true
	}
	return Node{}, false
}

func (o Object) find(key string) (k, v Node, ok bool) {
	content := o.at.yaml.Content
	for i := 0; i+1 < len(content); i += 2 {
		if content[i].Value == key {
			return Node{o.at.tree, content[i]}, Node{o.at.tree, content[i+1]}, true
		}
	}
	return Node{}, Node{}, false
}
