package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
)

func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Fetch the enclave's intake key, for sealing without KMS",
		Args:  noCommand,
		RunE:  helpOnly,
	}
	cmd.AddCommand(keysFetchCommand())
	return cmd
}

func keysFetchCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "fetch [-o keys.json]",
		Short: "Verify the enclave and write its intake key to a file",
		Long: `Fetch verifies the enclave, then checks that the intake key which it gives is
signed by the service key and is the one that the attestation document names.
Only then it writes the key, with the day until which it may be sealed to. Fetch
it again once a month: the enclave makes a new one every 30 days and accepts
what was sealed to older ones for 120.

` + "`cloister submit --key intake --keys keys.json`" + ` seals to it with no call to KMS, also
while the enclave is away. Keep the file as safe from changes as the context.

Exit codes: 0 written, 1 refused, 2 usage, 3 unreachable or without keys.`,
		Example: "  cloister keys fetch -o keys.json",
		Args:    usage(cobra.NoArgs),
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "file for the key set (default: standard output)")
	cmd.Flags().Duration("wait", client.DefaultWait, "how long to keep trying while the enclave is away")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect(cmd)
		if err != nil {
			return err
		}
		set, err := c.FetchKeys(cmd.Context())
		if err != nil {
			return err
		}
		file, err := set.File()
		if err != nil {
			return err
		}
		if err := deliver(cmd.OutOrStdout(), out, func(w io.Writer) error {
			_, err := w.Write(file)
			return err
		}); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "verified: intake key %s of deployment %s, to be sealed to until %s\n",
			set.Public().ID(), set.Deployment(), set.NotAfter().UTC().Format(time.DateOnly))
		return nil
	}
	return cmd
}
