package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
)

func submitCommand() *cobra.Command {
	var s client.Submission
	var rejects, form, key, keys string
	cmd := &cobra.Command{
		Use:   "submit --dataset NAME FILE|-",
		Short: "Seal records and submit them to the enclave",
		Long: `Submit verifies the enclave, checks the whole of a CSV or NDJSON file, seals its
records batch by batch under a data key from KMS, and hands the batches to the
gateway. The enclave accepts or rejects each record by itself; what it rejects
is named by record (from 0), field and rule, never by value.

Sealed batches are kept in the spool until their receipts are there. After any
interruption the same command goes on where it stopped. Submitting the same file
again is recognised and counts nothing. While the enclave is away, records are
sealed under the context's pinned bundle, if the policy names it, and stay
pending at the gateway; ` + "`cloister receipts`" + ` fetches what becomes of them.

With --key intake no KMS and no AWS credentials are needed: the data key is made
here and sealed to the enclave's intake key, which is fetched from the verified
enclave, or read from the file of ` + "`cloister keys fetch`" + ` that --keys names.

Exit codes: 0 nothing rejected (pending included), 1 something was rejected,
2 usage, 3 unreachable.`,
		Example: `  cloister submit --dataset flchain test/data/flchain.csv
  cloister submit --dataset flchain --rejects rejects.ndjson visits.ndjson
  cloister submit --dataset flchain --key intake --keys keys.json visits.csv
  gzip -dc visits.csv.gz | cloister submit --dataset flchain --format csv -`,
		Args: usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&s.Dataset, "dataset", "", "the dataset that the records belong to")
	cmd.Flags().StringVar(&s.Stream, "stream", "", "name of the submission (default: the input's SHA-256)")
	cmd.Flags().StringVar(&rejects, "rejects", "", "write rejected records' numbers, fields and rules to this NDJSON file")
	cmd.Flags().StringVar(&form, "format", "", "csv or ndjson (default: by the file's name)")
	cmd.Flags().StringVar(&key, "key", string(client.KeyKMS), "where data keys come from: kms, or made here and sealed to the enclave's intake key: intake")
	cmd.Flags().StringVar(&keys, "keys", "", "the intake key's file, from cloister keys fetch (default: fetched now)")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	producerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		output, err := format(cmd, "text", "json")
		switch {
		case err != nil:
			return err
		case key != string(client.KeyKMS) && key != string(client.KeyIntake):
			return &exitError{exitUsage, fmt.Errorf("--key %s: choose kms or intake", key)}
		case keys != "" && key != string(client.KeyIntake):
			return &exitError{exitUsage, errors.New("--keys needs --key intake")}
		case s.Dataset == "":
			return &exitError{exitUsage, errors.New("--dataset is needed; see `cloister datasets`")}
		}
		if s.Format, err = inputFormat(form, args[0]); err != nil {
			return err
		}
		c, err := producing(cmd)
		if err != nil {
			return err
		}
		s.Key = client.KeySource(key)
		if keys != "" {
			if s.Keys, err = client.LoadKeys(keys); err != nil {
				return err
			}
		}
		input, err := open(cmd, args[0])
		if err != nil {
			return err
		}
		defer input.Close()
		s.Input = input
		out, err := newRejects(rejects)
		if err != nil {
			return err
		}
		defer out.discard()
		return submit(cmd, c, s, args[0], out, output)
	}
	return cmd
}

// submit submits, and shows what became of it.
func submit(cmd *cobra.Command, c *client.Client, s client.Submission, name string, out *rejects, output string) error {
	bar := newBar(cmd.ErrOrStderr())
	s.Progress = bar.show
	sum, err := c.Submit(cmd.Context(), s)
	bar.clear()
	if err != nil {
		return stopped(cmd, c, name, &sum, err)
	}
	if err := report(cmd, output, out, &sum); err != nil {
		return err
	}
	if err := sum.Told(context.WithoutCancel(cmd.Context())); err != nil {
		return err
	}
	if sum.Rejected > 0 {
		return &exitError{code: exitRefused}
	}
	return nil
}

// stopped shows how far a submission came that didn't come to its end.
func stopped(cmd *cobra.Command, c *client.Client, name string, sum *client.Summary, err error) error {
	var input *client.InputError
	switch {
	case errors.As(err, &input):
		err = fmt.Errorf("%s: %w", inputName(name), err)
	case errors.Is(err, context.Canceled):
		err = interrupted{err}
	}
	if sum.Sent > 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), counts(sum))
	}
	resumable := errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable)
	switch {
	case resumable && sum.Stream == "":
		err = fmt.Errorf("%w; nothing was sealed", err)
	case resumable:
		err = fmt.Errorf("%w; what is sealed is kept in %s: the same command with the same input goes on where this one stopped", err, c.SpoolDir())
	}
	return err
}

// interrupted is a user's context.Canceled.
type interrupted struct{ err error }

func (interrupted) Error() string   { return "interrupted" }
func (i interrupted) Unwrap() error { return i.err }

// producerFlags are those of the commands that work with the spool.
func producerFlags(cmd *cobra.Command) {
	cmd.Flags().Duration("wait", client.DefaultWait, "how long to keep trying while the enclave is away")
	cmd.Flags().String("spool", "", "directory of sealed batches and receipts (default: the context's, or one in the user's state directory)")
}

// producing is connect for a producer.
func producing(cmd *cobra.Command) (*client.Client, error) {
	config, err := loadContext(cmd)
	if err != nil {
		return nil, err
	}
	dir, err := cmd.Flags().GetString("spool")
	if err != nil {
		return nil, err
	}
	if dir != "" {
		if config.Spool, err = filepath.Abs(dir); err != nil {
			return nil, &exitError{exitUsage, err}
		}
	}
	c, err := client.New(config)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	c.Wait, err = cmd.Flags().GetDuration("wait")
	return c, err
}

// open answers the input. Opening a pipe waits for its other end, unless the
// command is interrupted.
func open(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.Open(name)
		opened <- result{f, err}
	}()
	select {
	case <-cmd.Context().Done():
		return nil, cmd.Context().Err()
	case r := <-opened:
		if r.err != nil {
			return nil, &exitError{exitUsage, r.err}
		}
		if info, err := r.f.Stat(); err == nil && info.IsDir() {
			r.f.Close()
			return nil, &exitError{exitUsage, fmt.Errorf("%s is a directory: submit its files one by one", name)}
		}
		return r.f, nil
	}
}

func inputName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
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

// report prints the counts and writes the rejects.
func report(cmd *cobra.Command, output string, out *rejects, sum *client.Summary) error {
	if err := out.write(sum); err != nil {
		return err
	}
	errs := cmd.ErrOrStderr()
	fmt.Fprintln(errs, counts(sum))
	if sum.Pending > 0 {
		fmt.Fprintln(errs, "  pending records are stored at the gateway; keep the input until `cloister receipts` has fetched the enclave's word on them")
	}
	if sum.Truncated {
		fmt.Fprintln(errs, "  more was rejected than the enclave's reports list")
	}
	if output == "json" {
		return writeJSON(cmd.OutOrStdout(), struct {
			Schema string `json:"schema"`
			submitted
		}{"cloister.submit/v1", newSubmitted(sum)})
	}
	if out == nil {
		return showRejections(errs, sum)
	}
	return nil
}

// submitted is a stream's totals in JSON.
type submitted struct {
	Stream   string             `json:"stream"`
	Sent     int                `json:"sent"`
	Accepted int                `json:"accepted"`
	Rejected int                `json:"rejected"`
	Pending  int                `json:"pending"`
	Repeated int                `json:"repeated"`
	Receipts []client.Receipted `json:"receipts"`
}

func newSubmitted(sum *client.Summary) submitted {
	receipts := sum.Receipts
	if receipts == nil {
		receipts = []client.Receipted{}
	}
	return submitted{sum.Stream, sum.Sent, sum.Accepted, sum.Rejected, sum.Pending, sum.Repeated, receipts}
}

func counts(sum *client.Summary) string {
	line := fmt.Sprintf("sent %d accepted %d rejected %d pending %d", sum.Sent, sum.Accepted, sum.Rejected, sum.Pending)
	if sum.Repeated > 0 {
		line += fmt.Sprintf(" repeated %d (already counted)", sum.Repeated)
	}
	return line
}
