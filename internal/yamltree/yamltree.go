// Package yamltree reads YAML files of people strictly: one document, plain
// mappings, lists and scalars, every key once and known. It trusts nothing,
// bounds what it reads, and says of each problem where it is. It has no
// anchors, aliases, merge keys or tags: a file is only what it looks like.
package yamltree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth bounds the nesting of mappings and lists.
	maxDepth = 32
	// maxProblems bounds how many problems of one file are kept.
	maxProblems = 100
	// maxShown is the longest piece of the file that a problem quotes, in bytes.
	maxShown = 64
)

// Problem is one thing that is wrong with a file.
type Problem struct {
	// File is the file's name as the caller gave it.
	File string
	// Line and Column count from 1; columns count characters.
	Line, Column int
	// Text says what is wrong and what to write instead.
	Text string
}

// Error is file:line:column: text.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// Tree is one parsed file, with the problems found in it so far.
type Tree struct {
	root     Node
	file     string
	problems []*Problem
	dropped  int
}

// Parse reads one YAML document of at most limit bytes. A file that isn't YAML
// at all gives an error; other problems wait for Err, so that a reader can find
// its own before it stops.
func Parse(b []byte, file string, limit int) (*Tree, error) {
	t := &Tree{file: file}
	switch {
	case len(b) > limit:
		return nil, t.problem(1, 1, fmt.Sprintf("larger than %d bytes", limit))
	case !utf8.Valid(b):
		line, column := badByte(b)
		return nil, t.problem(line, column, "not UTF-8; save the file as UTF-8")
	}
	doc, second, err := parse(b)
	switch {
	case err != nil:
		return nil, t.syntax(b, err)
	case doc == nil || len(doc.Content) != 1:
		return nil, t.problem(1, 1, "the file is empty")
	case second != nil:
		return nil, t.problem(second.Line, second.Column, "a second document; write one document only")
	}
	t.root = Node{tree: t, yaml: doc.Content[0]}
	if !t.check(doc.Content[0], maxDepth) {
		return nil, t.Err()
	}
	return t, nil
}

// parse answers the first document and the second, nil for those that aren't
// there. The library reports its own bugs as panics; a file must not bring the
// program down.
func parse(b []byte) (first, second *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the YAML library can't read it")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(b))
	for _, doc := range []**yaml.Node{&first, &second} {
		n := &yaml.Node{}
		if err := dec.Decode(n); errors.Is(err, io.EOF) {
			return first, second, nil
		} else if err != nil {
			return nil, nil, err
		}
		*doc = n
	}
	return first, second, nil
}

// Root is the document's value.
func (t *Tree) Root() Node { return t.root }

// Count is the number of problems so far.
func (t *Tree) Count() int { return len(t.problems) + t.dropped }

// Problems answers all problems in the order of the file, each once. Err has
// them as one error.
func (t *Tree) Problems() []*Problem {
	slices.SortStableFunc(t.problems, func(a, b *Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []*Problem
	for i, p := range t.problems {
		if i == 0 || *p != *t.problems[i-1] {
			all = append(all, p)
		}
	}
	return all
}

// Err answers all problems in the order of the file, joined, or nil.
func (t *Tree) Err() error {
	var all []error
	for _, p := range t.Problems() {
		all = append(all, p)
	}
	if t.dropped > 0 {
		all = append(all, fmt.Errorf("%s: and %d more", t.file, t.dropped))
	}
	return errors.Join(all...)
}

func (t *Tree) problem(line, column int, text string) error {
	return &Problem{File: t.file, Line: max(line, 1), Column: max(column, 1), Text: text}
}

func (t *Tree) add(n *yaml.Node, text string) {
	if len(t.problems) == maxProblems {
		t.dropped++
		return
	}
	t.problems = append(t.problems, &Problem{File: t.file, Line: max(n.Line, 1), Column: max(n.Column, 1), Text: text})
}

// fromZero are the beginnings of those messages of the library whose line it
// counts from 0: its parser's, unlike its scanner's.
var fromZero = []string{"did not find expected '", "did not find expected key", "did not find expected node", "did not find expected <", "found undefined", "found duplicate"}

// syntax gives the library's error a place: it knows a line at most.
func (t *Tree) syntax(b []byte, err error) error {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := regexp.MustCompile(`^line ([0-9]{1,9}): `).FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
		if slices.ContainsFunc(fromZero, func(s string) bool { return strings.HasPrefix(text, s) }) {
			line++
		}
	}
	lines := bytes.Split(b, []byte("\n"))
	line = min(max(line, 1), len(lines))
	indent := func() []byte { return lines[line-1][:len(lines[line-1])-len(bytes.TrimLeft(lines[line-1], " \t"))] }
	// Of a tab it tells the line of the value before.
	for strings.Contains(text, "tab character") && line < len(lines) && !bytes.ContainsRune(indent(), '\t') {
		line++
	}
	column := len(indent()) + 1
	return t.problem(line, column, "not YAML: "+shorten(text))
}

// check refuses what makes a file something else than it looks like. It
// answers false when the tree can't be walked further.
func (t *Tree) check(n *yaml.Node, depth int) bool {
	if depth == 0 {
		t.add(n, fmt.Sprintf("nested deeper than %d levels", maxDepth))
		return false
	}
	switch {
	case n.Kind == yaml.AliasNode:
		t.add(n, "an alias (*); write the value out")
		return false
	case n.Anchor != "":
		t.add(n, "an anchor (&); remove it")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		t.add(n, "a tag (!); remove it, and put text in quotes")
		return false
	}
	ok := true
	for _, child := range n.Content {
		ok = t.check(child, depth-1) && ok
	}
	if n.Kind == yaml.MappingNode {
		ok = t.checkKeys(n) && ok
	}
	return ok
}

// checkKeys refuses keys that stand twice; a reader takes the first.
func (t *Tree) checkKeys(n *yaml.Node) bool {
	seen, ok := map[string]bool{}, true
	for i := 0; i < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			t.add(key, "a key must be a word")
			ok = false
		case key.Tag == "!!merge":
			t.add(key, "a merge key (<<); write the keys out")
			ok = false
		case seen[key.Value]:
			t.add(key, fmt.Sprintf("key %s stands twice; remove one", Quote(key.Value)))
		}
		seen[key.Value] = true
	}
	return ok
}

// badByte finds the first byte that isn't UTF-8.
func badByte(b []byte) (line, column int) {
	line, column = 1, 1
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			return line, column
		case r == '\n':
			line, column = line+1, 1
		default:
			column++
		}
		b = b[size:]
	}
	return line, column
}
