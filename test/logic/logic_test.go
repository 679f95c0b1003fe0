// Package logic_test runs files of questions and the answers that they must
// have, through the whole query path over a small table.
package logic_test

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloisterhq/cloister/enclave/exec"
	"github.com/cloisterhq/cloister/enclave/query"
	"github.com/cloisterhq/cloister/enclave/sql"
	"github.com/cloisterhq/cloister/enclave/store"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/columns"
	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/test/genuine"
)

func visits() *contract.Contract {
	least, most := int64(-1_000_000), int64(1_000_000)
	return &contract.Contract{
		Dataset: "visits", ID: "visits", Version: "1", Mode: contract.Threshold, Floor: 5,
		Fields: []contract.Field{
			{Name: "person", Type: contract.String, Role: contract.Unit},
			{Name: "site", Type: contract.String, Role: contract.Dimension},
			{Name: "year", Type: contract.Integer, Role: contract.Dimension, Required: true},
			{Name: "cost", Type: contract.Number, Scale: 2, Role: contract.Measure, Minimum: &least, Maximum: &most},
			{Name: "urgent", Type: contract.Boolean, Role: contract.Dimension},
			{Name: "day", Type: contract.Date, Role: contract.Dimension},
		},
	}
}

// load reads a CSV file as records of a contract. An empty cell is NULL.
func load(t *testing.T, c *contract.Contract, path string) []columns.Record {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var records []columns.Record
	for _, line := range lines[1:] {
		var r columns.Record
		for i, text := range line {
			f := &c.Fields[c.Index(lines[0][i])]
			v, err := f.Parse(text)
			switch {
			case text == "":
				r = append(r, columns.Null(f.Name))
			case err != nil:
				t.Fatal(err)
			case f.Type == contract.String:
				r = append(r, columns.Text(f.Name, v.Text))
			case f.Type == contract.Boolean:
				r = append(r, columns.Bool(f.Name, v.Int == 1))
			default:
				r = append(r, columns.Int(f.Name, v.Int))
			}
		}
		records = append(records, r)
	}
	return records
}

// question is a block of a file: a query, ----, and the answer.
type question struct {
	line         int
	text, answer string
}

// read takes a file of questions apart. Blocks are separated by empty lines;
// lines that begin with # are comments.
func read(t *testing.T, path string) []question {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []question
	var q question
	part := &q.text
	finish := func() {
		if q.text != "" {
			q.text, q.answer = strings.TrimSpace(q.text), strings.TrimSpace(q.answer)
			all = append(all, q)
		}
		q = question{}
		part = &q.text
	}
	for i, line := range strings.Split(string(raw), "\n") {
		switch {
		case line == "":
			finish()
		case strings.HasPrefix(line, "#"):
		case line == "----":
			part = &q.answer
		default:
			if q.line == 0 {
				q.line = i + 1
			}
			*part += line + "\n"
		}
	}
	finish()
	return all
}

// show writes an answer as the files do.
func show(a *answer.Answer, err error) string {
	if refusal, ok := errors.AsType[*sql.Refusal](err); ok {
		out := "refused"
		for _, v := range refusal.Violations {
			out += " " + v.Code + "_" + v.Name
		}
		return out
	}
	if err != nil {
		return "error: " + err.Error()
	}
	var head []string
	for _, c := range a.Columns {
		name := c.Name + " " + string(c.Type)
		if c.Type == answer.Decimal {
			name += fmt.Sprint(" ", c.Scale)
		}
		head = append(head, name)
	}
	lines := []string{strings.Join(head, " | ")}
	for _, row := range a.Rows {
		var cells []string
		for i, cell := range row {
			if cell.Null {
				cells = append(cells, "NULL")
			} else {
				cells = append(cells, a.Columns[i].Format(cell))
			}
		}
		lines = append(lines, strings.Join(cells, " | "))
	}
	if a.Suppressed {
		lines = append(lines, "suppressed")
	}
	return strings.Join(lines, "\n")
}

func TestVisits(t *testing.T) {
	c := visits()
	catalog, err := genuine.NewCatalog(c)
	if err != nil {
		t.Fatal(err)
	}
	desk, err := genuine.NewDesk(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := genuine.Batch(c, load(t, c, filepath.Join("testdata", "visits.csv")))
	if err != nil {
		t.Fatal(err)
	}
	tables := store.New([]*contract.Contract{c})
	if err := tables.Append(batch); err != nil {
		t.Fatal(err)
	}
	runner := query.New(query.Config{
		Catalog: catalog, Store: tables, Gate: desk.Gate, Limits: exec.Limits{Rows: 100, Memory: 16 << 20}, Timeout: time.Minute,
	})
	questions := read(t, filepath.Join("testdata", "visits.logic"))
	if len(questions) < 30 {
		t.Fatalf("%d questions", len(questions))
	}
	for _, q := range questions {
		released, err := runner.Run(t.Context(), desk.Who, q.text)
		var a *answer.Answer
		if err == nil {
			a = released.Answer()
		}
		if got := show(a, err); got != q.answer {
			t.Errorf("visits.logic:%d: %s\ngot\n%s\nwant\n%s", q.line, q.text, got, q.answer)
		}
	}
}
