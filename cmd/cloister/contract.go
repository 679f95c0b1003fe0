package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/internal/contract"
	"github.com/cloisterhq/cloister/internal/contract/draft"
	"github.com/cloisterhq/cloister/internal/contract/odcs"
	"github.com/cloisterhq/cloister/internal/yamltree"
)

func contractCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "contract",
		Short: "Propose and check data contracts",
		Args:  noCommand,
		RunE:  helpOnly,
	}
	cmd.AddCommand(contractInitCommand(), contractLintCommand())
	return cmd
}

func contractInitCommand() *cobra.Command {
	var o draft.Options
	var out string
	cmd := &cobra.Command{
		Use:   "init FILE.csv|-",
		Short: "Propose a contract from the columns of a CSV file",
		Long: `Init reads a CSV file on this machine and writes a contract for it: types,
ranges rounded outward, lengths, which columns are always there. It sends
nothing, and no value of the data gets into the contract, which belongs into
version control.

Every column is hidden until its owner says otherwise: roles stand as comments,
to be read and uncommented one by one. The contract is valid as soon as one
column is the unit.

--with-values writes the values of short lists, if each of them stands in ten
records or more.`,
		Example: `  cloister contract init visits.csv > visits.yaml
  cloister contract init visits.csv --dataset visits --with-values --out proposal.yaml`,
		Args: usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&o.Dataset, "dataset", "", "the dataset's name (default: the file's)")
	cmd.Flags().BoolVar(&o.Values, "with-values", false, "write the values of columns with few of them")
	cmd.Flags().StringVar(&out, "out", "", "write the contract to this file, which must not exist")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.Dataset == "" {
			o.Dataset = datasetName(args[0])
		}
		if !contract.IsID(o.Dataset) {
			return &exitError{exitUsage, errors.New("give --dataset NAME: 1 to 63 of a-z, 0-9 and -")}
		}
		in, err := open(cmd, args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		table, err := draft.Read(cmd.Context(), in)
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("%s: %w", args[0], err)}
		}
		if out == "" {
			return table.Write(cmd.OutOrStdout(), o)
		}
		if _, err := os.Lstat(out); err == nil {
			return &exitError{exitUsage, fmt.Errorf("%s is there already; it isn't replaced", out)}
		}
		return deliver(nil, out, func(w io.Writer) error { return table.Write(w, o) })
	}
	return cmd
}

// datasetName makes a dataset's name of a file's.
func datasetName(path string) string {
	name := strings.ToLower(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
	name = strings.Map(func(r rune) rune {
		if contract.IsID(string(r)) {
			return r
		}
		return '-'
	}, name)
	return strings.Trim(name[:min(len(name), 63)], "-")
}

func contractLintCommand() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check contracts and say what an analyst may do with each column",
		Long: `Lint reads Open Data Contract Standard files with Cloister's privacy settings.
What is wrong, and what is allowed and unwise, comes with file, line and column.

Exit codes: 0 all contracts hold, 1 one is refused (with --strict: or something
is unwise), 2 usage.`,
		Example: `  cloister contract lint contracts/flchain.yaml
  cloister contract lint contracts/flchain.yaml --strict -o json`,
		Args: usage(cobra.MinimumNArgs(1)),
	}
	cmd.Flags().StringP("output", "o", "table", "table or json")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := format(cmd, "table", "json")
		if err != nil {
			return err
		}
		result := linted{Schema: "cloister.lint/v1", OK: true, Contracts: []lintedContract{}, Findings: []finding{}}
		for _, path := range args {
			if err := result.lint(path); err != nil {
				return err
			}
		}
		result.OK = !result.has("error") && (!strict || !result.has("warning"))
		if form == "json" {
			err = writeJSON(cmd.OutOrStdout(), result)
		} else {
			err = result.write(cmd.OutOrStdout(), cmd.ErrOrStderr())
		}
		if err == nil && !result.OK {
			err = &exitError{code: exitRefused}
		}
		return err
	}
	return cmd
}

// finding is one thing that is wrong (error) or unwise (warning).
type finding struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Severity string `json:"severity"`
	Text     string `json:"text"`
}

// lintedContract is a contract that holds, hidden columns included: it is for
// its owner.
type lintedContract struct {
	File    string   `json:"file"`
	Dataset string   `json:"dataset"`
	Version string   `json:"version"`
	Mode    string   `json:"mode"`
	Floor   int      `json:"floor"`
	Columns []column `json:"columns"`
}

type linted struct {
	Schema    string           `json:"schema"`
	OK        bool             `json:"ok"`
	Contracts []lintedContract `json:"contracts"`
	Findings  []finding        `json:"findings"`
}

// lint adds one file. Its error is that of a file that can't be read.
func (l *linted) lint(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, odcs.MaxFile+1))
	if err != nil {
		return &exitError{exitUsage, err}
	}
	c, advice, err := odcs.Advise(b, path)
	for _, err := range problems(err) {
		found := finding{File: path, Severity: "error", Text: strings.TrimPrefix(err.Error(), path+": ")}
		if p, ok := errors.AsType[*yamltree.Problem](err); ok {
			found = finding{p.File, p.Line, p.Column, "error", p.Text}
		}
		l.Findings = append(l.Findings, found)
	}
	for _, p := range advice {
		l.Findings = append(l.Findings, finding{p.File, p.Line, p.Column, "warning", p.Text})
	}
	if c != nil {
		lc := lintedContract{File: path, Dataset: c.Dataset, Version: c.Version, Mode: c.Mode.String(), Floor: c.Floor}
		for i := range c.Fields {
			lc.Columns = append(lc.Columns, describeField(&c.Fields[i]))
		}
		l.Contracts = append(l.Contracts, lc)
	}
	return nil
}

// problems takes a joined error apart.
func problems(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func (l *linted) has(severity string) bool {
	for _, f := range l.Findings {
		if f.Severity == severity {
			return true
		}
	}
	return false
}

// write puts contracts out as tables and findings, as compilers do, as lines.
func (l *linted) write(out, errs io.Writer) error {
	for i, c := range l.Contracts {
		var b bytes.Buffer
		if i > 0 {
			fmt.Fprintln(&b)
		}
		fmt.Fprintf(&b, "%s %s, mode %s, groups of at least %d people\n", printable(c.Dataset), printable(c.Version), c.Mode, c.Floor)
		if err := writeColumns(&b, c.Columns); err != nil {
			return err
		}
		if _, err := b.WriteTo(out); err != nil {
			return err
		}
	}
	for _, f := range l.Findings {
		place := f.File
		if f.Line > 0 {
			place += fmt.Sprintf(":%d:%d", f.Line, f.Column)
		}
		fmt.Fprintf(errs, "%s: %s: %s\n", message(place), f.Severity, message(f.Text))
	}
	return nil
}
