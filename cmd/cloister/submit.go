package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cloisterhq/cloister/client"
)

func submitCommand() *cobra.Command {
	var s client.Submission
	var rejects, form string
	cmd := &cobra.Command{
		Use:   "submit --dataset NAME FILE|-",
		Short: "Seal records and submit them to the enclave",
		Long: `Submit verifies the enclave, seals the records of a CSV or NDJSON file under a
data key from KMS and hands the sealed batches to the gateway. The enclave
accepts or rejects each record by itself; what it rejects is named by record,
field and rule, never by value.

Submitting the same file again is recognised and counts nothing twice.
Exit codes: 0 nothing rejected, 1 something was rejected, 2 usage, 3 unreachable.`,
		Example: `  cloister submit --dataset flchain test/data/flchain.csv
  cloister submit --dataset flchain --rejects rejects.ndjson visits.ndjson
  gzip -dc visits.csv.gz | cloister submit --dataset flchain --format csv -`,
		Args: usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&s.Dataset, "dataset", "", "the dataset that the records belong to")
	cmd.Flags().StringVar(&s.Stream, "stream", "", "name of the submission (default: the input's SHA-256)")
	cmd.Flags().StringVar(&rejects, "rejects", "", "write rejected records' numbers, fields and rules to this NDJSON file")
	cmd.Flags().StringVar(&form, "format", "", "csv or ndjson (default: by the file's name)")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.Flags().Duration("wait", client.DefaultWait, "how long to keep trying while the enclave is away")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		output, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		if s.Dataset == "" {
			return &exitError{exitUsage, errors.New("--dataset is needed; see `cloister datasets`")}
		}
		input, name, err := open(cmd, args[0])
		if err != nil {
			return err
		}
		defer input.Close()
		if s.Format, err = inputFormat(form, name); err != nil {
			return err
		}
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		s.Input = input
		bar := newBar(cmd.ErrOrStderr())
		s.Progress = bar.show
		sum, err := c.Submit(cmd.Context(), s)
		bar.clear()
		if err != nil {
			if sum.Sent > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), counts(sum))
			}
			return err
		}
		return report(cmd, output, rejects, sum)
	}
	return cmd
}

// open answers the input and the name that tells its format.
func open(cmd *cobra.Command, name string) (io.ReadCloser, string, error) {
	if name == "-" {
		return io.NopCloser(struct{ io.Reader }{cmd.InOrStdin()}), "", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, "", &exitError{exitUsage, err}
	}
	return f, name, nil
}

func inputFormat(form, name string) (client.Format, error) {
	if form == "" {
		form = strings.TrimPrefix(strings.ToLower(filepath.Ext(name)), ".")
	}
	switch form {
	case "csv":
		return client.CSV, nil
	case "ndjson", "jsonl", "json":
		return client.NDJSON, nil
	default:
		return "", &exitError{exitUsage, errors.New("give --format csv or --format ndjson: the input's name doesn't tell")}
	}
}

// report prints the counts, writes the rejects file and chooses the exit code.
func report(cmd *cobra.Command, output, rejects string, sum client.Summary) error {
	if rejects != "" {
		if err := writeRejects(rejects, sum.Rejections); err != nil {
			return err
		}
	}
	fmt.Fprintln(cmd.ErrOrStderr(), counts(sum))
	if output == "json" {
		receipts := sum.Receipts
		if receipts == nil {
			receipts = []client.Receipted{}
		}
		err := writeJSON(cmd.OutOrStdout(), struct {
			Schema   string             `json:"schema"`
			Stream   string             `json:"stream"`
			Sent     int                `json:"sent"`
			Accepted int                `json:"accepted"`
			Rejected int                `json:"rejected"`
			Pending  int                `json:"pending"`
			Repeated int                `json:"repeated"`
			Receipts []client.Receipted `json:"receipts"`
		}{"cloister.submit/v1", sum.Stream, sum.Sent, sum.Accepted, sum.Rejected, sum.Pending, sum.Repeated, receipts})
		if err != nil {
			return err
		}
	} else if rejects == "" {
		for i, r := range sum.Rejections {
			if i == 20 {
				fmt.Fprintf(cmd.ErrOrStderr(), "  and %d more; --rejects FILE keeps them all\n", len(sum.Rejections)-i)
				break
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "  record %d: field %s breaks %s\n", r.Record, printable(r.Field), printable(r.Rule))
		}
	}
	if sum.Rejected > 0 {
		return &exitError{code: exitRefused}
	}
	return nil
}

func counts(sum client.Summary) string {
	line := fmt.Sprintf("sent %d accepted %d rejected %d pending %d", sum.Sent, sum.Accepted, sum.Rejected, sum.Pending)
	if sum.Repeated > 0 {
		line += fmt.Sprintf(" repeated %d (already counted)", sum.Repeated)
	}
	return line
}

func writeRejects(path string, rejections []client.Rejection) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, r := range rejections {
		if err := enc.Encode(r); err != nil {
			f.Close()
			return err
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// bar shows progress on a terminal and nothing elsewhere.
type bar struct {
	w    io.Writer
	live bool
}

func newBar(w io.Writer) *bar {
	f, ok := w.(*os.File)
	return &bar{w: w, live: ok && term.IsTerminal(int(f.Fd()))}
}

func (b *bar) show(sum client.Summary) {
	if b.live {
		fmt.Fprintf(b.w, "\r\x1b[K  %d records, %.1f MB sealed, %d accepted, %d rejected", sum.Sent, float64(sum.Bytes)/1e6, sum.Accepted, sum.Rejected)
	}
}

func (b *bar) clear() {
	if b.live {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
