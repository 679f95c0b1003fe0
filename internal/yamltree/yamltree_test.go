package yamltree_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/internal/yamltree"
)

func parse(t testing.TB, text string) *yamltree.Tree {
	t.Helper()
	tree, err := yamltree.Parse([]byte(text), "f", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// lines answers an error's problems, without the file's name.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(strings.ReplaceAll(err.Error(), "f:", ""), "\n")
}

// TestSyntax holds the line of what isn't YAML: that of the mistake, or of the
// bracket that isn't closed.
func TestSyntax(t *testing.T) {
	const before = "a: 1\nb:\n  c: 1\n  d: 2\n"
	for text, want := range map[string]string{
		" e: 3\nf: 4\n":           "5:2: not YAML: did not find expected key",
		"   e: 3\nf: 4\n":         "5:4: not YAML: mapping values are not allowed in this context",
		"f: [a, b\ng: 5\n":        "5:1: not YAML: did not find expected ',' or ']'",
		"f: {a: b\ng: 5\n":        "5:1: not YAML: did not find expected ',' or '}'",
		"f: \"abc\ng: 5\n":        "5:1: not YAML: found unexpected end of stream",
		"f: a: b\ng: 5\n":         "5:1: not YAML: mapping values are not allowed in this context",
		"f\ng: 5\n":               "5:1: not YAML: could not find expected ':'",
		"f: 'a' b\ng: 5\n":        "5:1: not YAML: did not find expected key",
		"f: @a\ng: 5\n":           "5:1: not YAML: found character that cannot start any token",
		"f: ]\ng: 5\n":            "5:1: not YAML: did not find expected node content",
		"f:\n  - a\n - b\ng: 5\n": "7:2: not YAML: did not find expected key",
		"\tf: 1\n":                "5:2: not YAML: found a tab character that violates indentation",
	} {
		_, err := yamltree.Parse([]byte(before+text), "f", 1<<20)
		if err == nil || err.Error() != "f:"+want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a: b\n", ""},
		{"a: bc\n", "1:1: larger than 5 bytes"},
		{"a\xc3\n", "1:2: not UTF-8; save the file as UTF-8"},
		{"é\n\xff\n", "2:1: not UTF-8; save the file as UTF-8"},
		{"", "1:1: the file is empty"},
		{"#\n", "1:1: the file is empty"},
	} {
		_, err := yamltree.Parse([]byte(c.text), "f", 5)
		if got := strings.Join(lines(err), "|"); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestScalars(t *testing.T) {
	for _, c := range []struct {
		text, value string
		reads       string
	}{
		{"text", "a b", "text=a b"},
		{"quoted text", `"12"`, "text=12"},
		{"a day", "2026-01-31", "text=2026-01-31"},
		{"yes, which is a boolean in old YAML", "yes", "text=yes"},
		{"block text", "|\n  a\n  b\n", "text=a\nb\n"},
		{"true", "true", "bool=true"},
		{"FALSE", "FALSE", "bool=false"},
		{"a number", "12", "numeral=12 whole=12"},
		{"a negative number", "-3", "numeral=-3 whole=-3"},
		{"zero", "0", "numeral=0 whole=0"},
		{"a fraction", "0.50", "numeral=0.50"},
		{"an exponent", "1e-3", "numeral=1e-3"},
		{"a large number", "9223372036854775807", "numeral=9223372036854775807 whole=9223372036854775807"},
		{"a number beyond int64", "9223372036854775808", "numeral=9223372036854775808"},
		{"octal", "017", ""},
		{"hexadecimal", "0x1F", ""},
		{"grouped", "1_000", ""},
		{"no digit in front", ".5", ""},
		{"no digit behind", "5.", ""},
		{"not a number", ".nan", ""},
		{"infinity", "-.inf", ""},
		{"null", "~", ""},
		{"empty text", `""`, ""},
		{"a list", "[a]", ""},
		{"a mapping", "{a: b}", ""},
	} {
		var got []string
		node := func() (*yamltree.Tree, yamltree.Node) {
			tree := parse(t, "- "+c.value+"\n")
			list, ok := tree.Root().List(1)
			if !ok {
				t.Fatalf("%s: %v", c.text, tree.Err())
			}
			return tree, list[0]
		}
		note := func(tree *yamltree.Tree, kind string, v any, ok bool) {
			if ok != (tree.Err() == nil) {
				t.Errorf("%s as %s: %v, and yet %v", c.text, kind, ok, tree.Err())
			}
			if ok {
				got = append(got, fmt.Sprintf("%s=%v", kind, v))
			}
		}
		tree, n := node()
		text, ok := n.Text()
		note(tree, "text", text, ok)
		tree, n = node()
		yes, ok := n.Bool()
		note(tree, "bool", yes, ok)
		tree, n = node()
		numeral, ok := n.Numeral()
		note(tree, "numeral", numeral, ok)
		tree, n = node()
		whole, ok := n.Whole(math.MinInt64, math.MaxInt64)
		note(tree, "whole", whole, ok)
		if strings.Join(got, " ") != c.reads {
			t.Errorf("%s reads as %q, want %q", c.text, got, c.reads)
		}
	}
}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, text string
		read       func(yamltree.Node)
		want       []string
	}{
		{"word", "b\n", func(n yamltree.Node) { n.Word("a", "c", "d") }, []string{`1:1: "b" is unknown; write a, c or d`}},
		{"one word", "[b]\n", func(n yamltree.Node) { n.Word("a") }, []string{`1:1: must be a`}},
		{"whole", "7\n", func(n yamltree.Node) { n.Whole(8, 9) }, []string{`1:1: must be a whole number from 8 to 9, without quotes`}},
		{"one number", "7\n", func(n yamltree.Node) { n.Whole(1, 1) }, []string{`1:1: must be 1, without quotes`}},
		{"list", "a: b\n", func(n yamltree.Node) { n.List(3) }, []string{`1:1: must be a list`}},
		{"long list", "[1, 2, 3]\n", func(n yamltree.Node) { n.List(2) }, []string{`1:1: more than 2 entries`}},
		{"entries", "[a]\n", func(n yamltree.Node) { n.Entries(2) }, []string{`1:1: must be a mapping`}},
		{"many entries", "{a: 1, b: 2}\n", func(n yamltree.Node) { n.Entries(1) }, []string{`1:1: more than 1 entries`}},
		{"object", "[a]\n", func(n yamltree.Node) { n.Object("a", "b") }, []string{`1:1: must be a mapping of a or b`}},
		{"unknown keys", "naem: x\nother: y\nNAME: z\nname: ok\n", func(n yamltree.Node) { n.Object("name", "value") },
			[]string{`1:1: unknown key "naem"; write name`, `2:1: unknown key "other"; known are name, value`, `3:1: unknown key "NAME"; write name`}},
		{"needs", "a:\n", func(n yamltree.Node) {
			o, _ := n.Object("a", "b")
			o.Need("a", "a: 1")
			o.Need("b", "b: 2")
		}, []string{`1:1: a has no value; write a: 1`, `1:1: b is missing; write b: 2`}},
		{"a key twice", "a: 1\nb: 2\na: 3\n", func(n yamltree.Node) { n.Object("a", "b") }, []string{`3:1: key "a" stands twice; remove one`}},
		{"the same twice", "b\n", func(n yamltree.Node) { n.Word("a"); n.Word("a") }, []string{`1:1: "b" is unknown; write a`}},
		{"in the file's order", "a: x\nb: y\n", func(n yamltree.Node) {
			o, _ := n.Object("a", "b")
			for _, key := range []string{"b", "a"} {
				v, _ := o.Get(key)
				v.Fail("%s", key)
			}
		}, []string{"1:4: a", "2:4: b"}},
	} {
		tree := parse(t, c.text)
		c.read(tree.Root())
		if got := lines(tree.Err()); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestRefusesDisguise holds that a file is what it looks like.
func TestRefusesDisguise(t *testing.T) {
	for text, want := range map[string]string{
		"a: &x b\nc: *x\n":   "1:4: an anchor (&); remove it|2:4: an alias (*); write the value out",
		"<<: {a: b}\n":       "1:1: a merge key (<<); write the keys out",
		"a: !!binary YQ==\n": "1:4: a tag (!); remove it, and put text in quotes",
		"? {a: b}\n: c\n":    "1:3: a key must be a word",
		"a: 1\n---\nb: 2\n":  "2:1: a second document; write one document only",
		strings.Repeat("[", 33) + strings.Repeat("]", 33): "1:33: nested deeper than 32 levels",
	} {
		_, err := yamltree.Parse([]byte(text), "f", 1<<20)
		if got := strings.Join(lines(err), "|"); got != want {
			t.Errorf("%.20q: %q, want %q", text, got, want)
		}
	}
}

func TestManyProblems(t *testing.T) {
	tree := parse(t, strings.Repeat("- a\n", 250))
	list, _ := tree.Root().List(1000)
	for _, n := range list {
		n.Bool()
	}
	got := lines(tree.Err())
	if len(got) != 101 || got[100] != " and 150 more" || tree.Count() != 250 {
		t.Errorf("%d lines, the last %q, %d counted", len(got), got[len(got)-1], tree.Count())
	}
}

func TestWalkAndEntries(t *testing.T) {
	tree := parse(t, "a:\n  - {b: 1, c: [{d: 2}]}\ne: 3\n")
	var keys []string
	tree.Root().Walk(func(key string, v yamltree.Node) {
		text, scalar := v.Peek()
		keys = append(keys, fmt.Sprint(key, "=", text, " ", scalar))
	})
	if want := []string{"a= false", "b=1 true", "c= false", "d=2 true", "e=3 true"}; !slices.Equal(keys, want) {
		t.Errorf("walked %q, want %q", keys, want)
	}
	entries, ok := tree.Root().Entries(2)
	if !ok || len(entries) != 2 || entries[0].Key != "a" || entries[1].Key != "e" {
		t.Fatalf("%v, %v", entries, ok)
	}
	entries[1].At.Fail("here")
	if got := lines(tree.Err()); !slices.Equal(got, []string{"3:1: here"}) {
		t.Errorf("%q", got)
	}
}

func TestGet(t *testing.T) {
	tree := parse(t, "a: 1\nb: ~\nc: null\nd:\ne: \"\"\n")
	o, ok := tree.Root().Object("a", "b", "c", "d", "e", "f")
	if !ok {
		t.Fatal(tree.Err())
	}
	for key, want := range map[string]bool{"a": true, "b": false, "c": false, "d": false, "e": true, "f": false} {
		if _, ok := o.Get(key); ok != want {
			t.Errorf("%s: %v", key, ok)
		}
	}
	if tree.Err() != nil {
		t.Error(tree.Err())
	}
}

func TestUnknown(t *testing.T) {
	known := []string{"minimum", "maximum", "pattern", "id", "enum"}
	many := make([]string, 13)
	for i := range many {
		many[i] = fmt.Sprintf("keyword%d", i)
	}
	for _, c := range []struct {
		word  string
		known []string
		want  string
	}{
		{"minimun", known, `unknown key "minimun"; write minimum`},
		{"minium", known, `unknown key "minium"; write minimum`},
		{"enums", known, `unknown key "enums"; write enum`},
		{"PATTERN", known, `unknown key "PATTERN"; write pattern`},
		{"ib", known, `unknown key "ib"; known are minimum, maximum, pattern, id, enum`},
		{"other", many, `unknown key "other"; remove it`},
		{"other", nil, `unknown key "other"; remove it`},
		{strings.Repeat("é", 40), known, `unknown key "` + strings.Repeat("é", 32) + `…"; known are minimum, maximum, pattern, id, enum`},
		{"a\x1b[31m", known[:1], `unknown key "a\x1b[31m"; known are minimum`},
	} {
		if got := yamltree.Unknown("key", c.word, c.known); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// FuzzParse checks that a tree can be walked and that problems have a place
// in the file.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: [b, {c: 1.5}]\n", "a: &x b\nc: *x\n", "- |\n  a\n- \"\\u00e9\"\n", "? a\n: b\n---\n# c\n", "<<: {}\n", "a: !!int \"1\"\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := yamltree.Parse(b, "f", 1<<16)
		if err == nil {
			tree.Root().Object("a")
			tree.Root().Walk(func(_ string, v yamltree.Node) { v.Text() })
			err = tree.Err()
		} else if tree != nil {
			t.Fatal("an error and a tree")
		}
		if err == nil {
			return
		}
		p, ok := errors.AsType[*yamltree.Problem](err)
		// An empty value at the end stands on the line behind it.
		rows := strings.Count(string(b), "\n") + strings.Count(string(b), "\r") + strings.Count(string(b), "\u0085") + strings.Count(string(b), "\u2028") + strings.Count(string(b), "\u2029")
		if !ok || p.Line < 1 || p.Line > rows+2 || p.Column < 1 {
			t.Fatalf("a place outside the file: %v", err)
		}
	})
}
