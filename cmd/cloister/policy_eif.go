package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/attestation/policy"
	"github.com/cloisterhq/cloister/attestation/verifier"
	"github.com/cloisterhq/cloister/image/reference"
	"github.com/cloisterhq/cloister/internal/bundle"
	"github.com/cloisterhq/cloister/internal/limits"
)

// accepted is the registers of an image, and what a policy calls it.
type accepted struct {
	name string
	pcrs map[string]string
}

// fromFiles writes the policy for an image, or its reference values, and a
// bundle. Nothing is taken on trust but the two files: their maker knows what
// they are.
func (f *policyFlags) fromFiles(cmd *cobra.Command) error {
	flag, read := "--from-eif", f.fromImage
	if f.reference != "" {
		flag, read = "--from-reference", f.fromReference
	}
	if f.bundle == "" {
		return &exitError{exitUsage, errors.New(flag + " needs --bundle FILE: without PCR16 a host could choose the configuration")}
	}
	if f.at != "" || f.atDocument || f.debug || len(f.pin) > 0 {
		return &exitError{exitUsage, errors.New("--at, --at-document-time, --allow-debug and --pin are for --from-document")}
	}
	r, err := read(cmd)
	if err != nil {
		return err
	}
	raw, err := readLimited(f.bundle, limits.Bundle)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	b, err := bundle.Decode(raw)
	if err != nil {
		return &exitError{exitUsage, fmt.Errorf("%s: %w", f.bundle, err)}
	}
	pcr16 := bundle.PCR16(raw)
	r.pcrs["16"] = hex.EncodeToString(pcr16[:])
	r.name = printable(r.name + " for " + b.Deployment)
	return f.writeRelease(cmd.OutOrStdout(), r)
}

// writeRelease writes the policy that accepts a release.
func (f *policyFlags) writeRelease(w io.Writer, r accepted) error {
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
	file := policy.File{
		Version: 1, Environment: environment, Kind: policy.KindEnclave, Roots: roots, Bundle: policy.BundleRequired,
		Releases: []policy.FileRelease{{Name: r.name, PCRs: r.pcrs}}, MaxAge: policy.DefaultMaxAge.String(),
	}
	out, err := file.Marshal()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	_, err = w.Write(out)
	return err
}

// fromImage measures an image file.
func (f *policyFlags) fromImage(cmd *cobra.Command) (accepted, error) {
	x, err := inspect(cmd.Context(), f.image)
	if err != nil {
		return accepted{}, refusedFile(err)
	}
	if x.Verdict != "good" {
		return accepted{}, &exitError{exitRefused, fmt.Errorf("%s: no policy for a refused image: %s", f.image, x.Findings[0])}
	}
	name := "image " + x.PCRs["0"][:12]
	if x.Remarks != nil && x.Remarks.ImageName != "" {
		name = x.Remarks.ImageName + " " + x.Remarks.ImageVersion
	}
	return accepted{name, x.PCRs}, nil
}

// fromReference takes the registers from reference values. They are their
// maker's word until somebody rebuilds the image.
func (f *policyFlags) fromReference(cmd *cobra.Command) (accepted, error) {
	b, err := readLimited(f.reference, reference.Max)
	if err != nil {
		return accepted{}, &exitError{exitUsage, err}
	}
	v, err := reference.Parse(b)
	if err != nil {
		return accepted{}, &exitError{exitRefused, fmt.Errorf("%s: %w", f.reference, err)}
	}
	name := "image " + v.PCRs["0"][:12]
	if c := v.Source.Commit; c != reference.Unknown {
		name = "commit " + c[:12]
	}
	if v.Source.Modified {
		name += ", modified"
		fmt.Fprintln(cmd.ErrOrStderr(), "the image is of a modified source: nobody can rebuild it from its commit.")
	}
	if s := v.Image.Signer; s != nil && s.Development {
		fmt.Fprintln(cmd.ErrOrStderr(), "the image has a development signer: this policy is for images of that machine alone.")
	}
	return accepted{name, v.PCRs}, nil
}
