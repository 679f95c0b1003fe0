package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/test/rig"
)

const text = "SELECT COUNT(*) AS n FROM colon"

// cloister runs one command line.
func cloister(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.WithoutCancel(t.Context()), args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// hostile is an answer whose texts would drive a terminal and break a table.
func hostile(e *rig.Served, text string) *answer.Answer {
	a := e.Count(text)
	a.Columns = []answer.Column{
		{Name: "rx", Type: answer.String}, {Name: "n\x1b[2J", Type: answer.Int64}, {Name: "avg", Type: answer.Decimal, Scale: 2},
		{Name: "ok", Type: answer.Boolean}, {Name: "day", Type: answer.Date}, {Name: "at", Type: answer.Timestamp},
	}
	a.Rows = [][]answer.Cell{
		{{Text: "Lev+5FU"}, {Int: 620}, {Text: "-0.50"}, {Int: 1}, {Int: 0}, {Int: 0}},
		{{Text: "\x1b]0;owned\a\tx\ny"}, {Int: -1}, {Text: "1.00"}, {}, {Int: 1}, {Int: 1}},
		{{Text: "a\u202eb"}, {Null: true}, {Null: true}, {Null: true}, {Null: true}, {Null: true}},
	}
	return a
}

func TestTable(t *testing.T) {
	e := rig.Serve(t)
	e.Answer = func(text string) (*answer.Answer, []byte, error) { return e.Sign(hostile(e, text)) }
	code, out, errs := cloister(t, "query", text, "-o", "table", "--context", e.Context(t, e.Rig))
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	want := []string{
		`rx                      "n\x1b[2J"    avg  ok     day         at`,
		`----------------------  ----------  -----  -----  ----------  ---------------------------`,
		`Lev+5FU                        620  -0.50  true   1970-01-01  1970-01-01T00:00:00Z`,
		`"\x1b]0;owned\a\tx\ny"          -1   1.00  false  1970-01-02  1970-01-01T00:00:00.000001Z`,
		`"a\u202eb"                    NULL   NULL  NULL   NULL        NULL`,
	}
	if out != strings.Join(want, "\n")+"\n" {
		t.Errorf("the table is:\n%s", out)
	}
	if strings.ContainsAny(out+errs, "\x1b\a\u202e\t") {
		t.Errorf("a text reached the terminal as it is: %q", out)
	}
	if !strings.Contains(errs, "NOT protected against differencing") {
		t.Errorf("nothing is said about the mode: %s", errs)
	}
}

// TestCSV: a file gets every text as it is, NULL as an empty field.
func TestCSV(t *testing.T) {
	e := rig.Serve(t)
	e.Answer = func(text string) (*answer.Answer, []byte, error) { return e.Sign(hostile(e, text)) }
	code, out, errs := cloister(t, "query", text, "-o", "csv", "--context", e.Context(t, e.Rig))
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 4 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if rows[0][1] != "n\x1b[2J" || rows[2][0] != "\x1b]0;owned\a\tx\ny" || strings.Join(rows[3][1:], "") != "" {
		t.Errorf("another file: %q", rows)
	}
}

func TestJSON(t *testing.T) {
	e := rig.Serve(t)
	code, out, errs := cloister(t, "query", text, "-o", "json", "--context", e.Context(t, e.Rig))
	var got struct {
		Schema string  `json:"schema"`
		Rows   [][]int `json:"rows"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Schema != "cloister.query/v1" || len(got.Rows) != 1 || got.Rows[0][0] != 929 {
		t.Errorf("exit %d, %v: %s%s", code, err, out, errs)
	}
}

// TestWrongEnclave: exit 1, the class in one clear line, nothing asked.
func TestWrongEnclave(t *testing.T) {
	e := rig.Serve(t)
	for name, c := range map[string]struct {
		wanted rig.Config
		line   string
	}{
		"another root":   {rig.Config{}, "cloister: REFUSED: attestation: untrusted root: "},
		"another image":  {rig.Config{Root: e.Root, Label: "another"}, "cloister: REFUSED: attestation: policy mismatch: PCR0: "},
		"another bundle": {rig.Config{Root: e.Root, Bundle: func(b *bundle.Bundle) { b.Limits.QueryTimeout = 1 }}, "cloister: REFUSED: attestation: policy mismatch: PCR16: "},
	} {
		code, out, errs := cloister(t, "query", text, "--wait", "1h", "--context", e.Context(t, rig.New(t, c.wanted)))
		if code != exitRefused || out != "" || !strings.HasPrefix(errs, c.line) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, %q, %q", name, code, out, errs)
		}
	}
	if n := e.Calls.Load(); n != 0 {
		t.Errorf("%d queries reached it", n)
	}
}

func TestExitCodes(t *testing.T) {
	e := rig.Serve(t)
	good := e.Context(t, e.Rig)
	refuse := func(string) (*answer.Answer, []byte, error) {
		return nil, nil, sql.Refuse(rig.Dataset, "PQ100_SYNTAX", "it is so", "do otherwise")
	}
	for name, c := range map[string]struct {
		args []string
		code int
		errs string
	}{
		"a refused query":    {[]string{"query", text, "--context", good}, exitRefused, "PQ100_SYNTAX"},
		"no query":           {[]string{"query", "--context", good}, exitUsage, "a statement is needed"},
		"no context":         {[]string{"query", text}, exitUsage, "CLOISTER_CONTEXT"},
		"no such context":    {[]string{"query", text, "--context", "none.json"}, exitUsage, "none.json"},
		"an unknown form":    {[]string{"query", text, "-o", "xml", "--context", good}, exitUsage, "xml"},
		"an unknown flag":    {[]string{"query", text, "--verbose"}, exitUsage, "verbose"},
		"verified":           {[]string{"verify", "--context", good}, 0, ""},
		"the dataset":        {[]string{"describe", rig.Dataset, "--context", good}, 0, ""},
		"another dataset":    {[]string{"describe", "other", "--context", good}, exitUsage, "no dataset"},
		"all datasets":       {[]string{"datasets", "--context", good}, 0, ""},
		"an unknown command": {[]string{"quarry"}, exitUsage, "quarry"},
	} {
		e.Answer = refuse
		if code, _, errs := cloister(t, c.args...); code != c.code || !strings.Contains(errs, c.errs) {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
	e.Paths.Shut("closed")
	if code, _, errs := cloister(t, "query", text, "--wait", "0s", "--context", good); code != exitUnreachable || !strings.Contains(errs, "no keys") {
		t.Errorf("no keys: exit %d: %s", code, errs)
	}
}

func TestVerifyJSON(t *testing.T) {
	e := rig.Serve(t)
	code, out, errs := cloister(t, "verify", "-o", "json", "--context", e.Context(t, e.Rig))
	var got struct {
		Schema   string `json:"schema"`
		Verified bool   `json:"verified"`
		Class    string `json:"class"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || !got.Verified {
		t.Errorf("exit %d, %v: %s%s", code, err, out, errs)
	}
	code, out, errs = cloister(t, "verify", "-o", "json", "--context", e.Context(t, rig.New(t, rig.Config{})))
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitRefused || got.Verified || got.Class != "untrusted root" {
		t.Errorf("exit %d, %v: %s%s", code, err, out, errs)
	}
}

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a b": "a b", "Lev+5FU": "Lev+5FU", "Größe 日本": "Größe 日本", `"quoted"`: `"quoted"`, `back\slash`: `back\slash`,
		"a\tb": `"a\tb"`, "a\nb": `"a\nb"`, "\x1b[31m": `"\x1b[31m"`, "a\x7f": `"a\x7f"`, "a\u0085b": `"a\u0085b"`, "a\u202eb": `"a\u202eb"`,
		"a\u00a0b": `"a\u00a0b"`, "a\u200bb": `"a\u200bb"`, "\xff": `"\xff"`, "a\rb": `"a\rb"`,
	} {
		if got := printable(s); got != want {
			t.Errorf("%q is shown as %s, not %s", s, got, want)
		}
	}
	if got := message("one\n\ttwo\x1b[2J"); got != "one\n\t\"two\\x1b[2J\"" {
		t.Errorf("a message is shown as %s", got)
	}
}

func TestTexts(t *testing.T) {
	a := &client.Answer{Answer: &answer.Answer{Columns: []answer.Column{{Type: answer.String}, {Type: answer.Boolean}, {Type: answer.String}}}}
	if got := texts(a, []answer.Cell{{Text: ""}, {Int: 1}, {Null: true}}, "NULL"); strings.Join(got, "|") != "|true|NULL" {
		t.Errorf("%q", got)
	}
}
