package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/attls"
)

func verifyCommand() *cobra.Command {
	var root, policyFile string
	cmd := &cobra.Command{
		Use:   "verify [ADDRESS]",
		Short: "Verify a running enclave's evidence",
		Long: `Verify connects to an enclave, asks for evidence with a fresh nonce on that very
connection and appraises it against a policy: the certificate chain up to the
trust root, the signature, freshness, the measurements of image and bundle, and
that the connection's key is the attested one.

ADDRESS is the host:port of attested TLS; without it the context file says.
Exit codes: 0 verified, 1 refused, 2 usage, 3 no evidence could be had.`,
		Example: `  cloister verify
  cloister verify 127.0.0.1:7443 --policy policy.json --trust-root root.pem -o json`,
		Args: usage(cobra.MaximumNArgs(1)),
	}
	cmd.Flags().StringVar(&policyFile, "policy", "", "appraisal policy (default: the context's)")
	cmd.Flags().StringVar(&root, "trust-root", "", "PEM file of the root to trust (default: the context's, else AWS's Nitro root)")
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.Flags().Duration("wait", 0, "how long to keep trying when nobody answers")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		c, err := verifyClient(cmd, args, root, policyFile)
		if err != nil {
			return err
		}
		peer, err := c.Verify(cmd.Context())
		if err != nil {
			return refusal(cmd.OutOrStdout(), form, err)
		}
		if form == "json" {
			return writeJSON(cmd.OutOrStdout(), peer.Result)
		}
		return writeVerified(cmd.OutOrStdout(), peer)
	}
	return cmd
}

// verifyClient takes what flags and arguments say over the context's word.
func verifyClient(cmd *cobra.Command, args []string, root, policyFile string) (*client.Client, error) {
	if len(args) == 0 || policyFile == "" {
		config, err := loadContext(cmd)
		if err != nil {
			return nil, err
		}
		if len(args) == 1 {
			config.Attested = args[0]
		}
		if root != "" || policyFile != "" {
			return nil, &exitError{exitUsage, errors.New("--policy and --trust-root go with an ADDRESS")}
		}
		return newClient(cmd, config)
	}
	if !strings.Contains(args[0], ":") {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: an address is host:port", args[0])}
	}
	return newClient(cmd, &client.Config{Version: 1, Attested: args[0], Policy: policyFile, TrustRoot: root})
}

func newClient(cmd *cobra.Command, config *client.Config) (*client.Client, error) {
	c, err := client.New(config)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	c.Wait, err = cmd.Flags().GetDuration("wait")
	return c, err
}

// refusal says which check failed and what to do.
func refusal(out io.Writer, form string, err error) error {
	var verdict *attestation.Error
	if !errors.As(err, &verdict) {
		return err
	}
	if form == "json" {
		if err := writeJSON(out, map[string]any{
			"schema": "cloister.verify/v1", "verified": false, "class": verdict.Class, "detail": verdict.Error(), "fix": advice(verdict),
		}); err != nil {
			return err
		}
	}
	return &exitError{exitRefused, fmt.Errorf("REFUSED: %w\n  %s", verdict, advice(verdict))}
}

// advice is what to do about a refusal.
func advice(e *attestation.Error) string {
	switch e.Class {
	case attestation.UntrustedRoot:
		return "This enclave is signed under another root than the one you trust. Check --trust-root and the policy's roots; don't send anything."
	case attestation.PolicyMismatch:
		return "The enclave runs another image or another bundle than your policy names. Ask the operator which release this is; don't send anything until your own policy names it."
	case client.ClassGenesis:
		return "The enclave is genuine, but its state isn't the one that your context pins: it was made anew, or this is a second copy. Ask the operator; don't send anything until you know."
	case client.ClassDeployment:
		return "The enclave is genuine, but it serves another deployment. Check the address and the context file."
	case attestation.Debug:
		return "The enclave runs in debug mode: its memory can be read from outside."
	case attestation.Stale, attestation.Future, attestation.Expired, attestation.NotYetValid:
		return "The evidence isn't of this moment. Check this machine's clock, then try again."
	default:
		return "The evidence doesn't hold. Don't send anything; keep the output for whoever runs the enclave."
	}
}

// writeVerified prints one line a check.
func writeVerified(out io.Writer, peer *attls.Peer) error {
	for _, c := range peer.Result.Checks() {
		mark := "ok"
		if !c.OK {
			mark = "--"
		}
		fmt.Fprintf(out, "  %-16s %-2s  %s\n", c.Name, mark, c.Detail)
	}
	if len(peer.Genesis) > 0 {
		fmt.Fprintf(out, "  %-16s %-2s  %s\n", "genesis", "ok", hex.EncodeToString(peer.Genesis))
	}
	fmt.Fprintf(out, "verified: %s, release %s, deployment %s\n", peer.Result.Environment(), peer.Result.Release(), peer.Bundle.Deployment)
	if peer.Result.Environment() == "simulation" {
		fmt.Fprintln(out, "SIMULATION: no hardware protects this enclave; use test data only")
	}
	return nil
}

func writeJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
