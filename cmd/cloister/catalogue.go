package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/contract"
)

func datasetsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "datasets",
		Short:   "List the datasets of the deployment, from its verified bundle",
		Example: "  cloister datasets\n  cloister datasets -o json",
		Args:    usage(cobra.NoArgs),
	}
	outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		form, err := dataForm(cmd)
		if err != nil {
			return err
		}
		b, err := verifiedBundle(cmd)
		if err != nil {
			return err
		}
		if form == "json" {
			type row struct {
				Name        string `json:"name"`
				Version     string `json:"version"`
				Mode        string `json:"mode"`
				Floor       int    `json:"floor"`
				Description string `json:"description,omitempty"`
			}
			rows := []row{}
			for _, d := range b.Datasets {
				rows = append(rows, row{d.Contract.Dataset, d.Contract.Version, d.Contract.Mode.String(), d.Contract.Floor, d.Contract.Description})
			}
			return writeJSON(cmd.OutOrStdout(), map[string]any{"schema": "cloister.datasets/v1", "deployment": b.Deployment, "datasets": rows})
		}
		t := table{right: []bool{3: true}}
		t.add("dataset", "version", "mode", "floor", "description")
		for _, d := range b.Datasets {
			c := &d.Contract
			t.add(printable(c.Dataset), printable(c.Version), c.Mode.String(), strconv.Itoa(c.Floor), printable(c.Description))
		}
		return t.write(cmd.OutOrStdout())
	}
	return cmd
}

func describeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "describe DATASET",
		Short:   "Show a dataset's columns and what queries may do with each",
		Example: "  cloister describe flchain",
		Args:    usage(cobra.ExactArgs(1)),

		ValidArgsFunction: datasetNames,
	}
	outputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := dataForm(cmd)
		if err != nil {
			return err
		}
		b, err := verifiedBundle(cmd)
		if err != nil {
			return err
		}
		d, ok := b.Dataset(args[0])
		if !ok {
			return &exitError{exitUsage, fmt.Errorf("no dataset %s; see `cloister datasets`", args[0])}
		}
		return describe(cmd, form, &d.Contract)
	}
	return cmd
}

// verifiedBundle answers the bundle that the enclave's evidence vouches for.
func verifiedBundle(cmd *cobra.Command) (*bundle.Bundle, error) {
	c, err := connect(cmd)
	if err != nil {
		return nil, err
	}
	peer, err := c.Verify(cmd.Context())
	if err != nil {
		return nil, err
	}
	return peer.Bundle, nil
}

// column is one line of a description.
type column struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Role     string `json:"role"`
	Required bool   `json:"required"`
	Rules    string `json:"rules,omitempty"`
	Use      string `json:"use"`
}

func describeField(f *contract.Field) column {
	return column{f.Name, f.Type.String(), f.Role.String(), f.Required || f.Role == contract.Unit, rules(f), use(f)}
}

// describe shows what an analyst may know of a contract: hidden columns have no
// line.
func describe(cmd *cobra.Command, form string, c *contract.Contract) error {
	columns := []column{}
	for i := range c.Fields {
		if f := &c.Fields[i]; f.Role != contract.Hidden {
			columns = append(columns, describeField(f))
		}
	}
	if form == "json" {
		return writeJSON(cmd.OutOrStdout(), map[string]any{
			"schema": "cloister.describe/v1", "dataset": c.Dataset, "version": c.Version, "mode": c.Mode.String(), "floor": c.Floor, "columns": columns,
		})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s %s, mode %s, groups of at least %d people\n", printable(c.Dataset), printable(c.Version), c.Mode, c.Floor)
	return writeColumns(cmd.OutOrStdout(), columns)
}

func writeColumns(out io.Writer, columns []column) error {
	t := table{}
	t.add("column", "type", "role", "required", "use", "rules")
	for _, c := range columns {
		t.add(printable(c.Name), c.Type, c.Role, strconv.FormatBool(c.Required), printable(c.Use), printable(c.Rules))
	}
	return t.write(out)
}

// rules says a field's rules in words.
func rules(f *contract.Field) string {
	var out []string
	if f.Minimum != nil && f.Maximum != nil {
		out = append(out, fmt.Sprintf("%s to %s", f.Format(contract.Value{Int: *f.Minimum}), f.Format(contract.Value{Int: *f.Maximum})))
	}
	if f.MaxLength != nil {
		out = append(out, fmt.Sprintf("at most %d characters", *f.MaxLength))
	}
	if f.Pattern != "" {
		out = append(out, "pattern "+f.Pattern)
	}
	if len(f.Enum) > 0 {
		out = append(out, "one of "+strings.Join(f.Enum, ", "))
	}
	return strings.Join(out, "; ")
}

// use says what an analyst can do with a column of a role.
func use(f *contract.Field) string {
	switch f.Role {
	case contract.Unit:
		return "COUNT(DISTINCT " + f.Name + ")"
	case contract.Dimension:
		return "GROUP BY, WHERE, COUNT"
	case contract.Measure:
		return "SUM, AVG, COUNT"
	case contract.Restricted:
		return "none: seen in the catalogue, refused in queries"
	case contract.Status:
		return "none: set by the enclave's scope"
	default:
		return "none: unknown to analysts"
	}
}
