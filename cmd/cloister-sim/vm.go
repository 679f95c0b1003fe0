package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/cloisterhq/cloister/sim/stack"
	"github.com/cloisterhq/cloister/sim/vm"
	"github.com/cloisterhq/cloister/sim/vm/qemu"
)

func vmCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "vm",
		Short: "Run a deployment with the enclave's image in a virtual machine",
		Long: `Vm runs a deployment as up does, but the enclave is an image file that boots
under its own kernel in QEMU, with /dev/nsm and vsock as on Nitro. Key policy
and clients' policy name the image's measurements. Parent, KMS, issuer and
clients are the same as without a virtual machine.

The machine is interpreted: no KVM, no root, no vsock device of this host.
Nothing here isolates it from this host.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	status, down := statusCommand(), downCommand()
	cmd.AddCommand(vmPrepareCommand(), vmUpCommand(), status, down, vmLogsCommand())
	return cmd
}

func vmPrepareCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prepare",
		Short: "Fetch the QEMU that virtual machines run under",
		Long: `Prepare fetches QEMU from the Debian archive that this machine's apt-get knows,
holds it against recorded digests, and unpacks it into the user's cache:
nothing is installed, and nobody needs to be root. It says where it is. Up does
the same when it is needed.

Elsewhere than on Debian give up --qemu PROGRAM.`,
		Example: "  cloister-sim vm prepare",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cache, err := qemu.CacheDir()
		if err != nil {
			return err
		}
		p, err := qemu.Prepare(cmd.Context(), cache, func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), "  "+line) })
		if err != nil {
			return err
		}
		if form, _ := cmd.Flags().GetString("output"); form == "json" {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"version": p.Version(), "path": p.Path()})
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "QEMU %s in %s\n", p.Version(), p.Path())
		return err
	}
	return cmd
}

func vmUpCommand() *cobra.Command {
	var o stack.Options
	machine := &stack.Machine{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a deployment with an image in a virtual machine, or start it again",
		Long: `Up reads the image strictly, makes the key policy and the clients' policy from
what it measures (PCR0, PCR1, PCR2, and PCR8 when it is signed), and does
everything else as cloister-sim up does: it starts KMS, issuer, parent and the
virtual machine, and waits until the enclave is ready. State stays from one
start to the next.

Exit codes: 0 ready, 1 the enclave isn't ready (the status says why), 2 an error.`,
		Example: `  make image
  cloister-sim vm up --image bin/image/cloister.eif --config test/data --state /tmp/study
  export CLOISTER_CONTEXT=/tmp/study/context.json`,
		Args: cobra.NoArgs,
	}
	state := stateFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&machine.Image, "image", "", "enclave image file (default: the one of the last start)")
	flags.StringVar(&machine.QEMU, "qemu", "", "QEMU 11.1 or later (default: one fetched as prepare does)")
	flags.IntVar(&machine.Memory, "memory", 0, fmt.Sprintf("the machine's memory in MiB (default %d)", vm.DefaultMemory))
	flags.StringVar(&o.Config, "config", "", "directory with cloister.yaml (default: the one of the last start)")
	flags.StringVar(&o.ImageLabel, "image-label", "", "run another image with the same programs, which KMS and clients refuse")
	flags.StringVar(&o.ServeBundle, "serve-bundle", "", "let the parent hand this bundle to the enclave instead, which KMS and clients refuse")
	flags.StringP("output", "o", "text", "text or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.State, o.Out, o.Machine = *state, cmd.ErrOrStderr(), machine
		return up(cmd, o)
	}
	return cmd
}

func vmLogsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logs",
		Short: "Show what the virtual machine says on its console",
		Long: `Logs shows the console of the deployment's virtual machine: its kernel and the
enclave's fixed phrases. At most the last two mebibytes are kept.`,
		Example: "  cloister-sim vm logs --state /tmp/study --follow",
		Args:    cobra.NoArgs,
	}
	state := stateFlag(cmd)
	follow := cmd.Flags().BoolP("follow", "f", false, "go on until interrupted")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := stack.At(*state)
		if err != nil {
			return err
		}
		if *follow {
			return vm.FollowConsole(cmd.Context(), l.Console(), cmd.OutOrStdout())
		}
		all, err := vm.ReadConsole(l.Console())
		if err != nil {
			return err
		}
		_, err = io.WriteString(cmd.OutOrStdout(), all)
		return err
	}
	return cmd
}
