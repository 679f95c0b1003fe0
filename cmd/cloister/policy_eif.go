package main

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
)

// fromImage writes the policy for an image file and a bundle. Nothing is taken
// on trust but the two files: their maker knows what they are.
func (f *policyFlags) fromImage(cmd *cobra.Command) error {
	if f.bundle == "" {
		return &exitError{exitUsage, errors.New("--from-eif needs --bundle FILE: without PCR16 a host could choose the configuration")}
	}
	if f.at != "" || f.atDocument || f.debug || len(f.pin) > 0 {
		return &exitError{exitUsage, errors.New("--at, --at-document-time, --allow-debug and --pin are for --from-document")}
	}
	x, err := inspect(cmd.Context(), f.image)
	if err != nil {
		return refusedFile(err)
	}
	if x.Verdict != "good" {
		return &exitError{exitRefused, fmt.Errorf("%s: no policy for a refused image: %s", f.image, x.Findings[0])}
	}
	raw, err := readLimited(f.bundle, limits.Bundle)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%s: %w", f.bundle, err)}
	}
	roots, environment := verifier.AWS().Fingerprints(), policy.AWS
	if f.root != "" {
		pem, err := readSmall(f.root)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		given, err := verifier.NewRoots(pem)
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("%s: %w", f.root, err)}
		}
		roots, environment = given.Fingerprints(), f.environment
	}
	pcr16 := bundle.PCR16(raw)
	pcrs := map[string]string{"16": hex.EncodeToString(pcr16[:])}
	for i, pcr := range x.PCRs {
		pcrs[i] = pcr
	}
	file := policy.File{
		Version: 1, Environment: environment, Kind: policy.KindEnclave, Roots: roots, Bundle: policy.BundleRequired,
		Releases: []policy.FileRelease{{Name: f.release(x, b), PCRs: pcrs}}, MaxAge: policy.DefaultMaxAge.String(),
	}
	out, err := file.Marshal()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	_, err = cmd.OutOrStdout().Write(out)
	return err
}

// release names what the policy accepts.
func (f *policyFlags) release(x *inspection, b *bundle.Bundle) string {
	if x.Remarks == nil || x.Remarks.ImageName == "" {
		return "image " + x.PCRs["0"][:12] + " for " + b.Deployment
	}
	return printable(x.Remarks.ImageName + " " + x.Remarks.ImageVersion + " for " + b.Deployment)
}
