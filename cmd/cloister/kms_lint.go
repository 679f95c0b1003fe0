package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/internal/keypolicy/lint"
)

func kmsLintCommand() *cobra.Command {
	var role string
	var o lint.Options
	cmd := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Find ways to plaintext in key policies, IAM policies and grants",
		Long: `Lint reads key policies, IAM policies and grants, by themselves or as the AWS
command line answers them, and finds every way to plaintext that a measured
enclave isn't needed for. Files that are given together are judged together: a
Deny in the one key policy holds against the IAM policies and grants too.

A problem is a way to plaintext or something that nobody should rely on; a note
makes no policy bad. What isn't understood is a problem. A clean verdict is about
these files alone.

Exit codes: 0 no problem, 1 problems, 2 a file isn't readable.`,
		Example: `  cloister kms lint key-policy.json
  aws kms get-key-policy --key-id KEY --policy-name default | cloister kms lint -
  cloister kms lint key-policy.json role-policy.json grants.json -o json`,
		Args: usage(cobra.MinimumNArgs(1)),
	}
	cmd.Flags().StringVar(&role, "role", "", "what the files are: key-policy, iam-policy or grants (default: each file's content tells)")
	cmd.Flags().StringVar(&o.Owner, "owner", "", "ARN of the one who may change the key policy (default: the first role that may)")
	cmd.Flags().IntSliceVar(&o.Require, "require", []int{0, 1, 2, 16}, "registers that every release must name")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		kind := lint.Kind(role)
		switch kind {
		case "", lint.KeyPolicy, lint.IAMPolicy, lint.Grants:
		default:
			return &exitError{exitUsage, fmt.Errorf("--role %s: choose one of key-policy, iam-policy, grants", role)}
		}
		var files []lint.File
		for _, name := range args {
			b, err := readPolicyFile(cmd, name)
			if err != nil {
				return err
			}
			files = append(files, lint.File{Name: name, Kind: kind, Content: b})
		}
		found, err := lint.Lint(files, o)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		return reportFindings(cmd.OutOrStdout(), form, found)
	}
	return cmd
}

// reportFindings writes what was found and answers an error when there is a
// problem among it.
func reportFindings(w io.Writer, form string, found []lint.Finding) error {
	problems := lint.Problems(found)
	var err error
	if form == "json" {
		if found == nil {
			found = []lint.Finding{}
		}
		err = writeJSON(w, map[string]any{"schema": "cloister.kms-lint/v1", "clean": problems == 0, "problems": problems, "findings": found})
	} else {
		err = writeFindings(w, found, problems)
	}
	if err == nil && problems > 0 {
		err = &exitError{code: exitRefused}
	}
	return err
}

func writeFindings(w io.Writer, found []lint.Finding, problems int) error {
	var err error
	for _, f := range found {
		_, werr := fmt.Fprintf(w, "%s:%d: %s %s: %s: %s\n    %s\n    fix: %s\n", printable(f.File), f.Line, f.Severity, f.Rule, printable(f.Statement), printable(f.Detail), f.Means, f.Fix)
		err = errors.Join(err, werr)
	}
	word := "no problem"
	switch problems {
	case 0:
	case 1:
		word = "1 problem"
	default:
		word = fmt.Sprintf("%d problems", problems)
	}
	if notes := len(found) - problems; notes > 0 {
		word += fmt.Sprintf(", notes: %d", notes)
	}
	_, werr := fmt.Fprintf(w, "%s\n", word)
	return errors.Join(err, werr)
}
