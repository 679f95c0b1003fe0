package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/client"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/deployment"
)

func bundleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Build and inspect the measured bundle of a deployment",
		Args:  noCommand,
		RunE:  helpOnly,
	}
	cmd.AddCommand(bundleBuildCommand(), bundleInspectCommand())
	return cmd
}

func bundleBuildCommand() *cobra.Command {
	var out, facts string
	cmd := &cobra.Command{
		Use:   "build DIR",
		Short: "Build a bundle from cloister.yaml, its contracts and a deployment's facts",
		Long: `Build reads DIR/cloister.yaml and the contracts it names and writes the bundle:
deterministic CBOR, measured into PCR16 at boot. The same input gives the same
bytes. --facts names a JSON file with what the configuration leaves out: KMS
key ARNs, producers, issuers.`,
		Example: "  cloister bundle build deploy/ --facts facts.json --out bundle.cbor",
		Args:    usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringVar(&out, "out", "bundle.cbor", "where to write the bundle")
	cmd.Flags().StringVar(&facts, "facts", "", "JSON file with the deployment's facts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		config, err := deployment.Read(args[0])
		if err != nil {
			return err
		}
		var f deployment.Facts
		if facts != "" {
			b, err := os.ReadFile(facts)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if f, err = deployment.ReadFacts(b); err != nil {
				return fmt.Errorf("%s: %w", facts, err)
			}
		}
		b, err := config.Bundle(f)
		if err != nil {
			return err
		}
		raw, err := b.Encode()
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, raw, 0o644); err != nil {
			return err
		}
		pcr := bundle.PCR16(raw)
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes, PCR16 %s\n", out, len(raw), hex.EncodeToString(pcr[:]))
		return nil
	}
	return cmd
}

func bundleInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "inspect FILE",
		Short:   "Show what a bundle holds and the PCR16 that it gives",
		Example: "  cloister bundle inspect bundle.cbor -o json",
		Args:    usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(args[0])
		if err != nil {
			return &exitError{exitUsage, err}
		}
		b, err := bundle.Decode(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		digest, pcr := bundle.Digest(raw), bundle.PCR16(raw)
		if form == "json" {
			return writeJSON(cmd.OutOrStdout(), map[string]any{
				"schema": "cloister.bundle/v1", "digest": hex.EncodeToString(digest[:]), "pcr16": hex.EncodeToString(pcr[:]), "bundle": b,
			})
		}
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "deployment  %s (%s)\nfreshness   %s\nbytes       %d\nSHA-384     %x\nPCR16       %x\n", b.Deployment, b.Profile, b.Freshness, len(raw), digest, pcr)
		for _, d := range b.Datasets {
			fmt.Fprintf(w, "dataset     %s %s, mode %s, floor %d, %d columns, key %s\n", d.Contract.Dataset, d.Contract.Version, d.Contract.Mode, d.Contract.Floor, len(d.Contract.Fields), d.KeyARN)
		}
		for _, p := range b.Producers {
			fmt.Fprintf(w, "producer    %s for %v, retired %t\n", p.Name, p.Datasets, p.Retired)
		}
		for _, i := range b.Issuers {
			fmt.Fprintf(w, "issuer      %s, audience %s, roles in %s\n", i.URL, i.Audience, i.RolesClaim)
		}
		for _, e := range b.Egress {
			fmt.Fprintf(w, "egress      %s\n", e)
		}
		return nil
	}
	return cmd
}

func keygenCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "keygen --out FILE",
		Short: "Make a producer's signing key",
		Long: `Keygen makes an Ed25519 key, writes the private half to FILE (mode 0600, never
over an existing file) and prints the public half as cloister.yaml names it.`,
		Example: "  cloister keygen --out producer.key",
		Args:    usage(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&out, "out", "", "file for the private key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if out == "" {
			return &exitError{exitUsage, errors.New("--out FILE is needed")}
		}
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		private, public, err := client.EncodeSigningKey(key)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		if _, err := f.Write(private); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), public)
		return nil
	}
	return cmd
}

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  usage(cobra.NoArgs),
	}
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		form, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		v := struct {
			Schema  string `json:"schema"`
			Version string `json:"version"`
			Commit  string `json:"commit,omitempty"`
			Go      string `json:"go"`
		}{"cloister.version/v1", "(devel)", "", runtime.Version()}
		if info, ok := debug.ReadBuildInfo(); ok {
			if info.Main.Version != "" {
				v.Version = info.Main.Version
			}
			for _, s := range info.Settings {
				if s.Key == "vcs.revision" {
					v.Commit = s.Value
				}
			}
		}
		if form == "json" {
			return writeJSON(cmd.OutOrStdout(), v)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "cloister %s %s %s\n", v.Version, v.Commit, v.Go)
		return err
	}
	return cmd
}
