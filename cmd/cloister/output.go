package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// formsAnnotation holds, with the flag -o, what it may say.
const formsAnnotation = "cloister.forms"

// outputFlag adds -o to a command that puts out data: a table on a terminal,
// JSON elsewhere, when nothing is said.
func outputFlag(cmd *cobra.Command, forms ...string) {
	cmd.Flags().StringP("output", "o", "", strings.Join(forms, ", ")+" (default: table on a terminal, json elsewhere)")
	cmd.Flags().Lookup("output").Annotations = map[string][]string{formsAnnotation: forms}
}

// dataForm reads -o of a command with outputFlag.
func dataForm(cmd *cobra.Command) (string, error) {
	value, err := cmd.Flags().GetString("output")
	if err != nil {
		return "", err
	}
	forms := cmd.Flags().Lookup("output").Annotations[formsAnnotation]
	switch {
	case value == "" && isTerminal(cmd.OutOrStdout()):
		return "table", nil
	case value == "":
		return "json", nil
	case slices.Contains(forms, value):
		return value, nil
	}
	return "", &exitError{exitUsage, fmt.Errorf("-o %s: choose one of %s", value, strings.Join(forms, ", "))}
}

// isTerminal says whether people read w as it comes.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// deliver writes data to a file, or to out when it has no name. A file is
// there as a whole or not at all, for its owner alone.
func deliver(out io.Writer, path string, write func(io.Writer) error) error {
	if path == "" {
		return write(out)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".cloister-*")
	if err != nil {
		return &exitError{exitUsage, err}
	}
	defer os.Remove(f.Name())
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}
