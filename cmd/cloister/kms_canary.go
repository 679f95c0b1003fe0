package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/canary"
	"github.com/cloisterhq/cloister/internal/limits"
)

// canaryFlags is what `cloister kms canary` is asked for.
type canaryFlags struct {
	bundle, endpoint, ca string
	credentials          []string
}

func kmsCanaryCommand() *cobra.Command {
	f := new(canaryFlags)
	cmd := &cobra.Command{
		Use:   "canary --credentials NAME=FILE...",
		Short: "Try from outside an enclave whether the keys stay closed",
		Long: `Canary calls KMS without an attestation document, as each role whose credentials
it is given, with every operation that leads to plaintext on every key of the
bundle. Each call is a dry run: KMS says whether it would succeed and does
nothing. A call that would succeed is an alarm. A producer's data keys for its
own records are what it is meant to have and aren't tried.

Give the credentials of the parent's role and of each producer: NAME=FILE, where
NAME is the producer's in the bundle or any other word, and FILE holds
{"access_key_id", "secret_access_key", "session_token"}. The bundle, the endpoint
and the producer's credentials come from the context when there is one.
Run it on a schedule, from the data owner's side.

Exit codes: 0 everything closed, 1 an alarm, 2 usage, 3 KMS couldn't be asked.`,
		Example: `  cloister kms canary --bundle bundle.cbor --credentials parent=parent.json --credentials clinic-a=clinic-a.json
  cloister kms canary --context /tmp/study/context.json --credentials parent=/tmp/study/parent-credentials.json -o json`,
		Args: usage(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&f.bundle, "bundle", "", "the deployment's bundle (default: the context's)")
	cmd.Flags().StringVar(&f.endpoint, "endpoint", "", "KMS's URL (default: the context's, or else AWS's in the bundle's region)")
	cmd.Flags().StringVar(&f.ca, "ca", "", "PEM file of the endpoint's root (default: the context's, or else the system's)")
	cmd.Flags().StringArrayVar(&f.credentials, "credentials", nil, "a role's credentials, NAME=FILE; may be repeated")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	return cmd
}

func (f *canaryFlags) run(cmd *cobra.Command) error {
	form, err := format(cmd, "text", "json")
	if err != nil {
		return err
	}
	if err := f.fromContext(cmd); err != nil {
		return err
	}
	if f.bundle == "" || len(f.credentials) == 0 {
		return &exitError{exitUsage, errors.New("a bundle and credentials are needed: --context, or --bundle and --credentials")}
	}
	raw, err := readLimited(f.bundle, limits.Bundle)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%s: %w", f.bundle, err)}
	}
	callers, err := f.callers(cmd, b)
	if err != nil {
		return err
	}
	results, err := canary.Run(cmd.Context(), b, callers)
	if err != nil {
		return &exitError{exitUnreachable, err}
	}
	return reportCanary(cmd.OutOrStdout(), form, results)
}

// fromContext fills in what a context file says and the flags don't.
func (f *canaryFlags) fromContext(cmd *cobra.Command) error {
	path, err := contextPath(cmd)
	if err != nil {
		if f.bundle != "" {
			return nil // the flags say enough
		}
		return err
	}
	config, err := loadContext(cmd)
	if err != nil {
		return err
	}
	beside := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(filepath.Dir(path), name)
	}
	for _, d := range []struct {
		flag  *string
		value string
	}{{&f.bundle, beside(config.Bundle)}, {&f.endpoint, config.KMS.Endpoint}, {&f.ca, beside(config.KMS.CA)}} {
		if *d.flag == "" {
			*d.flag = d.value
		}
	}
	name := config.Producer.Name
	if file := beside(config.KMS.CredentialsFile); file != "" && name != "" && !slices.ContainsFunc(f.credentials, func(c string) bool { return strings.HasPrefix(c, name+"=") }) {
		f.credentials = append(f.credentials, name+"="+file)
	}
	return nil
}

// callers makes a KMS client for each role.
func (f *canaryFlags) callers(cmd *cobra.Command, b *bundle.Bundle) ([]canary.Caller, error) {
	var all []canary.Caller
	for _, c := range f.credentials {
		name, file, ok := strings.Cut(c, "=")
		if !ok || name == "" || file == "" {
			return nil, &exitError{exitUsage, errors.New("--credentials wants NAME=FILE")}
		}
		caller := canary.Caller{Name: name}
		if _, ok := b.Producer(name); ok {
			caller.Producer = name
		}
		var err error
		if caller.API, err = (kmsPlace{region: b.KMS.Region, endpoint: f.endpoint, ca: f.ca}).client(cmd, file); err != nil {
			return nil, err
		}
		all = append(all, caller)
	}
	return all, nil
}

// reportCanary writes the results and answers an error when not everything is
// closed.
func reportCanary(w io.Writer, form string, results []canary.Result) error {
	count := map[canary.Verdict]int{}
	for _, r := range results {
		count[r.Verdict]++
	}
	var err error
	if form == "json" {
		err = writeJSON(w, map[string]any{
			"schema": "cloister.kms-canary/v1", "alarms": count[canary.Open], "unknown": count[canary.Unknown], "closed": count[canary.Closed], "results": results,
		})
	} else {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, r := range results {
			if r.Verdict != canary.Closed {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Verdict, printable(r.Caller), r.Operation, r.Key, printable(r.Purpose), printable(r.Code))
			}
		}
		err = table.Flush()
		fmt.Fprintf(w, "%d tries closed, %d open, %d unknown\n", count[canary.Closed], count[canary.Open], count[canary.Unknown])
	}
	switch {
	case err != nil:
		return err
	case count[canary.Open] > 0:
		return &exitError{code: exitRefused}
	case count[canary.Unknown] > 0:
		return &exitError{code: exitUnreachable}
	}
	return nil
}
