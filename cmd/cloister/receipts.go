package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
)

func receiptsCommand() *cobra.Command {
	var stream, file string
	cmd := &cobra.Command{
		Use:   "receipts",
		Short: "Fetch and check the receipts of pending submissions",
		Long: `Receipts asks the gateway what became of the batches in the spool, hands those
over again that it doesn't know, checks each receipt against the verified
enclave, opens its report, and keeps it. Submissions whose totals were shown
before are left out, unless --stream names one.

Exit codes: 0 none is pending, 1 something was rejected, 2 usage, 3 the gateway
can't be reached or something is still pending.`,
		Example: `  cloister receipts
  cloister receipts --wait 10m -o json
  cloister receipts --stream visits-2026-11 --rejects rejects.ndjson`,
		Args: usage(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&stream, "stream", "", "this submission only")
	cmd.Flags().StringVar(&file, "rejects", "", "write rejected records' numbers, fields and rules to this NDJSON file; needs --stream")
	cmd.Flags().StringP("output", "o", "table", "table or json")
	producerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		form, err := format(cmd, "table", "json")
		if err != nil {
			return err
		}
		if file != "" && stream == "" {
			return &exitError{exitUsage, errors.New("--rejects needs --stream: record numbers count in one input")}
		}
		c, err := producing(cmd)
		if err != nil {
			return err
		}
		out, err := newRejects(file)
		if err != nil {
			return err
		}
		defer out.discard()
		sums, failed := c.Receipts(cmd.Context(), stream)
		if err := showReceipts(cmd, form, sums, out, failed); err != nil {
			return err
		}
		return verdict(sums, failed)
	}
	return cmd
}

// showReceipts prints the streams and notes that their totals were seen.
func showReceipts(cmd *cobra.Command, form string, sums []client.Summary, out *rejects, failed error) error {
	if out != nil && failed == nil && len(sums) != 1 {
		return &exitError{exitUsage, errors.New("--rejects: several datasets have a stream of that name")}
	}
	print := receiptsTable
	if form == "json" {
		print = receiptsJSON
	}
	if err := print(cmd, sums, out == nil); err != nil {
		return err
	}
	for i := range sums {
		if err := out.write(&sums[i]); err != nil {
			return err
		}
		if err := sums[i].Told(context.WithoutCancel(cmd.Context())); err != nil {
			return err
		}
	}
	return nil
}

func receiptsTable(cmd *cobra.Command, sums []client.Summary, rejections bool) error {
	if len(sums) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "no submission waits for receipts")
		return nil
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "dataset\tstream\tsent\taccepted\trejected\tpending\trepeated\tstate")
	for i := range sums {
		s := &sums[i]
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", printable(s.Dataset), printable(s.Stream), s.Sent, s.Accepted, s.Rejected, s.Pending, s.Repeated, state(s))
	}
	if err := w.Flush(); err != nil || !rejections {
		return err
	}
	for i := range sums {
		if sums[i].Rejected == 0 {
			continue
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s:\n", printable(sums[i].Stream))
		if err := showRejections(cmd.ErrOrStderr(), &sums[i]); err != nil {
			return err
		}
	}
	return nil
}

// state says in words how far a stream is.
func state(s *client.Summary) string {
	switch {
	case s.Complete():
		return "done"
	case s.Sent < s.Records:
		return fmt.Sprintf("%d of %d records: submit the same input again", s.Sent, s.Records)
	default:
		return "pending"
	}
}

func receiptsJSON(cmd *cobra.Command, sums []client.Summary, _ bool) error {
	type row struct {
		Dataset  string `json:"dataset"`
		Complete bool   `json:"complete"`
		submitted
	}
	rows := []row{}
	for i := range sums {
		rows = append(rows, row{sums[i].Dataset, sums[i].Complete(), newSubmitted(&sums[i])})
	}
	return writeJSON(cmd.OutOrStdout(), struct {
		Schema  string `json:"schema"`
		Streams []row  `json:"streams"`
	}{"cloister.receipts/v1", rows})
}

// verdict chooses the exit code.
func verdict(sums []client.Summary, failed error) error {
	if failed != nil {
		return failed
	}
	pending := false
	for _, s := range sums {
		if s.Rejected > 0 {
			return &exitError{code: exitRefused}
		}
		pending = pending || s.Pending > 0
	}
	if pending {
		return &exitError{code: exitUnreachable}
	}
	return nil
}
