package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// maxPolicyFile is the largest policy, grant list or credentials file that is
// read, in bytes.
const maxPolicyFile = 1 << 20

func kmsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kms",
		Short: "Write, check and try the policies of KMS keys",
		Long: `kms is for the data owner, whose KMS keys are released to a measured enclave and
to nothing else. Its commands write the key policies of a release, find ways to
plaintext in policies that anybody wrote, and try from outside whether a key
stays closed.`,
		Args: noCommand,
		RunE: helpOnly,
	}
	cmd.AddCommand(kmsPolicyCommand(), kmsLintCommand(), kmsCanaryCommand())
	return cmd
}

// readPolicyFile reads a file of at most maxPolicyFile bytes; - is stdin.
func readPolicyFile(cmd *cobra.Command, name string) ([]byte, error) {
	in := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxPolicyFile+1))
	if err == nil && len(b) > maxPolicyFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxPolicyFile)
	}
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	return b, nil
}
