package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation"
	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
)

// signerPCR is the register that measures who signed an image.
const signerPCR = 8

func policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Write appraisal policies",
		Args:  noCommand,
		RunE:  helpOnly,
	}
	cmd.AddCommand(policyInitCommand())
	return cmd
}

// policyFlags are the flags of `cloister policy init`.
type policyFlags struct {
	document, image   string
	reference         string
	bundle, root      string
	environment, at   string
	atDocument, debug bool
	pin               []int
}

func policyInitCommand() *cobra.Command {
	f := new(policyFlags)
	cmd := &cobra.Command{
		Use:   "init --from-eif FILE --bundle FILE | --from-reference FILE --bundle FILE | --from-document FILE",
		Short: "Write a policy that accepts an image and a bundle, or what a document measures",
		Long: `With --from-eif, init measures an image file and a bundle and writes a policy to
stdout that accepts exactly these two: PCR0, 1, 2 and 16, and 8 when the image is
signed. With --from-reference, it takes the image's registers from the file of
reference values that was made with the image.

With --from-document, init verifies a document, its chain and its signature, and writes a policy to
stdout that accepts exactly the image and the configuration that it measures:
PCR0, PCR1 and PCR2, and PCR8 and PCR16 if they are set. --bundle demands that
PCR16 measures this bundle. --pin names further registers, such as 3 for the
parent's role and 4 for its instance.

A policy from a document is trust on first use: it says that later enclaves are the same as
this one, not that this one is any good. The release's name says so. Compare the
registers with those of a build that you made or trust before you rely on it.`,
		Example: `  cloister policy init --from-eif cloister.eif --bundle bundle.cbor >policy.json
  cloister policy init --from-reference reference-values.json --bundle bundle.cbor >policy.json
  cloister policy init --from-document att.cbor >policy.json
  cloister policy init --from-document att.cbor --at-document-time --bundle bundle.cbor >policy.json
  cloister policy init --from-document att.b64 --trust-root root.pem --environment simulation >policy.json`,
		Args: usage(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.image, "from-eif", "", "the image file to accept")
	flags.StringVar(&f.reference, "from-reference", "", "the reference values of the image to accept")
	flags.StringVar(&f.document, "from-document", "", "the document to start from; - is stdin")
	flags.StringVar(&f.bundle, "bundle", "", "bundle that PCR16 must measure")
	flags.StringVar(&f.root, "trust-root", "", "PEM file of the root to trust (default: AWS's Nitro root)")
	flags.StringVar(&f.environment, "environment", policy.Other, "with --trust-root: simulation or other")
	flags.StringVar(&f.at, "at", "", "verify as of this time, RFC 3339 (default: now)")
	flags.BoolVar(&f.atDocument, "at-document-time", false, "verify as of the document's own time")
	flags.BoolVar(&f.debug, "allow-debug", false, "accept an enclave in debug mode, for tests")
	flags.IntSliceVar(&f.pin, "pin", nil, "further registers to name")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	return cmd
}

func (f *policyFlags) run(cmd *cobra.Command) error {
	given := 0
	for _, from := range []string{f.document, f.image, f.reference} {
		if from != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return &exitError{exitUsage, errors.New("one of --from-eif FILE, --from-reference FILE and --from-document FILE is needed")}
	case f.at != "" && f.atDocument:
		return &exitError{exitUsage, errors.New("give --at or --at-document-time, not both")}
	case f.environment != policy.Other && f.environment != policy.Simulation:
		return &exitError{exitUsage, errors.New("--environment: simulation or other; without --trust-root it is aws")}
	case f.root == "" && cmd.Flags().Changed("environment"):
		return &exitError{exitUsage, errors.New("--environment goes with --trust-root")}
	}
	if f.document == "" {
		return f.fromFiles(cmd)
	}
	a, err := f.authenticate(cmd)
	if err != nil {
		return verdicts{form: "text"}.refuse(err)
	}
	file, err := f.file(a)
	if err != nil {
		return verdicts{form: "text"}.refuse(err)
	}
	b, err := file.Marshal()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "trust on first use: this policy accepts what the document of %s measures, good or not.\n"+
		"Compare its registers with those of a build that you trust.\n", stamp(a.Document().Timestamp()))
	_, err = cmd.OutOrStdout().Write(b)
	return err
}

// authenticate verifies the document before anything of it is used.
func (f *policyFlags) authenticate(cmd *cobra.Command) (*verifier.Authentic, error) {
	roots, at := verifier.AWS(), time.Now()
	if f.root != "" {
		b, err := readSmall(f.root)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		if roots, err = verifier.NewRoots(b); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("%s: %w", f.root, err)}
		}
	}
	if f.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, f.at); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("--at %q: a time is written as 2026-01-31T12:00:00Z (RFC 3339)", f.at)}
		}
	}
	raw, err := readDocument(cmd, f.document)
	if err != nil {
		return nil, err
	}
	if f.atDocument {
		d, err := attestation.Parse(raw)
		if err != nil {
			return nil, named(verifier.CheckFormat, err)
		}
		at = d.Timestamp()
	}
	return verifier.Authenticate(raw, roots, at)
}

// file is the policy for an authentic document.
func (f *policyFlags) file(a *verifier.Authentic) (policy.File, error) {
	d := a.Document()
	environment := f.environment
	if a.IsAWS() {
		environment = policy.AWS
	}
	for i := range 3 {
		if pcr, ok := d.PCR(i); ok && pcr.IsZero() && !f.debug {
			return policy.File{}, named(verifier.CheckDebug, attestation.NewPCRError(attestation.Debug, i, "zero, as in debug mode"))
		}
	}
	measured := policy.BundleNone
	if pcr, ok := d.PCR(policy.BundlePCR); ok && !pcr.IsZero() {
		measured = policy.BundleRequired
	}
	if f.bundle != "" {
		if err := f.checkBundle(d); err != nil {
			return policy.File{}, err
		}
		measured = policy.BundleRequired
	}
	pcrs := make(map[string]string)
	for i, pcr := range d.PCRs() {
		set := !pcr.IsZero() && (i == signerPCR || i == policy.BundlePCR)
		if i <= 2 || set || slices.Contains(f.pin, i) {
			pcrs[strconv.Itoa(i)] = pcr.String()
		}
	}
	return policy.File{
		Version: 1, Environment: environment, Kind: policy.KindEnclave, Roots: []string{a.RootFingerprint()}, Bundle: measured,
		Releases: []policy.FileRelease{{Name: "trust on first use, " + stamp(d.Timestamp()), PCRs: pcrs}},
		MaxAge:   policy.DefaultMaxAge.String(), AllowDebug: f.debug,
	}, nil
}

// checkBundle demands that PCR16 measures the bundle and that it is one.
func (f *policyFlags) checkBundle(d *attestation.Document) error {
	raw, err := readLimited(f.bundle, limits.Bundle)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if _, err := bundle.Decode(raw); err != nil {
		return &exitError{exitUsage, fmt.Errorf("%s: %w", f.bundle, err)}
	}
	want := bundle.PCR16(raw)
	if got, ok := d.PCR(policy.BundlePCR); !ok || got != attestation.PCR(want) {
		return named(verifier.CheckBundle, attestation.NewPCRError(attestation.Binding, policy.BundlePCR, "the bundle isn't the measured one"))
	}
	return nil
}
