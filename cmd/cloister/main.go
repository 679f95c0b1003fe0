// Command cloister is people's side of Cloister: it verifies an enclave's
// evidence, seals and submits records, runs protected queries, and builds
// bundles. It holds its user's own data and results and nothing else.
//
// Data goes to stdout, words to stderr. Exit codes: 0 done, 1 refused by
// verification, policy or contract, 2 usage, 3 evidence or service could not
// be had.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/client"
)

// The exit codes, the same for every command.
const (
	exitRefused     = 1
	exitUsage       = 2
	exitUnreachable = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and answers its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var quiet *exitError
	if errors.As(err, &quiet) && quiet.err == nil {
		return quiet.code
	}
	fmt.Fprintf(errs, "cloister: %s\n", message(words(err)))
	return exitCode(err)
}

// words says what went wrong. A refused enclave is marked as such, with the
// class of the refusal.
func words(err error) string {
	var exit *exitError
	var verdict *attestation.Error
	if !errors.As(err, &exit) && errors.As(err, &verdict) {
		return "REFUSED: " + verdict.Error()
	}
	return err.Error()
}

// exitError carries an exit code; with a nil err everything is said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitCode sorts an error into refusals, usage and outages.
func exitCode(err error) int {
	var exit *exitError
	var verdict *attestation.Error
	var query *client.QueryError
	var refused *client.RefusedError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, client.ErrUsage):
		return exitUsage
	case errors.As(err, &verdict), errors.As(err, &query), errors.As(err, &refused):
		return exitRefused
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, client.ErrLocked), errors.Is(err, context.Canceled):
		return exitUnreachable
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return exitUsage
	default:
		return exitRefused
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "cloister",
		Short: "Verify an enclave, submit sealed records, run protected queries",
		Long: `cloister is people's side of Cloister, a confidential-analytics service for AWS
Nitro Enclaves. Every connection to an enclave is verified before anything is
sent on it.

The context file says which deployment to use and what to trust. It is named by
--context or the environment variable CLOISTER_CONTEXT.

Exit codes: 0 done, 1 refused, 2 usage, 3 unreachable.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noCommand,
		RunE:          helpOnly,
	}
	root.PersistentFlags().String("context", "", "context file (default: $CLOISTER_CONTEXT)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &exitError{exitUsage, fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
	})
	root.AddCommand(
		verifyCommand(), statusCommand(), policyCommand(), kmsCommand(),
		datasetsCommand(), describeCommand(), queryCommand(), connectCommand(),
		submitCommand(), receiptsCommand(), keysCommand(), keygenCommand(),
		contractCommand(), bundleCommand(), eifCommand(),
		versionCommand(),
	)
	addCompletion(root)
	return root
}

// usage wraps an argument check so that its errors exit with 2.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{exitUsage, fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())}
		}
		return nil
	}
}

// noCommand refuses arguments of a command that only groups others, and names
// the commands that may have been meant.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		text += fmt.Sprintf("; did you mean `%s %s`?", cmd.CommandPath(), strings.Join(meant, "` or `"+cmd.CommandPath()+" "))
	} else {
		text += fmt.Sprintf("; see `%s --help`", cmd.CommandPath())
	}
	return &exitError{exitUsage, errors.New(text)}
}

// helpOnly is what a command does that only groups others.
func helpOnly(cmd *cobra.Command, _ []string) error {
	_ = cmd.Help()
	return &exitError{code: exitUsage}
}

// connect makes a client from the context file.
func connect(cmd *cobra.Command) (*client.Client, error) {
	config, err := loadContext(cmd)
	if err != nil {
		return nil, err
	}
	c, err := client.New(config)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	if cmd.Flags().Lookup("wait") != nil {
		if c.Wait, err = cmd.Flags().GetDuration("wait"); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// contextPath is the context file that the flag or the environment names.
func contextPath(cmd *cobra.Command) (string, error) {
	path, err := cmd.Flags().GetString("context")
	if err != nil {
		return "", err
	}
	if path == "" {
		path = os.Getenv("CLOISTER_CONTEXT")
	}
	if path == "" {
		return "", &exitError{exitUsage, errors.New("no context file: give --context FILE or set CLOISTER_CONTEXT")}
	}
	return path, nil
}

func loadContext(cmd *cobra.Command) (*client.Config, error) {
	path, err := contextPath(cmd)
	if err != nil {
		return nil, err
	}
	config, err := client.Load(path)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return config, nil
}

// format reads -o and refuses what a command doesn't offer.
func format(cmd *cobra.Command, allowed ...string) (string, error) {
	value, err := cmd.Flags().GetString("output")
	if err != nil {
		return "", err
	}
	for _, a := range allowed {
		if value == a {
			return value, nil
		}
	}
	return "", &exitError{exitUsage, fmt.Errorf("-o %s: choose one of %v", value, allowed)}
}
