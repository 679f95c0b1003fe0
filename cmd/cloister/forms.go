package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/answer"
	"github.com/cloisterhq/cloister/internal/answer/arrowform"
	"github.com/cloisterhq/cloister/internal/answer/parquetform"
)

// form is one way to write an answer.
type form struct {
	name string
	// ending is that of files in this form.
	ending string
	// binary forms are kept away from terminals.
	binary bool
	write  func(io.Writer, *client.Answer) error
}

func answerForms() []form {
	return []form{
		{"table", ".txt", false, writeTable},
		{"json", ".json", false, writeAnswerJSON},
		{"ndjson", ".ndjson", false, writeNDJSON},
		{"csv", ".csv", false, writeCSV},
		{"arrow", ".arrow", true, writeArrow},
		{"parquet", ".parquet", true, writeParquet},
	}
}

// answerForm is the form that -o names, or else the ending of the file.
func answerForm(cmd *cobra.Command, file string) (form, error) {
	name, err := dataForm(cmd)
	if err != nil {
		return form{}, err
	}
	byEnding := file != "" && !cmd.Flags().Changed("output")
	for _, f := range answerForms() {
		if byEnding && strings.EqualFold(filepath.Ext(file), f.ending) || !byEnding && f.name == name {
			if f.binary && file == "" && isTerminal(cmd.OutOrStdout()) {
				return form{}, &exitError{exitUsage, fmt.Errorf("-o %s isn't for a terminal: give --out FILE, or pipe it", f.name)}
			}
			return f, nil
		}
	}
	return form{}, &exitError{exitUsage, fmt.Errorf("%s: the ending doesn't tell the form; give -o", file)}
}

func writeAnswerJSON(out io.Writer, a *client.Answer) error {
	b, err := a.JSON(a.Signature)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", b)
	return err
}

// writeNDJSON writes an object a row, its keys in the columns' order and its
// values as the JSON form has them.
func writeNDJSON(out io.Writer, a *client.Answer) error {
	b, err := a.JSON(a.Signature)
	if err != nil {
		return err
	}
	var whole struct {
		Rows [][]json.RawMessage `json:"rows"`
	}
	if err := json.Unmarshal(b, &whole); err != nil {
		return err
	}
	var names [][]byte
	seen := map[string]bool{}
	for _, c := range a.Columns {
		if seen[c.Name] {
			return &exitError{exitUsage, errors.New("-o ndjson: two columns of one name; give one of them another with AS")}
		}
		seen[c.Name] = true
		name, err := json.Marshal(c.Name)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	for _, row := range whole.Rows {
		var line bytes.Buffer
		for i, v := range row {
			line.WriteByte("{,"[min(i, 1)])
			line.Write(names[i])
			line.WriteByte(':')
			line.Write(v)
		}
		line.WriteString("}\n")
		if _, err := out.Write(line.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func writeCSV(out io.Writer, a *client.Answer) error {
	w := csv.NewWriter(out)
	var names []string
	for _, c := range a.Columns {
		names = append(names, c.Name)
	}
	if err := w.Write(names); err != nil {
		return err
	}
	for _, row := range a.Rows {
		if err := w.Write(texts(a, row, "")); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// writeArrow writes a stream of Arrow's IPC format.
func writeArrow(out io.Writer, a *client.Answer) error {
	record, err := arrowform.Record(a.Answer, a.Signature)
	if err != nil {
		return err
	}
	defer record.Release()
	w := ipc.NewWriter(out, ipc.WithSchema(record.Schema()))
	return errors.Join(w.Write(record), w.Close())
}

func writeParquet(out io.Writer, a *client.Answer) error {
	err := parquetform.Write(out, a.Answer, a.Signature)
	if errors.Is(err, parquetform.ErrForm) {
		return &exitError{exitUsage, err}
	}
	return err
}

// writeTable writes columns for people: numbers to the right, so that their
// digits stand below each other, everything else to the left.
func writeTable(out io.Writer, a *client.Answer) error {
	t := table{}
	var names, rules []string
	for _, c := range a.Columns {
		names = append(names, printable(c.Name))
		t.right = append(t.right, c.Type == answer.Int64 || c.Type == answer.Decimal)
	}
	t.add(names...)
	for _, row := range a.Rows {
		t.add(printables(texts(a, row, "NULL"))...)
	}
	for _, w := range t.widths {
		rules = append(rules, strings.Repeat("-", w))
	}
	t.rows = append([][]string{names, rules}, t.rows[1:]...)
	return t.write(out)
}

// table aligns cells of plain text.
type table struct {
	right  []bool // of each column; left where there is none
	rows   [][]string
	widths []int
}

func (t *table) add(cells ...string) {
	for i, c := range cells {
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c))
	}
	t.rows = append(t.rows, cells)
}

// write puts two spaces between columns and none at the end of a line.
func (t *table) write(out io.Writer) error {
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c))
			if i < len(t.right) && t.right[i] {
				c, pad = pad+c, ""
			}
			line.WriteString(c + pad + "  ")
		}
		if _, err := fmt.Fprintln(out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
