package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/limits"
	"github.com/cloisterhq/cloister/test/rig"
)

// TestArrow writes a stream that holds all that the signature covers.
func TestArrow(t *testing.T) {
	e := rig.Serve(t)
	e.Answer = func(text string) (*answer.Answer, []byte, error) { return e.Sign(hostile(e, text)) }
	code, out, errs := cloister(t, "query", text, "-o", "arrow", "--context", e.Context(t, e.Rig))
	if code != 0 || !strings.Contains(errs, "NOT protected") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	r, err := ipc.NewReader(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	record, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	a, signature, err := arrowform.Answer(r.Schema(), []arrow.RecordBatch{record})
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Verify(a, signature, e.Service.Public().(ed25519.PublicKey)); err != nil || len(a.Rows) != 3 {
		t.Errorf("%v: %+v", err, a)
	}
}

// TestNDJSON writes an object a row; names and texts are escaped.
func TestNDJSON(t *testing.T) {
	e := rig.Serve(t)
	e.Answer = func(text string) (*answer.Answer, []byte, error) { return e.Sign(hostile(e, text)) }
	code, out, errs := cloister(t, "query", text, "-o", "ndjson", "--context", e.Context(t, e.Rig))
	if code != 0 || !strings.Contains(errs, "NOT protected") {
		t.Fatalf("exit %d: %s", code, errs)
	}
	rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if want := `{"rx":"Lev+5FU","n\u001b[2J":620,"avg":"-0.50","ok":true,"day":"1970-01-01","at":"1970-01-01T00:00:00Z"}`; len(rows) != 3 || rows[0] != want {
		t.Errorf("%d rows, %s", len(rows), rows[0])
	}
	for _, row := range rows {
		if !json.Valid([]byte(row)) {
			t.Errorf("not JSON: %s", row)
		}
	}
	e.Answer = func(text string) (*answer.Answer, []byte, error) {
		a := e.Count(text)
		a.Columns = append(a.Columns, a.Columns[0])
		a.Rows[0] = append(a.Rows[0], a.Rows[0][0])
		return e.Sign(a)
	}
	for _, form := range []string{"ndjson", "parquet"} {
		if code, out, errs := cloister(t, "query", text, "-o", form, "--context", e.Context(t, e.Rig)); code != exitUsage || out != "" || !strings.Contains(errs, "with AS") {
			t.Errorf("-o %s with a name twice: exit %d, %s%s", form, code, out, errs)
		}
	}
}

// TestOut writes a file whole or not at all, in the form that its name tells.
func TestOut(t *testing.T) {
	e := rig.Serve(t)
	path := e.Context(t, e.Rig)
	dir := t.TempDir()
	for name, begins := range map[string]string{
		"a.csv": "n\n929\n", "a.JSON": `{"schema":"cloister.query/v1"`, "a.ndjson": `{"n":929}`, "a.txt": "  n\n---\n929\n", "a.parquet": "PAR1", "a.arrow": "\xff\xff\xff\xff",
	} {
		file := filepath.Join(dir, name)
		code, out, errs := cloister(t, "query", text, "--out", file, "--context", path)
		b, err := os.ReadFile(file)
		if code != 0 || out != "" || err != nil || !strings.HasPrefix(string(b), begins) || !strings.Contains(errs, "signed by the attested enclave") {
			t.Errorf("%s: exit %d, %v, %q, %s%s", name, code, err, b, out, errs)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	file := filepath.Join(dir, "a.csv")
	if code, _, errs := cloister(t, "query", text, "--out", file, "-o", "json", "--context", path); code != 0 {
		t.Errorf("-o over the ending: %s", errs)
	}
	if b, err := os.ReadFile(file); err != nil || !json.Valid(b) {
		t.Errorf("-o over the ending: %v, %q", err, b)
	}
	e.Answer = func(string) (*answer.Answer, []byte, error) {
		return nil, nil, sql.Refuse(rig.Dataset, "PQ100_SYNTAX", "it is so", "do otherwise")
	}
	if code, _, _ := cloister(t, "query", text, "--out", file, "--context", path); code != exitRefused {
		t.Errorf("exit %d", code)
	}
	if b, err := os.ReadFile(file); err != nil || !json.Valid(b) {
		t.Errorf("a refused query changed the file: %v, %q", err, b)
	}
	if code, _, _ := cloister(t, "query", text, "--out", filepath.Join(dir, "none", "a.csv"), "--context", path); code != exitUsage && code != exitRefused {
		t.Errorf("a directory that isn't there: exit %d", code)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".cloister-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestStatement takes the text from three places, and less than a limit.
func TestStatement(t *testing.T) {
	e := rig.Serve(t)
	path := e.Context(t, e.Rig)
	file := filepath.Join(t.TempDir(), "q.sql")
	if err := os.WriteFile(file, []byte("\ufeff\n"+text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var asked []string
	e.Answer = func(text string) (*answer.Answer, []byte, error) {
		asked = append(asked, text)
		return e.Sign(e.Count(text))
	}
	in := func(stdin string, args ...string) int {
		var out, errs bytes.Buffer
		return run(context.WithoutCancel(t.Context()), append(args, "--context", path), strings.NewReader(stdin), &out, &errs)
	}
	for _, code := range []int{in("", "query", text), in("", "query", "--file", file), in(text+"\r\n", "query", "-"), in(text, "query", "--file", "-")} {
		if code != 0 {
			t.Errorf("exit %d", code)
		}
	}
	if len(asked) != 4 {
		t.Errorf("asked %q", asked)
	}
	for _, got := range asked {
		if got != text {
			t.Errorf("asked %q", got)
		}
	}
	if code := in(strings.Repeat(" ", limits.Query+1), "query", "-"); code != exitUsage || len(asked) != 4 {
		t.Errorf("a long text: exit %d", code)
	}
}

// TestTableAligns holds widths by characters, and no space at a line's end.
func TestTableAligns(t *testing.T) {
	a := &client.Answer{Answer: &answer.Answer{
		Columns: []answer.Column{{Name: "größe", Type: answer.String}, {Name: "n", Type: answer.Int64}, {Name: "note", Type: answer.String}},
		Rows:    [][]answer.Cell{{{Text: "ä"}, {Int: 1000}, {Text: ""}}, {{Text: "abcdefg"}, {Int: -5}, {Null: true}}},
	}}
	var b strings.Builder
	if err := writeTable(&b, a); err != nil {
		t.Fatal(err)
	}
	want := "größe       n  note\n-------  ----  ----\nä        1000\nabcdefg    -5  NULL\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
	empty := &client.Answer{Answer: &answer.Answer{Columns: a.Columns}}
	b.Reset()
	if err := writeTable(&b, empty); err != nil || b.String() != "größe  n  note\n-----  -  ----\n" {
		t.Errorf("no rows: %v\n%s", err, b.String())
	}
}

// TestNoSecretInArguments walks all commands: whoever runs ps sees arguments,
// so that a secret is always a file's name.
func TestNoSecretInArguments(t *testing.T) {
	flag := regexp.MustCompile(`--([a-z-]+) string +(.*)`)
	seen := 0
	everyCommand(newRoot(), func(c *cobra.Command) {
		for _, f := range flag.FindAllStringSubmatch(c.Flags().FlagUsages(), -1) {
			seen++
			about := strings.ToLower(f[1] + " " + f[2])
			for _, word := range []string{"token", "password", "secret", "bearer", "credential", "private"} {
				if strings.Contains(about, word) && !strings.Contains(about, "file") {
					t.Errorf("%s --%s takes a %s as an argument: %s", c.CommandPath(), f[1], word, f[2])
				}
			}
		}
	})
	if seen < 20 {
		t.Errorf("%d flags looked at", seen)
	}
}

// TestEveryCommandSays what it does, with examples that begin as people type.
func TestEveryCommandSays(t *testing.T) {
	everyCommand(newRoot(), func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || strings.HasPrefix(c.CommandPath(), "cloister completion") {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if !c.HasSubCommands() && c.Name() != "version" && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if c.Example != "" && !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s isn't in its examples", c.CommandPath())
		}
		if c.Args == nil {
			t.Errorf("%s takes any arguments", c.CommandPath())
		}
	})
}
