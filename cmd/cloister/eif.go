package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/eif"
)

func eifCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eif",
		Short: "Inspect, measure, build, sign and compare enclave image files",
		Args:  usage(cobra.NoArgs),
		RunE:  helpOnly,
	}
	cmd.AddCommand(eifInspectCommand(), eifMeasureCommand(), eifBuildCommand(), eifSignCommand(), eifDiffCommand(), eifExtractCommand())
	return cmd
}

// openRegular opens a regular file, and waits for nobody: opening a pipe would.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s isn't a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// openImage opens a regular file as an image.
func openImage(path string) (*os.File, *eif.Image, error) {
	f, size, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	m, err := eif.Open(f, size)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, m, nil
}

// refusedFile makes every error about a file exit with 1, as the verdict that
// it is.
func refusedFile(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var exit *exitError
	if errors.As(err, &exit) {
		return err
	}
	return &exitError{exitRefused, err}
}

// inspection is everything about an image, as inspect prints it.
type inspection struct {
	Schema   string            `json:"schema"`
	File     string            `json:"file"`
	Bytes    int64             `json:"bytes"`
	SHA256   string            `json:"sha256"`
	Version  int               `json:"version"`
	Arch     string            `json:"arch"`
	Memory   uint64            `json:"default_memory"`
	CPUs     uint64            `json:"default_cpus"`
	Sections []sectionRow      `json:"sections"`
	Line     string            `json:"cmdline"`
	PCRs     map[string]string `json:"pcrs"`
	Remarks  *eif.Remarks      `json:"metadata,omitempty"`
	Signer   *signerRow        `json:"signer,omitempty"`
	Verdict  string            `json:"verdict"`
	Findings []string          `json:"findings,omitempty"`
}

type sectionRow struct {
	Type   string `json:"type"`
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"`
}

type signerRow struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Expired   bool      `json:"expired"`
}

// inspect reads a whole image. What is wrong with it becomes a finding, once
// header and sections agree.
func inspect(ctx context.Context, path string) (*inspection, error) {
	return inspectBy(ctx, path, (*eif.Image).Measure)
}

// inspectBy measures in one of package eif's ways.
func inspectBy(ctx context.Context, path string, measure func(*eif.Image, context.Context, func(int64)) (*eif.Measurement, error)) (*inspection, error) {
	f, m, err := openImage(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	measured, err := measure(m, ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := &inspection{
		Schema: "cloister.eif/v1", File: path, Bytes: m.Size(), SHA256: hex.EncodeToString(measured.Digest[:]),
		Version: m.Version(), Arch: m.Arch().String(), Memory: m.Memory(), CPUs: m.CPUs(), Verdict: "good",
		PCRs: map[string]string{"0": measured.PCR0.String(), "1": measured.PCR1.String(), "2": measured.PCR2.String()},
	}
	for _, s := range m.Sections() {
		out.Sections = append(out.Sections, sectionRow{s.Type.String(), s.Offset, s.Size})
	}
	signer, signed := m.SignedBy(measured.PCR0)
	if signer != nil {
		c := signer.Certificate
		out.PCRs["8"] = signer.PCR8.String()
		out.Signer = &signerRow{c.Subject.String(), c.Issuer.String(), c.NotBefore, c.NotAfter, time.Now().After(c.NotAfter)}
	}
	var crc error
	if !measured.CRC {
		crc = &eif.Error{Class: eif.BadCRC, Detail: "the header's isn't that of the file"}
	}
	for _, err := range []error{crc, m.Check(), signed} {
		if err != nil {
			out.Verdict, out.Findings = "refused", append(out.Findings, err.Error())
		}
	}
	out.Line, _ = m.CommandLine() // what is wrong with it is a finding already
	out.Remarks, _ = m.Metadata()
	return out, nil
}

func eifInspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show sections, measurements, signer and whether the structure is sound",
		Long: `Inspect reads an image strictly and says what it holds: sections, metadata,
signature and signer, the PCRs that the hypervisor will measure, and a verdict
on its structure. A file that two readers could read differently is refused.

Exit codes: 0 good, 1 refused, 2 usage.`,
		Example: "  cloister eif inspect cloister.eif -o json",
		Args:    usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		x, err := inspect(cmd.Context(), args[0])
		if err != nil {
			return refusedFile(err)
		}
		if form == "json" {
			err = writeJSON(cmd.OutOrStdout(), x)
		} else {
			err = x.write(cmd.OutOrStdout())
		}
		if err == nil && x.Verdict != "good" {
			return &exitError{code: exitRefused}
		}
		return err
	}
	return cmd
}

// write prints an inspection for people.
func (x *inspection) write(w io.Writer) error {
	fmt.Fprintf(w, "file      %s, %d bytes, version %d, %s\nsha256    %s\ncmdline   %s\n", printable(x.File), x.Bytes, x.Version, x.Arch, x.SHA256, printable(x.Line))
	for _, s := range x.Sections {
		fmt.Fprintf(w, "section   %-9s %12d bytes at %d\n", s.Type, s.Bytes, s.Offset)
	}
	if r := x.Remarks; r != nil {
		fmt.Fprintf(w, "remarks   %s (the builder's word, not measured)\n", printable(fmt.Sprintf("%s %s, built %s by %s %s, kernel %s",
			r.ImageName, r.ImageVersion, r.BuildMetadata.BuildTime, r.BuildMetadata.BuildTool, r.BuildMetadata.BuildToolVersion, r.BuildMetadata.KernelVersion)))
	}
	for _, i := range []string{"0", "1", "2", "8"} {
		if pcr, ok := x.PCRs[i]; ok {
			fmt.Fprintf(w, "PCR%s      %s\n", i, pcr)
		}
	}
	if s := x.Signer; s != nil {
		fmt.Fprintf(w, "signer    %s, good from %s to %s\n", printable(s.Subject), s.NotBefore.Format(time.DateOnly), s.NotAfter.Format(time.DateOnly))
	} else {
		fmt.Fprintln(w, "signer    none: PCR8 is zero")
	}
	for _, f := range x.Findings {
		fmt.Fprintf(w, "finding   %s\n", f)
	}
	_, err := fmt.Fprintf(w, "verdict   %s\n", x.Verdict)
	return err
}

func eifMeasureCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "measure FILE",
		Short: "Print the PCRs of an image",
		Long: `Measure prints PCR0, PCR1, PCR2 and, for a signed image, PCR8. It answers for a
file whose structure is refused too, says so on stderr, and exits with 1.`,
		Example: "  cloister eif measure cloister.eif -o json",
		Args:    usage(cobra.ExactArgs(1)),
	}
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := format(cmd, "text", "json")
		if err != nil {
			return err
		}
		x, err := inspectBy(cmd.Context(), args[0], (*eif.Image).Registers)
		if err != nil {
			return refusedFile(err)
		}
		if form == "json" {
			err = writeJSON(cmd.OutOrStdout(), map[string]any{"schema": "cloister.measure/v1", "pcrs": x.PCRs, "verdict": x.Verdict})
		} else {
			for _, i := range []string{"0", "1", "2", "8"} {
				if pcr, ok := x.PCRs[i]; ok {
					fmt.Fprintf(cmd.OutOrStdout(), "PCR%s %s\n", i, pcr)
				}
			}
		}
		if err == nil && x.Verdict != "good" {
			return &exitError{exitRefused, fmt.Errorf("%s: don't run this image: %s", args[0], x.Findings[0])}
		}
		return err
	}
	return cmd
}

func eifDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Say in which measurements and sections two images differ",
		Long: `Diff compares two images: what is measured, and what isn't. Exit codes: 0 the
same measurements, 1 others or a refused file, 2 usage.`,
		Example: "  cloister eif diff released.eif rebuilt.eif",
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := inspect(cmd.Context(), args[0])
			if err != nil {
				return refusedFile(err)
			}
			b, err := inspect(cmd.Context(), args[1])
			if err != nil {
				return refusedFile(err)
			}
			return a.compare(cmd.OutOrStdout(), b)
		},
	}
}

// compare prints the differences of two images.
func (x *inspection) compare(w io.Writer, other *inspection) error {
	same := true
	say := func(what, a, b string, measured bool) {
		if a != b {
			same = same && !measured
			fmt.Fprintf(w, "%-8s  %s\n          %s\n", what, printable(a), printable(b))
		}
	}
	for _, i := range []string{"0", "1", "2", "8"} {
		say("PCR"+i, x.PCRs[i], other.PCRs[i], true)
	}
	say("cmdline", x.Line, other.Line, false)
	say("sections", fmt.Sprint(x.Sections), fmt.Sprint(other.Sections), false)
	say("arch", x.Arch, other.Arch, false)
	say("file", x.SHA256, other.SHA256, false)
	say("verdict", x.Verdict, other.Verdict, true)
	if !same {
		return &exitError{exitRefused, errors.New("the images measure differently")}
	}
	_, err := fmt.Fprintln(w, "the same measurements")
	return err
}
