package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/eif"
)

// imageFlags are what eif build is told.
type imageFlags struct {
	kernel, cmdline, arch, out, name, version string
	ramdisks                                  []string
	sign                                      signFlags
}

func eifBuildCommand() *cobra.Command {
	var f imageFlags
	cmd := &cobra.Command{
		Use:   "build --kernel FILE --cmdline FILE|TEXT --ramdisk FILE... -o FILE",
		Short: "Build an image from a kernel, a command line and ramdisks",
		Long: `Build writes an image of version 4 with its sections in the official order. The
time in its metadata is SOURCE_DATE_EPOCH, or 1970, so the same input gives the
same bytes. With --sign-cert and --sign-key it is signed, and PCR8 names the
signer. With --kms-key the signer's key stays in KMS (key usage SIGN_VERIFY, spec
ECC_NIST_P384, P256 or P521; the caller needs kms:GetPublicKey and kms:Sign);
KMS signs with randomness, so the signature's bytes differ from run to run.
Before anybody sees the file it is read back, checked and measured.`,
		Example: "  cloister eif build --kernel bzImage --cmdline cmdline.txt --ramdisk init.cpio --ramdisk root.cpio -o cloister.eif",
		Args:    usage(cobra.NoArgs),
	}
	cmd.Flags().StringVar(&f.kernel, "kernel", "", "bzImage, or Image on aarch64")
	cmd.Flags().StringVar(&f.cmdline, "cmdline", "", "the kernel's command line, or a file that holds it")
	cmd.Flags().StringArrayVar(&f.ramdisks, "ramdisk", nil, "cpio or cpio.gz; repeat it, in order")
	cmd.Flags().StringVar(&f.arch, "arch", "x86_64", "x86_64 or aarch64")
	cmd.Flags().StringVarP(&f.out, "out", "o", "", "the image to write, never over an existing file")
	cmd.Flags().StringVar(&f.name, "name", "cloister", "name in the metadata")
	cmd.Flags().StringVar(&f.version, "image-version", "0", "version in the metadata")
	f.sign.add(cmd)
	for _, need := range []string{"kernel", "cmdline", "ramdisk", "out"} {
		_ = cmd.MarkFlagRequired(need)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return refusedFile(f.build(cmd)) }
	return cmd
}

// build makes the plan out of files and writes it, twice when it is signed:
// what is signed is measured first.
func (f *imageFlags) build(cmd *cobra.Command) error {
	if err := f.sign.check(); err != nil {
		return err
	}
	arch, ok := eif.ArchNamed(f.arch)
	if !ok {
		return &exitError{exitUsage, fmt.Errorf("--arch %s: x86_64 or aarch64", f.arch)}
	}
	p := eif.Plan{Arch: arch, CommandLine: f.cmdline}
	if b, err := os.ReadFile(f.cmdline); err == nil {
		p.CommandLine = string(bytes.TrimRight(b, "\n"))
	}
	var err error
	if p.Metadata, err = f.remarks(); err != nil {
		return err
	}
	kernel, source, err := openSource(f.kernel)
	if err != nil {
		return err
	}
	defer kernel.Close()
	p.Kernel = source
	for _, name := range f.ramdisks {
		ramdisk, source, err := openSource(name)
		if err != nil {
			return err
		}
		defer ramdisk.Close()
		p.Ramdisks = append(p.Ramdisks, source)
	}
	return writeImage(cmd, f.out, func(signature []byte) (eif.Plan, error) {
		p.Signature = signature
		return p, nil
	}, f.sign)
}

// remarks is the metadata section.
func (f *imageFlags) remarks() ([]byte, error) {
	epoch := int64(0)
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		var err error
		if epoch, err = strconv.ParseInt(text, 10, 64); err != nil || epoch < 0 {
			return nil, &exitError{exitUsage, errors.New("SOURCE_DATE_EPOCH isn't a number of seconds")}
		}
	}
	r := eif.Remarks{ImageName: f.name, ImageVersion: f.version}
	r.BuildMetadata.BuildTime = time.Unix(epoch, 0).UTC().Format(time.RFC3339)
	r.BuildMetadata.BuildTool, r.BuildMetadata.OperatingSystem = "cloister eif", "Linux"
	return r.JSON()
}

// openSource opens a regular file as a section's data.
func openSource(name string) (*os.File, eif.Source, error) {
	f, size, err := openRegular(name)
	if err != nil {
		return nil, eif.Source{}, err
	}
	return f, eif.Source{Data: f, Size: size}, nil
}

// writeImage writes a plan beside its final name, measures it, signs it when
// asked to, checks all of it, and only then gives it its name.
func writeImage(cmd *cobra.Command, out string, plan func(signature []byte) (eif.Plan, error), sign signFlags) error {
	if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
		return &exitError{exitUsage, fmt.Errorf("%s exists; it isn't overwritten", out)}
	}
	tmp := out + ".unfinished"
	defer os.Remove(tmp) // gone after the rename
	if err := writePlan(tmp, nil, plan); err != nil {
		return err
	}
	x, err := inspect(cmd.Context(), tmp)
	if err != nil {
		return err
	}
	if sign.cert != "" {
		signature, err := sign.signature(cmd, tmp)
		if err != nil {
			return err
		}
		if err := writePlan(tmp, signature, plan); err != nil {
			return err
		}
		if x, err = inspect(cmd.Context(), tmp); err != nil {
			return err
		}
	}
	if x.Verdict != "good" {
		return fmt.Errorf("the image would be refused: %s", x.Findings[0])
	}
	if err := os.Rename(tmp, out); err != nil {
		return err
	}
	x.File = out
	return x.write(cmd.OutOrStdout())
}

func writePlan(path string, signature []byte, plan func([]byte) (eif.Plan, error)) error {
	p, err := plan(signature)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(p.Write(f), f.Sync(), f.Close())
}

func eifExtractCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "extract FILE DIR",
		Short:   "Write an image's sections to files",
		Long:    "Extract writes every section of an image to a file of its own in DIR, which must not exist yet.",
		Example: "  cloister eif extract cloister.eif parts/",
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, m, err := openImage(args[0])
			if err != nil {
				return refusedFile(err)
			}
			defer f.Close()
			if err := os.Mkdir(args[1], 0o755); err != nil {
				return &exitError{exitUsage, err}
			}
			for i, s := range m.Sections() {
				name := filepath.Join(args[1], fmt.Sprintf("%02d-%s", i, s.Type))
				if err := extract(m, s, name); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %d bytes\n", name, s.Size)
			}
			return nil
		},
	}
}

func extract(m *eif.Image, s eif.Section, name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(m.Copy(io.Writer(f), s), f.Close())
}
