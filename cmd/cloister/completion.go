package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
)

// completionTime bounds the question for datasets' names: a shell waits for
// nobody.
const completionTime = 2 * time.Second

// addCompletion adds the command that writes completion scripts, and teaches
// flags of all commands what may follow them.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = noCommand, helpOnly
			for _, shell := range c.Commands() {
				shell.Args = usage(shell.Args)
			}
		}
	}
	everyCommand(root, func(c *cobra.Command) {
		// Only a command that asks a deployment knows its datasets.
		if c.Flags().Lookup("dataset") != nil && c.Flags().Lookup("wait") != nil {
			_ = c.RegisterFlagCompletionFunc("dataset", datasetNames)
		}
		if output := c.Flags().Lookup("output"); output != nil && slices.Contains(formsIn(output.Usage), "json") {
			_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formsIn(output.Usage), cobra.ShellCompDirectiveNoFileComp))
		}
	})
}

func everyCommand(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, do)
	}
}

// formsIn reads the forms from the help of -o, such as "text or json" or
// "table, json (default: table)". Where -o names a file they are nonsense.
func formsIn(help string) []string {
	help, _, _ = strings.Cut(help, " (")
	return strings.FieldsFunc(strings.ReplaceAll(help, " or ", ", "), func(r rune) bool { return r == ',' || r == ' ' })
}

// datasetNames completes names of datasets from the bundle that the enclave's
// evidence vouches for. Where that can't be had in time it says nothing.
func datasetNames(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 && cmd.Flags().Lookup("dataset") == nil {
		return nil, nothing
	}
	config, err := loadContext(cmd)
	if err != nil {
		return nil, nothing
	}
	c, err := client.New(config)
	if err != nil {
		return nil, nothing
	}
	c.Wait = 0
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	peer, err := c.Verify(ctx)
	if err != nil {
		return nil, nothing
	}
	var names []string
	for _, d := range peer.Bundle.Datasets {
		if strings.HasPrefix(d.Contract.Dataset, begun) {
			names = append(names, d.Contract.Dataset)
		}
	}
	return names, nothing
}
