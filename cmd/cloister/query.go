package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
)

func queryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "query SQL",
		Short: "Run a protected aggregate query",
		Long: `Query runs one statement of the protected dialect inside the enclave, over
attested TLS, and checks the signature of the answer. Only aggregates come out:
COUNT(*), COUNT(column), COUNT(DISTINCT unit), SUM and AVG, with WHERE and
GROUP BY over dimensions. Groups with fewer people than the contract's floor
are absent, and nothing says how many there were.

Exit codes: 0 answered, 1 refused, 2 usage, 3 unreachable.`,
		Example: `  cloister query "SELECT sex, COUNT(*) AS n, AVG(age) AS age FROM flchain GROUP BY sex"
  cloister query "SELECT chapter, COUNT(DISTINCT id) AS people FROM flchain GROUP BY chapter" -o csv`,
		Args: usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringP("output", "o", "table", "table, csv or json")
	cmd.Flags().Duration("wait", client.DefaultWait, "how long to keep trying while the enclave is away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := format(cmd, "table", "csv", "json")
		if err != nil {
			return err
		}
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		a, err := c.Query(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		switch form {
		case "json":
			b, err := a.JSON(a.Signature)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
			return err
		case "csv":
			remarks(cmd.ErrOrStderr(), a)
			return writeCSV(cmd.OutOrStdout(), a)
		default:
			if err := writeTable(cmd.OutOrStdout(), a); err != nil {
				return err
			}
			remarks(cmd.ErrOrStderr(), a)
			return nil
		}
	}
	return cmd
}

// remarks says what a reader of the numbers must know.
func remarks(w io.Writer, a *client.Answer) {
	if a.Suppressed {
		fmt.Fprintf(w, "suppressed: fewer than %d people\n", a.Floor)
	}
	if !a.Protected {
		fmt.Fprintf(w, "mode %s, floor %d: groups of fewer people are absent; NOT protected against differencing\n", a.Mode, a.Floor)
	}
	fmt.Fprintf(w, "snapshot %d, manifest %d, audit %s, signed by the attested enclave\n", a.Snapshot, a.Manifest, a.AuditID)
}

func writeTable(out io.Writer, a *client.Answer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var names, rules []string
	for _, c := range a.Columns {
		name := printable(c.Name)
		names = append(names, name)
		rules = append(rules, strings.Repeat("-", utf8.RuneCountInString(name)))
	}
	fmt.Fprintln(w, strings.Join(names, "\t"))
	fmt.Fprintln(w, strings.Join(rules, "\t"))
	for _, row := range a.Rows {
		fmt.Fprintln(w, strings.Join(printables(texts(a, row, "NULL")), "\t"))
	}
	return w.Flush()
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
