package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/limits"
)

func queryCommand() *cobra.Command {
	var file, out string
	var values []string
	cmd := &cobra.Command{
		Use:   "query SQL|-",
		Short: "Run a protected aggregate query",
		Long: `Query runs one statement of the protected dialect inside the enclave, over
attested TLS, and checks the signature of the answer. Only aggregates come out:
COUNT(*), COUNT(column), COUNT(DISTINCT unit), SUM and AVG, with WHERE and
GROUP BY over dimensions. Groups with fewer people than the contract's floor
are absent, and nothing says how many there were.

The statement is an argument, a file (--file) or the standard input (-). Each
--param is the value of one placeholder (?), in order; the enclave reads it as
its column's type, so that no text has to be put together.

The answer is a table on a terminal and JSON elsewhere; -o or the ending of
--out says otherwise. json, arrow and parquet hold the signature and all that
it covers: mode, floor, snapshot, manifest, audit id.

Exit codes: 0 answered, 1 refused, 2 usage, 3 unreachable.`,
		Example: `  cloister query "SELECT sex, COUNT(*) AS n, AVG(age) AS age FROM flchain GROUP BY sex"
  cloister query "SELECT chapter, COUNT(DISTINCT id) AS people FROM flchain GROUP BY chapter" -o csv
  cloister query "SELECT COUNT(*) AS n FROM flchain WHERE sex = ? AND flc_grp >= ?" --param F --param 3
  cloister query --file q.sql --out answer.parquet
  cloister query - < q.sql`,
		Args: usage(cobra.MaximumNArgs(1)),
	}
	outputFlag(cmd, "table", "json", "ndjson", "csv", "arrow", "parquet")
	cmd.Flags().StringVar(&out, "out", "", "write the answer to this file, whole or not at all")
	cmd.Flags().StringVar(&file, "file", "", "read the statement from this file, - for the standard input")
	cmd.Flags().StringArrayVar(&values, "param", nil, "value of the next placeholder")
	cmd.Flags().Duration("wait", client.DefaultWait, "how long to keep trying while the enclave is away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := statement(cmd, file, args)
		if err != nil {
			return err
		}
		form, err := answerForm(cmd, out)
		if err != nil {
			return err
		}
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		a, err := c.Query(cmd.Context(), text, values...)
		if err != nil {
			return err
		}
		if err := deliver(cmd.OutOrStdout(), out, func(w io.Writer) error { return form.write(w, a) }); err != nil {
			return err
		}
		if form.name != "json" || out != "" {
			remarks(cmd.ErrOrStderr(), a)
		}
		return nil
	}
	return cmd
}

// statement answers the query's text, from whichever of three places names it.
// Space around it, such as an editor's last line end, is no part of it.
func statement(cmd *cobra.Command, file string, args []string) (string, error) {
	switch {
	case len(args) == 1 && file != "":
		return "", &exitError{exitUsage, errors.New("the statement is an argument or in --file, not both")}
	case len(args) == 1 && args[0] != "-":
		return args[0], nil
	case len(args) == 0 && file == "":
		return "", &exitError{exitUsage, errors.New("a statement is needed: as an argument, in --file, or - for the standard input")}
	}
	in := cmd.InOrStdin()
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", &exitError{exitUsage, err}
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, limits.Query+1))
	if err != nil {
		return "", &exitError{exitUsage, fmt.Errorf("the statement can't be read: %w", err)}
	}
	if len(b) > limits.Query {
		return "", &exitError{exitUsage, fmt.Errorf("the statement is longer than %d bytes", limits.Query)}
	}
	return strings.TrimSpace(strings.TrimPrefix(string(b), "\ufeff")), nil
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
