package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/sim/kmssim"
	"github.com/cloisterhq/cloister/sim/kmssim/standalone"
)

func kmsCommand() *cobra.Command {
	var o standalone.Options
	cmd := &cobra.Command{
		Use:   "kms",
		Short: "Serve a simulated KMS by itself, for anybody's tests",
		Long: `Kms serves AWS KMS's protocol to unmodified SDKs and command-line tools until it
is interrupted. It checks signatures, verifies attestation documents under the
roots that are given, and evaluates key policies with kms:RecipientAttestation
conditions. State is kept in a file, and every call leaves a line like
CloudTrail's.

It prints, a line each: credentials (when --principals isn't given), root (when
--root isn't), endpoint, ca, and at last ready.

An account's root in a policy stands for everybody in the account: there are no
IAM policies and no grants here.

--faults names what goes wrong: OPERATION=FAULT, or OPERATION=FAULT/N for every
N-th call; * is every operation. Faults: ` + strings.Join(kmssim.FaultNames(), ", ") + `.`,
		Example: `  cloister-sim kms --listen 127.0.0.1:8443 --state kms.json --root root.pem --events events.ndjson
  AWS_CA_BUNDLE=kms.json.ca.pem aws kms create-key --endpoint-url https://127.0.0.1:8443 --region eu-central-1
  cloister-sim kms --http --faults 'Decrypt=throttle/3,GenerateDataKey=slow' --delay 2s`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:0", "host:port to listen on")
	flags.StringVar(&o.State, "state", "", "file that keeps keys, policies and aliases (default: memory)")
	flags.StringArrayVar(&o.Roots, "root", nil, "PEM file of an attestation root to believe; may be repeated (default: one made here)")
	flags.StringVar(&o.Principals, "principals", "", `JSON list of {"access_key_id","secret_access_key","session_token","arn"} (default: AWS's example key)`)
	flags.StringVar(&o.Faults, "faults", "", "what goes wrong")
	flags.DurationVar(&o.Delay, "delay", kmssim.DefaultDelay, "how long the fault slow takes")
	flags.StringVar(&o.Events, "events", "", "file that gets a line for each call; - is stdout")
	flags.StringVar(&o.Region, "region", "eu-central-1", "region of every key")
	flags.StringVar(&o.Account, "account", "111122223333", "account of every key")
	flags.BoolVar(&o.PlainHTTP, "http", false, "serve without TLS")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.Out = cmd.OutOrStdout()
		return standalone.Serve(cmd.Context(), o)
	}
	return cmd
}
